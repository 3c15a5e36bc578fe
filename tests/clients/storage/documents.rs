//! Whole blobs: written under conditions, read with their ETag, described, deleted, and refused.

use std::collections::BTreeMap;

use anyhow::Context as _;
use image_factory::azure::{Condition, Container, ETag};
use reqwest::Method;
use time::{Duration, OffsetDateTime};

use super::{
    place::{Place, answer},
    transcript::Transcript,
};

/// The id of no copy.
const NO_COPY: &str = "7d1b1b1c-0000-4000-8000-000000000000";
/// More than the SDK sends in one piece.
const LARGE: usize = 20 << 20;

fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}

pub async fn tell(place: &Place, told: &mut Transcript) -> anyhow::Result<()> {
    let container = place.container("documents")?;
    missing(&container, told).await;
    told.note("make a container", container.create_if_missing().await);
    told.note("make it again", container.create_if_missing().await);
    for name in ["Upper", "ab", "a--b"] {
        told.note(format!("make a container '{name}'"), place.container(name)?.create_if_missing().await);
    }
    writing(&container, told).await?;
    describing(&container, told).await?;
    sizes(&container, told).await?;
    guarded(place, &container, told).await?;
    wrong_key(place, told).await
}

/// Nothing is there yet, not even the container.
async fn missing(container: &Container, told: &mut Transcript) {
    told.note("without a container: get", container.get("a").await);
    told.note("without a container: properties", container.properties("a").await);
    told.note("without a container: delete", container.delete("a").await);
    told.note("without a container: list", container.list("").await);
    told.note("without a container: put", container.put("a", "x", &none(), Condition::None).await);
    told.note(
        "without a container: put if missing",
        container.put("a", "x", &none(), Condition::IfMissing).await,
    );
    told.note("without a container: abort", container.abort_copy("a", NO_COPY).await);
}

async fn writing(container: &Container, told: &mut Transcript) -> anyhow::Result<()> {
    let put =
        async |content: &str, condition| container.put("runs/a.json", content, &none(), condition).await;
    told.note("get a missing blob", container.get("runs/a.json").await);
    told.note("properties of a missing blob", container.properties("runs/a.json").await);
    told.note("delete a missing blob", container.delete("runs/a.json").await);
    told.note("abort a copy to a missing blob", container.abort_copy("runs/a.json", NO_COPY).await);
    let foreign = ETag::from("\"0x8D0000000000000\"");
    told.note("put over a version, where nothing is", put("0", Condition::IfMatch(foreign.clone())).await);
    let first = put("1", Condition::IfMissing).await?;
    told.note("put if missing, again", put("2", Condition::IfMissing).await);
    let second = put("2", Condition::IfMatch(first.clone())).await?;
    told.fact("each write makes a version", first != second);
    told.note("put over the version before", put("3", Condition::IfMatch(first)).await);
    told.note("put over a foreign version", put("3", Condition::IfMatch(foreign)).await);
    let third = put("3", Condition::None).await?;
    let (content, etag) = container.get("runs/a.json").await?.context("the blob was just written")?;
    told.fact("content after all", String::from_utf8_lossy(&content));
    told.fact("get tells the version that put told", etag == third);
    told.fact("an ETag is quoted", third.as_str().starts_with('"') && third.as_str().ends_with('"'));
    told.note("delete", container.delete("runs/a.json").await);
    told.note("delete again", container.delete("runs/a.json").await);
    told.note("get a deleted blob", container.get("runs/a.json").await);
    Ok(())
}

