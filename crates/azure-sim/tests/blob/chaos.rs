//! Every kind of chance that Blob Storage meets.

use std::{collections::BTreeSet, time::Duration};

use azure_sim::{
    Sim,
    chaos::{Chance, Chances, Struck},
    storage,
};

use crate::client::*;

/// 64 GiB: a little over 17 minutes at 64 MiB per second.
const DISK: u64 = 64 << 30;
const MINUTES: u64 = 1024;
const DISK_ID: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/os";
const VHD: &str = "/imagefactoryvhds/os.vhd";

fn take(sim: &Sim, seed: u64, rates: &[(Chance, f64)]) {
    sim.world().chances = Chances { seed, rates: rates.iter().copied().collect(), until: None };
}

fn always(sim: &Sim, seed: u64, chance: Chance) {
    take(sim, seed, &[(chance, 1.0)]);
}

fn struck(sim: &Sim) -> Vec<Struck> {
    sim.world().struck.clone()
}

async fn destination(sim: &Sim) -> Client {
    let client = account(sim, "target");
    client.create_container("imagefactoryvhds").await;
    client
}

fn open(sim: &Sim) -> String {
    let mut world = sim.world();
    let expires = world.now() + Duration::from_secs(60 * 24 * 3600);
    storage::open_export(&mut world, DISK_ID, DISK, expires)
}

