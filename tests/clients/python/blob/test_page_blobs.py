"""Page blobs, which is what disks are: sparse, in pages of 512 bytes, with a sequence number."""

import pytest
from azure.core import MatchConditions
from azure.storage.blob import BlobType, SequenceNumberAction

from blob.answers import refused

PAGE = 512
GIB = 1 << 30


@pytest.fixture
def pages(container):
    blob = container.get_blob_client("disk.vhd")
    blob.create_page_blob(8 * PAGE, metadata={"os": "linux"})
    return blob


def ranges(blob, **options):
    return [(item.start, item.end, item.cleared) for item in blob.list_page_ranges(**options)]


def test_a_new_page_blob_is_zero(pages):
    properties = pages.get_blob_properties()
    assert (properties.blob_type, properties.size, properties.page_blob_sequence_number) == (BlobType.PAGEBLOB, 8 * PAGE, 0)
    assert properties.metadata == {"os": "linux"}
    assert pages.download_blob().readall() == bytes(8 * PAGE)
    assert ranges(pages) == []


def test_pages_are_written_and_found_again(pages):
    before = pages.get_blob_properties().etag
    written = pages.upload_page(b"\x01" * PAGE, offset=PAGE, length=PAGE)
    assert written["etag"] == pages.get_blob_properties().etag != before
    assert written["blob_sequence_number"] == 0
    pages.upload_page(b"\x02" * 2 * PAGE, offset=4 * PAGE, length=2 * PAGE, validate_content=True)
    assert ranges(pages) == [(PAGE, 2 * PAGE - 1, False), (4 * PAGE, 6 * PAGE - 1, False)]
    content = pages.download_blob().readall()
    assert content == bytes(PAGE) + b"\x01" * PAGE + bytes(2 * PAGE) + b"\x02" * 2 * PAGE + bytes(2 * PAGE)


def test_pages_beside_each_other_are_one_range(pages):
    for number in range(3):
        pages.upload_page(b"x" * PAGE, offset=number * PAGE, length=PAGE)
    assert ranges(pages) == [(0, 3 * PAGE - 1, False)]


def test_cleared_pages_are_zero_and_in_no_range(pages):
    pages.upload_page(b"x" * 4 * PAGE, offset=0, length=4 * PAGE)
    pages.clear_page(offset=PAGE, length=PAGE)
    assert ranges(pages) == [(0, PAGE - 1, False), (2 * PAGE, 4 * PAGE - 1, False)]
    assert pages.download_blob(offset=PAGE, length=PAGE).readall() == bytes(PAGE)


def test_ranges_are_told_of_a_part(pages):
    pages.upload_page(b"x" * 8 * PAGE, offset=0, length=8 * PAGE)
    assert ranges(pages, offset=2 * PAGE, length=2 * PAGE) == [(2 * PAGE, 4 * PAGE - 1, False)]


def test_ranges_come_in_pages(pages):
    for number in (0, 2, 4, 6):
        pages.upload_page(b"x" * PAGE, offset=number * PAGE, length=PAGE)
    listed = [[item.start for item in page] for page in pages.list_page_ranges(results_per_page=3).by_page()]
    assert listed == [[0, 2 * PAGE, 4 * PAGE], [6 * PAGE]]


def test_what_changed_since_a_snapshot_is_not_simulated_and_says_so(pages):
    snapshot = pages.create_snapshot()["snapshot"]
    with refused(400, "UnsupportedQueryParameter"):
        ranges(pages, previous_snapshot=snapshot)


@pytest.mark.parametrize("size", [1, 511, 513])
def test_a_size_is_whole_pages(container, size):
    # The client checks this itself; the service does where it is asked all the same.
    blob = container.get_blob_client("odd")
    with pytest.raises(ValueError):
        blob.upload_page(b"x" * size, offset=0, length=size)
    with refused(400, "InvalidHeaderValue"):
        blob.create_page_blob(size)


def test_pages_beyond_the_end_are_refused(pages):
    with refused(416, "InvalidPageRange"):
        pages.upload_page(b"x" * PAGE, offset=8 * PAGE, length=PAGE)