async fn describing(container: &Container, told: &mut Transcript) -> anyhow::Result<()> {
    let metadata = BTreeMap::from([
        ("Status".to_owned(), "waiting for a VM".to_owned()),
        ("wake".to_owned(), "2026-11-22T13:00:00Z".to_owned()),
        ("odd_1".to_owned(), "a=b&c;d, \"e\" (f) ~".to_owned()),
    ]);
    let put = container.put("described.json", "{}", &metadata, Condition::None).await?;
    let properties = container.properties("described.json").await?;
    let properties = properties.as_ref();
    told.fact("metadata", format!("{:?}", properties.map(|properties| &properties.metadata)));
    told.fact("length", format!("{:?}", properties.map(|properties| properties.length)));
    told.fact("no copy", format!("{:?}", properties.map(|properties| &properties.copy)));
    told.fact("properties tell the version that put told", properties.is_some_and(|seen| seen.etag == put));
    let written = properties.and_then(|properties| properties.last_modified);
    let is_now = written.is_some_and(|at| (OffsetDateTime::now_utc() - at).abs() < Duration::MINUTE);
    told.fact("it was written just now", is_now);
    container.put("described.json", "{}", &none(), Condition::None).await?;
    let after = container.properties("described.json").await?.map(|properties| properties.metadata);
    told.fact("metadata after a write without any", format!("{after:?}"));
    Ok(())
}

async fn sizes(container: &Container, told: &mut Transcript) -> anyhow::Result<()> {
    container.put("empty", "", &none(), Condition::IfMissing).await?;
    let content = container.get("empty").await?.map(|(content, _)| content);
    told.fact("content of an empty blob", format!("{content:?}"));
    // Its period is prime, so that pieces in another order would be noticed.
    let large: Vec<u8> = (0..=250).cycle().take(LARGE).collect();
    container
        .put(
            "large",
            large.clone(),
            &BTreeMap::from([("run".to_owned(), "r1".to_owned())]),
            Condition::IfMissing,
        )
        .await?;
    told.note(
        "put a large blob if missing, again",
        container.put("large", large.clone(), &none(), Condition::IfMissing).await,
    );
    let read = container.get("large").await?;
    told.fact("a large blob comes back as it was", read.is_some_and(|(content, _)| content == large));
    let properties = container.properties("large").await?;
    told.fact(
        "a large blob's length and metadata",
        format!("{:?}", properties.map(|seen| (seen.length, seen.metadata))),
    );
    told.note(
        "put a large blob over a version that is gone",
        container.put("large", large, &none(), Condition::IfMatch("\"0x1\"".into())).await,
    );
    Ok(())
}

/// A lease and a snapshot of somebody else.
async fn guarded(place: &Place, container: &Container, told: &mut Transcript) -> anyhow::Result<()> {
    let soon = OffsetDateTime::now_utc() + Duration::HOUR;
    for name in ["leased", "kept"] {
        container.put(name, "mine", &none(), Condition::None).await?;
    }
    let url = container.sas_url("leased", "w", soon)?;
    let lease = place.request(Method::PUT, &format!("{}&comp=lease", url.expose()));
    let lease = lease.header("x-ms-lease-action", "acquire").header("x-ms-lease-duration", "60");
    told.fact("somebody leases a blob", answer(lease.header("content-length", "0")).await?);
    told.note("put over a leased blob", container.put("leased", "x", &none(), Condition::None).await);
    told.note("delete a leased blob", container.delete("leased").await);
    told.fact("a leased blob is read", container.get("leased").await?.is_some());
    let url = container.sas_url("kept", "w", soon)?;
    let snapshot = place.request(Method::PUT, &format!("{}&comp=snapshot", url.expose()));
    told.fact("somebody takes a snapshot", answer(snapshot.header("content-length", "0")).await?);
    told.note("delete a blob with a snapshot", container.delete("kept").await);
    Ok(())
}

async fn wrong_key(place: &Place, told: &mut Transcript) -> anyhow::Result<()> {
    let mut account = place.account.clone();
    account.key.clone_from(&place.neighbour.key);
    let container = place.container_of(&account, "documents")?;
    told.note("with the wrong key: get", container.get("empty").await);
    told.note("with the wrong key: properties", container.properties("empty").await);
    told.note("with the wrong key: put", container.put("x", "x", &none(), Condition::None).await);
    told.note("with the wrong key: list", container.list("").await);
    told.note("with the wrong key: make a container", container.create_if_missing().await);
    Ok(())
}
