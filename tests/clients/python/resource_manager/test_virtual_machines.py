"""Lab VMs: made, watched, claimed, powered, and deleted, each waited for with the SDK's own poller."""

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.devtestlabs.models import ArtifactInstallProperties

from resource_manager.machines import WITH_EVERYTHING, deallocated, power_of, segments


def test_a_vm_lives_from_its_creation_to_its_deletion(azure, lab):
    vms = azure.labs.virtual_machines
    poller = vms.begin_create_or_update(*lab.address, "Golden", lab.machine("windows-git"))
    assert poller.status() == "InProgress" or poller.done()
    made = poller.result()
    assert (made.name, made.type) == ("Golden", "Microsoft.DevTestLab/labs/virtualMachines")
    assert made.provisioning_state == "Succeeded"

    plain = vms.get(*lab.address, "golden")
    assert plain.artifacts is None and plain.compute_vm is None
    status = plain.artifact_deployment_status
    assert (status.deployment_status, status.artifacts_applied, status.total_artifacts) == ("Succeeded", 1, 1)
    full = vms.get(*lab.address, "golden", expand=WITH_EVERYTHING)
    assert [(segments(a.artifact_id)[-1], a.status) for a in full.artifacts] == [("windows-git", "Succeeded")]
    assert full.artifacts[0].install_time is not None
    assert power_of(full.compute_vm) == "running"
    assert full.network_interface.dns_name

    group, name = segments(plain.compute_id)[4], segments(plain.compute_id)[-1]
    compute = azure.compute.virtual_machines.get(group, name, expand="instanceView")
    assert power_of(compute.instance_view) == "running"
    assert compute.storage_profile.os_disk.os_type == "Windows"
    assert power_of(azure.compute.virtual_machines.instance_view(group, name)) == "running"
    assert name in [vm.name for vm in azure.compute.virtual_machines.list(group)]
    assert name in [vm.name for vm in azure.compute.virtual_machines.list_all()]

    vms.begin_stop(*lab.address, "golden").result()
    assert power_of(vms.get(*lab.address, "golden", expand=WITH_EVERYTHING).compute_vm) == "deallocated"
    vms.begin_start(*lab.address, "golden").result()
    vms.begin_restart(*lab.address, "golden").result()
    assert power_of(azure.compute.virtual_machines.instance_view(group, name)) == "running"

    tagged = vms.update(*lab.address, "golden", tags={"FactoryIgnore": "true"})
    assert tagged.tags == {"FactoryIgnore": "true"}

    vms.begin_delete(*lab.address, "golden").result()
    with pytest.raises(ResourceNotFoundError):
        vms.get(*lab.address, "golden")
    with pytest.raises(ResourceNotFoundError):
        azure.compute.virtual_machines.get(group, name)
    assert vms.begin_delete(*lab.address, "golden").result() is None, "a second time nothing is there"


def test_a_vm_without_artifacts_has_no_deployment_status(azure, lab):
    made = azure.labs.virtual_machines.begin_create_or_update(*lab.address, "Plain", lab.machine()).result()
    status = made.artifact_deployment_status
    assert (status.deployment_status, status.artifacts_applied, status.total_artifacts) == (None, 0, 0)
    assert azure.labs.virtual_machines.get(*lab.address, "plain").tags == {"ImagePath": "Win2016/Datacenter.json"}


def test_an_artifact_that_fails_does_not_fail_the_vm(azure, lab, simulator):
    simulator.faults(artifacts=[{"vmPart": "Flawed", "artifactPart": "windows-git", "message": "exit code 1603"}])
    body = lab.machine("windows-git", "windows-chrome")
    made = azure.labs.virtual_machines.begin_create_or_update(*lab.address, "Flawed", body).result()
    assert made.provisioning_state == "Succeeded"
    assert made.artifact_deployment_status.deployment_status == "Failed"
    full = azure.labs.virtual_machines.get(*lab.address, "Flawed", expand=WITH_EVERYTHING)
    assert [artifact.status for artifact in full.artifacts] == ["Failed", "Skipped"]
    failed = full.artifacts[0]
    assert "exit code 1603" in failed.deployment_status_message + failed.vm_extension_status_message


