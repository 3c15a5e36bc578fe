//! Blobs against the scripted Azure. The signatures were made with azure-storage-blob 12.19.1 for Python.

use std::{collections::BTreeMap, sync::Arc};

use azure_core::http::headers::{HeaderName, Headers};
use time::macros::datetime;
use url::Url;

use super::super::tests::{Reply, Script, azure, azure_at};
use super::*;
use crate::azure::ErrorKind;

/// The public key of the storage emulator's account.
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const ACCOUNT: &str = "devstoreaccount1";
const ENDPOINT: &str = "https://devstoreaccount1.blob.core.windows.net/";
const EMULATOR: &str = "http://127.0.0.1:10000/devstoreaccount1";

fn shared_key() -> BlobAuthorization {
    BlobAuthorization::SharedKey { account: ACCOUNT.to_owned(), key: Secret::new(KEY.to_owned()) }
}

fn container() -> (Container, Arc<Script>) {
    let (azure, script) = azure();
    let endpoint = Url::parse(ENDPOINT).unwrap();
    (azure.container(&endpoint, "vhds", shared_key()).unwrap(), script)
}

fn signature(method: &str, url: &str, pairs: &[(&'static str, &str)]) -> String {
    let mut headers = Headers::new();
    for (name, value) in pairs {
        headers.insert(HeaderName::from_static(name), (*value).to_owned());
    }
    let key = AccountKey::new(ACCOUNT.to_owned(), &Secret::new(KEY.to_owned())).unwrap();
    let text = shared_key::string_to_sign(method, &Url::parse(url).unwrap(), &headers, Some(0), ACCOUNT);
    key.sign(&text)
}

const DATE: (&str, &str) = ("x-ms-date", "Sun, 22 Nov 2026 13:00:00 GMT");
const API: (&str, &str) = ("x-ms-version", "2023-11-03");

#[test]
fn shared_key_signs_as_microsofts_own_library_does() {
    let put = [
        ("content-length", "17"),
        ("content-type", "application/octet-stream"),
        ("if-none-match", "*"),
        ("x-ms-blob-content-type", "application/json"),
        ("x-ms-blob-type", "BlockBlob"),
        DATE,
        ("x-ms-meta-run", "r1"),
        API,
    ];
    let url = "https://devstoreaccount1.blob.core.windows.net/imagefactoryvhds/runs/a%20b.json";
    assert_eq!(signature("PUT", url, &put), "XeQgnabXQsIp50ffOIzSJUgV2x3QyC9ykims+3omVlQ=");
    let url = "http://127.0.0.1:10000/devstoreaccount1/c?comp=list&restype=container&prefix=runs%2F&include=metadata";
    assert_eq!(signature("GET", url, &[DATE, API]), "+m1QNSN2Uvhsm51KR0nFbOPN+CCOZgrwui3C4wXVXFA=");
    let url = "https://devstoreaccount1.blob.core.windows.net/c/b";
    let range = [("range", "bytes=0-4194303"), DATE, API, ("date", "ignored")];
    // That library sends x-ms-range; this is the documented text, signed by Python's own hmac module.
    assert_eq!(signature("GET", url, &range), "0N3ylCne1O7lY7hESiGBlst2dN8dEbJd+jL/fYchQ3Q=");
}

/// The example of <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>.
#[test]
fn the_text_that_is_signed_is_the_one_of_microsofts_documentation() {
    let mut headers = Headers::new();
    headers.insert(HeaderName::from_static("x-ms-version"), "2015-02-21");
    headers.insert(HeaderName::from_static("x-ms-date"), "Fri, 26 Jun 2015 23:39:12 GMT");
    let url = Url::parse(
        "https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20",
    );
    assert_eq!(
        shared_key::string_to_sign("GET", &url.unwrap(), &headers, None, "myaccount"),
        "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
    );
}

#[tokio::test(start_paused = true)]
async fn a_sas_is_signed_as_microsofts_own_library_does() {
    let (azure, _) = azure();
    let expires = datetime!(2026-11-23 15:00:00.9 +2);
    let sas = |endpoint: &str, blob: &str| {
        let container =
            azure.container(&Url::parse(endpoint).unwrap(), "imagefactoryvhds", shared_key()).unwrap();
        let sas = container.sas_url(blob, "r", expires).unwrap();
        assert_eq!(format!("{sas:?}{sas}"), "******");
        let url = Url::parse(sas.expose()).unwrap();
        let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        (url.path().to_owned(), query)
    };
    let (path, query) = sas(ENDPOINT, "5f0c.vhd");
    assert_eq!(path, "/imagefactoryvhds/5f0c.vhd");
    let expected = [
        ("se", "2026-11-23T13:00:00Z"),
        ("sig", "SUmRPXJEN1cPEqBxDN5pJT2V2Xd2QZhvdIymMrXNXV0="),
        ("sp", "r"),
        ("spr", "https"),
        ("sr", "b"),
        ("sv", "2023-11-03"),
    ];
    assert_eq!(query.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect::<Vec<_>>(), expected);
    let (path, query) = sas(EMULATOR, "a dir/x y.vhd");
    assert_eq!(path, "/devstoreaccount1/imagefactoryvhds/a%20dir/x%20y.vhd");
    assert_eq!(query["sig"], "kXlyoqBCzLWY6hV5WNDdfD4O17zH3sam+0Zrt6udSok=");

    let bearer = azure.container(&Url::parse(ENDPOINT).unwrap(), "c", BlobAuthorization::Bearer).unwrap();
    assert_eq!(bearer.sas_url("b", "r", expires).unwrap_err().code, "NoAccountKey");
}

#[tokio::test(start_paused = true)]
async fn a_user_delegation_sas_is_signed_as_microsofts_own_library_does() {
    let (azure, script) = azure();
    let endpoint = Url::parse(ENDPOINT).unwrap();
    let container = azure.container(&endpoint, "imagefactoryvhds", BlobAuthorization::Bearer).unwrap();
    let lent = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><UserDelegationKey>\
         <SignedOid>11111111-1111-1111-1111-111111111111</SignedOid>\
         <SignedTid>22222222-2222-2222-2222-222222222222</SignedTid>\
         <SignedStart>2026-11-22T13:00:00Z</SignedStart><SignedExpiry>2026-11-23T13:00:00Z</SignedExpiry>\
         <SignedService>b</SignedService><SignedVersion>2023-11-03</SignedVersion><Value>{KEY}</Value>\
         </UserDelegationKey>"
    );
    script.on("POST /", Reply::bytes(200, lent));
    script.on("POST /", Reply::bytes(200, format!("<Wrong><Value>{KEY}</Value></Wrong>")));
    let expires = datetime!(2026-11-23 13:00 UTC);
    let sas = container.user_delegation_sas_url(ACCOUNT, "5f0c.vhd", "r", expires).await.unwrap();
    let asked = script.last();
    assert_eq!(asked.query("comp").as_deref(), Some("userdelegationkey"));
    let body = String::from_utf8(asked.body.clone()).unwrap();
    assert!(body.contains("<Start>2026-11-22T12:45:00Z</Start>"), "{body}");
    assert!(body.contains("<Expiry>2026-11-23T15:00:00Z</Expiry>"), "{body}");
    let url = Url::parse(sas.expose()).unwrap();
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    assert_eq!(query["sig"], "sNm8UGWjvLtOkgzHerB+O2Fk2uW6boRnNqJ+vgCzKOA=");
    assert_eq!((query["sks"].as_str(), query["skt"].as_str()), ("b", "2026-11-22T13:00:00Z"));
    let narrow = [("sp", "r"), ("sr", "b"), ("spr", "https"), ("st", "2026-11-22T12:45:00Z")];
    for (name, value) in narrow {
        assert_eq!(query[name], value, "{name}");
    }
    assert_eq!(query["se"], "2026-11-23T13:00:00Z");

    // The key is good for others that end soon after.
    let later = expires + time::Duration::hours(1);
    container.user_delegation_sas_url(ACCOUNT, "6a1d.vhd", "r", later).await.unwrap();
    assert_eq!(script.seen().len(), 1);
    let error = container
        .user_delegation_sas_url(ACCOUNT, "5f0c.vhd", "r", expires + time::Duration::hours(2))
        .await
        .unwrap_err();
    assert_eq!(script.seen().len(), 2, "a SAS never outlives its key");
    assert!(!format!("{error:?}").contains(KEY), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn no_key_is_asked_for_longer_than_the_service_lends_it() {
    let (azure, script) = azure();
    let endpoint = Url::parse(ENDPOINT).unwrap();
    let container = azure.container(&endpoint, "imagefactoryvhds", BlobAuthorization::Bearer).unwrap();
    let lent = format!(
        "<UserDelegationKey><SignedOid>o</SignedOid><SignedTid>t</SignedTid><SignedStart>s</SignedStart>\
         <SignedExpiry>e</SignedExpiry><SignedService>b</SignedService><SignedVersion>2023-11-03</SignedVersion>\
         <Value>{KEY}</Value></UserDelegationKey>"
    );
    script.on("POST /", Reply::bytes(200, lent));
    let in_a_month = datetime!(2026-12-22 13:00 UTC);
    let sas = container.user_delegation_sas_url(ACCOUNT, "5f0c.vhd", "r", in_a_month).await.unwrap();
    let body = String::from_utf8(script.last().body).unwrap();
    assert!(body.contains("<Expiry>2026-11-29T12:45:00Z</Expiry>"), "{body}");
    let url = Url::parse(sas.expose()).unwrap();
    let (_, ends) = url.query_pairs().find(|(name, _)| name == "se").unwrap();
    assert_eq!(ends, "2026-11-29T12:44:00Z", "before the key");
}

#[tokio::test(start_paused = true)]
async fn a_blob_is_written_signed_under_its_condition() {
    let (container, script) = container();
    let exists =
        Reply::bytes(409, "<Error><Code>BlobAlreadyExists</Code><Message>There is one.</Message></Error>");
    script.on("PUT /vhds/runs/r.json", Reply::empty(201).with("etag", "\"0x1\""));
    script.on("PUT /vhds/runs/r.json", exists.with("x-ms-error-code", "BlobAlreadyExists"));
    script.on("PUT /vhds/runs/r.json", Reply::empty(412).with("x-ms-error-code", "ConditionNotMet"));
    let metadata = BTreeMap::from([("Run".to_owned(), "r 1".to_owned())]);
    let etag = container.put("runs/r.json", "{}", &metadata, Condition::None).await.unwrap();
    assert_eq!(etag.as_str(), "\"0x1\"");
    let seen = script.last();
    assert_eq!((seen.body.as_slice(), seen.header("x-ms-meta-run")), (b"{}".as_slice(), "r 1"));
    assert_eq!((seen.header("x-ms-blob-type"), seen.header("x-ms-version")), ("BlockBlob", "2023-11-03"));
    assert_eq!(seen.header("x-ms-date"), "Sun, 22 Nov 2026 13:00:00 GMT");
    assert!(seen.header("authorization").starts_with("SharedKey devstoreaccount1:"));
    assert!(script.credential.scopes.lock().unwrap().is_empty(), "no token is needed");

    let error = container.put("runs/r.json", "{}", &metadata, Condition::IfMissing).await.unwrap_err();
    assert_eq!(script.last().header("if-none-match"), "*");
    assert!(error.is_precondition());
    assert_eq!(error.to_string(), "PUT blob vhds/runs/r.json: BlobAlreadyExists: There is one.");
    let error = container.put("runs/r.json", "{}", &metadata, Condition::IfMatch(etag)).await.unwrap_err();
    assert_eq!(script.last().header("if-match"), "\"0x1\"");
    assert!(error.is_precondition());
}

#[tokio::test(start_paused = true)]
async fn what_is_signed_is_what_is_sent() {
    let (container, script) = container();
    script.on("PUT /vhds/a.json", Reply::empty(201).with("etag", "e"));
    container.put("a.json", "{\"a\":1}", &BTreeMap::new(), Condition::IfMissing).await.unwrap();
    let seen = script.last();
    let mut headers = Headers::new();
    for (name, value) in &seen.headers {
        headers.insert(HeaderName::from(name.clone()), value.clone());
    }
    let text =
        shared_key::string_to_sign(&seen.method, &seen.url, &headers, Some(seen.body.len() as u64), ACCOUNT);
    let key = AccountKey::new(ACCOUNT.to_owned(), &Secret::new(KEY.to_owned())).unwrap();
    assert_eq!(seen.header("authorization"), format!("SharedKey {ACCOUNT}:{}", key.sign(&text)));
    assert!(text.starts_with("PUT\n\n\n7\n\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_blob_is_read_with_its_etag_and_a_missing_one_is_none() {
    let (container, script) = container();
    let found = Reply::bytes(200, "hello").with("etag", "\"0x2\"").with("content-length", "5");
    script.on("GET /vhds/a.json", found);
    let (bytes, etag) = container.get("a.json").await.unwrap().unwrap();
    assert_eq!((bytes.as_slice(), etag), (b"hello".as_slice(), ETag::from("\"0x2\"")));
    assert_eq!(script.seen().len(), 1);
    assert_eq!(script.last().header("x-ms-version"), VERSION);
    assert_eq!(container.get("b.json").await.unwrap(), None);
    assert_eq!(container.properties("b.json").await.unwrap(), None);
    assert!(!container.delete("b.json").await.unwrap());
    script.on("DELETE /vhds/a.json", Reply::empty(202));
    assert!(container.delete("a.json").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_empty_blob_is_read_too() {
    let (container, script) = container();
    script.on("GET /vhds/empty", Reply::empty(200).with("etag", "e").with("content-length", "0"));
    let (bytes, _) = container.get("empty").await.unwrap().unwrap();
    assert!(bytes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_holds_all_pages_with_metadata() {
    let (container, script) = container();
    let page = |blobs: &str, next: &str| {
        Reply::bytes(
            200,
            format!(
                "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"https://x/\" \
                 ContainerName=\"vhds\"><Prefix>runs/</Prefix><Blobs>{blobs}</Blobs><NextMarker>{next}</NextMarker>\
                 </EnumerationResults>"
            ),
        )
    };
    let blob = "<Blob><Name>runs/a &amp; b.json</Name><Properties><Last-Modified>Sun, 22 Nov 2026 12:00:00 GMT</Last-Modified>\
        <Etag>0x1</Etag><Content-Length>42</Content-Length><BlobType>BlockBlob</BlobType></Properties>\
        <Metadata><Run>r1</Run></Metadata></Blob>";
    let plain = "<Blob><Name>runs/c</Name><Properties><Etag>0x2</Etag></Properties><Metadata /></Blob>";
    script.on("GET /vhds", page(blob, "m1"));
    script.on("GET /vhds", page("", "m2"));
    script.on("GET /vhds", page(plain, ""));
    let items = container.list("runs/").await.unwrap();
    assert_eq!(
        items[0],
        BlobItem {
            name: "runs/a & b.json".to_owned(),
            etag: "0x1".into(),
            length: 42,
            last_modified: Some(datetime!(2026-11-22 12:00 UTC)),
            metadata: [("run".to_owned(), "r1".to_owned())].into(),
        }
    );
    assert_eq!((items[1].name.as_str(), items[1].metadata.len(), items.len()), ("runs/c", 0, 2));
    let seen = script.seen();
    assert_eq!(seen[0].query("include").as_deref(), Some("metadata"));
    assert_eq!(seen[0].query("prefix").as_deref(), Some("runs/"));
    assert_eq!(
        (seen[1].query("marker").as_deref(), seen[2].query("marker").as_deref()),
        (Some("m1"), Some("m2"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_space_in_a_prefix_is_no_plus_sign() {
    for authorization in [shared_key(), BlobAuthorization::Bearer] {
        let (azure, script) = azure();
        let container = azure.container(&Url::parse(ENDPOINT).unwrap(), "vhds", authorization).unwrap();
        let empty = "<EnumerationResults><Blobs /><NextMarker /></EnumerationResults>";
        script.on("GET /vhds", Reply::bytes(200, empty));
        assert_eq!(container.list("Server 2022+ä/").await.unwrap(), []);
        let query = script.last().url.query().unwrap().to_owned();
        assert!(query.contains("prefix=Server%202022%2B%C3%A4%2F"), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_started_watched_and_stopped() {
    let (container, script) = container();
    let source = Secret::new("https://md-x.blob.storage.azure.net/a/b?sv=1&sig=SECRET".to_owned());
    let taken = Reply::empty(202).with("x-ms-copy-id", "c-1").with("x-ms-copy-status", "pending");
    script.on("PUT /vhds/x.vhd", taken);
    script.on("PUT /vhds/x.vhd", Reply::empty(409).with("x-ms-error-code", "PendingCopyOperation"));
    let metadata = BTreeMap::from([("run".to_owned(), "r1".to_owned())]);
    let started = container.start_copy("x.vhd", &source, &metadata).await.unwrap();
    assert_eq!((started.copy_id.as_str(), started.status), ("c-1", CopyStatus::Pending));
    assert_eq!(script.last().header("x-ms-copy-source"), source.expose());
    assert_eq!(script.last().header("x-ms-meta-run"), "r1");
    let error = container.start_copy("x.vhd", &source, &metadata).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Transient { retry_after: None });

    let head = || {
        Reply::empty(200)
            .with("etag", "e")
            .with("content-length", "1024")
            .with("last-modified", "Sun, 22 Nov 2026 12:00:00 GMT")
            .with("x-ms-meta-run", "r1")
            .with("x-ms-copy-id", "c-1")
            .with("x-ms-copy-source", source.expose())
    };
    let pending = head().with("x-ms-copy-status", "pending").with("x-ms-copy-progress", "512/1024");
    let description = "404 ResourceNotFound \"Copy failed when reading https://a/b?sig=SECRET.\"";
    let failed = head().with("x-ms-copy-status", "failed").with("x-ms-copy-progress", "0/");
    script.on("HEAD /vhds/x.vhd", pending);
    script.on("HEAD /vhds/x.vhd", failed.with("x-ms-copy-status-description", description));
    script.on("HEAD /vhds/x.vhd", Reply::empty(200).with("etag", "e").with("content-length", "3"));
    let properties = container.properties("x.vhd").await.unwrap().unwrap();
    assert_eq!((properties.length, properties.metadata["run"].as_str()), (1024, "r1"));
    assert_eq!(properties.last_modified, Some(datetime!(2026-11-22 12:00 UTC)));
    let copy = properties.copy.unwrap();
    assert_eq!((copy.status, copy.copied), (CopyStatus::Pending, Some((512, 1024))));
    assert_eq!(copy.source.as_deref(), Some("https://md-x.blob.storage.azure.net/a/b"));
    let copy = container.properties("x.vhd").await.unwrap().unwrap().copy.unwrap();
    assert_eq!((copy.status, copy.copied), (CopyStatus::Failed, None));
    assert!(
        !format!("{copy:?}").contains("SECRET")
            && copy.description.unwrap().starts_with("404 ResourceNotFound")
    );
    assert_eq!(container.properties("x.vhd").await.unwrap().unwrap().copy, None);

    let (container, script) = self::container();
    script.on("PUT /vhds/x.vhd", Reply::empty(204));
    script.on("PUT /vhds/x.vhd", Reply::empty(409).with("x-ms-error-code", "NoPendingCopyOperation"));
    script.on("PUT /vhds/x.vhd", Reply::empty(409).with("x-ms-error-code", "CopyIdMismatch"));
    container.abort_copy("x.vhd", "c-1").await.unwrap();
    assert_eq!(script.last().query("copyid").as_deref(), Some("c-1"));
    container.abort_copy("x.vhd", "c-1").await.unwrap();
    assert_eq!(container.abort_copy("x.vhd", "c-1").await.unwrap_err().code, "CopyIdMismatch");
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_there_is_fine_and_one_that_goes_is_waited_for() {
    let (container, script) = container();
    script.on("PUT /vhds", Reply::empty(201));
    script.on("PUT /vhds", Reply::empty(409).with("x-ms-error-code", "ContainerAlreadyExists"));
    script.on("PUT /vhds", Reply::empty(409).with("x-ms-error-code", "ContainerBeingDeleted"));
    container.create_if_missing().await.unwrap();
    container.create_if_missing().await.unwrap();
    assert!(container.create_if_missing().await.unwrap_err().is_transient());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_with_a_path_on_this_machine_works_with_key_and_with_token() {
    let (azure, script) = azure_at("http://localhost:9000");
    let endpoint = Url::parse(EMULATOR).unwrap();
    for (authorization, expected) in
        [(shared_key(), "SharedKey "), (BlobAuthorization::Bearer, "Bearer token-1")]
    {
        let container = azure.container(&endpoint, "c", authorization).unwrap();
        assert_eq!(container.url("runs/a b.json"), format!("{EMULATOR}/c/runs/a%20b.json"));
        script.on("PUT /devstoreaccount1/c/b", Reply::empty(201).with("etag", "e"));
        container.put("b", "x", &BTreeMap::new(), Condition::None).await.unwrap();
        assert!(script.last().header("authorization").starts_with(expected));
    }
    assert_eq!(*script.credential.scopes.lock().unwrap(), ["https://storage.azure.com/.default"]);
}

#[tokio::test(start_paused = true)]
async fn what_would_leak_or_cannot_be_sent_is_refused_beforehand() {
    let (azure, script) = azure();
    let foreign = Url::parse("http://acct.blob.core.windows.net/").unwrap();
    for authorization in [shared_key(), BlobAuthorization::Bearer] {
        assert_eq!(azure.container(&foreign, "c", authorization).unwrap_err().code, "InsecureEndpoint");
    }
    let bad_key = BlobAuthorization::SharedKey {
        account: ACCOUNT.to_owned(),
        key: Secret::new("not-base64!".to_owned()),
    };
    assert!(!format!("{bad_key:?}").contains("not-base64"));
    let error = azure.container(&Url::parse(ENDPOINT).unwrap(), "c", bad_key).unwrap_err();
    assert!(error.code == "InvalidAccountKey" && !error.to_string().contains("not-base64"), "{error}");
    let container = azure.container(&Url::parse(ENDPOINT).unwrap(), "c", shared_key()).unwrap();
    for (name, value) in [("bad-name", "x"), ("", "x"), ("run", "line\r\nx-ms-evil: 1"), ("run", "é")] {
        let metadata = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let error = container.put("b", "x", &metadata, Condition::None).await.unwrap_err();
        assert_eq!(error.code, "InvalidMetadata", "{name}: {value}");
    }
    let expires = datetime!(2026-11-23 13:00 UTC);
    for name in ["", "../other/b", "a/./b", "back\\slash"] {
        assert_eq!(container.get(name).await.unwrap_err().code, "InvalidBlobName", "{name}");
        assert_eq!(container.sas_url(name, "r", expires).unwrap_err().code, "InvalidBlobName", "{name}");
    }
    assert!(script.seen().is_empty());
    assert!(!format!("{container:?} {azure:?}").contains(KEY));
}
