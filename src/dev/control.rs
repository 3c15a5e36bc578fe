//! The simulator's own interface, from outside: what to set up before a run, and what to look at after it.

use std::path::Path;

use anyhow::{Context as _, bail};
use azure_sim::{
    arm::{Budget, LabSpec},
    control::{FaultsSpec, LabAdded, ManagedIdentity, QueueState, State, StorageAccountSpec, WorkLog},
    world::Counts,
};
use reqwest::{Method, RequestBuilder};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

use super::world;
use crate::domain::Configuration;

/// A client of the simulator's own interface.
pub struct Control {
    base: String,
    http: reqwest::Client,
}

impl Control {
    /// A client of the interface at `base`.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        // The simulator is on this machine, whatever proxy the environment names.
        Ok(Self { base: base.to_owned(), http: reqwest::Client::builder().no_proxy().build()? })
    }

    /// Makes all labs of `configuration`, the factory lab and the ledger's storage account; answers the factory lab's id.
    ///
    /// # Errors
    /// If the simulator refuses.
    pub async fn set_up(&self, configuration: &Configuration) -> anyhow::Result<String> {
        let id = self.add_labs(configuration).await?;
        let factory = world::factory_lab(configuration);
        let account = StorageAccountSpec { id: world::ledger_account_id(), location: factory.location };
        self.send(Method::POST, "/storageaccounts", &account).await?;
        Ok(id)
    }

    /// Makes those labs of `configuration` that are not there; answers the factory lab's id.
    ///
    /// # Errors
    /// If the simulator refuses.
    pub async fn add_labs(&self, configuration: &Configuration) -> anyhow::Result<String> {
        let id = self.add_lab(&world::factory_lab(configuration)).await?.id;
        for lab in world::target_labs(configuration) {
            self.add_lab(&lab).await?;
        }
        Ok(id)
    }

    async fn add_lab(&self, lab: &LabSpec) -> anyhow::Result<LabAdded> {
        let answer = self.send(Method::POST, "/labs", lab).await?;
        Ok(answer.json().await?)
    }

    /// Sets the faults of a JSON file.
    ///
    /// # Errors
    /// If the file is no description of faults.
    pub async fn set_faults(&self, file: &Path) -> anyhow::Result<()> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let faults: FaultsSpec =
            serde_json::from_str(&text).with_context(|| format!("{} describes no faults", file.display()))?;
        self.send(Method::PUT, "/faults", &faults).await?;
        Ok(())
    }

    /// Where the managed identity gets its tokens.
    ///
    /// # Errors
    /// If the simulator does not answer.
    pub async fn identity(&self) -> anyhow::Result<ManagedIdentity> {
        self.get("/identity").await
    }

    /// How often Azure was called.
    ///
    /// # Errors
    /// If the simulator does not answer.
    pub async fn counts(&self) -> anyhow::Result<Counts> {
        self.get("/counts").await
    }

    /// How many messages each queue holds.
    ///
    /// # Errors
    /// If the simulator does not answer.
    pub async fn queues(&self) -> anyhow::Result<BTreeMap<String, QueueState>> {
        self.get("/queues").await
    }

    /// What Azure worked on.
    ///
    /// # Errors
    /// If the simulator does not answer.
    pub async fn work(&self) -> anyhow::Result<WorkLog> {
        self.get("/work").await
    }

    /// How much of Resource Manager's budgets was used so far.
    ///
    /// # Errors
    /// If the simulator does not answer.
    pub async fn budgets(&self) -> anyhow::Result<Vec<Budget>> {
        self.get("/budgets").await
    }

    /// Everything that a run may have made or left behind.
    ///
    /// # Errors
    /// If the simulator does not answer.
    pub async fn state(&self) -> anyhow::Result<State> {
        self.get("/state").await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let answer = checked(self.http.get(format!("{}{path}", self.base))).await?;
        Ok(answer.json().await?)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<reqwest::Response> {
        checked(self.http.request(method, format!("{}{path}", self.base)).json(body)).await
    }
}

async fn checked(request: RequestBuilder) -> anyhow::Result<reqwest::Response> {
    let answer = request.send().await.context("simulated Azure does not answer")?;
    if !answer.status().is_success() {
        let status = answer.status();
        bail!("simulated Azure refused ({status}): {}", answer.text().await.unwrap_or_default());
    }
    Ok(answer)
}