async fn wait(sim: &Sim, seconds: u64) {
    sim.clock().sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn refusals_come_in_the_services_own_words() {
    for (chance, says_when) in [
        (Chance::Throttled, Some(true)),
        (Chance::ThrottledSilently, Some(false)),
        (Chance::ServerError, None),
    ] {
        let sim = azure();
        let client = destination(&sim).await;
        always(&sim, 1, chance);
        let mut codes = BTreeSet::new();
        for _ in 0..60 {
            let answer = client.put("/imagefactoryvhds/a", b"text").await;
            let (status, code) = refusal(&answer);
            codes.insert((status, code.to_owned()));
            let body = text(&answer);
            if code.is_empty() {
                assert!(body.starts_with("<html>"), "{body}");
            } else {
                assert!(body.contains(&format!("<Error><Code>{code}</Code><Message>")), "{body}");
            }
            let wait = answer.headers().get("retry-after");
            if let Some(says_when) = says_when {
                assert_eq!(wait.is_some(), says_when);
            }
        }
        let codes: Vec<(u16, &str)> = codes.iter().map(|(status, code)| (*status, code.as_str())).collect();
        match says_when {
            Some(_) => assert_eq!(codes, [(429, "TooManyRequests"), (503, "ServerBusy")]),
            None => assert_eq!(
                codes,
                [
                    (500, "InternalError"),
                    (500, "OperationTimedOut"),
                    (502, ""),
                    (503, "ServerBusy"),
                    (504, "")
                ]
            ),
        }
        assert_eq!(struck(&sim).len(), 60);
        assert_eq!(struck(&sim)[0].subject, format!("PUT {}", client.url("/imagefactoryvhds/a")));
        let head = client.head("/imagefactoryvhds/a").await;
        assert!(head.body().is_empty() && status(&head) >= 400);
        take(&sim, 1, &[]);
        assert_eq!(status(&client.get("/imagefactoryvhds/a").await), 404, "nothing was written");
    }
}

#[tokio::test(start_paused = true)]
async fn a_conditional_write_meets_another_writer_of_the_same_bytes() {
    let sim = azure();
    let client = destination(&sim).await;
    let put = client.put("/imagefactoryvhds/a", b"first").await;
    let etag = header(&put, "etag").to_owned();
    always(&sim, 1, Chance::EtagConflict);
    let write = async |etag: &str| {
        let headers = [("x-ms-blob-type", "BlockBlob"), ("if-match", etag)];
        client.send("PUT", "/imagefactoryvhds/a", &headers, b"second").await
    };
    assert_eq!(refusal(&write(&etag).await), (412, "ConditionNotMet"));
    let read = client.get("/imagefactoryvhds/a").await;
    assert_eq!(text(&read), "first");
    let newer = header(&read, "etag").to_owned();
    assert_ne!(newer, etag);
    assert_eq!(struck(&sim).len(), 1);
    assert_eq!(struck(&sim)[0].subject, client.url("/imagefactoryvhds/a"));
    // What would be refused anyway, and what is not conditional, meets nobody.
    assert_eq!(refusal(&write(&etag).await), (412, "ConditionNotMet"));
    assert_eq!(status(&write("*").await), 201);
    assert_eq!(status(&client.put("/imagefactoryvhds/a", b"third").await), 201);
    assert_eq!(struck(&sim).len(), 1);
    let etag = header(&client.head("/imagefactoryvhds/a").await, "etag").to_owned();
    let delete = client.send("DELETE", "/imagefactoryvhds/a", &[("if-match", &etag)], b"").await;
    assert_eq!(refusal(&delete), (412, "ConditionNotMet"));
    take(&sim, 1, &[(Chance::EtagConflict, 0.0)]);
    let etag = header(&client.head("/imagefactoryvhds/a").await, "etag").to_owned();
    assert_eq!(status(&write(&etag).await), 201);
}

#[tokio::test(start_paused = true)]
async fn a_slow_copy_takes_two_to_six_times_as_long_and_shows_it() {
    let sim = azure();
    let client = destination(&sim).await;
    let source = open(&sim);
    always(&sim, 1, Chance::SlowOperation);
    client.copy(VHD, &source).await;
    wait(&sim, MINUTES).await;
    let head = client.head(VHD).await;
    let (copied, total) = header(&head, "x-ms-copy-progress").split_once('/').unwrap();
    let share = copied.parse::<f64>().unwrap() / total.parse::<f64>().unwrap();
    assert!((1.0 / 6.0..0.51).contains(&share), "{share}");
    wait(&sim, 5 * MINUTES + 6).await;
    assert_eq!(header(&client.head(VHD).await, "x-ms-copy-status"), "success");
    let world = sim.world();
    let factor = world.work.back().unwrap().seconds() / 1024.0;
    assert!((2.0..6.01).contains(&factor) && (factor * share - 1.0).abs() < 0.01, "{factor} {share}");
    assert_eq!(world.struck.len(), 1);
    assert_eq!((world.struck[0].chance, &world.struck[0].subject), (Chance::SlowOperation, &client.url(VHD)));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_hangs_stays_pending_until_it_is_aborted() {
    let sim = azure();
    let client = destination(&sim).await;
    let source = open(&sim);
    always(&sim, 1, Chance::StuckOperation);
    let started = client.copy(VHD, &source).await;
    let id = header(&started, "x-ms-copy-id").to_owned();
    wait(&sim, 10 * 24 * 3600).await;
    let head = client.head(VHD).await;
    assert_eq!(header(&head, "x-ms-copy-status"), "pending");
    assert!(header(&head, "x-ms-copy-status-description").contains("Will retry"));
    let progress = header(&head, "x-ms-copy-progress").to_owned();
    assert!(!progress.starts_with(&format!("{}/", DISK + 512)), "{progress}");
    assert_eq!(refusal(&client.delete(VHD).await), (409, "PendingCopyOperation"));
    let target = format!("{VHD}?comp=copy&copyid={id}");
    assert_eq!(status(&client.send("PUT", &target, &[("x-ms-copy-action", "abort")], b"").await), 204);
    assert_eq!(status(&client.delete(VHD).await), 202);
    client.copy(VHD, &source).await;
    wait(&sim, 15 * 24 * 3600).await;
    let description = header(&client.head(VHD).await, "x-ms-copy-status-description").to_owned();
    assert!(description.starts_with("500 OperationCancelled"), "the service gives up: {description}");
}

#[tokio::test(start_paused = true)]
async fn a_copy_loses_its_sas_or_fails_part_way() {
    let mut descriptions = BTreeSet::new();
    for seed in 0..12 {
        for chance in [Chance::SasExpired, Chance::CopyFails] {
            let sim = azure();
            let client = destination(&sim).await;
            let source = open(&sim);
            always(&sim, seed, chance);
            client.copy(VHD, &source).await;
            assert_eq!(header(&client.head(VHD).await, "x-ms-copy-status"), "pending");
            wait(&sim, MINUTES).await;
            let head = client.head(VHD).await;
            assert_eq!(header(&head, "x-ms-copy-status"), "failed");
            let (copied, total) = header(&head, "x-ms-copy-progress").split_once('/').unwrap();
            let share = copied.parse::<f64>().unwrap() / total.parse::<f64>().unwrap();
            assert!((0.04..0.96).contains(&share), "{share}");
            let description = header(&head, "x-ms-copy-status-description").to_owned();
            if chance == Chance::SasExpired {
                assert_eq!(description, "403 AuthenticationFailed \"Copy failed when reading the source.\"");
            } else {
                descriptions.insert(description[..3].to_owned());
            }
            assert_eq!(struck(&sim).len(), 1);
            assert_eq!((struck(&sim)[0].chance, &struck(&sim)[0].subject), (chance, &client.url(VHD)));
            // Another try goes through.
            take(&sim, seed, &[]);
            client.copy(VHD, &source).await;
            wait(&sim, MINUTES + 60).await;
            assert_eq!(header(&client.head(VHD).await, "x-ms-copy-status"), "success");
        }
    }
    assert_eq!(descriptions, BTreeSet::from(["500".to_owned(), "502".to_owned(), "503".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_copy_without_sas_does_not_lose_one() {
    let sim = azure();
    let client = destination(&sim).await;
    client.put("/imagefactoryvhds/a", b"text").await;
    take(&sim, 1, &[(Chance::SasExpired, 1.0), (Chance::CopyFails, 1.0)]);
    let copied = client.copy("/imagefactoryvhds/b", &client.url("/imagefactoryvhds/a")).await;
    assert_eq!(header(&copied, "x-ms-copy-status"), "success", "within an account it is done at once");
    assert_eq!(struck(&sim), []);
}

#[tokio::test(start_paused = true)]
async fn somebody_deletes_a_vhd_with_its_companion_or_without_and_copies_of_it_fail() {
    let mut with_companion = BTreeSet::new();
    for seed in 0..8 {
        let sim = azure();
        let client = destination(&sim).await;
        client.create_container("elsewhere").await;
        let source = open(&sim);
        always(&sim, seed, Chance::VhdGone);
        client.copy(VHD, &source).await;
        client.copy("/elsewhere/os.vhd", &source).await;
        client.put("/imagefactoryvhds/os.json", b"{}").await;
        client.put("/imagefactoryvhds/other.json", b"{}").await;
        // At the latest three hours after its own copy; a copy of 11 hours begins meanwhile.
        wait(&sim, MINUTES + 120).await;
        if status(&client.head(VHD).await) == 200 {
            let far = account_in(&sim, "far", "eastus");
            far.create_container("vhds").await;
            let sas = client.service_sas(VHD, "r", "2026-12-23T13:00:00Z");
            always(&sim, seed, Chance::SlowOperation);
            far.copy("/vhds/copy.vhd", &client.url(&format!("{VHD}?{sas}"))).await;
            always(&sim, seed, Chance::VhdGone);
            wait(&sim, 3 * 3600).await;
            let head = far.head("/vhds/copy.vhd").await;
            let outcome = header(&head, "x-ms-copy-status-description");
            let done = header(&head, "x-ms-copy-status") == "success";
            assert!(done || outcome.starts_with("404 ResourceNotFound"), "{outcome}");
        }
        assert_eq!(status(&client.head(VHD).await), 404);
        assert_eq!(status(&client.head("/elsewhere/os.vhd").await), 200);
        assert_eq!(status(&client.head("/imagefactoryvhds/other.json").await), 200);
        with_companion.insert(status(&client.head("/imagefactoryvhds/os.json").await) == 404);
        let gone: Vec<Struck> =
            struck(&sim).into_iter().filter(|one| one.chance == Chance::VhdGone).collect();
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].subject, client.url(VHD));
    }
    assert_eq!(with_companion.len(), 2);
}
