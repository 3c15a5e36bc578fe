//! Whether every lab is there, and may be read: each reading call that a run makes is made once, for things that need not be there.

use async_trait::async_trait;

use super::{
    Check, Finding, Known, Reached, grant,
    patience::{each, patiently},
};
use crate::{
    azure::{AzureError, Lab, actions::Place},
    domain::{FactorySettings, LabId},
    steps::start_run::factory_lab,
};

/// Nothing has this name.
const NOTHING: &str = "image-factory-doctor";

/// The check.
pub struct AllLabs;

#[async_trait]
impl Check for AllLabs {
    fn name(&self) -> &'static str {
        "labs"
    }

    async fn look(&self, at: &Reached, known: &Known) -> Vec<Finding> {
        let mut findings = Vec::new();
        let none = FactorySettings::default();
        let settings = known.configuration.get().map_or(&none, |configuration| &configuration.settings);
        match factory_lab(settings, at.factory.factory_lab.as_ref()) {
            Ok(id) => {
                let (found, lab) = look_at(at, known, &id, Place::FactoryLab).await;
                findings.extend(found);
                if let Some(lab) = lab {
                    let _ = known.factory_lab.set(lab);
                }
            }
            Err(failure) => {
                findings.push(Finding::failed(
                    "",
                    failure.to_string(),
                    "set IMAGE_FACTORY_LAB to the resource id of the factory lab",
                ));
            }
        }
        let Some(configuration) = known.configuration.get() else {
            findings.push(Finding::skipped("", "the labs of Labs.json are not known: see 'configuration'"));
            return findings;
        };
        let ids = configuration.labs.iter().map(|subscribed| &subscribed.lab);
        let looks = each(ids, async |id| (id.clone(), look_at(at, known, id, Place::TeamLab).await)).await;
        let mut there = Vec::new();
        for (id, (found, lab)) in looks {
            findings.extend(found);
            there.extend(lab.map(|lab| (id, lab)));
        }
        let _ = known.team_labs.set(there);
        findings
    }
}

async fn look_at(at: &Reached, known: &Known, id: &LabId, place: Place) -> (Vec<Finding>, Option<Lab>) {
    let (name, azure, clock) = (id.lab_name(), &at.factory.azure, &at.factory.clock);
    let find = || azure.find_lab(id.subscription_id(), id.resource_group(), name);
    let group = id.resource_group().unwrap_or("<group>");
    let lab_id = format!(
        "/subscriptions/{}/resourceGroups/{group}/providers/Microsoft.DevTestLab/labs/{name}",
        id.subscription_id()
    );
    let subscription = format!("/subscriptions/{}", id.subscription_id());
    let (needed, scope) = match (place, id.resource_group()) {
        // It is looked up by its name.
        (_, None) => (Place::Subscription, subscription),
        (Place::FactoryLab, Some(group)) => (place, format!("{subscription}/resourceGroups/{group}")),
        _ => (place, lab_id.clone()),
    };
    let lab = match patiently(clock, find).await {
        Ok(Some(lab)) => lab,
        Ok(None) => {
            let file = match place {
                Place::FactoryLab => "IMAGE_FACTORY_LAB, or factoryLab in factory.json",
                _ => "Labs.json",
            };
            let found = format!("there is no lab {lab_id}");
            let fix = format!(
                "correct {file}; 'az resource list --resource-type Microsoft.DevTestLab/labs --subscription {}' lists the labs",
                id.subscription_id()
            );
            return (vec![Finding::failed(name, found, fix)], None);
        }
        Err(error) => return (vec![refused(at, known, name, &error, needed, &scope)], None),
    };
    let read = async {
        match place {
            Place::FactoryLab => {
                let address = &lab.address;
                patiently(clock, || azure.lab_vm(address, NOTHING)).await?;
                let (subscription, group) = (&address.subscription_id, &address.resource_group);
                patiently(clock, || azure.deployment(subscription, group, NOTHING)).await.map(drop)
            }
            _ => {
                patiently(clock, || azure.custom_image(&lab.address, NOTHING)).await?;
                patiently(clock, || azure.formulas(&lab.address)).await?;
                patiently(clock, || azure.lab_vm(&lab.address, NOTHING)).await.map(drop)
            }
        }
    };
    let scope = match place {
        Place::FactoryLab => {
            format!("/subscriptions/{}/resourceGroups/{}", id.subscription_id(), lab.address.resource_group)
        }
        _ => lab.address.id(),
    };
    let finding = match read.await {
        Ok(()) => Finding::ok(name, format!("{} in {}", role(place), lab.location)),
        Err(error) => refused(at, known, name, &error, place, &scope),
    };
    (vec![finding], Some(lab))
}

fn role(place: Place) -> &'static str {
    match place {
        Place::FactoryLab => "the factory lab",
        _ => "a team lab",
    }
}

fn refused(
    at: &Reached,
    known: &Known,
    name: &str,
    error: &AzureError,
    place: Place,
    scope: &str,
) -> Finding {
    Finding::refused(name, error, grant::command(at, known, place, scope))
}
