"""What people do with az in a lab: log in, look, make a VM and an image of it, and take them away again."""

import json

import pytest

from azure_cli.command_line import (
    GROUP,
    IDENTITY,
    LAB,
    LAB_ID,
    REGION,
    RESOURCE_MANAGER,
    SUBSCRIPTION,
    TENANT,
    Az,
    Failed,
    control,
    log_in,
    with_cloud,
)

# Where az looks for what is there no more, it ends with this.
NOT_FOUND = 3


def test_the_cloud_tells_az_where_its_parts_are(stranger):
    endpoints = stranger("cloud", "show")["endpoints"]
    assert endpoints["resourceManager"] == RESOURCE_MANAGER
    assert endpoints["activeDirectory"] == IDENTITY


def test_who_is_not_logged_in_is_told_so(stranger):
    assert "az login" in stranger.refused("group", "list").text


def test_a_wrong_secret_does_not_log_in(stranger, application):
    with pytest.raises(Failed) as refused:
        log_in(stranger, application, clientSecret="wrong")
    assert "AADSTS7000215" in refused.value.text


def test_an_authority_that_is_not_trusted_is_refused(tmp_path, application):
    distrusting = Az(tmp_path, REQUESTS_CA_BUNDLE="")
    error = distrusting.refused(
        "cloud", "register", "--name", "simulated", "--endpoint-resource-manager", RESOURCE_MANAGER
    )
    assert "CERTIFICATE_VERIFY_FAILED" in error.text


def test_a_service_principal_sees_its_subscriptions(az, application):
    account = az("account", "show")
    assert (account["id"], account["tenantId"]) == (SUBSCRIPTION, TENANT)
    assert account["user"] == {"name": application["clientId"], "type": "servicePrincipal"}
    token = az("account", "get-access-token")
    assert token["subscription"] == SUBSCRIPTION and token["accessToken"].count(".") == 2


def test_groups_and_resources_are_listed(az):
    assert GROUP in [group["name"] for group in az("group", "list")]
    assert az("group", "exists", "--name", GROUP) is True
    assert az("group", "exists", "--name", "rg-nowhere") is False
    labs = az("resource", "list", "--resource-type", "Microsoft.DevTestLab/labs")
    assert [lab["name"] for lab in labs] == [LAB]
    shown = az("resource", "show", "--ids", LAB_ID)
    assert (shown["type"], shown["location"]) == ("Microsoft.DevTestLab/labs", REGION)
    provider = az("provider", "show", "--namespace", "Microsoft.DevTestLab")
    assert provider["registrationState"] == "Registered"


def test_a_lab_is_read_with_what_stands_in_it(az):
    lab = az("lab", "get", "--resource-group", GROUP, "--name", LAB)
    assert (lab["name"], lab["provisioningState"]) == (LAB, "Succeeded")
    assert f"Dtl{LAB}" in [network["name"] for network in az.lab("vnet", "list")]
    assert [source["name"] for source in az.lab("artifact-source", "list")] == ["public repo"]
    artifacts = az.lab("artifact", "list", "--artifact-source-name", "public repo")
    assert "windows-sysprep" in [artifact["name"] for artifact in artifacts]
    images = [image["name"] for image in az.lab("gallery-image", "list")]
    assert "Windows Server 2016 Datacenter" in images


def test_an_account_of_a_lab_tells_its_keys(az, lab):
    name = lab["storageAccount"]
    assert name in [account["name"] for account in az("storage", "account", "list")]
    account = az("storage", "account", "show", "--resource-group", GROUP, "--name", name)
    assert account["primaryEndpoints"]["blob"] == f"{lab['blobEndpoint']}/"
    keys = az("storage", "account", "keys", "list", "--resource-group", GROUP, "--account-name", name)
    assert [key["keyName"] for key in keys] == ["key1", "key2"]
    assert keys[0]["value"] == lab["storageKey"]


@pytest.fixture(scope="module")
def vm(az):
    """A VM of a Marketplace image, once it stands."""
    name = "golden"
    az.lab(
        *("vm", "create", "--name", name, "--no-wait"),
        *("--image", "Windows Server 2016 Datacenter", "--image-type", "gallery", "--size", "Standard_D2s_v3"),
        *("--admin-username", "someone", "--admin-password", "Lx7-ququ.kkt"),
    )
    az.lab("vm", "wait", "--name", name, "--created", "--interval", "1", "--timeout", "120")
    return name


def test_a_vm_is_made_and_shown(az, vm):
    assert vm in [listed["name"] for listed in az.lab("vm", "list", "--all")]
    assert az.lab("vm", "list", "--claimable") == []
    shown = az.lab("vm", "show", "--name", vm, "--expand", "properties($expand=computeVm)")
    assert (shown["provisioningState"], shown["osType"]) == ("Succeeded", "Windows")
    assert "PowerState/running" in [status["code"] for status in shown["computeVm"]["statuses"]]
    assert shown["galleryImageReference"]["sku"] == "2016-Datacenter"
    compute = shown["computeId"]
    assert compute.lower() in [machine["id"].lower() for machine in az("vm", "list")]
    view = az("vm", "get-instance-view", "--ids", compute)["instanceView"]
    assert "PowerState/running" in [status["code"] for status in view["statuses"]]