def test_an_artifact_is_applied_to_a_vm_that_stands(azure, lab):
    vms = azure.labs.virtual_machines
    vms.begin_create_or_update(*lab.address, "Later", lab.machine()).result()
    artifact = f"{lab.id}/artifactSources/public repo/artifacts/windows-git"
    vms.begin_apply_artifacts(*lab.address, "later", [ArtifactInstallProperties(artifact_id=artifact)]).result()
    full = vms.get(*lab.address, "later", expand=WITH_EVERYTHING)
    assert [artifact.status for artifact in full.artifacts] == ["Succeeded"]


def test_a_claimable_vm_is_claimed_and_given_back(azure, lab):
    vms = azure.labs.virtual_machines
    made = vms.begin_create_or_update(*lab.address, "Pool", lab.machine(allowClaim=True)).result()
    assert (made.allow_claim, made.owner_object_id) == (True, "")
    deallocated(azure, lab, "pool")
    vms.begin_claim(*lab.address, "pool").result()
    claimed = vms.get(*lab.address, "pool", expand=WITH_EVERYTHING)
    assert claimed.allow_claim is False and claimed.owner_object_id
    assert power_of(claimed.compute_vm) == "running"
    vms.begin_un_claim(*lab.address, "pool").result()
    assert vms.get(*lab.address, "pool").allow_claim is True
    deallocated(azure, lab, "pool")
    azure.labs.labs.begin_claim_any_vm(*lab.address).result()
    assert vms.get(*lab.address, "pool").allow_claim is False


def test_vms_are_made_by_create_environment_as_the_portal_does(azure, lab):
    body = {**lab.machine(), "name": "ByPortal"}
    assert azure.labs.labs.begin_create_environment(*lab.address, body).result() is None
    assert azure.labs.virtual_machines.get(*lab.address, "byportal").provisioning_state == "Succeeded"
    with pytest.raises(HttpResponseError) as refused:
        azure.labs.labs.begin_create_environment(*lab.address, body)
    assert (refused.value.status_code, refused.value.error.code) == (409, "Conflict")


def test_vms_are_filtered_and_ordered(azure, lab):
    pollers = [
        azure.labs.virtual_machines.begin_create_or_update(*lab.address, name, lab.machine())
        for name in ("web-1", "web-2", "sql-1")
    ]
    for poller in pollers:
        poller.result()
    web = azure.labs.virtual_machines.list(
        *lab.address, filter="contains(name,'web')", orderby="name desc", top=10
    )
    assert [vm.name for vm in web] == ["web-2", "web-1"]


def test_a_vm_that_cannot_be_made_fails_its_poller_with_azures_reason(azure, lab, simulator):
    reason = {"code": "AllocationFailed", "message": "Allocation failed. We do not have sufficient capacity."}
    simulator.faults(virtualMachines=[{"vmPart": "Unlucky", **reason}])
    poller = azure.labs.virtual_machines.begin_create_or_update(*lab.address, "Unlucky", lab.machine())
    with pytest.raises(HttpResponseError) as failed:
        poller.result()
    assert poller.status() == "Failed"
    assert failed.value.error.code == "AllocationFailed"
    assert "sufficient capacity" in failed.value.error.message
    assert azure.labs.virtual_machines.get(*lab.address, "Unlucky").provisioning_state == "Failed"


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"size": "Standard_Imagined"}, "InvalidParameter"),
        ({"labSubnetName": "none"}, "BadRequest"),
        ({"customImageId": "/customimages/none", "galleryImageReference": None}, "CustomImageNotFound"),
        ({"password": None}, "InvalidParameter"),
    ],
)
def test_what_a_lab_cannot_make_is_refused_at_once(azure, shared_lab, properties, code):
    with pytest.raises(HttpResponseError) as refused:
        azure.labs.virtual_machines.begin_create_or_update(
            *shared_lab.address, "Wrong", shared_lab.machine(**properties)
        )
    assert refused.value.error.code == code
