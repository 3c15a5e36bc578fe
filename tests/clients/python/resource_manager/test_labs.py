"""Labs and what stands in them, read as a lab's owner reads them."""

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.devtestlabs.models import (
    EvaluatePoliciesProperties,
    Formula,
    LabVirtualMachineCreationParameter,
    Policy,
)

from resource_manager.simulator import GROUP, REGION, Clients

ELSEWHERE = "7b1d3c52-8a55-4f0e-9a3e-52d1c0a4e801"
# What DevTest Labs answers at most at once.
PAGE = 100


def test_a_subscription_and_its_groups_are_listed(azure, shared_lab):
    groups = {group.name: group for group in azure.resources.resource_groups.list()}
    assert (groups[GROUP].location, groups[GROUP].type) == (REGION, "Microsoft.Resources/resourceGroups")
    assert azure.resources.resource_groups.get(GROUP).properties.provisioning_state == "Succeeded"
    assert azure.resources.resource_groups.check_existence(GROUP) is True
    assert azure.resources.resource_groups.check_existence("rg-nowhere") is False


def test_labs_are_listed_in_their_group_and_their_subscription_only(azure, credential, simulator):
    simulator.add_lab("InOther", group="rg-Other")
    simulator.add_lab("Abroad", subscription=ELSEWHERE)
    own = [lab.name for lab in azure.labs.labs.list_by_subscription()]
    assert "InOther" in own and "Abroad" not in own
    assert [lab.name for lab in azure.labs.labs.list_by_resource_group("RG-other")] == ["InOther"]
    abroad = Clients(credential, ELSEWHERE).labs.labs.list_by_subscription()
    assert [lab.name for lab in abroad] == ["Abroad"]


def test_more_labs_than_fit_into_one_answer_come_page_by_page(azure, simulator):
    names = [f"Many{number:03}" for number in range(PAGE + 7)]
    for name in names:
        simulator.add_lab(name, group="rg-Many")
    pages = [[lab.name for lab in page] for page in azure.labs.labs.list_by_resource_group("rg-Many").by_page()]
    assert [len(page) for page in pages] == [PAGE, 7]
    assert sorted(name for page in pages for name in page) == names
    few = azure.labs.labs.list_by_resource_group("rg-Many", filter="contains(name,'y00')", orderby="name desc")
    assert [lab.name for lab in few] == names[9::-1]


def test_a_lab_says_where_its_storage_and_its_vault_are(azure, shared_lab):
    lab = azure.labs.labs.get(*shared_lab.address)
    account = f"/providers/microsoft.storage/storageaccounts/{shared_lab.account}"
    for storage in (
        lab.default_storage_account,
        lab.default_premium_storage_account,
        lab.artifacts_storage_account,
        lab.premium_data_disk_storage_account,
    ):
        assert storage.endswith(account)
    assert "/providers/microsoft.keyvault/vaults/" in lab.vault_name
    assert (lab.id, lab.type, lab.location) == (shared_lab.id, "Microsoft.DevTestLab/labs", REGION)
    assert lab.created_date.tzinfo is not None
    assert (lab.provisioning_state, lab.environment_permission) == ("Succeeded", "Reader")


def test_a_labs_tags_are_patched(azure, lab):
    changed = azure.labs.labs.update(*lab.address, tags={"team": "web"})
    assert changed.tags == {"team": "web"}
    assert azure.labs.labs.get(*lab.address).tags == {"team": "web"}


def test_networks_and_artifacts_are_read(azure, shared_lab):
    networks = {network.name: network for network in azure.labs.virtual_networks.list(*shared_lab.address)}
    subnets = networks[f"Dtl{shared_lab.name}"].allowed_subnets
    assert [subnet.lab_subnet_name for subnet in subnets] == [f"Dtl{shared_lab.name}Subnet"]
    sources = [source.name for source in azure.labs.artifact_sources.list(*shared_lab.address)]
    assert sources == ["public repo"]
    artifacts = azure.labs.artifacts.list(*shared_lab.address, "public repo")
    assert {"windows-sysprep", "linux-deprovision"} <= {artifact.name for artifact in artifacts}
    sysprep = azure.labs.artifacts.get(*shared_lab.address, "public repo", "windows-sysprep")
    assert sysprep.id.endswith("/artifactsources/public repo/artifacts/windows-sysprep")


