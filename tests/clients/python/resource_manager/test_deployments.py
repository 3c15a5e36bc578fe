"""Deployments of templates: waited for, listed, cancelled, and taken out of the history."""

import time

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from resource_manager.simulator import GROUP, SCHEMA

# A history holds so many deployments, and so many are left when Resource Manager has pruned it.
MOST = 800
LEFT = 750


@pytest.fixture
def deployments(azure):
    return azure.deployments.deployments


def deploy(deployments, name, body):
    return deployments.begin_create_or_update(GROUP, name, body)


def test_a_template_becomes_a_vm(azure, deployments, lab):
    name = f"day-{lab.name}"
    assert deployments.check_existence(GROUP, name) is False
    poller = deploy(deployments, name, lab.deployment("Golden", "windows-git"))
    ended = poller.result().properties
    assert ended.provisioning_state == "Succeeded"
    assert ended.outputs["labVMId"]["value"].endswith(f"/labs/{lab.name}/virtualmachines/Golden")
    assert [r.id.lower() for r in ended.output_resources] == [f"{lab.id}/virtualmachines/golden"]
    assert ended.parameters["password"] == {"type": "SecureString"}
    assert ended.parameters["labName"] == {"type": "String", "value": lab.name}
    assert ended.correlation_id and ended.duration and ended.timestamp.tzinfo is not None
    assert deployments.check_existence(GROUP, name) is True
    assert deployments.get(GROUP, name).type == "Microsoft.Resources/deployments"
    operations = list(azure.deployments.deployment_operations.list(GROUP, name))
    targets = [(o.properties.provisioning_state, o.properties.target_resource) for o in operations]
    assert [(state, target.resource_name) for state, target in targets if target] == [
        ("Succeeded", f"{lab.name}/Golden")
    ]
    assert azure.labs.virtual_machines.get(*lab.address, "golden").provisioning_state == "Succeeded"


def test_a_template_is_validated_before_anything_is_made(azure, deployments, shared_lab):
    body = shared_lab.deployment("Checked")
    name = f"check-{shared_lab.name}"
    good = deployments.begin_validate(GROUP, name, body).result()
    assert (good.error, good.properties.provisioning_state) == (None, "Succeeded")
    body["properties"]["parameters"]["surplus"] = {"value": 1}
    with pytest.raises(HttpResponseError) as bad:
        deployments.begin_validate(GROUP, name, body)
    assert bad.value.error.code == "InvalidTemplate" and "surplus" in bad.value.error.message
    assert deployments.check_existence(GROUP, name) is False
    assert list(azure.labs.virtual_machines.list(*shared_lab.address)) == []


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda p: p["parameters"].pop("password"), "password"),
        (lambda p: p["parameters"].update(surplus={"value": 1}), "surplus"),
        (lambda p: p["template"]["resources"][0].update(name="[imagined('x')]"), "imagined"),
        (lambda p: p["template"].pop("resources"), "resources"),
    ],
    ids=["a parameter is missing", "a parameter too many", "an unknown function", "no resources"],
)
def test_a_wrong_template_is_refused(deployments, shared_lab, change, part):
    body = shared_lab.deployment("Refused")
    change(body["properties"])
    with pytest.raises(HttpResponseError) as refused:
        deploy(deployments, f"refused-{shared_lab.name}", body)
    assert (refused.value.status_code, refused.value.error.code) == (400, "InvalidTemplate")
    assert part in refused.value.error.message


def test_a_running_deployment_is_neither_replaced_nor_deleted_but_can_be_cancelled(deployments, lab):
    name = f"busy-{lab.name}"
    deploy(deployments, name, lab.deployment("Slow", "windows-git"))
    with pytest.raises(ResourceExistsError) as active:
        deploy(deployments, name, lab.deployment("Other"))
    assert active.value.error.code == "DeploymentActive"
    assert f"Unable to edit or replace deployment '{name}'" in active.value.error.message
    with pytest.raises(HttpResponseError) as used:
        deployments.begin_delete(GROUP, name)
    assert used.value.status_code == 409
    assert deployments.cancel(GROUP, name) is None
    assert deployments.get(GROUP, name).properties.provisioning_state == "Canceled"
    with pytest.raises(HttpResponseError) as over:
        deployments.cancel(GROUP, name)
    assert over.value.status_code == 409


