"""A lab, a service principal, and az with and without it."""

import uuid

import pytest

from azure_cli.command_line import GROUP, LAB, REGION, SUBSCRIPTION, TENANT, control, log_in, with_cloud


@pytest.fixture(scope="session")
def application():
    """A service principal that the simulator knows."""
    spec = {"tenantId": TENANT, "clientId": str(uuid.uuid4()), "clientSecret": uuid.uuid4().hex}
    control("POST", "/applications", spec)
    return spec


@pytest.fixture(scope="session")
def lab():
    """The lab, and its storage account."""
    spec = {"subscriptionId": SUBSCRIPTION, "resourceGroup": GROUP, "name": LAB, "location": REGION}
    return control("POST", "/labs", spec)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """az with nobody logged in."""
    return with_cloud(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="session")
def az(tmp_path_factory, application, lab):
    """az with the service principal logged in."""
    az = with_cloud(tmp_path_factory.mktemp("az"))
    log_in(az, application)
    az("account", "set", "--subscription", SUBSCRIPTION)
    return az
