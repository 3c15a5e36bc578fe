"""SharedKey: the right key, the wrong one, and requests that are too old."""

import base64

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobServiceClient
from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy

from blob.answers import refused


def test_the_right_key_opens_every_kind_of_request(account, container):
    # Names, metadata and queries are what signatures go wrong on.
    blob = container.get_blob_client("dir/ä b+c%20.txt")
    blob.upload_blob(b"x", metadata={"zeta": "1", "alpha": "two  spaces", "empty": ""}, tags={"a": "b c"})
    assert blob.get_blob_properties().metadata["alpha"] == "two  spaces"
    assert [item.name for item in container.list_blobs(name_starts_with="dir/ä b+", include=["tags", "metadata"])] == [blob.blob_name]
    assert blob.download_blob(offset=0, length=1).readall() == b"x"


def test_the_wrong_key_opens_nothing(account):
    wrong = AzureNamedKeyCredential(account.name, base64.b64encode(b"0" * 64).decode())
    service = account.service(wrong)
    for call in (
        lambda: list(service.list_containers()),
        lambda: service.create_container("refused"),
        lambda: service.get_blob_client("c", "b").upload_blob(b"x"),
        lambda: service.get_blob_client("c", "b").exists(),
    ):
        with refused(403, "AuthenticationFailed") as caught:
            call()
    assert caught.value.response.headers["x-ms-request-id"]


def test_a_key_opens_its_own_account_only(account, neighbour):
    foreign = AzureNamedKeyCredential(account.name, neighbour.key)
    with refused(403, "AuthenticationFailed"):
        list(account.service(foreign).list_containers())


def test_the_error_tells_what_was_signed(account):
    wrong = AzureNamedKeyCredential(account.name, base64.b64encode(b"0" * 64).decode())
    with refused(403, "AuthenticationFailed") as caught:
        account.service(wrong).get_account_information()
    assert "string to sign" in caught.value.message.lower()


class SignLongAgo(SharedKeyCredentialPolicy):
    """Signs a date of years ago."""

    def on_request(self, request):
        request.http_request.headers["x-ms-date"] = "Sun, 22 Nov 2020 12:00:00 GMT"
        super().on_request(request)


def test_a_request_of_long_ago_is_refused(account):
    policies = [SignLongAgo(account.name, account.key)]
    service = BlobServiceClient(account.endpoint, retry_total=0, _additional_pipeline_policies=policies)
    with refused(403, "AuthenticationFailed") as caught:
        service.get_account_information()
    assert "too old" in str(caught.value).lower()


def test_nobody_gets_in_without_a_credential(account, container):
    with refused(401, "NoAuthenticationInformation") as caught:
        list(account.anonymous().get_container_client(container.container_name).list_blobs())
    assert caught.value.response.headers["www-authenticate"].startswith("Bearer authorization_uri=")


def test_an_account_that_is_not_there_is_not_found(account):
    elsewhere = account.endpoint.replace(account.name, "nosuchaccount")
    service = BlobServiceClient(elsewhere, credential=AzureNamedKeyCredential("nosuchaccount", account.key), retry_total=0)
    with refused(404, "ResourceNotFound"):
        service.create_container("c")


def test_an_error_brings_its_ids_and_says_when(account, container):
    with refused(409, "ContainerAlreadyExists") as caught:
        container.create_container()
    error = caught.value
    assert "RequestId:" + error.response.headers["x-ms-request-id"] in error.message
    assert "Time:20" in error.message
    assert error.response.headers["x-ms-client-request-id"] == error.response.request.headers["x-ms-client-request-id"]
    assert error.response.headers["x-ms-version"] == error.response.request.headers["x-ms-version"]


@pytest.mark.parametrize("version", ["2019-02-02", "2020-10-02", "2023-11-03", "2026-10-06"])
def test_old_and_new_versions_are_spoken(account, container, version):
    service = account.service(api_version=version)
    blob = service.get_blob_client(container.container_name, "b")
    blob.upload_blob(b"x")
    assert blob.download_blob().readall() == b"x"
    with refused(404, "BlobNotFound"):
        service.get_blob_client(container.container_name, "missing").download_blob()
