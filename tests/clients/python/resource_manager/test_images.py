"""The way of an image: a VM is generalised, its disk read, copied and registered; then images are tagged, filtered and deleted."""

from datetime import datetime, timezone

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.compute.models import GrantAccessData
from azure.mgmt.devtestlabs.models import (
    ArtifactInstallProperties,
    CustomImage,
    CustomImagePropertiesCustom,
    CustomImagePropertiesFromVm,
    LinuxOsInfo,
    WindowsOsInfo,
)
from azure.storage.blob import AccountSasPermissions, BlobServiceClient, ResourceTypes, generate_account_sas

from resource_manager.simulator import SimulatedTime
from resource_manager.machines import deallocated, segments

PAGE = 100


def disk_of(azure, lab, vm):
    """The group and the name of the OS disk of a lab VM."""
    compute = segments(azure.labs.virtual_machines.get(*lab.address, vm).compute_id)
    machine = azure.compute.virtual_machines.get(compute[4], compute[-1])
    disk = segments(machine.storage_profile.os_disk.managed_disk.id)
    return disk[4], disk[-1]


def blobs_of(lab):
    # A SAS: the date that a signature by key carries is our clock's, and soon too old for the simulator's.
    sas = generate_account_sas(
        lab.account,
        lab.key,
        ResourceTypes(service=True, container=True, object=True),
        AccountSasPermissions(read=True, write=True, list=True, create=True, delete=True, add=True),
        datetime(2099, 1, 1, tzinfo=timezone.utc),
    )
    return BlobServiceClient(lab.blobs, credential=sas, transport=SimulatedTime())


def vhd_in(lab, name="brought.vhd", size=1024 * 1024 + 512):
    """The URL of a page blob as long as a VHD, in the lab's own account."""
    container = blobs_of(lab).get_container_client("imagefactoryvhds")
    if not container.exists():
        container.create_container()
    blob = container.get_blob_client(name)
    blob.create_page_blob(size)
    return blob.url.split("?")[0]


def from_vhd(url, os_type="Windows", **more):
    return CustomImage(
        vhd=CustomImagePropertiesCustom(os_type=os_type, image_name=url, sys_prep=os_type == "Windows"), **more
    )


@pytest.fixture(scope="module")
def stocked(simulator, shared_lab):
    """A lab with more images than fit into one answer, each with a tag."""
    for number in range(PAGE + 20):
        path = "Win2016/Datacenter.json" if number % 2 else "Linux/Docker.json"
        simulator.add_image(shared_lab.id, f"Image-{number:03}", tags={"ImagePath": path})
    return shared_lab


def test_an_image_travels_from_a_vm_to_a_custom_image(azure, lab):
    """What the image factory does, by other hands."""
    vms, disks = azure.labs.virtual_machines, azure.compute.disks
    vms.begin_create_or_update(*lab.address, "Golden", lab.machine("windows-git")).result()
    group, name = disk_of(azure, lab, "golden")
    assert disks.get(group, name).disk_state == "Attached"
    with pytest.raises(HttpResponseError) as running:
        disks.begin_grant_access(group, name, GrantAccessData(access="Read", duration_in_seconds=3600))
    assert (running.value.status_code, running.value.error.code) == (409, "OperationNotAllowed")

    sysprep = f"{lab.id}/artifactSources/public repo/artifacts/windows-sysprep"
    vms.begin_apply_artifacts(*lab.address, "golden", [ArtifactInstallProperties(artifact_id=sysprep)]).result()
    deallocated(azure, lab, "golden")
    disk = disks.get(group, name)
    assert (disk.disk_state, disk.hyper_v_generation, disk.os_type) == ("Reserved", "V1", "Windows")

    access = GrantAccessData(access="Read", duration_in_seconds=36_000)
    sas = disks.begin_grant_access(group, name, access).result().access_sas
    assert "sig=" in sas and disks.get(group, name).disk_state == "ActiveSAS"
    with pytest.raises(HttpResponseError) as out:
        vms.begin_start(*lab.address, "golden").result()
    assert "active shared access signature" in str(out.value)
    with pytest.raises(HttpResponseError) as out:
        vms.begin_delete(*lab.address, "golden").result()
    assert "active shared access signature" in str(out.value)

    container = blobs_of(lab).get_container_client("imagefactoryvhds")
    container.create_container()
    vhd = container.get_blob_client("golden.vhd")
    vhd.start_copy_from_url(sas)
    copy = vhd.get_blob_properties().copy
    while copy.status == "pending":
        copy = vhd.get_blob_properties().copy
    assert (copy.status, copy.status_description) == ("success", None)
    disks.begin_revoke_access(group, name).result()
    assert disks.get(group, name).disk_state == "Reserved"
    assert disks.begin_revoke_access(group, name).result() is None, "nothing is out any more"

    url = vhd.url.split("?")[0]
    asked = from_vhd(url, description="by other hands", tags={"ImagePath": "Win2016/Datacenter.json"})
    poller = azure.labs.custom_images.begin_create_or_update(*lab.address, "Golden-20261122", asked)
    made = poller.result()
    assert (made.name, made.provisioning_state) == ("Golden-20261122", "Succeeded")
    assert made.managed_image_id and made.managed_snapshot_id is None
    assert made.vhd.image_name == url and made.tags == {"ImagePath": "Win2016/Datacenter.json"}
    assert made.creation_date.tzinfo is not None and made.is_plan_authorized is True

    child = lab.machine(customImageId=made.id, galleryImageReference=None)
    born = vms.begin_create_or_update(*lab.address, "Child", child).result()
    assert born.virtual_machine_creation_source == "FromCustomImage"
    vms.begin_delete(*lab.address, "golden").result()
    with pytest.raises(ResourceNotFoundError):
        disks.get(group, name)


