"""The simulated namespace, and a queue of its own for each test."""

import itertools
import json
import os
import re
import urllib.request

import pytest
from azure.servicebus import ServiceBusClient

CONTROL = os.environ["AZURE_SIM_CONTROL"]
CONNECTION_STRING = os.environ["AZURE_SIM_SERVICE_BUS"]

# The simulator is on this machine, whatever proxy the environment names.
http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def control(method, path, body=None):
    """A request to the simulator's own interface; the answer's JSON, if it has any."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(CONTROL + path, data=data, method=method)
    with http.open(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


@pytest.fixture
def connection_string():
    return CONNECTION_STRING


@pytest.fixture
def client(connection_string):
    """A client that tries everything once: nothing may fail that a second try would mend."""
    with ServiceBusClient.from_connection_string(connection_string, retry_total=0) as client:
        yield client


@pytest.fixture
def make_queue(request):
    """Makes a queue with the settings that are given; answers its name, which no other test has."""
    numbers = itertools.count(1)
    test = re.sub(r"\W", "-", request.node.nodeid.rsplit("::", 1)[-1])

    def make(**settings):
        name = f"py-{test}-{next(numbers)}"[-100:]
        control("PUT", f"/queues/{name}", settings)
        return name

    return make


@pytest.fixture
def queue(make_queue):
    """A queue with Azure's defaults."""
    return make_queue()


@pytest.fixture
def counts():
    """How many messages a queue holds, as the simulator itself knows it."""
    return lambda queue: control("GET", "/queues")[queue]
