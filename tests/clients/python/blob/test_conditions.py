"""Conditional requests: If-Match, If-None-Match, times, and the codes of what does not hold."""

import datetime
import threading

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError

from blob.answers import refused

UNCHANGED = MatchConditions.IfNotModified
CHANGED = MatchConditions.IfModified
HOUR = datetime.timedelta(hours=1)


def etag(blob):
    return blob.get_blob_properties().etag


def test_a_write_goes_through_only_on_the_version_that_was_read(blob):
    first = etag(blob)
    blob.upload_blob(b"second", overwrite=True, etag=first, match_condition=UNCHANGED)
    with refused(412, "ConditionNotMet"):
        blob.upload_blob(b"third", overwrite=True, etag=first, match_condition=UNCHANGED)
    assert blob.download_blob().readall() == b"second"


def test_of_two_writers_of_one_version_one_wins(blob):
    version = etag(blob)
    results = []

    def write(content):
        try:
            blob.upload_blob(content, overwrite=True, etag=version, match_condition=UNCHANGED)
            results.append("written")
        except HttpResponseError as error:
            results.append(error.error_code)

    writers = [threading.Thread(target=write, args=(b"%d" % number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(results) == ["ConditionNotMet"] * 7 + ["written"]


def test_a_blob_that_is_not_there_has_no_version_to_match(container):
    blob = container.get_blob_client("missing")
    with refused(412, "ConditionNotMet"):
        blob.upload_blob(b"x", overwrite=True, etag='"0x8D000000000000"', match_condition=UNCHANGED)
    with refused(412, "ConditionNotMet"):
        blob.upload_blob(b"x", overwrite=True, match_condition=MatchConditions.IfPresent)
    with refused(404, "BlobNotFound"):
        blob.delete_blob(etag='"0x8D000000000000"', match_condition=UNCHANGED)
    assert not blob.exists()


def test_a_blob_is_made_only_where_none_is(container):
    blob = container.get_blob_client("once")
    blob.upload_blob(b"first", overwrite=True, match_condition=MatchConditions.IfMissing)
    # Put Blob says 409 to If-None-Match: * where others say 412.
    with refused(409, "BlobAlreadyExists"):
        blob.upload_blob(b"second", overwrite=True, match_condition=MatchConditions.IfMissing)
    blob.upload_blob(b"third", overwrite=True, match_condition=MatchConditions.IfPresent)
    assert blob.download_blob().readall() == b"third"


def test_a_block_list_is_committed_only_where_no_blob_is(container, blob):
    blob.stage_block("YQ==", b"x")
    with refused(409, "BlobAlreadyExists"):
        blob.commit_block_list(["YQ=="], match_condition=MatchConditions.IfMissing)


def test_a_read_says_that_nothing_changed(blob):
    version = etag(blob)
    with refused(304, "ConditionNotMet"):
        blob.download_blob(etag=version, match_condition=CHANGED)
    with refused(304, "ConditionNotMet"):
        blob.get_blob_properties(etag=version, match_condition=CHANGED)
    blob.upload_blob(b"new", overwrite=True)
    assert blob.download_blob(etag=version, match_condition=CHANGED).readall() == b"new"
    with refused(412, "ConditionNotMet"):
        blob.download_blob(etag=version, match_condition=UNCHANGED)


def test_times_are_conditions_too(blob):
    modified = blob.get_blob_properties().last_modified
    with refused(304, "ConditionNotMet"):
        blob.download_blob(if_modified_since=modified)
    assert blob.download_blob(if_modified_since=modified - HOUR).readall() == b"hello"
    with refused(412, "ConditionNotMet"):
        blob.delete_blob(if_unmodified_since=modified - HOUR)
    assert blob.download_blob(if_unmodified_since=modified).readall() == b"hello"


def test_every_kind_of_change_minds_the_version(blob):
    old = etag(blob)
    blob.set_blob_metadata({"a": "b"}, etag=old, match_condition=UNCHANGED)
    stale = {"etag": old, "match_condition": UNCHANGED}
    for call in (
        lambda: blob.set_blob_metadata({"c": "d"}, **stale),
        lambda: blob.set_http_headers(None, **stale),
        lambda: blob.create_snapshot(**stale),
        lambda: blob.acquire_lease(15, **stale),
        lambda: blob.delete_blob(**stale),
    ):
        with refused(412, "ConditionNotMet"):
            call()
    blob.delete_blob(etag=etag(blob), match_condition=UNCHANGED)
    assert not blob.exists()


def test_a_large_download_is_of_one_version(account, blob):
    blob.upload_blob(b"a" * 3000, overwrite=True)
    parts = account.service(max_single_get_size=1000, max_chunk_get_size=1000)
    download = parts.get_blob_client(blob.container_name, blob.blob_name).download_blob()
    blob.upload_blob(b"b" * 3000, overwrite=True)
    with refused(412, "ConditionNotMet"):
        download.readall()