def test_an_image_is_made_from_a_vm_of_the_lab(azure, lab):
    vms = azure.labs.virtual_machines
    vm = vms.begin_create_or_update(*lab.address, "Source", lab.machine()).result()
    source = CustomImagePropertiesFromVm(
        source_vm_id=vm.id, windows_os_info=WindowsOsInfo(windows_os_state="SysprepRequested")
    )
    image = CustomImage(vm=source, description="of a VM")
    made = azure.labs.custom_images.begin_create_or_update(*lab.address, "OfVm", image).result()
    assert made.provisioning_state == "Succeeded" and made.managed_image_id
    assert made.vm.windows_os_info.windows_os_state == "SysprepRequested"
    source = CustomImagePropertiesFromVm(
        source_vm_id=vm.id, linux_os_info=LinuxOsInfo(linux_os_state="NonDeprovisioned")
    )
    with pytest.raises(HttpResponseError) as refused:
        azure.labs.custom_images.begin_create_or_update(*lab.address, "Wrong", CustomImage(vm=source))
    assert (refused.value.status_code, refused.value.error.code) == (400, "BadRequest")


def test_a_page_of_images_is_followed_by_the_next(azure, stocked):
    pages = [[i.name for i in page] for page in azure.labs.custom_images.list(*stocked.address).by_page()]
    assert [len(page) for page in pages] == [PAGE, 20]
    assert len({name for page in pages for name in page}) == PAGE + 20


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"filter": "contains(name,'-01')", "orderby": "name desc"}, [f"Image-{n:03}" for n in range(19, 9, -1)]),
        ({"filter": "name eq 'IMAGE-007'"}, ["Image-007"]),
        ({"filter": "startswith(name,'Image-11')", "orderby": "name asc", "top": 3},
         ["Image-110", "Image-111", "Image-112"]),
        ({"filter": "contains(name,'nowhere')"}, []),
    ],
)
def test_images_are_filtered_ordered_and_cut(azure, stocked, options, expected):
    found = azure.labs.custom_images.list(*stocked.address, **options)
    assert [image.name for image in found] == expected


def test_tags_are_patched_and_leave_the_rest_alone(azure, stocked):
    images = azure.labs.custom_images
    before = images.get(*stocked.address, "Image-001")
    changed = images.update(*stocked.address, "image-001", {"FactoryKeep": "yes"})
    assert changed.tags == {"FactoryKeep": "yes"}
    after = images.get(*stocked.address, "Image-001")
    assert after.tags == {"FactoryKeep": "yes"}
    assert (after.vhd, after.creation_date) == (before.vhd, before.creation_date)


