"""Images of the Marketplace: their versions, and which of them a VM was made from."""

import pytest
from azure.core.exceptions import ResourceNotFoundError

from resource_manager.machines import segments
from resource_manager.simulator import REGION

UBUNTU = (REGION, "Canonical", "ubuntu-24_04-lts", "server")


def published(simulator, *versions):
    simulator.marketplace(publisher="canonical", offer="Ubuntu-24_04-lts", sku="Server", versions=list(versions))


def test_versions_are_listed_and_the_newest_is_asked_for(azure, simulator):
    published(simulator, "24.04.9", "24.04.10")
    images = azure.compute.virtual_machine_images
    listed = images.list(*UBUNTU)
    assert [version.name for version in listed] == ["24.04.9", "24.04.10"]
    assert listed[0].location == REGION
    assert segments(listed[0].id)[-2:] == ["Versions", "24.04.9"]
    assert [version.name for version in images.list(*UBUNTU, top=1, orderby="name desc")] == ["24.04.10"]
    published(simulator)
    with pytest.raises(ResourceNotFoundError) as unknown:
        images.list(*UBUNTU)
    assert (unknown.value.error.code, unknown.value.error.message) == ("NotFound", "Artifact: VMImage was not found.")


def test_a_vm_says_which_version_it_was_made_from(azure, lab):
    made = azure.labs.virtual_machines.begin_create_or_update(*lab.address, "Versioned", lab.machine()).result()
    group, name = segments(made.compute_id)[4], segments(made.compute_id)[-1]
    reference = azure.compute.virtual_machines.get(group, name).storage_profile.image_reference
    newest = azure.compute.virtual_machine_images.list(REGION, reference.publisher, reference.offer, reference.sku)[-1]
    assert (reference.version, reference.exact_version) == ("latest", newest.name)
