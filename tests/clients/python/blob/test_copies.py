"""Copies: pending with progress, then done, aborted or failed, with the reason.

Between accounts a copy takes its time: within a region at most 60 MiB in each second of the simulator's clock. The clock goes five
times as fast as ours, so that a disk of 4 GiB is pending for at least 13 s and one of 1 TiB for an hour.
"""

import uuid

import pytest
from azure.core import MatchConditions
from azure.storage.blob import BlobBlock

from blob.accounts import control, new_account
from blob.answers import refused, wait_until

GIB = 1 << 30
PAGE = 512


@pytest.fixture
def disk(source):
    """A disk of 1 TiB in the other account: a copy of it goes on for longer than any test."""
    blob = source.get_blob_client("disk.vhd")
    blob.create_page_blob(1024 * GIB, metadata={"os": "linux"})
    blob.upload_page(b"head" * 128, offset=0, length=PAGE)
    return blob


@pytest.fixture
def small(source):
    """A block blob in the other account."""
    blob = source.get_blob_client("small.json")
    blob.upload_blob(b'{"small": true}', metadata={"from": "source"})
    return blob


def copy_of(blob):
    return blob.get_blob_properties().copy


def ended(blob):
    def look():
        copy = copy_of(blob)
        return copy if copy.status != "pending" else None

    return wait_until(look, f"the end of the copy to {blob.blob_name}")


def progress(copy):
    copied, total = copy.progress.split("/")
    return int(copied), int(total)


def test_a_copy_within_an_account_is_done_at_once(container, blob):
    target = container.get_blob_client("target")
    started = target.start_copy_from_url(blob.url)
    assert started["copy_status"] == "success"
    copy = copy_of(target)
    assert (copy.id, copy.status, copy.source, copy.progress) == (started["copy_id"], "success", blob.url, "5/5")
    assert copy.completion_time is not None and copy.status_description is None
    assert target.download_blob().readall() == b"hello"
    assert started["etag"] == target.get_blob_properties().etag


def test_a_copy_is_pending_with_progress_and_then_complete(neighbour, source, container):
    disk = source.get_blob_client("disk.vhd")
    disk.create_page_blob(4 * GIB, metadata={"os": "linux"})
    disk.upload_page(b"head" * 128, offset=0, length=PAGE)
    disk.upload_page(b"tail" * 128, offset=4 * GIB - PAGE, length=PAGE)
    target = container.get_blob_client("copied.vhd")
    started = target.start_copy_from_url(neighbour.readable(disk))
    assert started["copy_status"] == "pending"
    first = target.get_blob_properties()
    # There at once in its full length, and all zero.
    assert (first.copy.status, first.size, first.copy.id) == ("pending", 4 * GIB, started["copy_id"])
    assert first.copy.completion_time is None
    assert target.download_blob(offset=0, length=PAGE).readall() == bytes(PAGE)
    second = wait_until(lambda: (now := target.get_blob_properties()).copy.progress != first.copy.progress and now, "progress")
    assert second.copy.status == "pending" and second.etag != first.etag, "a page blob's ETag changes all the time"
    assert progress(first.copy)[0] < progress(second.copy)[0] < 4 * GIB == progress(second.copy)[1]
    end = ended(target)
    assert (end.status, end.progress, end.id) == ("success", f"{4 * GIB}/{4 * GIB}", started["copy_id"])
    assert end.completion_time is not None
    assert target.download_blob(offset=0, length=PAGE).readall() == b"head" * 128
    assert target.download_blob(offset=4 * GIB - PAGE).readall() == b"tail" * 128
    assert target.get_blob_properties().metadata == {"os": "linux"}
    assert [(item.start, item.end) for item in target.list_page_ranges()] == [(0, PAGE - 1), (4 * GIB - PAGE, 4 * GIB - 1)]


def test_the_source_is_told_without_its_signature(neighbour, small, container):
    target = container.get_blob_client("target.json")
    target.start_copy_from_url(neighbour.readable(small))
    copy = ended(target)
    assert copy.source.startswith(small.url + "?") and "sig=" not in copy.source


