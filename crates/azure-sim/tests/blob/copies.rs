use std::time::Duration;

use azure_sim::{
    Sim,
    fault::CopyFault,
    latency::{Profile, Span},
    storage,
    work::WorkKind,
};

use crate::client::*;

/// 64 GiB: a little over 17 minutes at 64 MiB per second.
const DISK: u64 = 64 << 30;
const DISK_ID: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/os";

async fn destination(sim: &Sim) -> Client {
    let client = account(sim, "target");
    client.create_container("vhds").await;
    client
}

fn open(sim: &Sim, hours: u64) -> String {
    let mut world = sim.world();
    let expires = world.now() + Duration::from_secs(hours * 3600);
    storage::open_export(&mut world, DISK_ID, DISK, expires)
}

async fn wait(sim: &Sim, seconds: u64) {
    sim.clock().sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_is_copied_with_progress_and_arrives_whole() {
    let sim = azure();
    let client = destination(&sim).await;
    let source = open(&sim, 10);
    let started = client.copy("/vhds/os.vhd", &source).await;
    assert_eq!((status(&started), header(&started, "x-ms-copy-status")), (202, "pending"));
    let first = client.head("/vhds/os.vhd").await;
    // The full length is there at once and proves nothing.
    assert_eq!(header(&first, "content-length"), (DISK + 512).to_string());
    assert_eq!(header(&first, "x-ms-blob-type"), "PageBlob");
    let zero = client.send("GET", "/vhds/os.vhd", &[("range", "bytes=0-511")], b"").await;
    assert_eq!(zero.body()[..], [0; 512]);
    wait(&sim, 512).await;
    let half = client.head("/vhds/os.vhd").await;
    let (copied, total) = header(&half, "x-ms-copy-progress").split_once('/').unwrap();
    let share = copied.parse::<f64>().unwrap() / total.parse::<f64>().unwrap();
    assert!((0.5..0.51).contains(&share), "{share}");
    assert_ne!(header(&half, "etag"), header(&first, "etag"));
    assert_eq!(header(&half, "x-ms-copy-completion-time"), "");
    assert_eq!(header(&half, "x-ms-copy-source"), source.split("&sig=").next().unwrap());
    wait(&sim, 513).await;
    let end = client.head("/vhds/os.vhd").await;
    assert_eq!(header(&end, "x-ms-copy-status"), "success");
    assert_eq!(header(&end, "x-ms-copy-id"), header(&started, "x-ms-copy-id"));
    assert_eq!(header(&end, "x-ms-copy-progress"), format!("{0}/{0}", DISK + 512));
    assert_ne!(header(&end, "x-ms-copy-completion-time"), "");
    assert_eq!(header(&client.head("/vhds/os.vhd").await, "etag"), header(&end, "etag"));
    let world = sim.world();
    let summary = storage::blob(&world, &client.url("/vhds/os.vhd")).unwrap();
    assert_eq!(summary.content, storage::disk_content(DISK_ID, DISK));
    assert!(summary.is_fixed_vhd);
    let work = world.work.back().unwrap();
    assert_eq!((work.kind, work.subject.as_str()), (WorkKind::BlobCopy, client.url("/vhds/os.vhd").as_str()));
    assert!(work.succeeded && (work.seconds() - 1024.0).abs() < 1.0, "{work:?}");
}

#[tokio::test(start_paused = true)]
async fn a_vhd_goes_on_to_another_account_with_a_sas_and_stays_the_same() {
    let sim = azure();
    let client = destination(&sim).await;
    client
        .send("PUT", "/vhds/os.vhd", &[("x-ms-copy-source", &open(&sim, 10)), ("x-ms-meta-run", "1")], b"")
        .await;
    wait(&sim, 1100).await;
    let far = account_in(&sim, "far", "eastus");
    far.create_container("vhds").await;
    let sas = client.service_sas("/vhds/os.vhd", "r", "2026-11-23T13:00:00Z");
    let source = client.url(&format!("/vhds/os.vhd?{sas}"));
    let started = far.copy("/vhds/copy.vhd", &source).await;
    assert_eq!(status(&started), 202, "{}", text(&started));
    // Between regions it takes four times as long here.
    wait(&sim, 4000).await;
    assert_eq!(header(&far.head("/vhds/copy.vhd").await, "x-ms-copy-status"), "pending");
    wait(&sim, 100).await;
    let end = far.head("/vhds/copy.vhd").await;
    assert_eq!((header(&end, "x-ms-copy-status"), header(&end, "x-ms-meta-run")), ("success", "1"));
    let world = sim.world();
    let content = |client: &Client, target| storage::blob(&world, &client.url(target)).unwrap().content;
    assert_eq!(content(&far, "/vhds/copy.vhd"), content(&client, "/vhds/os.vhd"));
    assert_eq!(content(&far, "/vhds/copy.vhd"), storage::disk_content(&DISK_ID.to_uppercase(), DISK));
}

#[tokio::test(start_paused = true)]
async fn while_a_copy_is_pending_nobody_else_may_change_its_destination() {
    let sim = azure();
    let client = destination(&sim).await;
    let source = open(&sim, 10);
    client.copy("/vhds/os.vhd", &source).await;
    let page = [("x-ms-range", "bytes=0-511"), ("x-ms-page-write", "clear")];
    let lease = [("x-ms-lease-action", "acquire"), ("x-ms-lease-duration", "-1")];
    let block = [("x-ms-blob-type", "BlockBlob")];
    let again = [("x-ms-copy-source", source.as_str())];
    for (method, target, headers) in [
        ("PUT", "/vhds/os.vhd", &again[..]),
        ("PUT", "/vhds/os.vhd", &block[..]),
        ("PUT", "/vhds/os.vhd?comp=page", &page[..]),
        ("PUT", "/vhds/os.vhd?comp=metadata", &[]),
        ("PUT", "/vhds/os.vhd?comp=properties", &[]),
        ("PUT", "/vhds/os.vhd?comp=snapshot", &[]),
        ("PUT", "/vhds/os.vhd?comp=lease", &lease[..]),
        ("DELETE", "/vhds/os.vhd", &[]),
    ] {
        let response = client.send(method, target, headers, b"").await;
        assert_eq!(refusal(&response), (409, "PendingCopyOperation"), "{method} {target} {headers:?}");
    }
    let only_new = [("x-ms-copy-source", source.as_str()), ("if-none-match", "*")];
    let refused = client.send("PUT", "/vhds/os.vhd", &only_new, b"").await;
    assert_eq!(refusal(&refused), (412, "TargetConditionNotMet"));
    wait(&sim, 1100).await;
    assert_eq!(status(&client.send("PUT", "/vhds/os.vhd?comp=metadata", &[], b"").await), 200);
    assert_eq!(status(&client.delete("/vhds/os.vhd").await), 202);
}

#[tokio::test(start_paused = true)]
async fn an_aborted_copy_leaves_an_empty_blob() {
    let sim = azure();
    let client = destination(&sim).await;
    let started = client.copy("/vhds/os.vhd", &open(&sim, 10)).await;
    let id = header(&started, "x-ms-copy-id");
    wait(&sim, 100).await;
    let abort = async |id: &str| {
        let target = format!("/vhds/os.vhd?comp=copy&copyid={id}");
        client.send("PUT", &target, &[("x-ms-copy-action", "abort")], b"").await
    };
    let other = abort("11111111-1111-1111-1111-111111111111").await;
    assert_eq!(refusal(&other), (409, "CopyIdMismatch"));
    assert_eq!(status(&abort(id).await), 204);
    assert_eq!(refusal(&abort(id).await), (409, "NoPendingCopyOperation"));
    wait(&sim, 2000).await;
    let head = client.head("/vhds/os.vhd").await;
    assert_eq!((header(&head, "x-ms-copy-status"), header(&head, "content-length")), ("aborted", "0"));
    let ended: Vec<bool> = sim.world().work.iter().map(|work| work.succeeded).collect();
    assert_eq!(ended, [false]);
    assert_eq!(status(&client.delete("/vhds/os.vhd").await), 202);
}

#[tokio::test(start_paused = true)]
async fn a_copy_fails_when_its_disk_is_closed_or_its_sas_runs_out() {
    let sim = azure();
    let client = destination(&sim).await;
    client.copy("/vhds/closed", &open(&sim, 10)).await;
    wait(&sim, 60).await;
    storage::close_export(&mut sim.world(), &DISK_ID.to_uppercase());
    let head = client.head("/vhds/closed").await;
    assert_eq!((header(&head, "x-ms-copy-status"), header(&head, "content-length")), ("failed", "0"));
    let description = header(&head, "x-ms-copy-status-description");
    assert_eq!(description, "404 ResourceNotFound \"Copy failed when reading the source.\"");

    let short = {
        let mut world = sim.world();
        let expires = world.now() + Duration::from_secs(300);
        storage::open_export(&mut world, DISK_ID, DISK, expires)
    };
    client.copy("/vhds/expired", &short).await;
    client.copy("/vhds/longer", &short).await;
    wait(&sim, 299).await;
    assert_eq!(header(&client.head("/vhds/expired").await, "x-ms-copy-status"), "pending");
    wait(&sim, 2).await;
    let head = client.head("/vhds/expired").await;
    let description = header(&head, "x-ms-copy-status-description");
    assert_eq!(description, "403 AuthenticationFailed \"Copy failed when reading the source.\"");

    let sas = client.service_sas("/vhds/src", "r", "2026-11-22T13:30:00Z");
    client
        .send(
            "PUT",
            "/vhds/src",
            &[("x-ms-blob-type", "PageBlob"), ("x-ms-blob-content-length", "1099511627776")],
            b"",
        )
        .await;
    let other = account(&sim, "other");
    other.create_container("vhds").await;
    other.copy("/vhds/b", &client.url(&format!("/vhds/src?{sas}"))).await;
    wait(&sim, 1800).await;
    assert_eq!(header(&other.head("/vhds/b").await, "x-ms-copy-status-description"), description);
}

#[tokio::test(start_paused = true)]
async fn a_copy_fails_when_its_source_is_written_or_deleted() {
    let sim = azure();
    let client = destination(&sim).await;
    let other = account(&sim, "other");
    other.create_container("ccc").await;
    let create = [("x-ms-blob-type", "PageBlob"), ("x-ms-blob-content-length", "68719476736")];
    for (name, description) in [
        ("changed", "412 ConditionNotMet \"Copy failed when reading the source.\""),
        ("deleted", "404 ResourceNotFound \"Copy failed when reading the source.\""),
    ] {
        let target = format!("/vhds/{name}");
        client.send("PUT", &target, &create, b"").await;
        let sas = client.service_sas(&target, "r", "2026-12-01");
        let copy = format!("/ccc/{name}");
        let started = other.copy(&copy, &client.url(&format!("{target}?{sas}"))).await;
        assert_eq!(header(&started, "x-ms-copy-status"), "pending");
        wait(&sim, 60).await;
        match name {
            "changed" => client.send("PUT", &format!("{target}?comp=metadata"), &[], b"").await,
            _ => client.delete(&target).await,
        };
        let head = other.head(&copy).await;
        assert_eq!(
            (header(&head, "x-ms-copy-status"), header(&head, "x-ms-copy-status-description")),
            ("failed", description)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_source_must_be_readable_for_everybody_or_by_its_sas() {
    let sim = azure();
    let client = destination(&sim).await;
    let other = account(&sim, "other");
    other.create_container("ccc").await;
    other.put("/ccc/b", b"data").await;
    let plain = other.url("/ccc/b");
    let refused = client.copy("/vhds/b", &plain).await;
    assert_eq!(refusal(&refused), (404, "CannotVerifyCopySource"));
    // A token for the destination does not help in another account.
    let bearer = client.bearer();
    let headers =
        [("authorization", bearer.as_str()), ("x-ms-version", VERSION), ("x-ms-copy-source", plain.as_str())];
    assert_eq!(
        refusal(&client.plain("PUT", "/vhds/b", &headers, b"").await),
        (404, "CannotVerifyCopySource")
    );
    let with = |sas: String| format!("{plain}?{sas}");
    let good = other.service_sas("/ccc/b", "r", "2026-12-01");
    for (sas, status) in [
        (other.service_sas("/ccc/b", "w", "2026-12-01"), 403),
        (other.service_sas("/ccc/b", "r", "2026-11-22T12:59:59Z"), 403),
        (other.service_sas("/ccc/other", "r", "2026-12-01"), 403),
        (good.replace("sp=r", "sp=rw"), 403),
    ] {
        let refused = client.copy("/vhds/b", &with(sas.clone())).await;
        assert_eq!(refusal(&refused), (status, "CannotVerifyCopySource"), "{sas}");
    }
    let missing = other.url(&format!("/ccc/none?{}", other.service_sas("/ccc/none", "r", "2026-12-01")));
    assert_eq!(refusal(&client.copy("/vhds/b", &missing).await), (404, "CannotVerifyCopySource"));
    assert_eq!(refusal(&client.head("/vhds/b").await), (404, "BlobNotFound"));
    assert_eq!(status(&client.copy("/vhds/b", &with(good)).await), 202);
    other.send("PUT", "/ccc?restype=container&comp=acl", &[("x-ms-blob-public-access", "blob")], b"").await;
    assert_eq!(status(&client.copy("/vhds/public", &plain).await), 202);
    sim.world().storage.accounts.get_mut("other").unwrap().allow_blob_public_access = false;
    let refused = client.copy("/vhds/closed", &plain).await;
    assert_eq!(refusal(&refused), (409, "CannotVerifyCopySource"));
}

#[tokio::test(start_paused = true)]
async fn a_source_is_a_whole_url() {
    let sim = azure();
    let client = destination(&sim).await;
    for source in ["nonsense", "/vhds/a", "https://"] {
        assert_eq!(refusal(&client.copy("/vhds/b", source).await), (400, "InvalidHeaderValue"), "{source}");
    }
    let nobody = client.copy("/vhds/b", "https://nobody.example/a").await;
    assert_eq!(refusal(&nobody), (500, "CannotVerifyCopySource"));
}

#[tokio::test(start_paused = true)]
async fn copies_obey_conditions_on_both_ends() {
    let sim = azure();
    let client = destination(&sim).await;
    let source = client.put("/vhds/a", b"a").await;
    let target = client.put("/vhds/b", b"b").await;
    let url = client.url("/vhds/a");
    let copy = async |name, value| {
        let headers = [("x-ms-copy-source", url.as_str()), (name, value)];
        client.send("PUT", "/vhds/b", &headers, b"").await
    };
    for (name, value, code) in [
        ("if-none-match", "*", "TargetConditionNotMet"),
        ("if-match", header(&source, "etag"), "TargetConditionNotMet"),
        ("x-ms-source-if-match", header(&target, "etag"), "SourceConditionNotMet"),
        ("x-ms-source-if-none-match", header(&source, "etag"), "SourceConditionNotMet"),
    ] {
        assert_eq!(refusal(&copy(name, value).await), (412, code), "{name}");
    }
    assert_eq!(status(&copy("if-match", header(&target, "etag")).await), 202);
    assert_eq!(text(&client.get("/vhds/b").await), "a");
    client
        .send("PUT", "/vhds/p", &[("x-ms-blob-type", "PageBlob"), ("x-ms-blob-content-length", "512")], b"")
        .await;
    assert_eq!(refusal(&client.copy("/vhds/p", &url).await), (409, "InvalidBlobType"));
    let long = format!("{url}?x={}", "y".repeat(2048));
    assert_eq!(refusal(&client.copy("/vhds/ccc", &long).await), (400, "InvalidHeaderValue"));
}

#[tokio::test(start_paused = true)]
async fn within_an_account_a_copy_is_done_at_once_and_takes_metadata_over() {
    let client = destination(&azure()).await;
    client.send("PUT", "/vhds/a", &[("x-ms-blob-type", "BlockBlob"), ("x-ms-meta-k", "v")], b"a").await;
    let done = client.copy("/vhds/b", &client.url("/vhds/a")).await;
    assert_eq!((status(&done), header(&done, "x-ms-copy-status")), (202, "success"));
    assert_eq!(header(&client.head("/vhds/b").await, "x-ms-meta-k"), "v");
    let url = client.url("/vhds/a");
    client.send("PUT", "/vhds/b", &[("x-ms-copy-source", &url), ("x-ms-meta-other", "1")], b"").await;
    let head = client.head("/vhds/b").await;
    assert_eq!((header(&head, "x-ms-meta-k"), header(&head, "x-ms-meta-other")), ("", "1"));
    client.put("/vhds/b", b"rewritten").await;
    assert_eq!(header(&client.head("/vhds/b").await, "x-ms-copy-id"), "");
}

#[tokio::test(start_paused = true)]
async fn a_fault_ends_a_copy_where_the_test_wants_it() {
    let sim = azure();
    let client = destination(&sim).await;
    sim.world().faults.copies.push(CopyFault {
        destination_part: "/VHDS/OS".to_owned(),
        at_fraction: 0.25,
        times: 1,
        description: "500 InternalError \"broken\"".to_owned(),
    });
    let source = open(&sim, 10);
    client.copy("/vhds/os.vhd", &source).await;
    wait(&sim, 257).await;
    let head = client.head("/vhds/os.vhd").await;
    assert_eq!(header(&head, "x-ms-copy-status-description"), "500 InternalError \"broken\"");
    let (copied, total) = header(&head, "x-ms-copy-progress").split_once('/').unwrap();
    let share = copied.parse::<f64>().unwrap() / total.parse::<f64>().unwrap();
    assert!((share - 0.25).abs() < 0.01, "{share}");
    client.copy("/vhds/os.vhd", &source).await;
    wait(&sim, 1100).await;
    assert_eq!(header(&client.head("/vhds/os.vhd").await, "x-ms-copy-status"), "success");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_cannot_read_for_a_while_says_so_and_goes_on() {
    let sim = azure_with(Profile {
        copy_mib_per_second: Span::seconds(64.0, 64.0),
        copy_stall_share: 1.0,
        copy_stall: Span::seconds(100.0, 100.0),
        ..Profile::default()
    });
    let client = destination(&sim).await;
    client.copy("/vhds/os.vhd", &open(&sim, 10)).await;
    let mut retrying = 0;
    for _ in 0..112 {
        wait(&sim, 10).await;
        let head = client.head("/vhds/os.vhd").await;
        let description = header(&head, "x-ms-copy-status-description");
        if !description.is_empty() {
            assert_eq!(header(&head, "x-ms-copy-status"), "pending");
            assert!(
                description.starts_with("502 BadGateway \"Encountered a retryable error"),
                "{description}"
            );
            retrying += 1;
        }
    }
    assert!((9..=11).contains(&retrying), "{retrying}");
    wait(&sim, 10).await;
    assert_eq!(header(&client.head("/vhds/os.vhd").await, "x-ms-copy-status"), "success");
}

#[tokio::test(start_paused = true)]
async fn after_two_weeks_a_copy_is_cancelled() {
    let sim = azure_with(Profile { copy_mib_per_second: Span::seconds(0.01, 0.01), ..Profile::default() });
    let client = destination(&sim).await;
    client.copy("/vhds/os.vhd", &open(&sim, 24 * 30)).await;
    wait(&sim, 14 * 24 * 3600 - 10).await;
    assert_eq!(header(&client.head("/vhds/os.vhd").await, "x-ms-copy-status"), "pending");
    wait(&sim, 10).await;
    let head = client.head("/vhds/os.vhd").await;
    assert_eq!((header(&head, "x-ms-copy-status"), header(&head, "content-length")), ("failed", "0"));
    let description = header(&head, "x-ms-copy-status-description");
    assert_eq!(description, "500 OperationCancelled \"The copy failed when reading the source.\"");
}

#[tokio::test(start_paused = true)]
async fn small_copies_are_made_before_the_answer() {
    let sim = azure();
    let client = destination(&sim).await;
    let other = account(&sim, "other");
    other.create_container("ccc").await;
    other.put("/ccc/b", b"data").await;
    let source = other.url("/ccc/b");
    let bearer = client.bearer();
    let headers = [("x-ms-copy-source", source.as_str()), ("x-ms-requires-sync", "true")];
    assert_eq!(refusal(&client.send("PUT", "/vhds/b", &headers, b"").await), (404, "CannotVerifyCopySource"));
    let with_token = [&headers[..], &[("x-ms-copy-source-authorization", bearer.as_str())]].concat();
    let done = client.send("PUT", "/vhds/b", &with_token, b"").await;
    assert_eq!((status(&done), header(&done, "x-ms-copy-status")), (202, "success"));
    assert_eq!(text(&client.get("/vhds/b").await), "data");

    let as_put = [
        ("x-ms-copy-source", source.as_str()),
        ("x-ms-copy-source-authorization", bearer.as_str()),
        ("x-ms-blob-type", "BlockBlob"),
    ];
    let put = client.send("PUT", "/vhds/put", &as_put, b"").await;
    assert_eq!(status(&put), 201, "{}", text(&put));
    let got = client.get("/vhds/put").await;
    assert_eq!((text(&got).as_str(), header(&got, "x-ms-copy-id")), ("data", ""));
    let only_new = [&as_put[..], &[("if-none-match", "*")]].concat();
    assert_eq!(refusal(&client.send("PUT", "/vhds/put", &only_new, b"").await), (409, "BlobAlreadyExists"));

    let disk = open(&sim, 1);
    client
        .send("PUT", "/vhds/p", &[("x-ms-blob-type", "PageBlob"), ("x-ms-blob-content-length", "4096")], b"")
        .await;
    let headers = [
        ("x-ms-copy-source", disk.as_str()),
        ("x-ms-page-write", "update"),
        ("x-ms-range", "bytes=512-1535"),
        ("x-ms-source-range", "bytes=4096-5119"),
    ];
    let response = client.send("PUT", "/vhds/p?comp=page", &headers, b"").await;
    assert_eq!(status(&response), 201, "{}", text(&response));
    let got = client.send("GET", "/vhds/p", &[("range", "bytes=512-1535")], b"").await;
    let uri = disk.parse().unwrap();
    let mut request = azure_sim::Request::default();
    *request.uri_mut() = uri;
    request.headers_mut().insert("range", "bytes=4096-5119".parse().unwrap());
    let original = sim.call(request).await.unwrap();
    assert_eq!((status(&original), got.body()), (206, original.body()));
}
