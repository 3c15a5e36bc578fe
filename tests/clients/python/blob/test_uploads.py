"""Block blobs: whole and in blocks, with their properties, metadata and tags; page blobs and others refused."""

import base64
import hashlib
import os
import uuid

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobBlock, BlobClient, BlobType, BlockState, ContentSettings

from blob.answers import refused


def block_id(number):
    return base64.b64encode(f"block-{number:04}".encode()).decode()


def test_a_blob_is_written_and_read_whole(container):
    blob = container.get_blob_client("a/b.txt")
    written = blob.upload_blob(b"hello")
    read = blob.download_blob()
    assert read.readall() == b"hello"
    assert (read.properties.etag, read.properties.size) == (written["etag"], 5)
    assert written["etag"].startswith('"0x') and written["last_modified"] is not None
    assert written["request_server_encrypted"] is True


@pytest.mark.parametrize(
    "name",
    [
        "a b.txt",
        "ä/ö ü.txt",
        "100%.txt",
        "plus+and&eq=.txt",
        "sharp#question?.txt",
        "quote'\"<>.txt",
        "日本語.txt",
        "tilde~dash-._()!*",
        "%41%2F.txt",
        "a//b",
        "end/",
    ],
)
def test_names_that_need_encoding_are_kept_to_the_letter(container, name):
    blob = container.get_blob_client(name)
    blob.upload_blob(name.encode())
    assert blob.download_blob().readall() == name.encode()
    assert [item.name for item in container.list_blobs()] == [name]
    assert blob.get_blob_properties().name == name


def test_a_backslash_in_a_name_is_a_slash(account, container):
    blob = container.get_blob_client("back\\slash")
    blob.upload_blob(b"x")
    assert [item.name for item in container.list_blobs()] == ["back/slash"]
    kept = container.get_blob_client("back/slash")
    assert BlobClient.from_blob_url(account.readable(kept), retry_total=0).download_blob().readall() == b"x"
    # This version of the client signs the name as it is, which the service refuses (Azure/azure-sdk-for-python, issue 48690).
    with refused(403, "AuthenticationFailed"):
        BlobClient.from_blob_url(account.readable(blob), retry_total=0).download_blob()


def test_an_empty_blob_is_a_blob(container):
    blob = container.get_blob_client("empty")
    blob.upload_blob(b"")
    assert blob.get_blob_properties().size == 0
    assert blob.download_blob().readall() == b""


def test_a_blob_is_not_written_over_unless_asked_to(blob):
    with refused(409, "BlobAlreadyExists"):
        blob.upload_blob(b"other")
    assert blob.download_blob().readall() == b"hello"
    blob.upload_blob(b"other", overwrite=True)
    assert blob.download_blob().readall() == b"other"


def test_a_large_blob_travels_in_blocks(account, container):
    content = os.urandom(9 * 1024 * 1024 + 17)
    service = account.service(max_single_put_size=1024 * 1024, max_block_size=1024 * 1024)
    blob = service.get_blob_client(container.container_name, "large")
    blob.upload_blob(content, max_concurrency=3, metadata={"run": "r1"})
    committed, uncommitted = blob.get_block_list("all")
    assert ([block.size for block in committed], uncommitted) == ([1024 * 1024] * 9 + [17], [])
    parallel = account.service(max_single_get_size=1024 * 1024, max_chunk_get_size=1024 * 1024)
    read = parallel.get_blob_client(container.container_name, "large").download_blob(max_concurrency=3).readall()
    assert hashlib.sha256(read).digest() == hashlib.sha256(content).digest()
    assert blob.get_blob_properties().metadata == {"run": "r1"}


def test_a_stream_of_unknown_length_is_uploaded(container):
    blob = container.get_blob_client("stream")
    blob.upload_blob(iter([b"one ", b"two ", b"three"]))
    assert blob.download_blob().readall() == b"one two three"


