"""Two storage accounts of simulated Azure, and a container of its own for each test.

The simulator is a live process whose clock goes faster than ours (see blob.rs), so that leases and copies end within seconds.
"""

import pytest

from blob.accounts import new_account, new_container


@pytest.fixture(scope="session")
def account():
    return new_account("westeurope")


@pytest.fixture(scope="session")
def neighbour():
    """Another account in the same region."""
    return new_account("westeurope")


@pytest.fixture(scope="session")
def service(account):
    return account.service()


@pytest.fixture
def container(service):
    return new_container(service)


@pytest.fixture
def source(neighbour):
    """A container of the other account: copies out of it take their time."""
    return new_container(neighbour.service())


@pytest.fixture
def blob(container):
    """A small block blob that is there."""
    client = container.get_blob_client("blob.txt")
    client.upload_blob(b"hello")
    return client
