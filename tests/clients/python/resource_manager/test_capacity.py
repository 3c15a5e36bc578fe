"""How much of Compute a subscription may have, and which VM sizes there are."""

from resource_manager.simulator import REGION


def test_usages_count_vms_and_show_the_limit(azure, simulator, lab):
    def usages():
        return {usage.name.value: usage for usage in azure.compute.usage.list(REGION)}

    simulator.cores(1000)
    before = usages()
    assert (before["cores"].limit, before["cores"].unit) == (1000, "Count")
    azure.labs.virtual_machines.begin_create_or_update(*lab.address, "Counted", lab.machine()).result()
    after = usages()
    assert after["cores"].current_value - before["cores"].current_value == 2
    family = "standardDSv3Family"
    assert after[family].current_value - before[family].current_value == 2


def test_sizes_are_listed_with_cores_and_family(azure):
    skus = list(azure.compute.resource_skus.list(filter=f"location eq '{REGION}'"))
    (size,) = [sku for sku in skus if sku.name == "Standard_D2s_v3"]
    assert (size.resource_type, size.family, size.locations) == ("virtualMachines", "standardDSv3Family", [REGION])
    assert {capability.name: capability.value for capability in size.capabilities}["vCPUs"] == "2"
    assert not size.restrictions
