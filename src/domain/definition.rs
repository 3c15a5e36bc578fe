//! A golden image's definition: an ARM template of one lab VM.
//!
//! Whatever else stands in the template is left as it is. It is edited as a JSON tree, never as text: templates made by
//! the portal hold strings such as `[[[adminPassword]]` that a rewriting of text would break.

mod example;
mod prepare;
mod source;

use std::{collections::BTreeMap, fmt};

use arm_template::{Evaluator, Scope, TemplateError, check, evaluate};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::example::example_scope;
pub use self::{
    example::ExampleVm,
    prepare::{GENERALISE_LINUX, GENERALISE_WINDOWS, Prepare},
    source::{ImageSource, LATEST, OsSource},
};
use super::config::{FactorySettings, Problems};

#[cfg(test)]
mod tests;

/// The type of the one resource that a definition is about.
const LAB_VM: &str = "Microsoft.DevTestLab/labs/virtualmachines";
/// Resources inside resources are followed this far; Azure has no deeper types.
const DEEPEST_CHILD: usize = 5;

/// The operating system of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OsType {
    /// Generalised by sysprep.
    Windows,
    /// Generalised by waagent's deprovisioning.
    Linux,
}

impl OsType {
    /// Reads Azure's word, ignoring case.
    pub fn from_azure(text: &str) -> Option<Self> {
        [Self::Windows, Self::Linux].into_iter().find(|os| text.eq_ignore_ascii_case(os.as_str()))
    }

    /// Azure's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Windows => "Windows",
            Self::Linux => "Linux",
        }
    }
}

impl fmt::Display for OsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A parameter that the factory gives to a template that declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactoryParameter {
    /// `newVMName`: every definition has it.
    NewVmName,
    /// `labName`.
    LabName,
    /// `size`.
    Size,
    /// `userName`.
    UserName,
    /// `password`.
    Password,
}

impl FactoryParameter {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::NewVmName, Self::LabName, Self::Size, Self::UserName, Self::Password];

    /// The name as Microsoft's sample spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NewVmName => "newVMName",
            Self::LabName => "labName",
            Self::Size => "size",
            Self::UserName => "userName",
            Self::Password => "password",
        }
    }
}

/// The values that a deployment of a definition is given.
#[derive(Clone, Copy)]
pub struct ParameterValues<'a> {
    /// The VM's name.
    pub vm_name: &'a str,
    /// The factory lab's name.
    pub lab_name: &'a str,
    /// The VM's size.
    pub size: &'a str,
    /// The administrator's name.
    pub user_name: &'a str,
    /// The administrator's password: random, and kept nowhere.
    pub password: &'a str,
}

impl ParameterValues<'_> {
    fn of(&self, parameter: FactoryParameter) -> &str {
        match parameter {
            FactoryParameter::NewVmName => self.vm_name,
            FactoryParameter::LabName => self.lab_name,
            FactoryParameter::Size => self.size,
            FactoryParameter::UserName => self.user_name,
            FactoryParameter::Password => self.password,
        }
    }
}

/// A definition that can be built.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// The template's JSON. As a tree it would take several times as much memory, and a run holds a thousand of them.
    template: String,
    /// The JSON pointer of the VM in the template.
    vm: String,
    notes: Option<String>,
    image_source: ImageSource,
    os_source: OsSource,
    /// How the template spells those of the factory's parameters that it declares.
    declared: BTreeMap<FactoryParameter, String>,
}

/// What a JSON file under GoldenImages is.
pub(crate) enum Content {
    Definition(Box<Definition>),
    /// A definition with errors.
    Broken,
    /// The parameters of a template.
    ParametersFile,
    Other,
}

