use std::time::Duration;

use azure_sim::storage;

use crate::client::*;

async fn with_container() -> Client {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    client
}

#[tokio::test(start_paused = true)]
async fn a_block_blob_is_put_read_and_deleted() {
    let client = with_container().await;
    let headers =
        [("x-ms-blob-type", "BlockBlob"), ("content-type", "application/json"), ("x-ms-meta-run", "42")];
    let put = client.send("PUT", "/ccc/a%20b/d.json", &headers, b"{\"x\":1}").await;
    assert_eq!(status(&put), 201);
    let got = client.get("/ccc/a%20b/d.json").await;
    assert_eq!((status(&got), text(&got).as_str()), (200, "{\"x\":1}"));
    assert_eq!(header(&got, "content-type"), "application/json");
    assert_eq!(header(&got, "x-ms-meta-run"), "42");
    assert_eq!(header(&got, "x-ms-blob-type"), "BlockBlob");
    assert_eq!(header(&got, "etag"), header(&put, "etag"));
    assert_eq!(header(&got, "content-md5"), header(&put, "content-md5"));
    let head = client.head("/ccc/a%20b/d.json").await;
    assert_eq!((status(&head), header(&head, "content-length"), head.body().len()), (200, "7", 0));
    let summary = storage::blob(&client.sim.world(), &client.url("/ccc/a%20b/d.json?sig=x")).unwrap();
    assert_eq!((summary.url.as_str(), summary.length), (client.url("/ccc/a%20b/d.json").as_str(), 7));
    assert_eq!(status(&client.delete("/ccc/a%20b/d.json").await), 202);
    assert_eq!(refusal(&client.delete("/ccc/a%20b/d.json").await), (404, "BlobNotFound"));
    assert_eq!(refusal(&client.head("/ccc/a%20b/d.json").await), (404, "BlobNotFound"));
}

#[tokio::test(start_paused = true)]
async fn a_put_replaces_silently_unless_it_wants_nothing_there() {
    let client = with_container().await;
    let first = client.put("/ccc/b", b"1").await;
    let second = client.put("/ccc/b", b"2").await;
    assert_eq!(status(&second), 201);
    assert_ne!(header(&first, "etag"), header(&second, "etag"));
    let put = async |name, value| {
        let headers = [("x-ms-blob-type", "BlockBlob"), (name, value)];
        client.send("PUT", "/ccc/b", &headers, b"3").await
    };
    assert_eq!(refusal(&put("if-none-match", "*").await), (409, "BlobAlreadyExists"));
    assert_eq!(refusal(&put("if-match", header(&first, "etag")).await), (412, "ConditionNotMet"));
    assert_eq!(status(&put("if-match", header(&second, "etag")).await), 201);
    let headers = [("x-ms-blob-type", "BlockBlob"), ("if-match", "*")];
    assert_eq!(refusal(&client.send("PUT", "/ccc/none", &headers, b"").await), (412, "ConditionNotMet"));
}

#[tokio::test(start_paused = true)]
async fn reads_obey_ranges_and_conditions() {
    let client = with_container().await;
    let put = client.put("/ccc/b", b"0123456789").await;
    let get = async |name, value| client.send("GET", "/ccc/b", &[(name, value)], b"").await;
    for (range, content_range, body) in [
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=8-", "bytes 8-9/10", "89"),
        ("bytes=0-99", "bytes 0-9/10", "0123456789"),
    ] {
        for name in ["range", "x-ms-range"] {
            let got = get(name, range).await;
            assert_eq!((status(&got), text(&got).as_str()), (206, body), "{name}: {range}");
            assert_eq!(header(&got, "content-range"), content_range);
            assert_eq!(header(&got, "x-ms-blob-content-md5"), header(&put, "content-md5"));
        }
    }
    assert_eq!(refusal(&get("range", "bytes=10-").await), (416, "InvalidRange"));
    let etag = header(&put, "etag");
    let same = get("if-none-match", etag).await;
    assert_eq!((refusal(&same), same.body().len()), ((304, "ConditionNotMet"), 0));
    assert_eq!(refusal(&get("if-match", "\"0x0\"").await), (412, "ConditionNotMet"));
    let written = header(&put, "last-modified");
    assert_eq!(refusal(&get("if-modified-since", written).await), (304, "ConditionNotMet"));
    assert_eq!(status(&get("if-unmodified-since", written).await), 200);
    let before = rfc1123(START - Duration::from_secs(1));
    assert_eq!(refusal(&get("if-unmodified-since", &before).await), (412, "ConditionNotMet"));
}

