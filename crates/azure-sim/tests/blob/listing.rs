use crate::client::*;

/// The names of a listing, and its next marker.
fn names(page: &str) -> (Vec<String>, String) {
    let between = |text: &str| text.split('<').next().unwrap().to_owned();
    let names = page.split("<Name>").skip(1).map(between).collect();
    let marker = page.split("<NextMarker>").nth(1).map(between).unwrap_or_default();
    (names, marker)
}

#[tokio::test(start_paused = true)]
async fn a_backslash_in_a_name_is_a_slash_and_a_plus_sign_in_a_prefix_is_one() {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    client.put("/ccc/back%5Cslash", b"1").await;
    client.put("/ccc/a%2Bb", b"2").await;
    let list = async |query: &str| {
        names(&text(&client.get(&format!("/ccc?restype=container&comp=list{query}")).await)).0
    };
    assert_eq!(list("").await, ["a+b", "back/slash"]);
    assert_eq!(list("&prefix=a+b").await, ["a+b"]);
    for target in ["/ccc/back/slash", "/ccc/back%5Cslash"] {
        assert_eq!(text(&client.get(target).await), "1");
        let sas = client.service_sas("/ccc/back/slash", "r", "2026-12-01");
        let got = client.plain("GET", &format!("{target}?{sas}"), &[], b"").await;
        assert_eq!(text(&got), "1", "the SAS is of the name with the slash");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_follow_their_markers_to_the_end() {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    client.create_container("ddd").await;
    client.put("/ddd/x", b"").await;
    for index in 0..23 {
        client.put(&format!("/ccc/run/{index:02}"), b"").await;
    }
    client.put("/ccc/a", b"").await;
    let mut all = Vec::new();
    let mut marker = String::new();
    let mut pages = 0;
    loop {
        let target = format!(
            "/ccc?restype=container&comp=list&prefix=run%2F&maxresults=10&marker={}",
            encode(&marker)
        );
        let (page, next) = names(&text(&client.get(&target).await));
        all.extend(page);
        pages += 1;
        if next.is_empty() {
            break;
        }
        marker = next;
    }
    let expected: Vec<String> = (0..23).map(|index| format!("run/{index:02}")).collect();
    assert_eq!((all, pages), (expected, 3));
}

#[tokio::test(start_paused = true)]
async fn a_delimiter_folds_folders() {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    for name in ["a", "b/1", "b/2", "b0", "c/1"] {
        client.put(&format!("/ccc/{name}"), b"x").await;
    }
    let page = text(&client.get("/ccc?restype=container&comp=list&delimiter=%2F").await);
    assert_eq!(names(&page).0, ["a", "b/", "b0", "c/"]);
    assert!(page.contains("<BlobPrefix><Name>b/</Name></BlobPrefix>"), "{page}");
    let first = "/ccc?restype=container&comp=list&delimiter=%2F&maxresults=2";
    let (two, marker) = names(&text(&client.get(first).await));
    assert_eq!(two, ["a", "b/"]);
    let (rest, end) = names(&text(&client.get(&format!("{first}&marker={}", encode(&marker))).await));
    assert_eq!((rest, end.as_str()), (vec!["b0".to_owned(), "c/".to_owned()], ""));
}

#[tokio::test(start_paused = true)]
async fn a_listing_has_the_services_shape() {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    let headers = [("x-ms-blob-type", "BlockBlob"), ("x-ms-meta-k", "<v>")];
    let put = client.send("PUT", "/ccc/a%20%26%20b", &headers, b"abc").await;
    client.put("/ccc/odd%EF%BF%BE", b"").await;
    let page = text(&client.get("/ccc?restype=container&comp=list&include=metadata%2Ccopy").await);
    let etag = header(&put, "etag").trim_matches('"').to_owned();
    for part in [
        "<EnumerationResults ServiceEndpoint=\"https://acct.blob.core.windows.net/\" ContainerName=\"ccc\"><Blobs><Blob>\
         <Name>a &amp; b</Name><Properties><Creation-Time>Sun, 22 Nov 2026 13:00:0",
        &format!("<Etag>{etag}</Etag><Content-Length>3</Content-Length>"),
        "<BlobType>BlockBlob</BlobType>",
        "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState>",
        "</Properties><Metadata><k>&lt;v&gt;</k></Metadata>",
        "<Name Encoded=\"true\">odd%EF%BF%BE</Name>",
        "</Blobs><NextMarker /></EnumerationResults>",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[tokio::test(start_paused = true)]
async fn odd_page_lengths_and_markers_are_refused() {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    for (query, code) in [
        ("maxresults=0", "OutOfRangeQueryParameterValue"),
        ("maxresults=many", "InvalidQueryParameterValue"),
        ("marker=nonsense!%3F", "InvalidQueryParameterValue"),
    ] {
        let response = client.get(&format!("/ccc?restype=container&comp=list&{query}")).await;
        assert_eq!(refusal(&response), (400, code), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_thousand_blobs_are_listed_in_four_pages() {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    {
        // Put without the clock, with one SAS for all.
        let mut world = client.sim.world();
        let sas = {
            let now = world.now();
            let se = format!("{}-12-31", now.year());
            let lines =
                ["cw", "", &se, "/blob/acct/ccc", "", "", "", VERSION, "c", "", "", "", "", "", "", ""];
            let key = world.storage.accounts["acct"].keys[1].clone();
            format!("sp=cw&se={se}&sv={VERSION}&sr=c&sig={}", encode(&hmac(&key, &lines.join("\n"))))
        };
        for index in 0..20_000 {
            let path = format!("/ccc/{index:06}");
            let request = http::Request::put(format!("https://acct.blob.core.windows.net{path}?{sas}"))
                .header("x-ms-blob-type", "BlockBlob")
                .body(bytes::Bytes::new())
                .unwrap();
            let response = azure_sim::storage::handle(&mut world, "acct", &path, &request);
            assert_eq!(status(&response), 201, "{}", text(&response));
        }
    }
    let mut marker = String::new();
    let mut count = 0;
    for page in 1.. {
        let target = format!("/ccc?restype=container&comp=list&marker={}", encode(&marker));
        let (names, next) = names(&text(&client.get(&target).await));
        count += names.len();
        if next.is_empty() {
            assert_eq!((page, count), (4, 20_000));
            break;
        }
        marker = next;
    }
}
