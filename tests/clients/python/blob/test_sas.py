"""Shared access signatures of a blob, a container, an account: what they allow, and what they do not."""

import datetime

import pytest
from azure.core.credentials import AzureSasCredential
from azure.storage.blob import (
    AccessPolicy,
    AccountSasPermissions,
    BlobClient,
    BlobSasPermissions,
    ContainerClient,
    ContainerSasPermissions,
    ResourceTypes,
    Services,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)

from blob.accounts import hours
from blob.answers import refused


def with_blob_sas(account, blob, permission, name=None, **options):
    options = {"expiry": hours(24), **options}
    token = generate_blob_sas(
        account.name, blob.container_name, name or blob.blob_name, account_key=account.key, permission=permission, **options
    )
    return BlobClient.from_blob_url(blob.url, credential=token, retry_total=0)


def with_container_sas(account, container, permission=None, **options):
    options = {"expiry": hours(24), **options}
    token = generate_container_sas(account.name, container.container_name, account_key=account.key, permission=permission, **options)
    return ContainerClient.from_container_url(container.url, credential=AzureSasCredential(token), retry_total=0)


def with_account_sas(account, permission, types=ResourceTypes(service=True, container=True, object=True), **options):
    options = {"expiry": hours(24), **options}
    token = generate_account_sas(account.name, account.key, resource_types=types, permission=permission, **options)
    return account.service(AzureSasCredential(token))


def test_a_blob_sas_allows_what_its_letters_say_and_nothing_else(account, container, blob):
    reader = with_blob_sas(account, blob, BlobSasPermissions(read=True))
    assert reader.download_blob().readall() == b"hello"
    assert reader.get_blob_properties().size == 5
    for call in (
        lambda: reader.upload_blob(b"x", overwrite=True),
        lambda: reader.delete_blob(),
        lambda: reader.set_blob_metadata({"a": "b"}),
        lambda: reader.stage_block("YQ==", b"x"),
        lambda: reader.acquire_lease(),
        lambda: reader.set_blob_tags({"a": "b"}),
        lambda: reader.create_snapshot(),
    ):
        with refused(403, "AuthorizationPermissionMismatch"):
            call()
    writer = with_blob_sas(account, blob, BlobSasPermissions(write=True))
    writer.upload_blob(b"new", overwrite=True)
    with refused(403, "AuthorizationPermissionMismatch"):
        writer.download_blob()
    with_blob_sas(account, blob, BlobSasPermissions(delete=True)).delete_blob()
    assert not blob.exists()


def test_a_sas_to_create_writes_over_nothing(account, container, blob):
    creator = with_blob_sas(account, container.get_blob_client("new"), BlobSasPermissions(create=True))
    creator.upload_blob(b"new")
    creator = with_blob_sas(account, blob, BlobSasPermissions(create=True))
    with refused(403, "UnauthorizedBlobOverwrite"):
        creator.upload_blob(b"x", overwrite=True)
    assert blob.download_blob().readall() == b"hello"


def test_a_blob_sas_is_good_for_its_blob_only(account, container, blob):
    other = container.get_blob_client("other.txt")
    other.upload_blob(b"other")
    # Signed for one, used for the other.
    with refused(403, "AuthenticationFailed"):
        with_blob_sas(account, other, "r", name=blob.blob_name).download_blob()


@pytest.mark.parametrize("name", ["a b+c/ä%20.txt", "日本語/?#.txt"])
def test_a_sas_signs_the_name_as_it_is(account, container, name):
    blob = container.get_blob_client(name)
    blob.upload_blob(b"x")
    assert with_blob_sas(account, blob, "r").download_blob().readall() == b"x"