def test_staged_blocks_are_no_blob_until_they_are_committed(container):
    blob = container.get_blob_client("staged")
    for number, part in enumerate([b"a" * 10, b"b" * 20, b"c" * 30]):
        blob.stage_block(block_id(number), part)
    assert not blob.exists()
    assert list(container.list_blobs()) == []
    assert [item.name for item in container.list_blobs(include=["uncommittedblobs"])] == ["staged"]
    committed, uncommitted = blob.get_block_list("all")
    assert (committed, [block.size for block in uncommitted]) == ([], [10, 20, 30])
    with refused(404, "BlobNotFound"):
        blob.download_blob()
    # In the order of the list, not of the uploads.
    blob.commit_block_list([BlobBlock(block_id(2)), BlobBlock(block_id(0))])
    assert blob.download_blob().readall() == b"c" * 30 + b"a" * 10
    committed, uncommitted = blob.get_block_list("all")
    assert ([block.size for block in committed], uncommitted) == ([30, 10], [])


def test_committed_blocks_can_be_kept_in_a_new_list(container):
    blob = container.get_blob_client("kept")
    blob.stage_block(block_id(1), b"one")
    blob.stage_block(block_id(2), b"two")
    blob.commit_block_list([BlobBlock(block_id(1)), BlobBlock(block_id(2))])
    blob.stage_block(block_id(2), b"TWO")
    blob.commit_block_list([BlobBlock(block_id(1), BlockState.COMMITTED), BlobBlock(block_id(2), BlockState.UNCOMMITTED)])
    assert blob.download_blob().readall() == b"oneTWO"


def test_a_list_that_names_a_block_nobody_staged_is_refused(container):
    blob = container.get_blob_client("missing")
    blob.stage_block(block_id(1), b"one")
    with refused(400, "InvalidBlockList"):
        blob.commit_block_list([BlobBlock(block_id(1)), BlobBlock(block_id(2))])
    assert not blob.exists()


def test_ids_of_one_blob_have_one_length(container):
    blob = container.get_blob_client("lengths")
    blob.stage_block(block_id(1), b"one")
    with refused(400, "InvalidBlobOrBlock"):
        blob.stage_block(base64.b64encode(b"x").decode(), b"two")


def test_a_block_comes_from_another_blob(account, container, blob):
    target = container.get_blob_client("from-url")
    target.stage_block_from_url(block_id(1), account.readable(blob), source_offset=1, source_length=3)
    target.commit_block_list([BlobBlock(block_id(1))])
    assert target.download_blob().readall() == b"ell"


def test_a_blob_comes_whole_from_another_one(account, container):
    source = container.get_blob_client("source")
    settings = ContentSettings(content_type="text/plain", cache_control="no-store")
    source.upload_blob(b"content", content_settings=settings, metadata={"from": "source"})
    target = container.get_blob_client("target")
    target.upload_blob_from_url(account.readable(source), metadata={"to": "target"})
    properties = target.get_blob_properties()
    assert target.download_blob().readall() == b"content"
    assert (properties.content_settings.content_type, properties.content_settings.cache_control) == ("text/plain", "no-store")
    assert (properties.metadata, properties.copy.id) == ({"to": "target"}, None)
    with refused(409, "BlobAlreadyExists"):
        target.upload_blob_from_url(account.readable(source), overwrite=False)


def test_a_checksum_is_compared_on_the_way_and_kept(container):
    blob = container.get_blob_client("checked")
    digest = bytearray(hashlib.md5(b"hello").digest())
    blob.upload_blob(b"hello", validate_content=True)
    assert blob.get_blob_properties().content_settings.content_md5 == digest
    assert blob.download_blob(validate_content=True).readall() == b"hello"
    with refused(400, "Md5Mismatch"):
        blob.upload_blob(b"hello", overwrite=True, headers={"Content-MD5": base64.b64encode(b"0" * 16).decode()})
    with refused(400, "InvalidMd5"):
        blob.upload_blob(b"hello", overwrite=True, headers={"Content-MD5": "short"})


def test_content_settings_are_told_again_and_replaced_as_a_whole(container):
    blob = container.get_blob_client("settings")
    settings = ContentSettings(
        content_type="application/json",
        content_encoding="gzip",
        content_language="de",
        content_disposition="attachment",
        cache_control="max-age=60",
    )
    blob.upload_blob(b"{}", content_settings=settings)
    told = blob.get_blob_properties().content_settings
    for name in ("content_type", "content_encoding", "content_language", "content_disposition", "cache_control"):
        assert getattr(told, name) == getattr(settings, name), name
    blob.set_http_headers(ContentSettings(content_type="text/html"))
    told = blob.get_blob_properties().content_settings
    assert (told.content_type, told.content_encoding, told.cache_control) == ("text/html", None, None)
    assert container.get_blob_client("settings").download_blob().readall() == b"{}"