def test_tags_are_merged_by_the_tags_resource(azure, stocked):
    scope = f"{stocked.id}/customimages/image-003"
    tags = azure.resources.tags
    merged = tags.begin_update_at_scope(
        scope, {"operation": "Merge", "properties": {"tags": {"FactoryKeep": "yes"}}}
    ).result()
    assert merged.properties.tags == {"ImagePath": "Win2016/Datacenter.json", "FactoryKeep": "yes"}
    assert tags.get_at_scope(scope).properties.tags == merged.properties.tags
    tags.begin_update_at_scope(
        scope, {"operation": "Delete", "properties": {"tags": {"FactoryKeep": "yes"}}}
    ).result()
    assert azure.labs.custom_images.get(*stocked.address, "Image-003").tags == {
        "ImagePath": "Win2016/Datacenter.json"
    }


def test_an_image_is_deleted_and_then_gone(azure, lab, simulator):
    simulator.add_image(lab.id, "Old")
    images = azure.labs.custom_images
    poller = images.begin_delete(*lab.address, "old")
    assert images.get(*lab.address, "Old").provisioning_state == "Deleting"
    assert poller.result() is None
    with pytest.raises(ResourceNotFoundError):
        images.get(*lab.address, "Old")
    assert images.begin_delete(*lab.address, "old").result() is None, "a second time nothing is there"
    assert list(images.list(*lab.address)) == []


def test_an_image_being_made_is_not_changed_by_another(azure, lab):
    url = vhd_in(lab)
    images = azure.labs.custom_images
    poller = images.begin_create_or_update(*lab.address, "Twice", from_vhd(url))
    with pytest.raises(ResourceExistsError) as busy:
        images.begin_create_or_update(*lab.address, "Twice", from_vhd(url))
    assert busy.value.error.code == "Conflict"
    poller.result()
    again = images.begin_create_or_update(
        *lab.address, "Twice", from_vhd(url, description="an update")
    ).result()
    assert again.description == "an update"


def test_a_vhd_in_a_foreign_account_is_refused(azure, shared_lab, simulator):
    other = simulator.add_lab("Foreign")
    url = f"{other['blobEndpoint']}/imagefactoryvhds/x.vhd"
    with pytest.raises(HttpResponseError) as refused:
        azure.labs.custom_images.begin_create_or_update(*shared_lab.address, "Foreign", from_vhd(url))
    assert (refused.value.status_code, refused.value.error.code) == (400, "InvalidStorageAccountForLab")


@pytest.mark.parametrize(
    ("size", "code"), [(None, "BlobNotFound"), (1024 * 1024, "InvalidVhd"), (1024, "InvalidVhd")]
)
def test_an_image_of_something_that_is_no_vhd_fails_its_poller_and_stays_in_the_list(azure, lab, size, code):
    url = vhd_in(lab, size=size) if size else f"{lab.blobs}/imagefactoryvhds/none.vhd"
    images = azure.labs.custom_images
    with pytest.raises(HttpResponseError) as failed:
        images.begin_create_or_update(*lab.address, "Bad", from_vhd(url)).result()
    assert failed.value.error.code == code
    listed = {image.name: image.provisioning_state for image in images.list(*lab.address)}
    assert listed in ({"Bad": "Failed"}, {})


def test_a_registration_that_fails_says_why(azure, lab, simulator):
    simulator.faults(
        customImages=[{"idPart": lab.name, "code": "InternalServerError", "message": "try again later"}]
    )
    poller = azure.labs.custom_images.begin_create_or_update(*lab.address, "Fails", from_vhd(vhd_in(lab)))
    with pytest.raises(HttpResponseError) as failed:
        poller.result()
    assert (failed.value.error.code, failed.value.error.message) == ("InternalServerError", "try again later")
    assert azure.labs.custom_images.get(*lab.address, "Fails").provisioning_state == "Failed"


def test_a_poller_is_continued_by_another_process(azure, lab):
    poller = azure.labs.custom_images.begin_create_or_update(*lab.address, "Long", from_vhd(vhd_in(lab)))
    token = poller.continuation_token()
    again = azure.labs.custom_images.begin_create_or_update(
        *lab.address, "Long", from_vhd("unused"), continuation_token=token
    )
    assert again.result().provisioning_state == "Succeeded"
    assert poller.result().name == "Long"
