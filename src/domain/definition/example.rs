//! What can be said of a definition's VM before there is a run.

use arm_template::{Scope, evaluate};
use serde_json::Value;

use super::{Definition, LAB_VM, ParameterValues, get};
use crate::domain::FactorySettings;

/// A definition's VM as it is in every run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExampleVm {
    /// Its size.
    pub size: Option<String>,
    /// Its administrator's name.
    pub user_name: Option<String>,
    /// The version of the shared image that it is made from, where the template names one.
    pub shared_image_version: Option<String>,
    /// Its artifacts, with everything evaluated but what only a deployment can know; null if there are none.
    pub artifacts: Value,
}

impl Definition {
    /// The VM with the settings' values, and made-up ones for what differs from run to run: the same whenever it is asked.
    pub fn example_vm(&self, settings: &FactorySettings) -> ExampleVm {
        let template = self.template();
        let evaluated =
            evaluate(&template, &self.literals(&ParameterValues::example(settings)), &example_scope());
        let vm = evaluated.ok().and_then(|evaluated| {
            let is_vm = |kind: &str| kind.eq_ignore_ascii_case(LAB_VM);
            evaluated.resources.into_iter().find(|resource| is_vm(&resource.resource_type)).map(|vm| vm.body)
        });
        // Read with other settings it may have no value: then as it was written.
        let vm = vm.unwrap_or_else(|| self.vm(&template).clone());
        let properties =
            vm.as_object().and_then(|vm| get(vm, "properties")).and_then(|(_, all)| all.as_object());
        let property = |name: &str| properties.and_then(|all| get(all, name)).map(|(_, value)| value.clone());
        let text = |name: &str| property(name).and_then(|value| value.as_str().map(str::to_owned));
        ExampleVm {
            size: text("size"),
            user_name: text("userName"),
            shared_image_version: text("sharedImageVersion"),
            artifacts: property("artifacts").unwrap_or(Value::Null),
        }
    }
}

impl<'a> ParameterValues<'a> {
    /// Values like those of a run, to evaluate a template before there is one.
    pub fn example(settings: &'a FactorySettings) -> Self {
        Self {
            vm_name: "Example-x7k2pq",
            lab_name: "examplelab",
            size: &settings.vm_size,
            user_name: &settings.user_name,
            // As long and as mixed as the real ones; it protects nothing.
            password: "Example0-Example0-Example0-Ex4m!",
        }
    }
}

pub(super) fn example_scope() -> Scope {
    let zero = "00000000-0000-0000-0000-000000000000".to_owned();
    Scope {
        subscription_id: zero.clone(),
        resource_group: "examplegroup".to_owned(),
        resource_group_location: "westeurope".to_owned(),
        deployment_name: "example".to_owned(),
        tenant_id: zero,
    }
}
