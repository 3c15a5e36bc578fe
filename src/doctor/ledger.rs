//! Whether the ledger's container takes, gives and deletes documents, and keeps the later of two writers from writing over the first.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{Check, Finding, Known, Reached, grant};
use crate::{
    azure::{AzureError, Condition, Container, ETag, actions::Place},
    steps::Factory,
};

/// The document that is written and deleted again. Nothing else has this folder.
const FOLDER: &str = "doctor/";
/// The storage service's code for a container that is not there.
const NO_CONTAINER: &str = "ContainerNotFound";

/// The check.
pub struct LedgerContainer;

#[async_trait]
impl Check for LedgerContainer {
    fn name(&self) -> &'static str {
        "ledger"
    }

    async fn look(&self, at: &Reached, known: &Known) -> Vec<Finding> {
        let container = at.factory.ledger.container();
        let url = container.url("");
        let url = url.trim_end_matches('/');
        let account = account(url);
        vec![match write_read_and_delete(&at.factory, container).await {
            Ok(None) => {
                Finding::ok("", format!("{url} takes, gives, lists and deletes documents, each version once"))
            }
            Ok(Some(wrong)) => Finding::failed(
                "",
                wrong,
                "use a container of Azure Blob Storage: its ETags keep two writers apart",
            ),
            Err(error) if error.code == NO_CONTAINER => {
                let name = container.name();
                let fix = format!(
                    "az storage container create --name {name} --account-name {account} --auth-mode login; or 'azd provision'"
                );
                Finding::failed("", format!("{url} is not there: {error}"), fix)
            }
            Err(error) => {
                let name = container.name();
                let scope = format!(
                    "/subscriptions/<subscription>/resourceGroups/<group>/providers/Microsoft.Storage/storageAccounts/{account}/blobServices/default/containers/{name}"
                );
                Finding::refused("", &error, grant::command(at, known, Place::Ledger, &scope))
            }
        }]
    }
}

/// The account in a container's URL: the host's first label, or the path's first part at a stand-in.
fn account(url: &str) -> String {
    let parts: Vec<&str> = url.split('/').skip(2).collect();
    match parts.as_slice() {
        [host, _container] => host.split('.').next().unwrap_or(host).to_owned(),
        [_host, account, _container] => (*account).to_owned(),
        _ => "<account>".to_owned(),
    }
}

/// What is wrong, if anything is.
async fn write_read_and_delete(
    factory: &Factory,
    container: &Container,
) -> Result<Option<String>, AzureError> {
    let name = format!("{FOLDER}{}.json", factory.clock.now().unix_timestamp_nanos());
    let made = write(container, &name, "{}", Condition::IfMissing).await?;
    let found = go_on(container, &name, made).await;
    // Whatever came of it, nothing is left.
    container.delete(&name).await?;
    found
}

async fn go_on(container: &Container, name: &str, made: ETag) -> Result<Option<String>, AzureError> {
    let is_refused = |result: Result<ETag, AzureError>| match result {
        Ok(_) => Ok(false),
        Err(error) if error.is_precondition() => Ok(true),
        Err(error) => Err(error),
    };
    if !is_refused(write(container, name, "{}", Condition::IfMissing).await)? {
        return Ok(Some("a document that was there was made anew".to_owned()));
    }
    write(container, name, "[]", Condition::IfMatch(made.clone())).await?;
    if !is_refused(write(container, name, "{}", Condition::IfMatch(made)).await)? {
        return Ok(Some("a document was written over by a writer that knew an older version".to_owned()));
    }
    match container.get(name).await? {
        Some((bytes, _)) if bytes == b"[]" => {}
        _ => return Ok(Some("a document that was written reads otherwise".to_owned())),
    }
    match container.list(FOLDER).await?.iter().any(|item| item.name == name) {
        true => Ok(None),
        false => Ok(Some("a document that was written is not in the list".to_owned())),
    }
}

async fn write(
    container: &Container,
    name: &str,
    body: &str,
    condition: Condition,
) -> Result<ETag, AzureError> {
    container.put(name, body.as_bytes().to_vec(), &BTreeMap::new(), condition).await
}
