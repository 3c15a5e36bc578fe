"""Tokens of Entra, and SAS signed with a key that the service lends to their bearer."""

from contextlib import contextmanager

import pytest
from azure.core.credentials import AccessToken
from azure.storage.blob import BlobClient, BlobSasPermissions, generate_blob_sas

from blob.accounts import control, hours, new_account
from blob.answers import refused, wait_until


class Tokens:
    """A credential that asks for the tokens of something else, or spoils them."""

    def __init__(self, credential, scope="https://storage.azure.com/.default", spoil=lambda token: token):
        self.credential, self.scope, self.spoil = credential, scope, spoil

    def get_token(self, *scopes, **options):
        token = self.credential.get_token(self.scope)
        return AccessToken(self.spoil(token.token), token.expires_on)


@pytest.fixture(scope="module")
def key(service):
    return service.get_user_delegation_key(hours(-1), hours(24))


def signed(account, blob, key, trust, permission="r", **options):
    options = {"expiry": hours(12), **options}
    token = generate_blob_sas(
        account.name, blob.container_name, blob.blob_name, user_delegation_key=key, permission=permission, **options
    )
    return BlobClient.from_blob_url(blob.url, credential=token, retry_total=0, **trust)


def test_a_token_opens_the_account(service, blob):
    assert blob.download_blob().readall() == b"hello"
    assert [item.name for item in service.get_container_client(blob.container_name).list_blobs()] == [blob.blob_name]
    blob.delete_blob()
    assert not blob.exists()


def test_a_token_for_something_else_is_refused_with_a_challenge(account, credential, trust):
    service = account.service(Tokens(credential, scope="https://management.azure.com/.default"), **trust)
    with refused(401, "InvalidAuthenticationInfo") as caught:
        service.get_account_information()
    assert "resource_id=https://storage.azure.com" in caught.value.response.headers["www-authenticate"]


def test_a_token_that_was_tampered_with_is_refused(account, credential, trust):
    service = account.service(Tokens(credential, spoil=lambda token: token[:-4] + "AAAA"), **trust)
    with refused(401, "InvalidAuthenticationInfo"):
        list(service.list_containers())


def test_a_lent_key_tells_whose_it_is_and_until_when(key):
    assert (key.signed_service, key.signed_version) == ("b", "2026-10-06")
    assert key.signed_oid and key.signed_tid and key.value
    assert key.signed_start < key.signed_expiry


def test_a_key_is_lent_to_bearers_only_and_for_a_week_at_most(account, service, trust):
    with refused(403, "AuthenticationFailed"):
        account.service(**trust).get_user_delegation_key(hours(-1), hours(1))
    with refused(400, "InvalidXmlNodeValue"):
        service.get_user_delegation_key(hours(-1), hours(24 * 8))


def test_a_user_delegation_sas_opens_what_it_says(account, blob, key, trust):
    reader = signed(account, blob, key, trust, BlobSasPermissions(read=True))
    assert reader.download_blob().readall() == b"hello"
    with refused(403, "AuthorizationPermissionMismatch"):
        reader.upload_blob(b"x", overwrite=True)
    signed(account, blob, key, trust, BlobSasPermissions(write=True)).upload_blob(b"new", overwrite=True)
    assert reader.download_blob().readall() == b"new"
    assert signed(account, blob, key, trust, protocol="https").download_blob().readall() == b"new"


def test_a_user_delegation_sas_has_its_time_and_signature(account, blob, key, trust):
    with refused(403, "AuthenticationFailed"):
        signed(account, blob, key, trust, expiry=hours(-1)).download_blob()
    token = signed(account, blob, key, trust).url.split("?")[1]
    for changed in (token.replace("sp=r", "sp=rw"), token.replace("sig=", "sig=A"), token.replace(key.signed_oid, key.signed_tid)):
        assert changed != token
        with refused(403, "AuthenticationFailed"):
            BlobClient.from_blob_url(f"{blob.url}?{changed}", retry_total=0, **trust).download_blob()


def test_a_key_that_was_lent_to_nobody_signs_nothing(account, blob, key, trust):
    own, key.value = key.value, "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
    try:
        with refused(403, "AuthenticationFailed"):
            signed(account, blob, key, trust).download_blob()
    finally:
        key.value = own
    assert signed(account, blob, key, trust).download_blob().readall() == b"hello"


@contextmanager
def denied(action, account):
    """For everybody in this account, while it lasts."""
    control("PUT", "/denials", [{"actionPart": action, "scopePart": account.name}])
    try:
        yield
    finally:
        control("PUT", "/denials", [])


def test_a_user_delegation_sas_allows_no_more_than_its_signers_roles_do_at_the_moment(account, blob, key, trust):
    reader = signed(account, blob, key, trust)
    with denied("blobs/read", account), refused(403, "AuthorizationPermissionMismatch"):
        reader.download_blob()
    with denied("blobs/write", account):
        assert reader.download_blob().readall() == b"hello"


def test_a_key_is_lent_to_whom_a_role_lets_ask_for_it(account, service, blob, key, trust):
    with denied("generateUserDelegationKey", account):
        with refused(403, "AuthorizationPermissionMismatch"):
            service.get_user_delegation_key(hours(-1), hours(1))
        # What was lent before goes on to sign.
        assert signed(account, blob, key, trust).download_blob().readall() == b"hello"


def test_a_token_opens_what_its_bearers_roles_allow(account, blob):
    with denied("blobs/write", account):
        with refused(403, "AuthorizationPermissionMismatch"):
            blob.upload_blob(b"new", overwrite=True)
        assert blob.download_blob().readall() == b"hello"
    with denied("blobs/delete", account), refused(403, "AuthorizationPermissionMismatch"):
        blob.delete_blob()


def test_a_user_delegation_sas_of_one_blob_opens_no_other(account, service, blob, key, trust):
    other = service.get_container_client(blob.container_name).upload_blob("other", b"secret")
    token = signed(account, blob, key, trust).url.split("?")[1]
    with refused(403, "AuthenticationFailed"):
        BlobClient.from_blob_url(f"{other.url}?{token}", retry_total=0, **trust).download_blob()


def test_a_user_delegation_sas_is_good_as_the_source_of_a_copy(account, blob, key, credential, trust):
    target = new_account("westeurope").service(credential, **trust).create_container("copies").get_blob_client("copy")
    # The token opens the destination, and not the source.
    with refused(404, "CannotVerifyCopySource"):
        target.start_copy_from_url(blob.url)
    target.start_copy_from_url(signed(account, blob, key, trust).url)
    wait_until(lambda: target.get_blob_properties().copy.status == "success", "the end of the copy")
    assert target.download_blob().readall() == b"hello"


def test_a_synchronous_copy_takes_a_token_for_its_source(account, blob, credential, trust):
    target = new_account("westeurope").service(credential, **trust).create_container("copies").get_blob_client("copy")
    bearer = "Bearer " + credential.get_token("https://storage.azure.com/.default").token
    target.start_copy_from_url(blob.url, requires_sync=True, source_authorization=bearer)
    assert target.download_blob().readall() == b"hello"