def test_metadata_is_the_sources_unless_other_is_sent(neighbour, small, container):
    kept, replaced = container.get_blob_client("kept"), container.get_blob_client("replaced")
    kept.start_copy_from_url(neighbour.readable(small))
    replaced.start_copy_from_url(neighbour.readable(small), metadata={"to": "target"})
    assert (ended(kept).status, ended(replaced).status) == ("success", "success")
    assert kept.get_blob_properties().metadata == {"from": "source"}
    assert replaced.get_blob_properties().metadata == {"to": "target"}


def test_nothing_else_happens_to_a_blob_while_a_copy_writes_into_it(neighbour, disk, container):
    target = container.get_blob_client("busy.vhd")
    target.start_copy_from_url(neighbour.readable(disk))
    for call in (
        lambda: target.start_copy_from_url(neighbour.readable(disk)),
        lambda: target.upload_blob(b"x", overwrite=True),
        lambda: target.upload_page(b"x" * PAGE, offset=0, length=PAGE),
        lambda: target.set_blob_metadata({"a": "b"}),
        lambda: target.resize_blob(PAGE),
        lambda: target.create_snapshot(),
        lambda: target.acquire_lease(),
        lambda: target.delete_blob(),
    ):
        with refused(409, "PendingCopyOperation"):
            call()
    assert copy_of(target).status == "pending"


def test_an_aborted_copy_leaves_an_empty_blob(neighbour, disk, container):
    target = container.get_blob_client("aborted.vhd")
    started = target.start_copy_from_url(neighbour.readable(disk))
    with refused(409, "CopyIdMismatch"):
        target.abort_copy(str(uuid.uuid4()))
    target.abort_copy(started["copy_id"])
    properties = target.get_blob_properties()
    assert (properties.copy.status, properties.size) == ("aborted", 0)
    assert progress(properties.copy)[0] < 1024 * GIB
    with refused(409, "NoPendingCopyOperation"):
        target.abort_copy(started["copy_id"])
    target.delete_blob()
    assert not target.exists()


def test_a_finished_copy_cannot_be_aborted(container, blob):
    target = container.get_blob_client("target")
    started = target.start_copy_from_url(blob.url)
    with refused(409, "NoPendingCopyOperation"):
        target.abort_copy(started["copy_id"])
    assert target.download_blob().readall() == b"hello"


def test_a_copy_fails_when_its_source_goes(neighbour, disk, container):
    target = container.get_blob_client("orphan.vhd")
    target.start_copy_from_url(neighbour.readable(disk))
    disk.delete_blob()
    copy = ended(target)
    assert copy.status == "failed"
    assert copy.status_description == '404 ResourceNotFound "Copy failed when reading the source."'
    assert target.get_blob_properties().size == 0


def test_a_copy_fails_when_its_source_changes(neighbour, disk, container):
    target = container.get_blob_client("outdated.vhd")
    target.start_copy_from_url(neighbour.readable(disk))
    disk.upload_page(b"new!" * 128, offset=0, length=PAGE)
    copy = ended(target)
    assert (copy.status, copy.status_description.split(" ")[0]) == ("failed", "412")


def test_a_copy_fails_as_azure_says(neighbour, disk, container):
    description = '500 OperationCancelled "The copy failed when reading the source."'
    part = f"{container.container_name}/unlucky.vhd"
    control("PUT", "/faults", {"copies": [{"destinationPart": part, "atFraction": 0.00001, "description": description}]})
    target = container.get_blob_client("unlucky.vhd")
    assert target.start_copy_from_url(neighbour.readable(disk))["copy_status"] == "pending"
    copy = ended(target)
    assert (copy.status, copy.status_description) == ("failed", description)
    # The blob can be written again, and then knows of no copy.
    target.upload_blob(b"x", overwrite=True)
    assert copy_of(target).status is None


def test_copies_are_listed(neighbour, disk, container):
    container.get_blob_client("pending.vhd").start_copy_from_url(neighbour.readable(disk))
    listed = next(iter(container.list_blobs(include=["copy"])))
    assert (listed.copy.status, listed.size) == ("pending", 1024 * GIB)
    assert progress(listed.copy)[1] == 1024 * GIB