def test_a_cancelled_deployment_ends_its_poller(deployments, lab):
    name = f"stopped-{lab.name}"
    poller = deploy(deployments, name, lab.deployment("Slow", "windows-git"))
    deployments.cancel(GROUP, name)
    with pytest.raises(HttpResponseError):
        poller.result()
    assert poller.status() == "Canceled"


def test_a_deployment_leaves_the_history_and_its_vm_stays(azure, deployments, lab):
    name = f"gone-{lab.name}"
    deploy(deployments, name, lab.deployment("Stays")).result()
    deployments.begin_delete(GROUP, name).result()
    with pytest.raises(ResourceNotFoundError) as gone:
        deployments.get(GROUP, name)
    assert gone.value.error.code == "DeploymentNotFound"
    assert azure.labs.virtual_machines.get(*lab.address, "stays").name == "Stays"
    assert deployments.begin_delete(GROUP, name).result() is None


def test_the_history_is_filtered_by_state(deployments, lab, simulator):
    simulator.faults(virtualMachines=[{"vmPart": "Bad", "code": "SkuNotAvailable", "message": "not here"}])
    good = deploy(deployments, f"good-{lab.name}", lab.deployment("Good"))
    bad = deploy(deployments, f"bad-{lab.name}", lab.deployment("Bad"))
    good.result()
    with pytest.raises(HttpResponseError):
        bad.result()
    def named(state):
        listed = deployments.list_by_resource_group(GROUP, filter=f"provisioningState eq '{state}'")
        return {deployment.name for deployment in listed}
    assert f"good-{lab.name}" in named("Succeeded") and f"good-{lab.name}" not in named("Failed")
    assert f"bad-{lab.name}" in named("Failed")
    assert len(list(deployments.list_by_resource_group(GROUP, top=1).by_page().next())) == 1


def test_a_failed_deployment_names_what_failed_and_why(deployments, lab, simulator):
    reason = {"code": "AllocationFailed", "message": "no capacity"}
    simulator.faults(virtualMachines=[{"vmPart": "Unlucky", **reason}])
    poller = deploy(deployments, f"fails-{lab.name}", lab.deployment("Unlucky"))
    with pytest.raises(HttpResponseError) as failed:
        poller.result()
    error = failed.value.error
    assert error.code == "DeploymentFailed"
    assert error.message.startswith("At least one resource deployment operation failed.")
    assert "AllocationFailed" in str(error.details[0].message) + error.details[0].code
    stored = deployments.get(GROUP, f"fails-{lab.name}").properties
    assert (stored.provisioning_state, stored.error.code) == ("Failed", "DeploymentFailed")
    assert stored.error.details and stored.correlation_id


def test_a_vm_beyond_the_cores_of_a_subscription_is_refused_before_it_begins(deployments, lab, simulator):
    simulator.cores(1)
    with pytest.raises(HttpResponseError) as refused:
        deploy(deployments, f"quota-{lab.name}", lab.deployment("TooMuch"))
    error = refused.value.error
    assert (refused.value.status_code, error.code) == (400, "InvalidTemplateDeployment")
    assert [detail.code for detail in error.details] == ["QuotaExceeded"]
    assert "exceeding quota limits of Core" in error.details[0].message


def test_a_full_history_refuses_until_it_is_pruned(azure, deployments, simulator):
    group = "rg-Full"
    simulator.add_lab("Full", group=group)
    template = {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": []}
    nothing = {"properties": {"mode": "Incremental", "template": template}}
    locks = azure.locks.management_locks
    # Nobody may prune, so that it gets full.
    locks.create_or_update_at_resource_group_level(group, "keep", {"level": "CanNotDelete"})
    for number in range(MOST):
        deployments.begin_create_or_update(group, f"d{number:03}", nothing, polling=False)
    with pytest.raises(ResourceExistsError) as full:
        deployments.begin_create_or_update(group, "last", nothing)
    assert full.value.error.code == "DeploymentQuotaExceeded"
    locks.delete_at_resource_group_level(group, "keep")
    deadline = time.monotonic() + 30
    while not deployments.check_existence(group, "last"):
        assert time.monotonic() < deadline, "it is not pruned"
        try:
            deployments.begin_create_or_update(group, "last", nothing).result()
        except ResourceExistsError as full:
            assert full.error.code == "DeploymentQuotaExceeded"
    assert len(list(deployments.list_by_resource_group(group))) == LEFT + 1
