"""A lab, a service principal, and az with and without it."""

import uuid

import pytest

from azure_cli.command_line import GROUP, LAB, REGION, SUBSCRIPTION, TENANT, Az, control, log_in


@pytest.fixture(scope="session")
def application():
    """A service principal that the simulator knows."""
    spec = {"tenantId": TENANT, "clientId": str(uuid.uuid4()), "clientSecret": uuid.uuid4().hex}
    control("POST", "/applications", spec)
    return spec


@pytest.fixture(scope="session")
def lab():
    spec = {"subscriptionId": SUBSCRIPTION, "resourceGroup": GROUP, "name": LAB, "location": REGION}
    return control("POST", "/labs", spec)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """az that knows the cloud, with nobody logged in."""
    az = Az(tmp_path_factory.mktemp("stranger"))
    az("cloud", "register", "--name", "simulated", "--endpoint-resource-manager", RESOURCE_MANAGER)
    az("cloud", "set", "--name", "simulated")
    return az


@pytest.fixture(scope="session")
def az(tmp_path_factory, application, lab):
    """az with the service principal logged in."""
    az = Az(tmp_path_factory.mktemp("az"))
    az("cloud", "register", "--name", "simulated", "--endpoint-resource-manager", RESOURCE_MANAGER)
    az("cloud", "set", "--name", "simulated")
    log_in(az, application)
    az("account", "set", "--subscription", SUBSCRIPTION)
    return az