def test_a_blob_without_a_type_is_octets(blob):
    assert blob.get_blob_properties().content_settings.content_type == "application/octet-stream"


def test_metadata_is_set_replaced_and_listed(container):
    blob = container.get_blob_client("described")
    blob.upload_blob(b"x", metadata={"run": "r1", "path": "Windows/Server 2022.json"})
    before = blob.get_blob_properties()
    assert before.metadata == {"run": "r1", "path": "Windows/Server 2022.json"}
    blob.set_blob_metadata({"run": "r2"})
    after = blob.get_blob_properties()
    assert after.metadata == {"run": "r2"} and after.etag != before.etag
    assert [item.metadata for item in container.list_blobs(include=["metadata"])] == [{"run": "r2"}]
    assert not next(iter(container.list_blobs())).metadata
    blob.set_blob_metadata(None)
    assert blob.get_blob_properties().metadata == {}
    # What is written anew has no metadata of before.
    blob.set_blob_metadata({"run": "r3"})
    blob.upload_blob(b"y", overwrite=True)
    assert blob.get_blob_properties().metadata == {}


@pytest.mark.parametrize("name", ["with-dash", "1digit"])
def test_metadata_names_are_identifiers(container, name):
    with refused(400, "InvalidMetadata"):
        container.upload_blob("b", b"", metadata={name: "x"})


def test_tags_are_set_with_the_blob_and_later(container):
    blob = container.get_blob_client("tagged")
    blob.upload_blob(b"x", tags={"colour": "blue", "team": "a b/c"})
    assert blob.get_blob_tags() == {"colour": "blue", "team": "a b/c"}
    etag = blob.get_blob_properties().etag
    assert blob.get_blob_properties().tag_count == 2
    blob.set_blob_tags({"colour": "red"})
    assert blob.get_blob_tags() == {"colour": "red"}
    assert blob.get_blob_properties().etag == etag, "tags are no part of the blob's version"
    listed = next(iter(container.list_blobs(include=["tags"])))
    assert (listed.tags, listed.tag_count) == ({"colour": "red"}, 1)
    with refused(400, "InvalidTag"):
        blob.set_blob_tags({f"k{number}": "v" for number in range(11)})


@pytest.mark.parametrize(
    ("header", "value"), [("x-ms-if-tags", "\"colour\"='blue'"), ("x-ms-access-tier", "Cool"), ("x-ms-encryption-scope", "scope")]
)
def test_what_is_not_simulated_is_refused_instead_of_ignored(container, header, value):
    blob = container.get_blob_client("b")
    with refused(400, "UnsupportedHeader"):
        blob.upload_blob(b"x", headers={header: value})
    assert not blob.exists()


def test_append_blobs_are_not_simulated_and_say_so(container):
    with refused(400, "BlobTypeNotSupported"):
        container.get_blob_client("appended").create_append_blob()


def test_blocks_do_not_go_into_page_blobs(container):
    blob = container.get_blob_client("pages")
    blob.create_page_blob(512)
    with refused(409, "InvalidBlobType"):
        blob.stage_block(block_id(1), b"x")
    with refused(409, "InvalidBlobType"):
        blob.get_block_list()


def test_a_deleted_blob_is_gone(container, blob):
    blob.delete_blob()
    assert not blob.exists()
    for call in (blob.download_blob, blob.get_blob_properties, blob.delete_blob, lambda: blob.set_blob_metadata({"a": "b"})):
        with refused(404, "BlobNotFound"):
            call()


def test_a_blob_in_the_root_container_has_no_container_in_its_url(service):
    try:
        service.create_container("$root")
    except ResourceExistsError:
        pass
    name = f"root-{uuid.uuid4().hex}"
    blob = service.get_blob_client("$root", name)
    blob.upload_blob(b"root", blob_type=BlobType.BLOCKBLOB)
    assert blob.download_blob().readall() == b"root"
