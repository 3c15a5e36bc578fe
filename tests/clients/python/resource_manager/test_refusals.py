"""Every error that Resource Manager is known for, as the SDK's exceptions tell it."""

import json

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceResponseError,
)

from resource_manager.simulator import GROUP, SUBSCRIPTION, Clients

NOBODY = "00000000-0000-0000-0000-000000000000"


def refused(call, *arguments, **options):
    """The exception with which a call ends."""
    with pytest.raises(HttpResponseError) as error:
        call(*arguments, **options)
    return error.value


def told(error):
    """What an exception says: its class, the status and the code."""
    return type(error), error.status_code, error.error.code


def test_what_is_not_there_is_named(azure, credential, shared_lab):
    missing = refused(azure.labs.labs.get, GROUP, "none")
    assert told(missing) == (ResourceNotFoundError, 404, "ResourceNotFound")
    assert "Microsoft.DevTestLab/labs/none" in missing.error.message and GROUP in missing.error.message
    missing = refused(azure.labs.labs.get, "rg-none", "none")
    assert told(missing) == (ResourceNotFoundError, 404, "ResourceGroupNotFound")
    missing = refused(azure.resources.resource_groups.get, "rg-none")
    assert told(missing) == (ResourceNotFoundError, 404, "ResourceGroupNotFound")
    missing = refused(Clients(credential, NOBODY).labs.labs.get, GROUP, "none")
    assert told(missing) == (ResourceNotFoundError, 404, "SubscriptionNotFound")
    missing = refused(azure.deployments.deployments.get, GROUP, "none")
    assert told(missing) == (ResourceNotFoundError, 404, "DeploymentNotFound")
    missing = refused(azure.compute.disks.get, GROUP, "none")
    assert told(missing) == (ResourceNotFoundError, 404, "ResourceNotFound")
    missing = refused(azure.storage.storage_accounts.list_keys, GROUP, "none")
    assert told(missing) == (ResourceNotFoundError, 404, "ResourceNotFound")
    missing = refused(azure.labs.formulas.get, *shared_lab.address, "none")
    assert told(missing) == (ResourceNotFoundError, 404, "ResourceNotFound")


def test_a_child_of_a_lab_that_is_not_there_lacks_its_parent(azure):
    missing = refused(azure.labs.custom_images.begin_delete, GROUP, "none", "image")
    assert told(missing) == (ResourceNotFoundError, 404, "ParentResourceNotFound")
    image = {"properties": {}}
    missing = refused(azure.labs.custom_images.begin_create_or_update, GROUP, "none", "image", image)
    assert told(missing) == (ResourceNotFoundError, 404, "ParentResourceNotFound")


def test_types_providers_and_versions_that_nobody_has_are_refused(azure, shared_lab):
    by_id = azure.resources.resources.get_by_id
    strange = refused(by_id, f"{shared_lab.id}/imagined/x", api_version="2018-09-15")
    assert told(strange) == (ResourceNotFoundError, 404, "InvalidResourceType")
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    strange = refused(by_id, f"{group}/providers/Microsoft.Imagined/things/x", api_version="2018-09-15")
    assert told(strange) == (HttpResponseError, 400, "NoRegisteredProviderFound")
    strange = refused(by_id, shared_lab.id, api_version="newest")
    assert told(strange) == (HttpResponseError, 400, "InvalidApiVersionParameter")


def test_a_denied_action_names_caller_action_and_scope(azure, credential, shared_lab, simulator):
    simulator.deny({"actionPart": "customImages/delete", "scopePart": shared_lab.name})
    error = refused(azure.labs.custom_images.begin_delete, *shared_lab.address, "any")
    assert told(error) == (HttpResponseError, 403, "AuthorizationFailed")
    assert credential._client_id in error.error.message
    assert "Microsoft.DevTestLab/labs/customImages/delete" in error.error.message.replace(
        "customimages", "customImages"
    )
    assert f"/labs/{shared_lab.name}/customimages/any" in error.error.message
    assert list(azure.labs.custom_images.list(*shared_lab.address)) == []


