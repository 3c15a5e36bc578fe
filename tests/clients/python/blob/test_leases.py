"""Leases of blobs: who holds one writes, everybody else waits."""

import uuid

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobLeaseClient

from blob.answers import refused, wait_until


def lease_of(blob):
    lease = blob.get_blob_properties().lease
    return (lease.status, lease.state, lease.duration)


def test_a_lease_is_acquired_renewed_and_released(blob):
    assert lease_of(blob) == ("unlocked", "available", None)
    lease = blob.acquire_lease(60)
    assert lease_of(blob) == ("locked", "leased", "fixed")
    lease.renew()
    held = lease.id
    lease.release()
    assert lease_of(blob) == ("unlocked", "available", None)
    with refused(409, "LeaseIdMismatchWithLeaseOperation"):
        BlobLeaseClient(blob, held).renew()


def test_writes_without_the_lease_are_refused(blob):
    lease = blob.acquire_lease()
    assert lease_of(blob) == ("locked", "leased", "infinite")
    other = str(uuid.uuid4())
    for call in (
        lambda **lease: blob.upload_blob(b"x", overwrite=True, **lease),
        lambda **lease: blob.set_blob_metadata({"a": "b"}, **lease),
        lambda **lease: blob.set_http_headers(None, **lease),
        lambda **lease: blob.stage_block("YQ==", b"x", **lease),
        lambda **lease: blob.delete_blob(**lease),
    ):
        with refused(412, "LeaseIdMissing"):
            call()
        with refused(412, "LeaseIdMismatchWithBlobOperation"):
            call(lease=other)
    # Everybody may read, but whoever names a lease must name the right one.
    assert blob.download_blob().readall() == b"hello"
    with refused(412, "LeaseIdMismatchWithBlobOperation"):
        blob.download_blob(lease=other)
    assert blob.download_blob(lease=lease).readall() == b"hello"
    blob.upload_blob(b"mine", overwrite=True, lease=lease)
    assert lease_of(blob) == ("locked", "leased", "infinite"), "it outlives the content"
    blob.delete_blob(lease=lease)


def test_a_lease_that_nobody_holds_cannot_be_named(blob):
    for call in (blob.download_blob, lambda lease: blob.upload_blob(b"x", overwrite=True, lease=lease)):
        with refused(412, "LeaseNotPresentWithBlobOperation"):
            call(lease=str(uuid.uuid4()))


def test_a_second_lease_is_refused_and_the_same_one_is_acquired_again(blob):
    mine = str(uuid.uuid4())
    assert blob.acquire_lease(60, lease_id=mine).id == mine
    with refused(409, "LeaseAlreadyPresent"):
        blob.acquire_lease(15)
    assert blob.acquire_lease(-1, lease_id=mine).id == mine
    assert lease_of(blob)[2] == "infinite"


def test_a_lease_changes_hands(blob):
    lease = blob.acquire_lease(60)
    before, after = lease.id, str(uuid.uuid4())
    lease.change(after)
    assert lease.id == after
    with refused(412, "LeaseIdMismatchWithBlobOperation"):
        blob.set_blob_metadata({}, lease=before)
    blob.set_blob_metadata({}, lease=after)


def test_a_fixed_lease_ends_and_can_be_renewed_until_somebody_writes(blob):
    lease = blob.acquire_lease(30)
    wait_until(lambda: lease_of(blob)[1] == "expired", "the end of the lease")
    assert lease_of(blob) == ("unlocked", "expired", None)
    with refused(412, "LeaseLost"):
        blob.set_blob_metadata({}, lease=lease)
    lease.renew()
    assert lease_of(blob)[1] == "leased"
    wait_until(lambda: lease_of(blob)[1] == "expired", "the end of the lease")
    blob.set_blob_metadata({})
    with refused(409, "LeaseIdMismatchWithLeaseOperation"):
        lease.renew()


def test_a_broken_lease_lets_others_in_after_its_period(blob):
    lease = blob.acquire_lease()
    assert lease.break_lease(lease_break_period=60) == 60
    assert lease_of(blob)[:2] == ("locked", "breaking")
    with refused(409, "LeaseIsBrokenAndCannotBeRenewed"):
        lease.renew()
    with refused(409, "LeaseIsBreakingAndCannotBeChanged"):
        lease.change(str(uuid.uuid4()))
    with refused(409, "LeaseIsBreakingAndCannotBeAcquired"):
        blob.acquire_lease(lease_id=lease.id)
    with refused(409, "LeaseAlreadyPresent"):
        blob.acquire_lease()
    blob.set_blob_metadata({"still": "mine"}, lease=lease)

    def next_lease():
        try:
            return blob.acquire_lease()
        except HttpResponseError as error:
            assert error.error_code == "LeaseAlreadyPresent", error

    assert wait_until(next_lease, "the next lease").id != lease.id


def test_an_infinite_lease_breaks_at_once_without_a_period(blob):
    lease = blob.acquire_lease()
    assert lease.break_lease() == 0
    assert lease_of(blob) == ("unlocked", "broken", None)
    with refused(412, "LeaseLost"):
        blob.set_blob_metadata({}, lease=lease)
    blob.upload_blob(b"free", overwrite=True)
    # Released once more, the broken lease is forgotten; a write did that already.
    with refused(409, "LeaseIdMismatchWithLeaseOperation"):
        lease.release()


def test_what_is_not_leased_cannot_be_broken(blob):
    with refused(409, "LeaseNotPresentWithLeaseOperation"):
        BlobLeaseClient(blob, str(uuid.uuid4())).break_lease()


@pytest.mark.parametrize("seconds", [0, 14, 61, -2])
def test_a_lease_lasts_15_to_60_seconds_or_for_ever(blob, seconds):
    with refused(400, "InvalidHeaderValue"):
        blob.acquire_lease(seconds)


def test_a_missing_blob_has_no_lease(container):
    with refused(404, "BlobNotFound"):
        container.get_blob_client("missing").acquire_lease()