def test_a_tampered_sas_opens_nothing(account, blob):
    token = generate_blob_sas(account.name, blob.container_name, blob.blob_name, account_key=account.key, permission="r", expiry=hours(1))
    changed = [token.replace("sp=r", "sp=rw"), token.replace("sig=", "sig=A"), token.replace("sr=b", "sr=c")]
    later = token.split("se=")[1].split("&")[0]
    changed.append(token.replace(later, later.replace("20", "21", 1)))
    assert len({token, *changed}) == 5
    for query in changed:
        with refused(403, "AuthenticationFailed"):
            BlobClient.from_blob_url(f"{blob.url}?{query}", retry_total=0).download_blob()
    assert BlobClient.from_blob_url(f"{blob.url}?{token}", retry_total=0).download_blob().readall() == b"hello"


def test_a_sas_signed_with_the_second_key_would_do_and_any_other_key_does_not(account, neighbour, blob):
    token = generate_blob_sas(account.name, blob.container_name, blob.blob_name, account_key=neighbour.key, permission="r", expiry=hours(1))
    with refused(403, "AuthenticationFailed"):
        BlobClient.from_blob_url(f"{blob.url}?{token}", retry_total=0).download_blob()


def test_a_sas_has_its_time(account, blob):
    for times in ({"expiry": hours(-1)}, {"start": hours(10), "expiry": hours(20)}):
        with refused(403, "AuthenticationFailed") as caught:
            with_blob_sas(account, blob, "r", **times).download_blob()
        assert "Signature not valid in the specified time frame" in str(caught.value)
    assert with_blob_sas(account, blob, "r", start=hours(-1)).download_blob().readall() == b"hello"


def test_a_sas_for_https_is_not_good_over_http(account, blob):
    with refused(403, "AuthorizationProtocolMismatch"):
        with_blob_sas(account, blob, "r", protocol="https").download_blob()
    assert with_blob_sas(account, blob, "r", protocol="https,http").download_blob().readall() == b"hello"


def test_a_sas_is_good_for_its_addresses_only(account, blob):
    for addresses in ("127.0.0.1", "127.0.0.0-127.0.0.9"):
        assert with_blob_sas(account, blob, "r", ip=addresses).download_blob().readall() == b"hello"
    for addresses in ("10.0.0.1", "127.0.0.2-127.0.0.9"):
        with refused(403, "AuthorizationSourceIPMismatch"):
            with_blob_sas(account, blob, "r", ip=addresses).download_blob()
    with refused(403, "AuthorizationSourceIPMismatch"):
        list(with_account_sas(account, "l", ip="10.0.0.1").list_containers())


def test_a_sas_says_how_the_blob_is_served(account, blob):
    served = with_blob_sas(account, blob, "r", content_type="text/html", content_disposition="attachment", cache_control="no-store")
    settings = served.get_blob_properties().content_settings
    assert (settings.content_type, settings.content_disposition, settings.cache_control) == ("text/html", "attachment", "no-store")
    assert blob.get_blob_properties().content_settings.content_type == "application/octet-stream"


def test_a_sas_of_a_snapshot_opens_the_snapshot_only(account, container, blob):
    moment = blob.create_snapshot()["snapshot"]
    blob.upload_blob(b"new", overwrite=True)
    token = generate_blob_sas(
        account.name, blob.container_name, blob.blob_name, snapshot=moment, account_key=account.key, permission="r", expiry=hours(1)
    )
    snapshot = BlobClient.from_blob_url(blob.url, snapshot=moment, credential=token, retry_total=0)
    assert snapshot.download_blob().readall() == b"hello"
    with refused(403, "AuthenticationFailed"):
        BlobClient.from_blob_url(blob.url, credential=token, retry_total=0).download_blob()


def test_a_container_sas_reaches_all_blobs_of_its_container(account, container, blob):
    client = with_container_sas(account, container, ContainerSasPermissions(read=True, list=True, write=True))
    assert [item.name for item in client.list_blobs()] == [blob.blob_name]
    assert client.get_blob_client(blob.blob_name).download_blob().readall() == b"hello"
    client.upload_blob("new", b"x")
    with refused(403, "AuthorizationPermissionMismatch"):
        client.delete_blob("new")
    # It is of what is in the container, not of the container.
    for call in (client.get_container_properties, client.delete_container, lambda: client.set_container_metadata({"a": "b"})):
        with refused(403, "AuthorizationFailure"):
            call()


