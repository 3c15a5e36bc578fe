"""Snapshots: read-only versions beside the blob."""

import pytest

from blob.answers import refused


@pytest.fixture
def snapshots(blob):
    """Two of them: of 'hello' and of 'second'."""
    first = blob.create_snapshot(metadata={"number": "1"})
    blob.upload_blob(b"second", overwrite=True)
    second = blob.create_snapshot()
    blob.upload_blob(b"third", overwrite=True)
    return first["snapshot"], second["snapshot"]


def at(container, blob, moment):
    return container.get_blob_client(blob.blob_name, snapshot=moment)


def test_a_snapshot_stays_as_it_was(container, blob, snapshots):
    contents = [at(container, blob, moment).download_blob().readall() for moment in snapshots]
    assert (contents, blob.download_blob().readall()) == ([b"hello", b"second"], b"third")
    properties = at(container, blob, snapshots[0]).get_blob_properties()
    assert (properties.snapshot, properties.metadata) == (snapshots[0], {"number": "1"})


def test_snapshots_are_listed_before_their_blob_on_request(container, blob, snapshots):
    listed = [(item.name, item.snapshot) for item in container.list_blobs(include=["snapshots"])]
    assert listed == [(blob.blob_name, snapshots[0]), (blob.blob_name, snapshots[1]), (blob.blob_name, None)]
    assert [item.snapshot for item in container.list_blobs()] == [None]


def test_a_blob_with_snapshots_is_deleted_only_with_them(container, blob, snapshots):
    with refused(409, "SnapshotsPresent"):
        blob.delete_blob()
    blob.delete_blob(delete_snapshots="include")
    assert not blob.exists()
    with refused(404, "BlobNotFound"):
        at(container, blob, snapshots[0]).download_blob()


def test_snapshots_are_deleted_without_their_blob(container, blob, snapshots):
    at(container, blob, snapshots[0]).delete_blob()
    assert [item.snapshot for item in container.list_blobs(include=["snapshots"])] == [snapshots[1], None]
    blob.delete_blob(delete_snapshots="only")
    assert [item.snapshot for item in container.list_blobs(include=["snapshots"])] == [None]
    blob.delete_blob()


def test_a_snapshot_becomes_the_blob_again(container, blob, snapshots):
    blob.start_copy_from_url(at(container, blob, snapshots[0]).url)
    assert blob.download_blob().readall() == b"hello"
    assert len(list(container.list_blobs(include=["snapshots"]))) == 3, "it has its snapshots still"


def test_a_snapshot_of_nothing_is_refused(container):
    with refused(404, "BlobNotFound"):
        container.get_blob_client("missing").create_snapshot()