impl Definition {
    /// Reads a template that the ledger kept.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(file: &str, template: &[u8], settings: &FactorySettings) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let value = match serde_json::from_slice(template) {
            Ok(value) => value,
            Err(error) => {
                problems.error(file, "$", format!("this is not JSON: {error}"));
                return Err(problems);
            }
        };
        match read(value, settings, file, &mut problems) {
            Content::Definition(definition) => Ok(*definition),
            Content::Broken => Err(problems),
            Content::ParametersFile | Content::Other => {
                problems.error(file, "$", "this is no golden image");
                Err(problems)
            }
        }
    }

    /// What the template notes about the VM, where it is a plain text.
    pub fn notes(&self) -> Option<&str> {
        self.notes.as_deref()
    }

    /// How the template spells the parameter, if it declares it.
    pub fn spelling(&self, parameter: FactoryParameter) -> Option<&str> {
        self.declared.get(&parameter).map(String::as_str)
    }

    /// The template as it was written.
    pub fn template(&self) -> Value {
        // What was written from a tree can be read as one.
        serde_json::from_str(&self.template).unwrap_or_default()
    }

    /// The same as JSON.
    pub fn template_json(&self) -> &str {
        &self.template
    }

    /// What the VM is made from.
    pub fn image_source(&self) -> &ImageSource {
        &self.image_source
    }

    /// How to learn the operating system.
    pub fn os_source(&self) -> &OsSource {
        &self.os_source
    }

    /// Whether the template declares the parameter.
    pub fn declares(&self, parameter: FactoryParameter) -> bool {
        self.declared.contains_key(&parameter)
    }

    /// The `parameters` of the deployment: `{"newVMName": {"value": …}, …}`, only those that the template declares,
    /// because Resource Manager refuses others. Holds the password.
    pub fn deployment_parameters(&self, values: &ParameterValues<'_>) -> Map<String, Value> {
        self.declared
            .iter()
            .map(|(parameter, name)| (name.clone(), json!({"value": values.of(*parameter)})))
            .collect()
    }

    /// What a value of the template means in a deployment, e.g. the expression of [`OsSource::CustomImage`].
    ///
    /// # Errors
    /// If the expression cannot be evaluated.
    pub fn resolve(
        &self,
        value: &Value,
        values: &ParameterValues<'_>,
        scope: &Scope,
    ) -> Result<Value, TemplateError> {
        Evaluator::new(&self.template(), &self.literals(values), scope)?.value(value)
    }

    fn literals(&self, values: &ParameterValues<'_>) -> BTreeMap<String, Value> {
        self.declared.iter().map(|(parameter, name)| (name.clone(), values.of(*parameter).into())).collect()
    }

    /// The VM's resource in the template.
    fn vm<'a>(&self, template: &'a Value) -> &'a Value {
        template.pointer(&self.vm).unwrap_or(&Value::Null)
    }
}

/// Reads a JSON file under GoldenImages. Templates are recognised by their content, because parameters files lie beside
/// them under any name.
pub(crate) fn read(value: Value, settings: &FactorySettings, file: &str, problems: &mut Problems) -> Content {
    let Some(entries) = value.as_object() else {
        return Content::Other;
    };
    let schema =
        get(entries, "$schema").and_then(|(_, schema)| schema.as_str()).unwrap_or_default().to_lowercase();
    if schema.contains("deploymentparameters") {
        return Content::ParametersFile;
    }
    if !schema.contains("deploymenttemplate") && !entries.contains_key("resources") {
        return Content::Other;
    }
    match read_template(&value, settings, file, problems) {
        Some(definition) if !problems.has_errors() => Content::Definition(Box::new(definition)),
        _ => Content::Broken,
    }
}