def test_a_lock_refuses_to_delete_and_a_read_only_one_every_change(azure, lab, simulator):
    simulator.add_image(lab.id, "Kept")
    locks = azure.locks.management_locks
    scope = lab.id
    made = locks.create_or_update_by_scope(scope, "keep", {"level": "CanNotDelete", "notes": "for the audit"})
    assert (made.name, made.level, made.notes) == ("keep", "CanNotDelete", "for the audit")
    error = refused(azure.labs.custom_images.begin_delete, *lab.address, "Kept")
    assert told(error) == (ResourceExistsError, 409, "ScopeLocked")
    assert lab.id in error.error.message.lower()
    assert azure.labs.custom_images.update(*lab.address, "Kept", {"a": "b"}).tags == {"a": "b"}
    locks.create_or_update_by_scope(scope, "keep", {"level": "ReadOnly"})
    error = refused(azure.labs.custom_images.update, *lab.address, "Kept", {})
    assert told(error) == (ResourceExistsError, 409, "ScopeLocked")
    assert [lock.level for lock in locks.list_by_scope(scope)] == ["ReadOnly"]
    locks.delete_by_scope(scope, "keep")
    assert list(locks.list_by_scope(scope)) == []
    azure.labs.custom_images.begin_delete(*lab.address, "Kept").result()


def test_a_read_only_group_does_not_even_tell_its_storage_keys(azure, simulator):
    simulator.add_lab("Locked", group="rg-Locked")
    locks = azure.locks.management_locks
    account = next(iter(azure.storage.storage_accounts.list_by_resource_group("rg-Locked"))).name
    locks.create_or_update_at_resource_group_level("rg-Locked", "freeze", {"level": "ReadOnly"})
    error = refused(azure.storage.storage_accounts.list_keys, "rg-Locked", account)
    assert told(error) == (ResourceExistsError, 409, "ScopeLocked")
    assert locks.get_at_resource_group_level("rg-Locked", "freeze").level == "ReadOnly"
    locks.delete_at_resource_group_level("rg-Locked", "freeze")
    assert azure.storage.storage_accounts.list_keys("rg-Locked", account).keys_property


def test_too_many_requests_are_told_how_long_to_wait(impatient, shared_lab, simulator):
    simulator.limits(reads={"bucket": 1, "perSecond": 0.01})
    impatient.labs.labs.get(*shared_lab.address)
    error = refused(impatient.labs.labs.get, *shared_lab.address)
    assert told(error) == (HttpResponseError, 429, "SubscriptionRequestsThrottled")
    assert 0 < int(error.response.headers["Retry-After"]) <= 100
    assert f"for subscription '{SUBSCRIPTION}'" in error.error.message


def test_a_patient_client_waits_as_long_as_it_is_told_and_goes_on(azure, shared_lab, simulator):
    simulator.limits(reads={"bucket": 1, "perSecond": 0.02})
    throttled = simulator.call("GET", "/counts")["throttled"]
    for _ in range(3):
        assert azure.labs.labs.get(*shared_lab.address).name == shared_lab.name
    assert simulator.call("GET", "/counts")["throttled"] > throttled


def test_what_is_left_of_the_budget_is_told(azure, shared_lab):
    seen = {}
    azure.labs.labs.get(*shared_lab.address, raw_response_hook=lambda r: seen.update(r.http_response.headers))
    seen = {name.lower(): value for name, value in seen.items()}
    left = int(seen["x-ms-ratelimit-remaining-subscription-reads"])
    assert 0 < left < 250
    assert int(seen["x-ms-ratelimit-remaining-subscription-global-reads"]) > left


def test_correlation_and_request_ids_come_with_answers_and_with_refusals(azure):
    correlation = "11111111-2222-3333-4444-555555555555"
    request = "99999999-8888-7777-6666-555555555555"
    error = refused(
        azure.labs.labs.get,
        GROUP,
        "none",
        headers={"x-ms-correlation-request-id": correlation, "x-ms-client-request-id": request},
    )
    headers = error.response.headers
    assert headers["x-ms-correlation-request-id"] == correlation
    assert headers["x-ms-client-request-id"] == request
    assert headers["x-ms-request-id"] not in (correlation, request)
    assert headers["x-ms-routing-request-id"].endswith(headers["x-ms-request-id"])


