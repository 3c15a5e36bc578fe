//! A simulated Azure with one lab, and a caller with a token.

use std::time::Duration;

use azure_sim::{
    Endpoints, Request, Sim, SimOptions,
    arm::LabSpec,
    identity,
    latency::{Profile, Span},
};
use bytes::Bytes;
use factory_clock::Clock;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use time::macros::datetime;

pub const SUBSCRIPTION: &str = "2f0a4f0e-6c1d-4a53-9d1f-0b7c5c3f1a01";
pub const BASE: &str = "https://management.azure.com";

pub struct Azure {
    pub sim: Sim,
    pub lab: String,
    pub token: String,
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

impl Azure {
    /// Durations are fixed, so that tests can count: a VM runs after 600 s, an artifact takes 60 s, the generalising one 200 s.
    pub fn new() -> Self {
        let fixed = |seconds| Span::seconds(seconds, seconds);
        Self::with(Profile {
            arm_call: fixed(0.0),
            blob_call: fixed(0.0),
            deployment_start: fixed(2.0),
            vm_creation: fixed(600.0),
            artifact: fixed(60.0),
            generalizing_artifact: fixed(200.0),
            deallocation: fixed(100.0),
            power_action: fixed(40.0),
            vm_deletion: fixed(120.0),
            disk_access: fixed(10.0),
            custom_image: fixed(180.0),
            custom_image_deletion: fixed(60.0),
            deployment_deletion: fixed(10.0),
            ..Profile::default()
        })
    }

    pub fn with(profile: Profile) -> Self {
        let sim = Sim::new(SimOptions {
            seed: 7,
            clock: Clock::virtual_from(datetime!(2026-11-22 13:00 UTC)),
            profile,
            endpoints: Endpoints::Azure,
        });
        let mut world = sim.world();
        let lab = world.add_lab(&LabSpec {
            subscription_id: SUBSCRIPTION.to_owned(),
            resource_group: "rg-Factory".to_owned(),
            name: "Factory".to_owned(),
            location: "westeurope".to_owned(),
        });
        let caller = world.identity.managed_identity.clone();
        let day = Duration::from_secs(24 * 3600);
        let token = identity::issue(&world, &caller, identity::RESOURCE_MANAGER, day);
        drop(world);
        Self { sim, lab, token }
    }

    pub fn group() -> String {
        format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-Factory")
    }

    pub fn lab_path() -> String {
        format!("{}/providers/Microsoft.DevTestLab/labs/Factory", Self::group())
    }

    pub fn vm_path(name: &str) -> String {
        format!("{}/virtualmachines/{name}", Self::lab_path())
    }

    pub fn image_path(name: &str) -> String {
        format!("{}/customimages/{name}", Self::lab_path())
    }

    pub fn deployment_path(name: &str) -> String {
        format!("{}/providers/Microsoft.Resources/deployments/{name}", Self::group())
    }

    pub async fn send(&self, method: Method, url: &str, body: Option<Value>) -> Answer {
        let mut request: Request =
            http::Request::new(Bytes::from(body.map(|b| b.to_string()).unwrap_or_default()));
        *request.method_mut() = method;
        *request.uri_mut() = url.replace(' ', "%20").parse().unwrap();
        let bearer = format!("Bearer {}", self.token);
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        let response = self.sim.call(request).await.unwrap();
        let (parts, bytes) = response.into_parts();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    /// A call of a path with the stable api-version of DevTest Labs.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mark = if path.contains('?') { '&' } else { '?' };
        self.send(method, &format!("{BASE}{path}{mark}api-version=2018-09-15"), body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub async fn post(&self, path: &str) -> Answer {
        self.call(Method::POST, path, None).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// Follows a URL as it was given.
    pub async fn follow(&self, url: &str) -> Answer {
        self.send(Method::GET, url, None).await
    }

    pub async fn wait(&self, seconds: u64) {
        self.sim.clock().sleep(Duration::from_secs(seconds)).await;
    }

    /// A Windows VM with these artifacts of the public source.
    pub fn windows(&self, artifacts: &[&str]) -> Value {
        let artifacts: Vec<Value> = artifacts.iter().map(|name| self.artifact(name)).collect();
        json!({
            "location": "westeurope",
            "tags": {"ImagePath": "Win2016/Datacenter.json"},
            "properties": {
                "galleryImageReference": {
                    "publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2016-Datacenter",
                    "osType": "Windows", "version": "latest",
                },
                "size": "Standard_D2s_v3",
                "userName": "factoryadmin",
                "password": "Lx7-ququ.kkt",
                "labVirtualNetworkId": format!("{}/virtualnetworks/DtlFactory", Self::lab_path()),
                "labSubnetName": "DtlFactorySubnet",
                "artifacts": artifacts,
            },
        })
    }

    pub fn artifact(&self, name: &str) -> Value {
        let id = format!("{}/artifactSources/public repo/artifacts/{name}", Self::lab_path());
        json!({"artifactId": id})
    }

    /// A template of one VM.
    pub fn template(&self, vm: &str, artifacts: &[&str]) -> Value {
        let mut resource = self.windows(artifacts);
        resource["apiVersion"] = json!("2018-10-15-preview");
        resource["type"] = json!("Microsoft.DevTestLab/labs/virtualmachines");
        resource["name"] = json!(format!("Factory/{vm}"));
        resource["properties"]["password"] = json!("[parameters('password')]");
        let id = "[resourceId ('Microsoft.DevTestLab/labs/virtualmachines', 'Factory', 'x')]";
        json!({"properties": {
            "mode": "Incremental",
            "template": {
                "$schema": "https://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json",
                "contentVersion": "1.0.0.0",
                "parameters": {"password": {"type": "securestring"}},
                "resources": [resource],
                "outputs": {"labVMId": {"type": "string", "value": id}},
            },
            "parameters": {"password": {"value": "Lx7-ququ.kkt"}},
        }})
    }

    /// The compute VM behind a lab VM.
    pub async fn compute_id(&self, vm: &str) -> String {
        let answer = self.get(&Self::vm_path(vm)).await;
        answer.body["properties"]["computeId"].as_str().unwrap().to_owned()
    }

    /// `PowerState/…` of the instance view, where Azure shows one.
    pub async fn power(&self, compute: &str) -> Option<String> {
        let answer = self.get(&format!("{compute}/instanceView")).await;
        let statuses = answer.body["statuses"].as_array().unwrap().clone();
        statuses
            .iter()
            .filter_map(|status| status["code"].as_str())
            .find_map(|code| code.strip_prefix("PowerState/"))
            .map(str::to_owned)
    }

    pub async fn disk_id(&self, compute: &str) -> String {
        let answer = self.get(compute).await;
        let id = &answer.body["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"];
        id.as_str().unwrap().to_owned()
    }
}