#[tokio::test(start_paused = true)]
async fn blocks_are_staged_committed_and_listed() {
    let client = with_container().await;
    for (id, body) in [("QUE=", "aa"), ("QkI=", "bb"), ("Q0M=", "cc")] {
        let target = format!("/ccc/b?comp=block&blockid={}", encode(id));
        assert_eq!(status(&client.send("PUT", &target, &[], body.as_bytes()).await), 201);
    }
    assert_eq!(refusal(&client.get("/ccc/b").await), (404, "BlobNotFound"));
    let odd = client.send("PUT", "/ccc/b?comp=block&blockid=QUFBQQ%3D%3D", &[], b"x").await;
    assert_eq!(refusal(&odd), (400, "InvalidBlobOrBlock"));
    let listed = text(&client.get("/ccc?restype=container&comp=list&include=uncommittedblobs").await);
    assert!(listed.contains("<Name>b</Name>"), "{listed}");
    let list =
        "<?xml version=\"1.0\"?><BlockList><Latest>QkI=</Latest><Uncommitted>QUE=</Uncommitted></BlockList>";
    let headers = [("x-ms-blob-content-type", "text/plain"), ("if-none-match", "*")];
    assert_eq!(status(&client.send("PUT", "/ccc/b?comp=blocklist", &headers, list.as_bytes()).await), 201);
    let again = client.send("PUT", "/ccc/b?comp=blocklist", &headers, list.as_bytes()).await;
    assert_eq!(refusal(&again), (409, "BlobAlreadyExists"));
    let got = client.get("/ccc/b").await;
    assert_eq!((text(&got).as_str(), header(&got, "content-type")), ("bbaa", "text/plain"));
    let blocks = text(&client.get("/ccc/b?comp=blocklist&blocklisttype=all").await);
    let expected = "<CommittedBlocks><Block><Name>QkI=</Name><Size>2</Size></Block><Block><Name>QUE=</Name><Size>2</Size>\
                    </Block></CommittedBlocks><UncommittedBlocks></UncommittedBlocks>";
    assert!(blocks.contains(expected), "{blocks}");
    let list = "<BlockList><Committed>Q0M=</Committed></BlockList>";
    let gone = client.send("PUT", "/ccc/b?comp=blocklist", &[], list.as_bytes()).await;
    assert_eq!(refusal(&gone), (400, "InvalidBlockList"));
}

#[tokio::test(start_paused = true)]
async fn pages_are_written_cleared_and_listed() {
    let client = with_container().await;
    let put = async |target, headers: &[(&str, &str)], body| client.send("PUT", target, headers, body).await;
    let create = |length| [("x-ms-blob-type", "PageBlob"), ("x-ms-blob-content-length", length)];
    assert_eq!(refusal(&put("/ccc/p", &create("1000"), b"").await), (400, "InvalidHeaderValue"));
    let without = put("/ccc/p", &[("x-ms-blob-type", "PageBlob")], b"").await;
    assert_eq!(refusal(&without), (400, "MissingRequiredHeader"));
    assert_eq!(status(&put("/ccc/p", &create("136365212160"), b"").await), 201);
    let page = |range, write| [("x-ms-range", range), ("x-ms-page-write", write)];
    let written = put("/ccc/p?comp=page", &page("bytes=1024-2047", "update"), &[7; 1024]).await;
    assert_eq!((status(&written), header(&written, "x-ms-blob-sequence-number")), (201, "0"));
    assert_eq!(status(&put("/ccc/p?comp=page", &page("bytes=1024-1535", "clear"), b"").await), 201);
    let got = client.send("GET", "/ccc/p", &[("range", "bytes=1530-1540")], b"").await;
    assert_eq!(got.body()[..], [0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7]);
    let ranges = text(&client.get("/ccc/p?comp=pagelist").await);
    assert!(
        ranges.contains("<PageList><PageRange><Start>1536</Start><End>2047</End></PageRange></PageList>"),
        "{ranges}"
    );
    let odd = put("/ccc/p?comp=page", &page("bytes=1-512", "update"), &[7; 512]).await;
    assert_eq!(refusal(&odd), (416, "InvalidPageRange"));
    let short = put("/ccc/p?comp=page", &page("bytes=0-511", "update"), &[7; 500]).await;
    assert_eq!(refusal(&short), (400, "InvalidHeaderValue"));
    assert_eq!(refusal(&client.put("/ccc/b", b"").await).0, 201);
    let block = put("/ccc/b?comp=page", &page("bytes=0-511", "clear"), b"").await;
    assert_eq!(refusal(&block), (409, "InvalidBlobType"), "of what type it is counts first");
    let append = put("/ccc/a", &[("x-ms-blob-type", "AppendBlob")], b"").await;
    assert_eq!(refusal(&append), (400, "BlobTypeNotSupported"));
}

