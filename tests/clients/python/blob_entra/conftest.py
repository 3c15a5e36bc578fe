"""Storage accounts of simulated Azure over HTTPS, for an application that Entra knows: tokens go over nothing else."""

import os
import uuid

import pytest
from azure.identity import ClientSecretCredential

from blob.accounts import control, new_account

AUTHORITY = os.environ["AZURE_SIM_IDENTITY"]
# Of the certificate authority that the simulator made for itself.
CERTIFICATE = os.environ["AZURE_SIM_CERTIFICATE_AUTHORITY"]


@pytest.fixture(scope="session")
def trust():
    """How a client is told to trust the simulator."""
    return {"connection_verify": CERTIFICATE}


@pytest.fixture(scope="session")
def credential(trust):
    application = {"tenantId": str(uuid.uuid4()), "clientId": str(uuid.uuid4()), "clientSecret": "a secret of this test"}
    control("POST", "/applications", application)
    return ClientSecretCredential(
        application["tenantId"],
        application["clientId"],
        application["clientSecret"],
        authority=AUTHORITY,
        disable_instance_discovery=True,
        **trust,
    )


@pytest.fixture(scope="session")
def account():
    return new_account("westeurope")


@pytest.fixture(scope="session")
def service(account, credential, trust):
    return account.service(credential, **trust)


@pytest.fixture
def blob(service):
    container = service.create_container(f"c-{uuid.uuid4().hex}")
    client = container.get_blob_client("a dir/x+y ä.txt")
    client.upload_blob(b"hello")
    return client
