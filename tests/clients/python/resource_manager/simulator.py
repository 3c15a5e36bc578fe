"""Simulated Azure through the official management clients, which wait by the simulator's clock."""

import os
import time
import uuid

import requests
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ClientSecretCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.devtestlabs import DevTestLabsClient
from azure.mgmt.resource.deployments import DeploymentsMgmtClient
from azure.mgmt.resource.locks import ManagementLockClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.storage import StorageManagementClient

SUBSCRIPTION = "2f0a4f0e-6c1d-4a53-9d1f-0b7c5c3f1a01"
TENANT = "9ea1f9ac-7e1f-4d53-a1b0-3f4a6c3d2b10"
GROUP = "rg-Day"
REGION = "westeurope"
SCHEMA = "https://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json#"
SCOPE = "https://management.azure.com/.default"

# How many times as fast as ours the simulator's clock goes.
SPEED = float(os.environ["AZURE_SIM_SPEED"])
RESOURCE_MANAGER = os.environ["AZURE_SIM_RESOURCE_MANAGER"]
IDENTITY = os.environ["AZURE_SIM_IDENTITY"]
CONTROL = os.environ["AZURE_SIM_CONTROL"]
CERTIFICATE_AUTHORITY = os.environ["AZURE_SIM_CERTIFICATE_AUTHORITY"]

# Both azure-core and MSAL ask requests, and that asks the environment.
os.environ["REQUESTS_CA_BUNDLE"] = CERTIFICATE_AUTHORITY


class SimulatedTime(RequestsTransport):
    """Waits between polls and before retries as long as the SDK wants to, by the simulator's clock."""

    def sleep(self, duration):
        time.sleep(duration / SPEED)


class Simulator:
    """What the simulator lets tests set behind Azure's back."""

    def call(self, method, path, body=None, **query):
        answer = requests.request(method, CONTROL + path, json=body, params=query, timeout=60)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def add_lab(self, name, group=GROUP, region=REGION, subscription=SUBSCRIPTION):
        spec = {"subscriptionId": subscription, "resourceGroup": group, "name": name, "location": region}
        return self.call("POST", "/labs", spec)

    def add_image(self, lab_id, name, **more):
        image = {"name": name, "created": "2026-01-01T00:00:00Z", "os": "Windows", **more}
        return self.call("POST", "/customimages", {"labId": lab_id, "image": image})

    def add_application(self, **more):
        spec = {
            "tenantId": TENANT,
            "clientId": str(uuid.uuid4()),
            "clientSecret": uuid.uuid4().hex,
            **more,
        }
        self.call("POST", "/applications", spec)
        return spec

    def faults(self, **faults):
        self.call("PUT", "/faults", faults)

    def deny(self, *denials):
        self.call("PUT", "/denials", list(denials))

    def cores(self, cores, subscription=SUBSCRIPTION):
        self.call("PUT", "/quotas", {"subscriptionId": subscription, "cores": cores})

    def limits(self, **limits):
        self.call("PUT", "/limits", limits)

    def marketplace(self, **image):
        self.call("PUT", "/marketplace", image)


class Clients:
    """The management clients of one caller."""

    def __init__(self, credential, subscription=SUBSCRIPTION, **more):
        def client(kind):
            return kind(
                credential,
                subscription,
                base_url=RESOURCE_MANAGER,
                credential_scopes=[SCOPE],
                transport=SimulatedTime(),
                **more,
            )

        self.labs = client(DevTestLabsClient)
        self.compute = client(ComputeManagementClient)
        self.resources = client(ResourceManagementClient)
        self.deployments = client(DeploymentsMgmtClient)
        self.locks = client(ManagementLockClient)
        self.storage = client(StorageManagementClient)


def secret_of(application):
    """The credential of an application."""
    return ClientSecretCredential(
        application["tenantId"],
        application["clientId"],
        application["clientSecret"],
        authority=IDENTITY,
        disable_instance_discovery=True,
    )


class Lab:
    """A lab's names."""

    def __init__(self, name, added):
        self.name = name
        self.id = added["id"]
        self.account = added["storageAccount"]
        self.blobs = added["blobEndpoint"]
        self.key = added["storageKey"]

    @property
    def address(self):
        """Where it is, as the clients want it: group and name."""
        return GROUP, self.name

    def machine(self, *artifacts, **properties):
        """The body of a Windows VM with these artifacts of the public repository."""
        source = f"{self.id}/artifactSources/public repo/artifacts"
        return {
            "location": REGION,
            "tags": {"ImagePath": "Win2016/Datacenter.json"},
            "properties": {
                "galleryImageReference": {
                    "publisher": "MicrosoftWindowsServer",
                    "offer": "WindowsServer",
                    "sku": "2016-Datacenter",
                    "osType": "Windows",
                    "version": "latest",
                },
                "size": "Standard_D2s_v3",
                "userName": "factoryadmin",
                "password": "Lx7-ququ.kkt",
                "labVirtualNetworkId": f"{self.id}/virtualnetworks/Dtl{self.name}",
                "labSubnetName": f"Dtl{self.name}Subnet",
                "allowClaim": False,
                "artifacts": [{"artifactId": f"{source}/{name}"} for name in artifacts],
                **properties,
            },
        }

    def deployment(self, vm, *artifacts, **properties):
        """A deployment of one VM by a template, with its password as a secret parameter."""
        resource = self.machine(*artifacts, **properties)
        resource["type"] = "Microsoft.DevTestLab/labs/virtualmachines"
        resource["apiVersion"] = "2018-10-15-preview"
        resource["name"] = f"[concat(parameters('labName'), '/', '{vm}')]"
        resource["properties"]["password"] = "[parameters('password')]"
        reference = (
            f"[resourceId ('Microsoft.DevTestLab/labs/virtualmachines', parameters('labName'), '{vm}')]"
        )
        return {
            "properties": {
                "mode": "Incremental",
                "template": {
                    "$schema": SCHEMA,
                    "contentVersion": "1.0.0.0",
                    "parameters": {
                        "labName": {"type": "string"},
                        "password": {"type": "securestring"},
                    },
                    "resources": [resource],
                    "outputs": {"labVMId": {"type": "string", "value": reference}},
                },
                "parameters": {
                    "labName": {"value": self.name},
                    "password": {"value": "Lx7-ququ.kkt"},
                },
            }
        }
