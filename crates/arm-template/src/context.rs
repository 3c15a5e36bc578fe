//! The place in which expressions are evaluated: what is around the template.

use std::cell::{Cell, RefCell};

use serde_json::Value;

/// Where the template is deployed to: what `subscription()`, `resourceGroup()`, `deployment()` and `resourceId()` see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The subscription's GUID.
    pub subscription_id: String,
    /// The resource group's name.
    pub resource_group: String,
    /// The resource group's region, e.g. `westeurope`.
    pub resource_group_location: String,
    /// The deployment's name.
    pub deployment_name: String,
    /// The tenant's GUID.
    pub tenant_id: String,
}

/// The deployed world as `reference()` sees it.
pub trait References {
    /// The whole resource, as a GET answers it (`reference()` itself takes its `properties` unless `'Full'` is asked
    /// for); `None` where there is none. `id_or_name` is a resource id, or the name of a resource of the same template.
    fn reference(&self, id_or_name: &str, api_version: Option<&str>) -> Option<Value>;
}

/// One turn of a copy loop.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) name: String,
    pub(crate) index: i64,
    /// `copyIndex()` without a name means the loop over resources (or outputs).
    pub(crate) unnamed: bool,
}

/// The place in which expressions are evaluated.
pub(crate) struct Context<'a> {
    pub(crate) references: Option<&'a dyn References>,
    pub(crate) turns: RefCell<Vec<Turn>>,
    /// Keep strings that need a deployed resource as they are instead of failing.
    pub(crate) may_defer: bool,
    /// Something was kept.
    pub(crate) deferred: Cell<bool>,
    /// What `reference()` was asked for: an implicit dependency.
    pub(crate) referenced: RefCell<Vec<String>>,
    /// Whether `variables()` may be asked for.
    pub(crate) variables: bool,
}

impl<'a> Context<'a> {
    /// A place where everything must have its value at once.
    pub(crate) fn strict() -> Self {
        Self {
            references: None,
            turns: RefCell::default(),
            may_defer: false,
            deferred: Cell::new(false),
            referenced: RefCell::default(),
            variables: true,
        }
    }

    /// A place inside copy loops where everything must have its value at once.
    pub(crate) fn strict_in(turns: Vec<Turn>) -> Self {
        Self { turns: RefCell::new(turns), ..Self::strict() }
    }

    /// A place that waits for deployed resources.
    pub(crate) fn deferring(turns: Vec<Turn>) -> Self {
        Self { may_defer: true, turns: RefCell::new(turns), ..Self::strict() }
    }

    /// A place where the deployed resources are known.
    pub(crate) fn deployed(turns: Vec<Turn>, references: &'a dyn References) -> Self {
        Self { references: Some(references), turns: RefCell::new(turns), ..Self::strict() }
    }

    /// The default value of a parameter, which sees no variables.
    pub(crate) fn parameter_default() -> Self {
        Self { variables: false, ..Self::strict() }
    }
}
