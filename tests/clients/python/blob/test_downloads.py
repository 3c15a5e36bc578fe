"""Downloads of parts."""

import hashlib

import pytest

from blob.answers import refused

CONTENT = bytes(range(256)) * 16


@pytest.fixture
def long(container):
    blob = container.get_blob_client("long")
    blob.upload_blob(CONTENT)
    return blob


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (0, 4096), (100, 300), (4095, 1), (4000, None), (4000, 1000)])
def test_a_range_is_just_that(long, offset, length):
    download = long.download_blob(offset=offset, length=length)
    end = None if length is None else offset + length
    assert download.readall() == CONTENT[offset:end]
    assert download.properties.size == len(CONTENT[offset:end])


def test_a_range_beyond_the_end_is_refused(long):
    with refused(416, "InvalidRange"):
        long.download_blob(offset=4096)


def test_a_range_has_a_checksum_of_its_own(long):
    download = long.download_blob(offset=10, length=20, validate_content=True)
    assert download.readall() == CONTENT[10:30]
    # The whole blob's stays to be seen.
    assert download.properties.content_settings.content_md5 == hashlib.md5(CONTENT).digest()


def test_a_download_is_read_in_chunks(account, long):
    service = account.service(max_single_get_size=1000, max_chunk_get_size=700)
    blob = service.get_blob_client(long.container_name, long.blob_name)
    assert b"".join(blob.download_blob().chunks()) == CONTENT
    assert [len(chunk) for chunk in blob.download_blob(offset=50, length=2000).chunks()][-1] > 0
