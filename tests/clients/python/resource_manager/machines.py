"""How lab VMs stand, as their answers tell it."""

import time

WITH_EVERYTHING = "Properties($expand=ComputeVm,Artifacts,NetworkInterface)"


def power_of(machine):
    """The power state in the statuses of a compute VM; they come in any order."""
    codes = [status.code for status in machine.statuses]
    return next((code.split("/")[1] for code in codes if code.startswith("PowerState/")), None)


def deallocated(azure, lab, name):
    """Waits until a VM is deallocated, as one that can be claimed soon is."""
    deadline = time.monotonic() + 30
    vms = azure.labs.virtual_machines
    while power_of(vms.get(*lab.address, name, expand=WITH_EVERYTHING).compute_vm) != "deallocated":
        assert time.monotonic() < deadline, f"{name} is not deallocated"


def segments(resource_id):
    return resource_id.split("/")
