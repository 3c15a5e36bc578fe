"""The az command line, as its users have it, with the simulator as its cloud."""

import json
import os
import subprocess
import sys

import pytest
import requests

SUBSCRIPTION = "5c0f9a3e-1d7b-4b53-8f5e-6d2a7c1b9e04"
TENANT = "9ea1f9ac-7e1f-4d53-a1b0-3f4a6c3d2b10"
GROUP = "rg-Az"
LAB = "AzLab"
REGION = "westeurope"
LAB_ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.DevTestLab/labs/{LAB}"

IDENTITY = os.environ["AZURE_SIM_IDENTITY"]
RESOURCE_MANAGER = os.environ["AZURE_SIM_RESOURCE_MANAGER"]
CONTROL = os.environ["AZURE_SIM_CONTROL"]
CERTIFICATE_AUTHORITY = os.environ["AZURE_SIM_CERTIFICATE_AUTHORITY"]

# A command that has not ended by then hangs, in seconds. The first one of a new folder reads all modules.
DEADLINE = 180
# Nothing of this is asked of any other host than the simulator.
ALONE = {
    "AZURE_CORE_COLLECT_TELEMETRY": "false",
    "AZURE_CORE_SURVEY_MESSAGE": "false",
    "AZURE_CORE_INSTANCE_DISCOVERY": "false",
    "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
    "AZURE_CORE_NO_COLOR": "true",
    "AZURE_CORE_ONLY_SHOW_ERRORS": "true",
    # What is not on this machine is not reached: no name but the simulator's address is looked up.
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1",
}


class Failed(Exception):
    """A command that ended with an error."""

    def __init__(self, status, text):
        super().__init__(f"az ended with {status}: {text}")
        self.status = status
        self.text = text


class Az:
    """The command line with a configuration of its own."""

    def __init__(self, folder, **environment):
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "ARM_"))},
            **ALONE,
            "AZURE_CONFIG_DIR": str(folder),
            "REQUESTS_CA_BUNDLE": CERTIFICATE_AUTHORITY,
            **environment,
        }

    def __call__(self, *arguments):
        """Runs a command; answers what it prints, read as JSON."""
        ended = subprocess.run(
            [sys.executable, "-m", "azure.cli", *arguments, "--output", "json"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        if ended.returncode != 0:
            raise Failed(ended.returncode, ended.stderr)
        return json.loads(ended.stdout) if ended.stdout.strip() else None

    def lab(self, *arguments):
        """A command about something in the lab: `vm show --name x`."""
        return self("lab", *arguments, "--resource-group", GROUP, "--lab-name", LAB)

    def refused(self, *arguments):
        """The error with which a command ends."""
        with pytest.raises(Failed) as failed:
            self(*arguments)
        return failed.value


def control(method, path, body):
    """A request to the simulator's own interface."""
    answer = requests.request(method, CONTROL + path, json=body, timeout=60)
    assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


def with_cloud(folder):
    """az that knows the simulator's cloud, with nobody logged in."""
    az = Az(folder)
    az("cloud", "register", "--name", "simulated", "--endpoint-resource-manager", RESOURCE_MANAGER)
    az("cloud", "set", "--name", "simulated")
    return az


def log_in(az, application, **changes):
    """Logs a service principal in."""
    who = {**application, **changes}
    return az(
        "login",
        "--service-principal",
        "--username",
        who["clientId"],
        "--password",
        who["clientSecret"],
        "--tenant",
        who["tenantId"],
    )