def test_formulas_are_made_read_and_deleted(azure, shared_lab, simulator):
    image = simulator.add_image(shared_lab.id, "ForFormula")
    content = LabVirtualMachineCreationParameter(
        size="Standard_D2s_v3", custom_image_id=image, user_name="someone", password="never shown"
    )
    formula = Formula(description="of the newest image", os_type="Windows", formula_content=content)
    made = azure.labs.formulas.begin_create_or_update(*shared_lab.address, "daily", formula).result()
    assert (made.name, made.type) == ("daily", "Microsoft.DevTestLab/labs/formulas")
    read = azure.labs.formulas.get(*shared_lab.address, "DAILY")
    assert (read.provisioning_state, read.description) == ("Succeeded", "of the newest image")
    assert read.formula_content.custom_image_id == image
    assert read.formula_content.password is None
    assert [listed.name for listed in azure.labs.formulas.list(*shared_lab.address)] == ["daily"]
    azure.labs.formulas.delete(*shared_lab.address, "daily")
    with pytest.raises(ResourceNotFoundError):
        azure.labs.formulas.get(*shared_lab.address, "daily")
    assert azure.labs.formulas.delete(*shared_lab.address, "daily") is None


def test_policies_are_set_evaluated_and_enforced(azure, lab):
    limit = Policy(
        fact_name="LabVmCount", evaluator_type="MaxValuePolicy", threshold="0", status="Enabled"
    )
    azure.labs.policies.create_or_update(*lab.address, "default", "most", limit)
    sizes = Policy(
        fact_name="LabVmSize",
        evaluator_type="AllowedValuesPolicy",
        threshold='["Standard_D2s_v3"]',
        status="Enabled",
    )
    azure.labs.policies.create_or_update(*lab.address, "default", "sizes", sizes)
    listed = {policy.name: policy for policy in azure.labs.policies.list(*lab.address, "default")}
    assert (listed["most"].threshold, listed["most"].evaluator_type) == ("0", "MaxValuePolicy")
    questions = [
        EvaluatePoliciesProperties(fact_name="LabVmCount", value_offset="1"),
        EvaluatePoliciesProperties(fact_name="LabVmSize", fact_data="Standard_D2s_v3"),
    ]
    answer = azure.labs.policy_sets.evaluate_policies(*lab.address, "default", questions)
    assert [result.has_error for result in answer.results] == [True, False]
    violation = answer.results[0].policy_violations[0]
    assert violation.code == "MaxValuePolicy"
    assert violation.message.startswith("You cannot exceed the limit (0) of virtual machines")
    with pytest.raises(HttpResponseError) as refused:
        azure.labs.virtual_machines.begin_create_or_update(*lab.address, "one", lab.machine())
    assert refused.value.error.code == "MaxValuePolicy"
    azure.labs.policies.delete(*lab.address, "default", "most")
    azure.labs.policies.delete(*lab.address, "default", "sizes")
    assert list(azure.labs.policies.list(*lab.address, "default")) == []


def test_an_upload_uri_leads_into_the_labs_own_account(azure, shared_lab):
    answer = azure.labs.labs.generate_upload_uri(*shared_lab.address, "brought.vhd")
    assert answer.upload_uri.startswith(f"{shared_lab.blobs}/uploads/brought.vhd?")
    assert list(azure.labs.labs.list_vhds(*shared_lab.address)) == []


def test_storage_accounts_tell_their_endpoints_and_keys(azure, shared_lab):
    accounts = {account.name: account for account in azure.storage.storage_accounts.list_by_resource_group(GROUP)}
    assert shared_lab.account in accounts
    everywhere = [account.name for account in azure.storage.storage_accounts.list()]
    assert shared_lab.account in everywhere
    account = azure.storage.storage_accounts.get_properties(GROUP, shared_lab.account)
    assert account.primary_endpoints.blob == f"{shared_lab.blobs}/"
    assert (account.location, account.kind, account.sku.name) == (REGION, "StorageV2", "Standard_LRS")
    keys = azure.storage.storage_accounts.list_keys(GROUP, shared_lab.account).keys_property
    assert [(key.key_name, key.permissions) for key in keys] == [("key1", "FULL"), ("key2", "FULL")]
    assert keys[0].value == shared_lab.key and keys[0].creation_time.tzinfo is not None

