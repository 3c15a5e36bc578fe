//! Whether the storage account of each lab can be used as copies use it.

use async_trait::async_trait;

use super::{
    Check, Finding, Known, Reached, grant,
    patience::{each, patiently},
};
use crate::{
    azure::{AzureError, Lab, actions::Place},
    domain::LabId,
    handler::settings::KEYED_ACCOUNTS,
};

/// No VHD's name begins so.
const NOTHING: &str = "image-factory-doctor/";
/// How long what is signed here is good.
const SOON: time::Duration = time::Duration::minutes(1);
/// The code for an account that takes no keys, though the factory is to use one.
const NO_KEYS: &str = "KeyBasedAuthenticationNotPermitted";
/// Its code for an account whose firewall lets nobody in from here.
const FIREWALL: &str = "AuthorizationFailure";

/// The check.
pub struct LabStorages;

#[async_trait]
impl Check for LabStorages {
    fn name(&self) -> &'static str {
        "lab-storage"
    }

    async fn look(&self, at: &Reached, known: &Known) -> Vec<Finding> {
        let factory = known.factory_lab.get().and_then(|lab| {
            let address = &lab.address;
            let group = Some(address.resource_group.as_str());
            let id = LabId::new(&address.subscription_id, group, &address.lab_name).ok()?;
            Some(Used { id, lab, signs: true })
        });
        let team = known.team_labs.get().into_iter().flatten();
        let team = team.map(|(id, lab)| Used { id: id.clone(), lab, signs: false });
        let labs: Vec<Used<'_>> = factory.into_iter().chain(team).collect();
        if labs.is_empty() {
            return vec![Finding::skipped("", "no lab was reached: see 'labs'")];
        }
        each(labs, async |used| look_at(at, known, &used).await).await
    }
}

/// A lab whose account is used.
struct Used<'a> {
    id: LabId,
    lab: &'a Lab,
    /// Whether VHDs are copied from there, for which the factory signs.
    signs: bool,
}

/// The places of which a lab's account is one. It `signs` where it is the factory lab's.
pub(super) fn places(at: &Reached, lab: &Lab, signs: bool) -> Vec<Place> {
    match (at.factory.is_keyed(&lab.storage_account_id), signs) {
        (true, _) => vec![Place::KeyedStorage],
        (false, true) => vec![Place::LabStorage, Place::FactoryStorage],
        (false, false) => vec![Place::LabStorage],
    }
}

async fn look_at(at: &Reached, known: &Known, used: &Used<'_>) -> Finding {
    let (clock, id) = (&at.factory.clock, &used.id);
    let reached = patiently(clock, async || {
        let storage = at.factory.lab_storage(id).await?;
        match storage.container.list(NOTHING).await {
            // The first copy makes the container.
            Err(error) if error.is_not_found() => {}
            other => drop(other?),
        }
        if used.signs {
            // Nothing is read by it.
            storage.readable_url(NOTHING, clock.now() + SOON).await?;
        }
        Ok(())
    });
    let account = &used.lab.storage_account_id;
    match reached.await {
        Ok(()) if used.signs => {
            Finding::ok(id.lab_name(), format!("{} may be used, and signed for", last(account)))
        }
        Ok(()) => Finding::ok(id.lab_name(), format!("{} may be used", last(account))),
        Err(error) => Finding::refused(id.lab_name(), &error, fix(at, known, &error, used)),
    }
}

fn fix(at: &Reached, known: &Known, error: &AzureError, used: &Used<'_>) -> String {
    let account = &used.lab.storage_account_id;
    let update = format!("az storage account update --ids '{account}'");
    match error.code.as_str() {
        NO_KEYS => format!("take {} out of the app setting {KEYED_ACCOUNTS}, and {}", last(account), {
            grant::command(at, known, Place::LabStorage, account)
        }),
        FIREWALL => format!(
            "{update} --default-action Allow, or let this network in by 'az storage account network-rule add'"
        ),
        "ResourceNotFound" => {
            format!("the lab's storage account {account} is gone: make one of this name, or another lab")
        }
        _ => {
            let roles = places(at, used.lab, used.signs);
            let commands: Vec<String> =
                roles.into_iter().map(|place| grant::command(at, known, place, account)).collect();
            commands.join("; ")
        }
    }
}

fn last(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}