def test_a_list_needs_its_own_letter(account, container):
    with refused(403, "AuthorizationPermissionMismatch"):
        list(with_container_sas(account, container, "r").list_blobs())


def test_a_stored_policy_says_what_the_sas_leaves_out_and_takes_it_back(account, container, blob):
    policy = AccessPolicy(permission="r", start=hours(-1), expiry=hours(24))
    container.set_container_access_policy({"readers": policy})
    client = with_container_sas(account, container, policy_id="readers", expiry=None)
    assert client.get_blob_client(blob.blob_name).download_blob().readall() == b"hello"
    with refused(403, "AuthorizationPermissionMismatch"):
        list(client.list_blobs())
    container.set_container_access_policy({"readers": AccessPolicy(permission="r", expiry=hours(-1))})
    with refused(403, "AuthenticationFailed"):
        client.get_blob_client(blob.blob_name).download_blob()
    container.set_container_access_policy({})
    with refused(403, "AuthenticationFailed"):
        client.get_blob_client(blob.blob_name).download_blob()


def test_an_account_sas_reaches_its_kinds_of_resources(account, container, blob):
    everything = with_account_sas(account, AccountSasPermissions(read=True, write=True, delete=True, list=True, create=True))
    made = everything.create_container("made-" + container.container_name[2:20])
    made.upload_blob("b", b"x")
    made.delete_container()
    assert container.container_name in [item.name for item in everything.list_containers()]
    objects = with_account_sas(account, AccountSasPermissions(read=True, list=True), ResourceTypes(object=True))
    assert objects.get_blob_client(container.container_name, blob.blob_name).download_blob().readall() == b"hello"
    for call in (lambda: list(objects.list_containers()), lambda: list(objects.get_container_client(container.container_name).list_blobs())):
        with refused(403, "AuthorizationResourceTypeMismatch"):
            call()
    readers = with_account_sas(account, AccountSasPermissions(read=True))
    with refused(403, "AuthorizationPermissionMismatch"):
        readers.get_blob_client(container.container_name, "new").upload_blob(b"x")


def test_an_account_sas_for_another_service_is_not_good_here(account):
    with refused(403, "AuthorizationServiceMismatch"):
        list(with_account_sas(account, "l", services=Services(queue=True)).list_containers())


def test_an_account_sas_has_its_time_and_signature(account):
    with refused(403, "AuthenticationFailed"):
        list(with_account_sas(account, "l", expiry=hours(-1)).list_containers())
    token = generate_account_sas(account.name, account.key, ResourceTypes(service=True), "l", hours(1))
    with refused(403, "AuthenticationFailed"):
        list(account.service(AzureSasCredential(token.replace("sp=l", "sp=lr"))).list_containers())


def test_tags_need_their_letter(account, container, blob):
    blob.set_blob_tags({"a": "b"})
    with refused(403, "AuthorizationPermissionMismatch"):
        with_blob_sas(account, blob, "r").get_blob_tags()
    assert with_blob_sas(account, blob, "t").get_blob_tags() == {"a": "b"}
    with refused(403, "AuthorizationPermissionMismatch"):
        with_blob_sas(account, blob, "cw").upload_blob(b"x", overwrite=True, tags={"a": "b"})
    with_blob_sas(account, blob, "cwt").upload_blob(b"x", overwrite=True, tags={"a": "c"})
    assert blob.get_blob_tags() == {"a": "c"}


def test_a_sas_lends_no_access_to_the_source_of_a_copy(account, container, blob):
    target = with_blob_sas(account, container.get_blob_client("target"), "cw")
    # The destination's SAS opens the destination; the source needs one of its own, even in the same account.
    with refused(404, "CannotVerifyCopySource"):
        target.start_copy_from_url(blob.url)
    target.start_copy_from_url(account.readable(blob))
    assert container.get_blob_client("target").download_blob().readall() == b"hello"