def test_a_copy_writes_over_nothing_it_was_not_meant_to(container, blob):
    target = container.get_blob_client("taken")
    target.upload_blob(b"mine")
    for condition in (
        {"match_condition": MatchConditions.IfMissing},
        {"etag": '"0x1"', "match_condition": MatchConditions.IfNotModified},
    ):
        # 412 also for If-None-Match: *, unlike Put Blob.
        with refused(412, "TargetConditionNotMet"):
            target.start_copy_from_url(blob.url, **condition)
    assert target.download_blob().readall() == b"mine"
    target.start_copy_from_url(blob.url, etag=target.get_blob_properties().etag, match_condition=MatchConditions.IfNotModified)
    assert target.download_blob().readall() == b"hello"


def test_a_copy_takes_only_the_source_that_was_seen(container, blob):
    target = container.get_blob_client("target")
    with refused(412, "SourceConditionNotMet"):
        target.start_copy_from_url(blob.url, source_etag='"0x1"', source_match_condition=MatchConditions.IfNotModified)
    assert not target.exists()
    target.start_copy_from_url(blob.url, source_etag=blob.get_blob_properties().etag, source_match_condition=MatchConditions.IfNotModified)
    assert target.exists()


def test_a_leased_blob_is_copied_over_only_by_its_holder(container, blob):
    target = container.get_blob_client("leased")
    target.upload_blob(b"mine")
    lease = target.acquire_lease()
    with refused(412, "LeaseIdMissing"):
        target.start_copy_from_url(blob.url)
    target.start_copy_from_url(blob.url, destination_lease=lease)
    assert target.download_blob().readall() == b"hello"


def test_a_blob_keeps_its_type(container, blob):
    target = container.get_blob_client("pages")
    target.create_page_blob(PAGE)
    with refused(409, "InvalidBlobType"):
        target.start_copy_from_url(blob.url)


def test_a_source_in_another_account_needs_a_sas(neighbour, small, container):
    target = container.get_blob_client("target")
    with refused(404, "CannotVerifyCopySource"):
        target.start_copy_from_url(small.url)
    tampered = neighbour.readable(small).replace("sig=", "sig=A")
    with refused(403, "CannotVerifyCopySource"):
        target.start_copy_from_url(tampered)
    assert not target.exists()


def test_a_source_that_is_not_there_is_not_found(neighbour, source, container):
    target = container.get_blob_client("target")
    missing = source.get_blob_client("missing")
    with refused(404, "CannotVerifyCopySource"):
        target.start_copy_from_url(neighbour.readable(missing))
    with refused(404, "CannotVerifyCopySource"):
        target.start_copy_from_url(container.get_blob_client("missing").url)


def test_a_block_blob_keeps_its_blocks(neighbour, source, container):
    blocks = source.get_blob_client("blocks")
    for name in ("YQ==", "Yg=="):
        blocks.stage_block(name, name.encode())
    blocks.commit_block_list([BlobBlock("YQ=="), BlobBlock("Yg==")])
    target = container.get_blob_client("blocks")
    target.start_copy_from_url(neighbour.readable(blocks))
    assert ended(target).status == "success"
    assert [block.id for block in target.get_block_list()[0]] == ["YQ==", "Yg=="]


def test_a_synchronous_copy_is_done_when_it_is_answered(neighbour, small, container):
    target = container.get_blob_client("target")
    done = target.start_copy_from_url(neighbour.readable(small), requires_sync=True)
    assert done["copy_status"] == "success"
    assert target.download_blob().readall() == b'{"small": true}'
    with refused(412, "TargetConditionNotMet"):
        target.start_copy_from_url(neighbour.readable(small), requires_sync=True, match_condition=MatchConditions.IfMissing)


def test_pages_are_not_copied_synchronously(neighbour, disk, container):
    with refused(409, "InvalidBlobType"):
        container.get_blob_client("target").start_copy_from_url(neighbour.readable(disk), requires_sync=True)


def test_a_copy_to_another_region_takes_longer(neighbour, disk):
    far, near = new_account("northeurope").service(), new_account("westeurope").service()
    targets = [service.create_container("copies").get_blob_client("target.vhd") for service in (far, near)]
    started = [target.start_copy_from_url(neighbour.readable(disk))["copy_status"] for target in targets]
    assert started == ["pending", "pending"]

    def enough():
        seen = [progress(copy_of(target))[0] for target in targets]
        return seen if seen[1] > GIB else None

    copied = wait_until(enough, "a GiB of the near copy")
    assert 0 < copied[0] < copied[1]
