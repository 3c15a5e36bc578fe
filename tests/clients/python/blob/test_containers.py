"""Containers: made, found, described, leased, deleted, and gone for a while."""

import uuid

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import AccessPolicy, ContainerSasPermissions

from blob.accounts import hours, new_account
from blob.answers import refused, wait_until


def fresh(service):
    return service.get_container_client(f"c-{uuid.uuid4().hex}")


def test_a_container_is_made_once(service):
    container = fresh(service)
    assert not container.exists()
    container.create_container()
    assert container.exists()
    with refused(409, "ContainerAlreadyExists"):
        container.create_container()


@pytest.mark.parametrize(
    ("name", "code"),
    [("Upper", "InvalidResourceName"), ("a--b", "InvalidResourceName"), ("ab", "OutOfRangeInput"), ("a" * 64, "OutOfRangeInput")],
)
def test_names_that_break_the_rules_are_refused(service, name, code):
    with refused(400, code):
        service.create_container(name)


def test_a_missing_container_is_not_found(service):
    container = fresh(service)
    for call in (container.get_container_properties, container.delete_container, lambda: list(container.list_blobs())):
        with refused(404, "ContainerNotFound"):
            call()
    with refused(404, "ContainerNotFound"):
        container.upload_blob("b", b"")
    # A HEAD has no body; the code comes in a header.
    with refused(404, "ContainerNotFound"):
        container.get_blob_client("b").get_blob_properties()
    assert not container.get_blob_client("b").exists()


def test_a_deleted_container_is_being_deleted_for_half_a_minute(service):
    container = fresh(service)
    container.create_container()
    container.upload_blob("b", b"1")
    container.delete_container()
    assert not container.exists()
    with refused(404, "ContainerNotFound"):
        container.get_blob_client("b").download_blob()
    with refused(409, "ContainerBeingDeleted"):
        container.create_container()

    def made_again():
        try:
            return container.create_container()
        except ResourceExistsError as error:
            assert error.error_code == "ContainerBeingDeleted"

    wait_until(made_again, "the container's name")
    assert list(container.list_blobs()) == []


def test_metadata_is_set_and_replaced(service):
    container = fresh(service)
    container.create_container(metadata={"run": "r1", "colour": "blue"})
    before = container.get_container_properties()
    assert before.metadata == {"run": "r1", "colour": "blue"}
    container.set_container_metadata({"run": "r2"})
    after = container.get_container_properties()
    assert after.metadata == {"run": "r2"}
    assert after.etag != before.etag
    listed = next(iter(service.list_containers(name_starts_with=container.container_name, include_metadata=True)))
    assert (listed.name, listed.metadata, listed.etag) == (container.container_name, {"run": "r2"}, after.etag)


def test_properties_tell_that_nobody_holds_it_and_it_is_private(container):
    properties = container.get_container_properties()
    assert (properties.lease.status, properties.lease.state, properties.lease.duration) == ("unlocked", "available", None)
    assert properties.public_access is None
    assert not properties.has_immutability_policy and not properties.has_legal_hold


def test_a_leased_container_is_deleted_only_by_its_holder(container):
    lease = container.acquire_lease(60)
    properties = container.get_container_properties()
    assert (properties.lease.status, properties.lease.state, properties.lease.duration) == ("locked", "leased", "fixed")
    with refused(412, "LeaseIdMissing"):
        container.delete_container()
    with refused(412, "LeaseIdMismatchWithContainerOperation"):
        container.delete_container(lease=str(uuid.uuid4()))
    # Its lease guards the container, and no blob in it.
    container.upload_blob("b", b"1")
    lease.renew()
    container.delete_container(lease=lease)
    assert not container.exists()


def test_a_container_changed_since_is_not_deleted(container):
    etag = container.get_container_properties().last_modified
    with refused(412, "ConditionNotMet"):
        container.delete_container(if_unmodified_since=etag.replace(year=etag.year - 1))
    container.delete_container(if_unmodified_since=etag)


def test_containers_are_listed_by_prefix_in_pages():
    service = new_account("westeurope").service()
    names = [f"page-{number}" for number in range(5)]
    for name in [*names, "other"]:
        service.create_container(name)
    pages = service.list_containers(name_starts_with="page-", results_per_page=2).by_page()
    assert [[item.name for item in page] for page in pages] == [names[:2], names[2:4], names[4:]]
    assert [item.name for item in service.list_containers()] == ["other", *names]


def test_stored_policies_are_kept_as_they_were_written(container):
    start, expiry = hours(-1).replace(microsecond=0), hours(1).replace(microsecond=0)
    policy = AccessPolicy(permission=ContainerSasPermissions(read=True, list=True), start=start, expiry=expiry)
    container.set_container_access_policy({"readers": policy, "empty": AccessPolicy()})
    stored = container.get_container_access_policy()
    assert stored["public_access"] is None
    by_id = {identifier.id: identifier.access_policy for identifier in stored["signed_identifiers"]}
    assert set(by_id) == {"readers", "empty"}
    assert by_id["readers"].permission == "rl"
    assert by_id["readers"].start.startswith(start.strftime("%Y-%m-%dT%H:%M:%S"))


def test_an_open_container_is_read_by_everybody_and_written_by_nobody(account, container):
    container.upload_blob("b", b"open")
    stranger = account.anonymous().get_container_client(container.container_name)
    with refused(401, "NoAuthenticationInformation"):
        stranger.get_blob_client("b").download_blob()
    container.set_container_access_policy({}, public_access="blob")
    assert stranger.get_blob_client("b").download_blob().readall() == b"open"
    assert container.get_container_properties().public_access == "blob"
    with refused(401, "NoAuthenticationInformation"):
        list(stranger.list_blobs())
    container.set_container_access_policy({}, public_access="container")
    assert [item.name for item in stranger.list_blobs()] == ["b"]
    with refused(401, "NoAuthenticationInformation"):
        stranger.upload_blob("c", b"")



def test_the_account_describes_itself(service, container):
    for client in (service, container, container.get_blob_client("b")):
        information = client.get_account_information()
        assert (information["sku_name"], information["account_kind"]) == ("Standard_LRS", "StorageV2")
    properties = service.get_service_properties()
    assert properties["cors"] == [] and not properties["delete_retention_policy"].enabled
