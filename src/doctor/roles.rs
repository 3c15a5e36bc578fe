//! Whether each action that the code declares is allowed where it is needed. Azure is asked for what the roles allow: nothing is
//! written, deleted or started to find out.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{
    Check, Finding, Known, Reached, grant, lab_storage,
    patience::{each, patiently},
};
use crate::azure::{
    Permissions, ResourceId,
    actions::{ACTIONS, Action, Place},
};

/// Needed at a subscription only where Labs.json leaves a resource group out.
const FINDS_LABS: &str = "Microsoft.DevTestLab/labs/read";

/// The check.
pub struct Roles;

/// What is needed at a scope.
struct Wanted {
    place: Place,
    /// A resource id.
    scope: String,
    /// Whether labs are looked up there by their names.
    finds_labs: bool,
}

#[async_trait]
impl Check for Roles {
    fn name(&self) -> &'static str {
        "roles"
    }

    async fn look(&self, at: &Reached, known: &Known) -> Vec<Finding> {
        let mut findings = each(wanted(at, known), async |wanted| judge(at, known, &wanted).await).await;
        if known.factory_lab.get().is_none() {
            findings.push(Finding::skipped("factory lab", "it was not reached: see 'labs'"));
        }
        let labs = known.configuration.get().map_or(0, |configuration| configuration.labs.len());
        let away = labs - known.team_labs.get().map_or(0, Vec::len);
        if away > 0 {
            findings.push(Finding::skipped("team labs", format!("{away} were not reached: see 'labs'")));
        }
        findings
    }
}

/// Every scope once, with what it is needed for. The ledger and Service Bus are tried in earnest by their own checks.
fn wanted(at: &Reached, known: &Known) -> Vec<Wanted> {
    let mut all = Vec::new();
    let mut subscriptions: BTreeSet<String> = BTreeSet::new();
    let mut by_name: BTreeSet<String> = BTreeSet::new();
    let mut add = |place, scope: &str| {
        all.push(Wanted { place, scope: scope.to_owned(), finds_labs: false });
    };
    if let Some(lab) = known.factory_lab.get() {
        let address = &lab.address;
        let subscription = format!("/subscriptions/{}", address.subscription_id);
        add(Place::FactoryLab, &format!("{subscription}/resourceGroups/{}", address.resource_group));
        add(Place::Machines, &subscription);
        for place in lab_storage::places(at, lab, true) {
            add(place, &lab.storage_account_id);
        }
        subscriptions.insert(subscription.to_lowercase());
    }
    for (id, lab) in known.team_labs.get().into_iter().flatten() {
        add(Place::TeamLab, &lab.address.id());
        for place in lab_storage::places(at, lab, false) {
            add(place, &lab.storage_account_id);
        }
        let subscription = format!("/subscriptions/{}", lab.address.subscription_id).to_lowercase();
        if id.resource_group().is_none() {
            by_name.insert(subscription.clone());
        }
        subscriptions.insert(subscription);
    }
    all.extend(subscriptions.into_iter().map(|scope| Wanted {
        place: Place::Subscription,
        finds_labs: by_name.contains(&scope),
        scope,
    }));
    all
}

async fn judge(at: &Reached, known: &Known, wanted: &Wanted) -> Finding {
    let (azure, scope) = (&at.factory.azure, &wanted.scope);
    let subject = format!("{} {}", wanted.place.name(), name(scope));
    let asked = patiently(&at.factory.clock, async || match &at.identity {
        Some(identity) => azure.permissions_of(identity, scope).await,
        None => azure.permissions(scope).await,
    });
    let permissions = match asked.await {
        Ok(permissions) => permissions,
        Err(error) if error.is_transient() => return Finding::refused(&subject, &error, ""),
        Err(error) => {
            let fix =
                format!("for whoever runs the doctor: {}", grant::assignment(at, known, "Reader", scope));
            return Finding::warning(&subject, format!("what is allowed cannot be told: {error}"), fix);
        }
    };
    let (missing, needed) = missing(&permissions, wanted);
    if missing.is_empty() {
        let allowed = match needed {
            1 => "the one action is allowed".to_owned(),
            _ => format!("all {needed} actions are allowed"),
        };
        return Finding::ok(&subject, allowed);
    }
    let found = format!("not allowed at {scope}: {}", missing.join(", "));
    let fix = grant::command(at, known, wanted.place, scope);
    match wanted.place {
        // The lab may make its VMs in one resource group, of which only people know.
        Place::Machines => {
            let found = format!(
                "{found}; that is well if the lab makes its VMs in one resource group, and the role is given there"
            );
            Finding::warning(&subject, found, fix)
        }
        _ => Finding::failed(&subject, found, fix),
    }
}

/// The actions of a place that are not allowed, and how many are needed there.
fn missing(permissions: &Permissions, wanted: &Wanted) -> (Vec<&'static str>, usize) {
    let is_needed = |action: &&Action| {
        let only_for_names = wanted.place == Place::Subscription && action.name == FINDS_LABS;
        action.place == wanted.place && (!only_for_names || wanted.finds_labs)
    };
    let needed: Vec<&Action> = ACTIONS.iter().filter(is_needed).collect();
    let is_allowed = |action: &Action| match action.is_on_data() {
        true => permissions.allow_data(action.name),
        false => permissions.allow(action.name),
    };
    let missing = needed.iter().filter(|action| !is_allowed(action)).map(|action| action.name).collect();
    (missing, needed.len())
}

/// The name that people know a scope by.
fn name(scope: &str) -> String {
    scope.parse::<ResourceId>().map_or_else(|_| scope.to_owned(), |id| id.name().to_owned())
}