def test_a_blob_grows_and_shrinks(pages):
    pages.upload_page(b"x" * PAGE, offset=7 * PAGE, length=PAGE)
    pages.resize_blob(16 * PAGE)
    assert pages.get_blob_properties().size == 16 * PAGE
    assert ranges(pages) == [(7 * PAGE, 8 * PAGE - 1, False)]
    pages.resize_blob(4 * PAGE)
    pages.resize_blob(8 * PAGE)
    assert pages.download_blob().readall() == bytes(8 * PAGE), "what was cut off is gone"
    assert pages.get_blob_properties().metadata == {"os": "linux"}


def test_the_sequence_number_guards_writes(pages):
    pages.set_sequence_number(SequenceNumberAction.Update, 7)
    pages.set_sequence_number(SequenceNumberAction.Max, 5)
    pages.set_sequence_number(SequenceNumberAction.Increment)
    assert pages.get_blob_properties().page_blob_sequence_number == 8
    data = {"page": b"x" * PAGE, "offset": 0, "length": PAGE}
    pages.upload_page(**data, if_sequence_number_eq=8)
    pages.upload_page(**data, if_sequence_number_lte=8)
    for condition in ({"if_sequence_number_lt": 8}, {"if_sequence_number_eq": 7}, {"if_sequence_number_lte": 7}):
        with refused(412, "SequenceNumberConditionNotMet"):
            pages.upload_page(**data, **condition)


def test_pages_have_conditions_and_leases_too(pages):
    old = pages.get_blob_properties().etag
    pages.upload_page(b"x" * PAGE, offset=0, length=PAGE, etag=old, match_condition=MatchConditions.IfNotModified)
    with refused(412, "ConditionNotMet"):
        pages.upload_page(b"x" * PAGE, offset=0, length=PAGE, etag=old, match_condition=MatchConditions.IfNotModified)
    lease = pages.acquire_lease()
    for call in (
        lambda **lease: pages.clear_page(0, PAGE, **lease),
        lambda **lease: pages.resize_blob(16 * PAGE, **lease),
    ):
        with refused(412, "LeaseIdMissing"):
            call()
        call(lease=lease)


def test_a_disk_costs_nothing_until_it_is_written(container):
    blob = container.get_blob_client("large.vhd")
    blob.create_page_blob(1024 * GIB)
    blob.upload_page(b"end!" * 128, offset=1024 * GIB - PAGE, length=PAGE)
    assert blob.download_blob(offset=1024 * GIB - PAGE).readall() == b"end!" * 128
    assert ranges(blob) == [(1024 * GIB - PAGE, 1024 * GIB - 1, False)]


def test_a_file_is_uploaded_as_a_page_blob_without_its_holes(account, container):
    content = b"a" * 4 * 1024 * 1024 + bytes(4 * 1024 * 1024) + b"b" * PAGE
    service = account.service(max_page_size=4 * 1024 * 1024)
    blob = service.get_blob_client(container.container_name, "file.vhd")
    blob.upload_blob(content, blob_type=BlobType.PAGEBLOB)
    assert blob.download_blob().readall() == content
    assert [item[:2] for item in ranges(blob)] == [(0, 4 * 1024 * 1024 - 1), (8 * 1024 * 1024, len(content) - 1)]


def test_pages_come_from_another_blob(account, container, pages):
    source = container.get_blob_client("source")
    source.upload_blob(b"s" * 2 * PAGE)
    pages.upload_pages_from_url(account.readable(source), offset=2 * PAGE, length=PAGE, source_offset=PAGE)
    assert pages.download_blob(offset=2 * PAGE, length=PAGE).readall() == b"s" * PAGE


def test_a_page_blob_is_not_made_over_another_one(pages):
    with refused(409, "BlobAlreadyExists"):
        pages.create_page_blob(PAGE, match_condition=MatchConditions.IfMissing)


def test_pages_go_into_page_blobs_only(container, blob):
    with refused(409, "InvalidBlobType"):
        blob.upload_page(b"x" * PAGE, offset=0, length=PAGE)
    with refused(409, "InvalidBlobType"):
        blob.resize_blob(PAGE)
    with refused(409, "InvalidBlobType"):
        ranges(blob)
    with refused(404, "BlobNotFound"):
        container.get_blob_client("missing").upload_page(b"x" * PAGE, offset=0, length=PAGE)