fn read_template(
    template: &Value,
    settings: &FactorySettings,
    file: &str,
    problems: &mut Problems,
) -> Option<Definition> {
    for error in check(template) {
        problems.error(file, &error.path, error.message);
    }
    let declared = read_parameters(template, file, problems);
    let mut vms = Vec::new();
    find_vms(template, "", "", 0, &mut vms);
    let vm = match vms.as_slice() {
        [vm] => vm.clone(),
        [] => {
            let message =
                format!("this template makes no lab VM: it needs one resource of the type '{LAB_VM}'");
            problems.error(file, "$.resources", message);
            return None;
        }
        [_, second, ..] => {
            let message = "this template makes more than one lab VM: put each into a file of its own";
            problems.error(file, &json_path(second), message);
            return None;
        }
    };
    let resource = template.pointer(&vm)?.as_object()?;
    let path = json_path(&vm);
    if get(resource, "copy").is_some() {
        problems.error(file, &format!("{path}.copy"), "a golden image is one VM: remove the copy loop");
    }
    let Some((properties_key, properties)) = get(resource, "properties") else {
        problems.error(file, &path, "the lab VM has no 'properties'");
        return None;
    };
    let properties_path = format!("{path}.{properties_key}");
    let Some(properties) = properties.as_object() else {
        problems.error(file, &properties_path, "the lab VM's 'properties' must be an object");
        return None;
    };
    prepare::check_artifacts(template, properties, &properties_path, file, problems);
    if problems.has_errors() {
        return None;
    }
    // With values as a run would give them, every expression must have a value, whatever the lab is called.
    let values = ParameterValues::example(settings);
    let literals = declared.iter().map(|(parameter, name)| (name.clone(), values.of(*parameter).into()));
    let literals: BTreeMap<String, Value> = literals.collect();
    if let Err(error) = evaluate(template, &literals, &example_scope()) {
        problems.error(file, &error.path, error.message);
        return None;
    }
    let evaluator = Evaluator::new(template, &literals, &example_scope()).ok()?;
    let (image_source, os_source) = source::read(&evaluator, properties, &properties_path, file, problems)?;
    let notes = get(properties, "notes").and_then(|(_, notes)| notes.as_str());
    let notes = notes.filter(|text| !text.starts_with('[')).map(str::to_owned);
    Some(Definition { template: template.to_string(), vm, notes, image_source, os_source, declared })
}

/// Which of the factory's parameters the template declares, and under which spelling.
fn read_parameters(
    template: &Value,
    file: &str,
    problems: &mut Problems,
) -> BTreeMap<FactoryParameter, String> {
    let mut declared = BTreeMap::new();
    for (name, body) in template["parameters"].as_object().into_iter().flatten() {
        let place = format!("$.parameters.{name}");
        match FactoryParameter::ALL.into_iter().find(|parameter| parameter.name().eq_ignore_ascii_case(name))
        {
            Some(parameter) => {
                let kind = body["type"].as_str().unwrap_or_default();
                if parameter == FactoryParameter::Password && kind.eq_ignore_ascii_case("string") {
                    let message =
                        "the password can be read in the deployment's history: make it a 'securestring'";
                    problems.warning(file, &place, message);
                }
                declared.insert(parameter, name.clone());
            }
            None if body.get("defaultValue").is_none() => {
                let names: Vec<_> = FactoryParameter::ALL.iter().map(|parameter| parameter.name()).collect();
                let message = format!(
                    "the factory gives no value to the parameter '{name}' (only to {}): add a defaultValue",
                    names.join(", ")
                );
                problems.error(file, &place, message);
            }
            None => {}
        }
    }
    if !declared.contains_key(&FactoryParameter::NewVmName) {
        let message =
            "the parameter 'newVMName' is missing: declare it, and use it in the name of the lab VM";
        problems.error(file, "$.parameters", message);
    }
    declared
}

/// The JSON pointers of all lab VMs, also of those inside the resource of their lab.
fn find_vms(parent: &Value, pointer: &str, parent_type: &str, depth: usize, found: &mut Vec<String>) {
    if depth > DEEPEST_CHILD {
        return;
    }
    for (index, resource) in parent["resources"].as_array().into_iter().flatten().enumerate() {
        let Some(entries) = resource.as_object() else {
            continue;
        };
        let own = get(entries, "type").and_then(|(_, kind)| kind.as_str()).unwrap_or_default();
        let kind =
            if depth > 0 && !own.contains('.') { format!("{parent_type}/{own}") } else { own.to_owned() };
        let pointer = format!("{pointer}/resources/{index}");
        if kind.eq_ignore_ascii_case(LAB_VM) {
            found.push(pointer.clone());
        }
        find_vms(resource, &pointer, &kind, depth + 1, found);
    }
}

/// `/resources/0` as `$.resources[0]`.
fn json_path(pointer: &str) -> String {
    let mut path = "$".to_owned();
    for part in pointer.split('/').skip(1) {
        let index = part.bytes().all(|b| b.is_ascii_digit());
        path.push_str(&if index { format!("[{part}]") } else { format!(".{part}") });
    }
    path
}

/// Resource Manager ignores the case of property names.
pub(super) fn get<'a>(entries: &'a Map<String, Value>, name: &str) -> Option<(&'a String, &'a Value)> {
    entries
        .get_key_value(name)
        .or_else(|| entries.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)))
        .filter(|(_, value)| !value.is_null())
}
