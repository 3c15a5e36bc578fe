"""Lists of blobs: prefixes, delimiters, pages and markers."""

import pytest
from azure.storage.blob import BlobPrefix

from blob.answers import refused

NAMES = ["a.txt", "runs/1/build.json", "runs/1/copy.json", "runs/2/build.json", "runs.json", "z.txt"]


@pytest.fixture
def full(container):
    for name in NAMES:
        container.upload_blob(name, name.encode(), metadata={"length": str(len(name))})
    return container


def names(items):
    return [item.name for item in items]


def test_a_list_is_in_the_order_of_names(full):
    # By code points: '.' comes before '/'.
    assert names(full.list_blobs()) == sorted(NAMES)
    assert list(full.list_blob_names()) == sorted(NAMES)


def test_a_prefix_narrows_a_list(full):
    assert names(full.list_blobs(name_starts_with="runs/1/")) == ["runs/1/build.json", "runs/1/copy.json"]
    assert names(full.list_blobs(name_starts_with="runs")) == ["runs.json", "runs/1/build.json", "runs/1/copy.json", "runs/2/build.json"]
    assert names(full.list_blobs(name_starts_with="nothing")) == []


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 7, 5000])
def test_pages_hold_what_was_asked_for_and_nothing_twice(full, size):
    pages = [names(page) for page in full.list_blobs(results_per_page=size).by_page()]
    assert [name for page in pages for name in page] == sorted(NAMES)
    assert all(len(page) == size for page in pages[:-1]) and 0 < len(pages[-1]) <= size


def test_a_list_goes_on_from_a_marker_in_another_client(account, full):
    pages = full.list_blobs(results_per_page=2).by_page()
    first = names(next(pages))
    other = account.service().get_container_client(full.container_name)
    rest = other.list_blobs(results_per_page=2).by_page(continuation_token=pages.continuation_token)
    assert first + [name for page in rest for name in names(page)] == sorted(NAMES)


def test_what_is_written_between_two_pages_is_listed_where_it_belongs(full):
    pages = full.list_blobs(results_per_page=2).by_page()
    next(pages)
    full.upload_blob("0", b"")
    full.upload_blob("y", b"")
    full.delete_blob("z.txt")
    rest = [name for page in pages for name in names(page)]
    assert rest == [*sorted(NAMES)[2:5], "y"]


def test_a_delimiter_makes_folders(full):
    walked = list(full.walk_blobs())
    # The client puts the folders of a page first.
    assert names(walked) == ["runs/", "a.txt", "runs.json", "z.txt"]
    assert [isinstance(item, BlobPrefix) for item in walked] == [True, False, False, False]
    inside = list(full.walk_blobs(name_starts_with="runs/"))
    assert names(inside) == ["runs/1/", "runs/2/"]
    assert names(inside[0]) == ["runs/1/build.json", "runs/1/copy.json"]
    ends = ["runs.json", "runs/1/build.json", "runs/1/copy.json", "runs/2/build.json"]
    assert names(full.walk_blobs(delimiter="json")) == [*ends, "a.txt", "z.txt"]


def test_folders_count_as_one_entry_of_a_page(full):
    pages = [names(page) for page in full.walk_blobs(results_per_page=1).by_page()]
    assert pages == [["a.txt"], ["runs.json"], ["runs/"], ["z.txt"]]


def test_an_item_tells_what_its_properties_tell(full):
    item = next(iter(full.list_blobs(name_starts_with="a.txt", include=["metadata"])))
    properties = full.get_blob_client("a.txt").get_blob_properties()
    assert (item.etag, item.size, item.blob_type) == (properties.etag.strip('"'), 5, "BlockBlob")
    assert (item.last_modified, item.creation_time) == (properties.last_modified, properties.creation_time)
    assert (item.lease.state, item.lease.status, item.server_encrypted) == ("available", "unlocked", True)
    assert item.content_settings.content_md5 == properties.content_settings.content_md5 is not None
    assert item.metadata == {"length": "5"} and item.container == full.container_name


def test_the_first_page_says_what_was_asked_for(full):
    pages = full.list_blobs(name_starts_with="runs", results_per_page=3).by_page()
    next(pages)
    assert (pages.prefix, pages.results_per_page, pages.marker) == ("runs", 3, None)
    next(pages)
    assert pages.marker


def test_a_list_of_more_than_the_service_gives_at_once_is_asked_for_in_parts(container):
    for number in range(30):
        container.upload_blob(f"{number:02}", b"")
    assert len(list(container.list_blobs(results_per_page=7))) == 30


def test_impossible_pages_are_refused(full):
    with refused(400, "OutOfRangeQueryParameterValue"):
        list(full.list_blobs(results_per_page=-1))
    with refused(400, "InvalidQueryParameterValue"):
        list(full.list_blobs().by_page(continuation_token="nonsense"))


def test_a_name_that_xml_cannot_hold_is_listed_encoded(container):
    name = "control\u0001character"
    container.upload_blob(name, b"x")
    assert names(container.list_blobs()) == [name]