#[tokio::test(start_paused = true)]
async fn page_ranges_come_in_pages() {
    let client = with_container().await;
    let create = [("x-ms-blob-type", "PageBlob"), ("x-ms-blob-content-length", "4096")];
    client.send("PUT", "/ccc/p", &create, b"").await;
    for range in ["bytes=0-511", "bytes=1024-1535", "bytes=2048-2559"] {
        let headers = [("x-ms-range", range), ("x-ms-page-write", "update")];
        assert_eq!(status(&client.send("PUT", "/ccc/p?comp=page", &headers, &[7; 512]).await), 201);
    }
    let list = async |query: &str| text(&client.get(&format!("/ccc/p?comp=pagelist{query}")).await);
    let first = list("&maxresults=2").await;
    assert_eq!((first.matches("<PageRange>").count(), first.contains("<Start>1024</Start>")), (2, true));
    let marker = first.split("<NextMarker>").nth(1).unwrap().split('<').next().unwrap();
    let second = list(&format!("&maxresults=2&marker={marker}")).await;
    assert_eq!((second.matches("<PageRange>").count(), second.contains("<Start>2048</Start>")), (1, true));
    assert!(!second.contains("NextMarker") && !list("").await.contains("NextMarker"));
    for (query, code) in
        [("&maxresults=0", "OutOfRangeQueryParameterValue"), ("&marker=x", "InvalidQueryParameterValue")]
    {
        let refused = client.get(&format!("/ccc/p?comp=pagelist{query}")).await;
        assert_eq!(refusal(&refused), (400, code));
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_upload_is_noticed() {
    let client = with_container().await;
    // Published check values: MD5 of RFC 1321, CRC-64/NVME of the CRC catalogue (ae8b14860a799888, low byte first).
    for (name, good, code) in [
        ("content-md5", "kAFQmDzST7DWlj99KOF/cg==", "Md5Mismatch"),
        ("x-ms-content-crc64", "iJh5CoYUi64=", "Crc64Mismatch"),
    ] {
        let body: &[u8] = if name == "content-md5" { b"abc" } else { b"123456789" };
        let headers = [("x-ms-blob-type", "BlockBlob"), (name, good)];
        let response = client.send("PUT", "/ccc/b", &headers, body).await;
        assert_eq!(status(&response), 201, "{}", text(&response));
        assert_eq!(refusal(&client.send("PUT", "/ccc/b", &headers, b"abd").await), (400, code));
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_properties_and_tags_are_changed() {
    let client = with_container().await;
    let put = client.put("/ccc/b", b"1").await;
    let set = client.send("PUT", "/ccc/b?comp=metadata", &[("x-ms-meta-a", "1")], b"").await;
    assert_ne!(header(&set, "etag"), header(&put, "etag"));
    let headers = [("x-ms-blob-content-type", "text/css"), ("x-ms-blob-cache-control", "no-store")];
    assert_eq!(status(&client.send("PUT", "/ccc/b?comp=properties", &headers, b"").await), 200);
    let tags = "<Tags><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tags>";
    assert_eq!(status(&client.send("PUT", "/ccc/b?comp=tags", &[], tags.as_bytes()).await), 204);
    let head = client.head("/ccc/b").await;
    for (name, value) in [
        ("x-ms-meta-a", "1"),
        ("content-type", "text/css"),
        ("cache-control", "no-store"),
        ("x-ms-tag-count", "1"),
    ] {
        assert_eq!(header(&head, name), value, "{name}");
    }
    assert!(text(&client.get("/ccc/b?comp=tags").await).contains("<Key>k</Key><Value>v</Value>"));
}

#[tokio::test(start_paused = true)]
async fn a_blob_with_snapshots_is_deleted_only_with_them() {
    let client = with_container().await;
    client.put("/ccc/b", b"old").await;
    let made = client.send("PUT", "/ccc/b?comp=snapshot", &[], b"").await;
    assert_eq!(status(&made), 201);
    let moment = encode(header(&made, "x-ms-snapshot"));
    client.put("/ccc/b", b"new").await;
    assert_eq!(text(&client.get(&format!("/ccc/b?snapshot={moment}")).await), "old");
    assert_eq!(text(&client.get("/ccc/b").await), "new");
    let listed = text(&client.get("/ccc?restype=container&comp=list&include=snapshots").await);
    assert_eq!(listed.matches("<Name>b</Name>").count(), 2);
    assert_eq!(refusal(&client.delete("/ccc/b").await), (409, "SnapshotsPresent"));
    let delete = async |what| client.send("DELETE", "/ccc/b", &[("x-ms-delete-snapshots", what)], b"").await;
    assert_eq!(status(&delete("only").await), 202);
    assert_eq!(refusal(&client.get(&format!("/ccc/b?snapshot={moment}")).await), (404, "BlobNotFound"));
    client.send("PUT", "/ccc/b?comp=snapshot", &[], b"").await;
    assert_eq!(status(&delete("include").await), 202);
    assert_eq!(refusal(&client.get("/ccc/b").await), (404, "BlobNotFound"));
}
