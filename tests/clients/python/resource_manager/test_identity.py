"""Tokens: azure-identity at the simulator's endpoints, and Resource Manager's answers to bad ones."""

import time

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.identity import ManagedIdentityCredential
from azure.mgmt.devtestlabs import DevTestLabsClient

from resource_manager.simulator import GROUP, IDENTITY, RESOURCE_MANAGER, SCOPE, SPEED, SUBSCRIPTION, Clients, secret_of


class Given:
    """A credential that has only this token."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *scopes, **options):
        return AccessToken(self.token, int(time.time()) + 3600)


class Nobody(SansIOHTTPPolicy):
    """Leaves requests as they are, without a token."""


def refusal(credential):
    with pytest.raises(ClientAuthenticationError) as refused:
        list(Clients(credential).labs.labs.list_by_resource_group(GROUP))
    return refused.value


def test_a_secret_is_exchanged_for_a_token_that_opens_resource_manager(azure, shared_lab):
    assert shared_lab.name in [lab.name for lab in azure.labs.labs.list_by_resource_group(GROUP)]


def test_a_wrong_secret_is_refused_with_entras_own_reason(simulator):
    application = simulator.add_application()
    credential = secret_of({**application, "clientSecret": "wrong"})
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        credential.get_token(SCOPE)


def test_an_application_of_another_tenant_is_not_known(simulator):
    application = simulator.add_application()
    credential = secret_of({**application, "tenantId": "00000000-1111-2222-3333-444444444444"})
    with pytest.raises(ClientAuthenticationError, match="AADSTS700016"):
        credential.get_token(SCOPE)


def test_a_managed_identity_of_an_app_service_is_let_in(simulator, shared_lab, monkeypatch):
    identity = simulator.call("GET", "/identity")
    assert identity["endpoint"] == f"{IDENTITY}/msi/token"
    monkeypatch.setenv("IDENTITY_ENDPOINT", identity["endpoint"])
    monkeypatch.setenv("IDENTITY_HEADER", identity["header"])
    labs = Clients(ManagedIdentityCredential()).labs.labs
    assert labs.get(*shared_lab.address).name == shared_lab.name


def test_a_managed_identity_with_a_wrong_header_is_refused(simulator, monkeypatch):
    monkeypatch.setenv("IDENTITY_ENDPOINT", simulator.call("GET", "/identity")["endpoint"])
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with pytest.raises(ClientAuthenticationError):
        ManagedIdentityCredential().get_token(SCOPE)


def test_a_forged_token_is_refused():
    error = refusal(Given("e30.e30.forged"))
    assert (error.status_code, error.error.code) == (401, "InvalidAuthenticationToken")


def test_a_token_for_another_service_is_refused(credential):
    storage = credential.get_token("https://storage.azure.com/.default").token
    error = refusal(Given(storage))
    assert (error.status_code, error.error.code) == (401, "InvalidAuthenticationTokenAudience")
    assert "https://storage.azure.com" in error.error.message


def test_a_token_that_lived_its_time_is_refused(simulator, shared_lab):
    lifetime = 600
    credential = secret_of(simulator.add_application(tokenLifetimeSeconds=lifetime))
    token = Given(credential.get_token(SCOPE).token)
    assert Clients(token).labs.labs.get(*shared_lab.address).name == shared_lab.name
    time.sleep(lifetime / SPEED)
    error = refusal(token)
    assert (error.status_code, error.error.code) == (401, "ExpiredAuthenticationToken")


def test_a_call_without_a_token_is_refused():
    client = DevTestLabsClient(
        Given("unused"), SUBSCRIPTION, base_url=RESOURCE_MANAGER, authentication_policy=Nobody()
    )
    with pytest.raises(ClientAuthenticationError) as refused:
        list(client.labs.list_by_subscription())
    assert refused.value.error.code == "AuthenticationFailed"
    assert refused.value.response.headers["www-authenticate"].startswith("Bearer ")


def test_who_does_not_trust_the_authority_gets_no_answer(credential, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(ServiceRequestError, match="CERTIFICATE_VERIFY_FAILED"):
        list(Clients(Given("unused"), retry_total=0).labs.labs.list_by_subscription())