def test_an_image_is_made_of_a_vm_and_deleted(az, vm):
    az.lab(
        *("custom-image", "create", "--name", "image", "--description", "by hand", "--no-wait"),
        *("--source-vm-id", f"{LAB_ID}/virtualmachines/{vm}", "--os-type", "Windows"),
        *("--os-state", "NonSysprepped"),
    )
    az.lab("custom-image", "wait", "--name", "image", "--created", "--interval", "1", "--timeout", "120")
    shown = az.lab("custom-image", "show", "--name", "image")
    assert (shown["provisioningState"], shown["description"]) == ("Succeeded", "by hand")
    assert shown["managedSnapshotId"].endswith("/snapshots/image")
    assert [image["name"] for image in az.lab("custom-image", "list")] == ["image"]
    az.lab("custom-image", "delete", "--name", "image", "--yes", "--no-wait")
    az.lab("custom-image", "wait", "--name", "image", "--deleted", "--interval", "1", "--timeout", "120")
    with pytest.raises(Failed) as gone:
        az.lab("custom-image", "show", "--name", "image")
    assert gone.value.status == NOT_FOUND and "ResourceNotFound" in gone.value.text


def test_a_disk_of_a_stopped_vm_is_opened_and_closed(az, vm):
    az.lab("vm", "stop", "--name", vm, "--no-wait")
    az.lab("vm", "wait", "--name", vm, "--updated", "--interval", "1", "--timeout", "120")
    compute = az.lab("vm", "show", "--name", vm)["computeId"]
    disk = az("vm", "show", "--ids", compute)["storageProfile"]["osDisk"]["managedDisk"]["id"]
    assert az("disk", "show", "--ids", disk)["diskState"] == "Reserved"
    access = az("disk", "grant-access", "--ids", disk, "--duration-in-seconds", "2592000", "--access-level", "Read")
    assert "sig=" in access["accessSAS"]
    assert az("disk", "show", "--ids", disk)["diskState"] == "ActiveSAS"
    az("disk", "revoke-access", "--ids", disk)
    assert az("disk", "show", "--ids", disk)["diskState"] == "Reserved"


def test_a_template_is_deployed_and_leaves_the_history(az, tmp_path):
    template = tmp_path / "formula.json"
    template.write_text(
        json.dumps(
            {
                "$schema": "https://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json#",
                "contentVersion": "1.0.0.0",
                "parameters": {"labName": {"type": "string"}},
                "resources": [
                    {
                        "type": "Microsoft.DevTestLab/labs/formulas",
                        "apiVersion": "2018-09-15",
                        "name": "[concat(parameters('labName'), '/daily')]",
                        "properties": {
                            "description": "by template",
                            "osType": "Windows",
                            "formulaContent": {"properties": {"size": "Standard_D2s_v3"}},
                        },
                    }
                ],
            }
        )
    )
    where = ("--resource-group", GROUP, "--name", "by-az")
    group = ("deployment", "group")
    what = ("--template-file", str(template), "--parameters", f"labName={LAB}")
    assert az(*group, "validate", *where, *what)["error"] is None
    az(*group, "create", *where, *what, "--no-wait")
    az(*group, "wait", *where, "--created", "--interval", "1", "--timeout", "120")
    assert az(*group, "show", *where)["properties"]["provisioningState"] == "Succeeded"
    operations = az("deployment", "operation", "group", "list", *where)
    assert "Succeeded" in [operation["properties"]["provisioningState"] for operation in operations]
    assert az.lab("formula", "show", "--name", "daily")["description"] == "by template"
    az.lab("formula", "delete", "--name", "daily", "--yes")
    assert az.lab("formula", "list") == []
    az(*group, "delete", *where, "--no-wait")
    az(*group, "wait", *where, "--deleted", "--interval", "1", "--timeout", "120")
    assert az(*group, "list", "--resource-group", GROUP) == []


def test_locks_and_tags_are_kept(az, vm):
    az("lock", "create", "--name", "keep", "--lock-type", "CanNotDelete", "--resource", LAB_ID)
    assert [lock["level"] for lock in az("lock", "list", "--resource", LAB_ID)] == ["CanNotDelete"]
    with pytest.raises(Failed, match="ScopeLocked"):
        az.lab("vm", "delete", "--name", vm, "--yes")
    az("lock", "delete", "--name", "keep", "--resource", LAB_ID)
    assert az("lock", "list", "--resource", LAB_ID) == []
    az("tag", "update", "--resource-id", LAB_ID, "--operation", "Merge", "--tags", "team=web")
    assert az("tag", "list", "--resource-id", LAB_ID)["properties"]["tags"] == {"team": "web"}


def test_what_is_forbidden_or_not_there_is_said_with_azures_code(az):
    error = az.refused("lab", "get", "--resource-group", GROUP, "--name", "none")
    assert error.status == NOT_FOUND and "ResourceNotFound" in error.text
    error = az.refused("lab", "get", "--resource-group", "rg-none", "--name", "none")
    assert error.status == NOT_FOUND and "ResourceGroupNotFound" in error.text
    control("PUT", "/denials", [{"actionPart": "labs/read", "scopePart": LAB}])
    try:
        error = az.refused("lab", "get", "--resource-group", GROUP, "--name", LAB)
    finally:
        control("PUT", "/denials", [])
    assert "AuthorizationFailed" in error.text and "Microsoft.DevTestLab/labs/read" in error.text


def test_a_vm_is_deleted_as_az_waits_for_it(az, vm):
    """The one command that polls by itself, every 30 seconds."""
    az.lab("vm", "delete", "--name", vm, "--yes")
    assert az.lab("vm", "list", "--all") == []


def test_who_logs_out_sees_nothing_any_more(tmp_path, application):
    az = with_cloud(tmp_path)
    log_in(az, application)
    assert az("account", "list")
    az("logout")
    assert "az login" in az.refused("account", "show").text