# Errors of others that the simulator has no cause for itself: they are scripted, and read all the same.
OTHERS = [
    (401, "ExpiredAuthenticationToken", ClientAuthenticationError),
    (403, "RequestDisallowedByPolicy", HttpResponseError),
    (409, "MissingSubscriptionRegistration", ResourceExistsError),
    (409, "AnotherOperationInProgress", ResourceExistsError),
    (409, "RetryableError", ResourceExistsError),
    (409, "SkuNotAvailable", ResourceExistsError),
    (409, "OverconstrainedAllocationRequest", ResourceExistsError),
    (412, "PreconditionFailed", HttpResponseError),
    (429, "TooManyRequests", HttpResponseError),
    (429, "RetryableErrorDueToAnotherOperation", HttpResponseError),
    (500, "InternalServerError", HttpResponseError),
    (503, "ServiceUnavailable", HttpResponseError),
]


@pytest.mark.parametrize(("status", "code", "kind"), OTHERS, ids=[code for _, code, _ in OTHERS])
def test_an_error_in_the_usual_envelope_is_read(impatient, shared_lab, simulator, status, code, kind):
    inner = {"code": "Inner", "message": "the reason", "target": "disk"}
    body = {"error": {"code": code, "message": "as Azure says it", "details": [inner]}}
    simulator.faults(http=[{"urlPart": shared_lab.name, "status": status, "body": json.dumps(body)}])
    error = refused(impatient.labs.labs.get, *shared_lab.address)
    assert told(error) == (kind, status, code)
    detail = error.error.details[0]
    assert (detail.code, detail.message, detail.target) == ("Inner", "the reason", "disk")


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"code": "Conflict", "message": "without the envelope"}),
        json.dumps(json.dumps({"error": {"code": "Conflict", "message": "a document in a string"}})),
        "<html><body><h1>502 Bad Gateway</h1></body></html>",
        "",
    ],
    ids=["bare", "a string", "of a gateway", "empty"],
)
def test_an_error_in_an_unusual_form_is_still_an_error(impatient, shared_lab, simulator, body):
    simulator.faults(http=[{"urlPart": shared_lab.name, "status": 502, "body": body}])
    error = refused(impatient.labs.labs.get, *shared_lab.address)
    assert error.status_code == 502


def test_passing_trouble_is_tried_again_by_the_sdk(azure, shared_lab, simulator):
    for status in (408, 429, 500, 502, 503, 504):
        simulator.faults(
            http=[{"urlPart": shared_lab.name, "status": status, "headers": [["Retry-After", "30"]], "times": 2}]
        )
        assert azure.labs.labs.get(*shared_lab.address).name == shared_lab.name


def test_a_broken_connection_is_tried_again_and_otherwise_told(azure, impatient, shared_lab, simulator):
    simulator.faults(http=[{"urlPart": shared_lab.name, "reset": "before"}])
    assert azure.labs.labs.get(*shared_lab.address).name == shared_lab.name
    simulator.faults(http=[{"urlPart": shared_lab.name, "reset": "before"}])
    with pytest.raises(ServiceResponseError):
        impatient.labs.labs.get(*shared_lab.address)


def test_a_request_whose_answer_was_lost_is_repeated_by_the_sdk_and_has_one_effect(azure, lab, simulator):
    simulator.faults(http=[{"method": "PUT", "urlPart": "virtualmachines/Once", "reset": "after"}])
    error = refused(azure.labs.virtual_machines.begin_create_or_update, *lab.address, "Once", lab.machine())
    assert told(error) == (ResourceExistsError, 409, "Conflict")
    assert [vm.name for vm in azure.labs.virtual_machines.list(*lab.address)] == ["Once"]
    simulator.add_image(lab.id, "Old")
    simulator.faults(http=[{"method": "DELETE", "urlPart": "customimages/Old", "reset": "after"}])
    azure.labs.custom_images.begin_delete(*lab.address, "Old").result()
    assert list(azure.labs.custom_images.list(*lab.address)) == []
