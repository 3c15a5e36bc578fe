"""What a call is answered with, and what comes after a while."""

import time
from contextlib import contextmanager

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)

# A copy's end, a lease's end: what must come within this time, in seconds, or never will.
DEADLINE = 120

# The exception that the SDK makes of a code, and else of a status.
BY_CODE = {
    "AuthenticationFailed": ClientAuthenticationError,
    "CannotVerifyCopySource": ResourceNotFoundError,
    "ConditionNotMet": ResourceModifiedError,
}
BY_STATUS = {401: ClientAuthenticationError, 404: ResourceNotFoundError, 409: ResourceExistsError}


@contextmanager
def refused(status, code):
    """The call is refused with just this status and code, as the type of exception that belongs to them."""
    with pytest.raises(HttpResponseError) as caught:
        yield caught
    error = caught.value
    kind = BY_CODE.get(code) or BY_STATUS.get(status, HttpResponseError)
    assert (error.status_code, error.error_code, type(error)) == (status, code, kind), error


def wait_until(look, what):
    """What `look` answers, once that is true."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if seen := look():
            return seen
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come within {DEADLINE} s")
