"""A caller of simulated Azure, and labs for it."""

import uuid

import pytest

from resource_manager.simulator import Clients, Lab, Simulator, secret_of


@pytest.fixture(scope="session")
def simulator():
    return Simulator()


@pytest.fixture(scope="session")
def credential(simulator):
    return secret_of(simulator.add_application())


@pytest.fixture(scope="session")
def azure(credential):
    return Clients(credential)


@pytest.fixture(scope="session")
def impatient(credential):
    """The same caller, whose clients show the first answer instead of trying again."""
    return Clients(credential, retry_total=0)


@pytest.fixture
def lab(simulator):
    """A lab that no other test uses."""
    name = f"Lab{uuid.uuid4().hex[:8]}"
    return Lab(name, simulator.add_lab(name))


@pytest.fixture(scope="module")
def shared_lab(simulator):
    """A lab for the tests of one file, which do not get in each other's way."""
    name = f"Lab{uuid.uuid4().hex[:8]}"
    return Lab(name, simulator.add_lab(name))


@pytest.fixture(autouse=True)
def peace(simulator):
    """What a test forbids or breaks ends with it."""
    yield
    simulator.faults()
    simulator.deny()
    simulator.cores(None)
    simulator.limits()
