//! Copies from a URL: begun, watched, stopped, refused.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use image_factory::{
    azure::{BlobProperties, Condition, Container, CopyStatus},
    secret::Secret,
};
use reqwest::Method;
use time::OffsetDateTime;

use super::{
    place::{Place, answer},
    transcript::Transcript,
};

/// Between two looks at a copy.
const PAUSE: Duration = Duration::from_millis(20);
/// A small copy is done within seconds, or never.
const DEADLINE: Duration = Duration::from_secs(120);

fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}

fn soon() -> OffsetDateTime {
    OffsetDateTime::now_utc() + time::Duration::DAY
}

pub async fn tell(place: &Place, told: &mut Transcript) -> anyhow::Result<()> {
    let container = place.container("copies")?;
    let source = place.container_of(&place.neighbour, "sources")?;
    container.create_if_missing().await?;
    source.create_if_missing().await?;
    within(&container, told).await?;
    between(&container, &source, told).await?;
    stopped(place, &container, &source, told).await?;
    refused(place, &container, &source, told).await
}

/// Within one account, which needs no SAS.
async fn within(container: &Container, told: &mut Transcript) -> anyhow::Result<()> {
    let metadata = BTreeMap::from([("from".to_owned(), "source".to_owned())]);
    container.put("from here.json", "{}", &metadata, Condition::None).await?;
    let url = Secret::new(container.url("from here.json"));
    let started = container.start_copy("within.json", &url, &none()).await?;
    told.fact("copy within an account: begun", format!("{:?}", started.status));
    let properties = ended(container, "within.json").await?;
    let copy = properties.copy.as_ref().context("a copied blob tells of its copy")?;
    told.fact("copy within an account: end", end(&properties));
    told.fact("copy within an account: id", copy.id == started.copy_id);
    told.fact("copy within an account: source", copy.source.as_deref() == Some(url.expose().as_str()));
    told.note(
        "copy within an account: abort afterwards",
        container.abort_copy("within.json", &started.copy_id).await,
    );
    told.note(
        "copy within an account: again",
        container.start_copy("within.json", &url, &none()).await.map(|_| ()),
    );
    container.put("within.json", "{\"new\":1}", &none(), Condition::None).await?;
    let copy = container.properties("within.json").await?.map(|properties| properties.copy);
    told.fact("copy within an account: written over", format!("{copy:?}"));
    Ok(())
}

/// From another account, with a SAS of ours.
async fn between(container: &Container, source: &Container, told: &mut Transcript) -> anyhow::Result<()> {
    let metadata = BTreeMap::from([("from".to_owned(), "source".to_owned())]);
    let name = "a dir/x+y %41 ä.json";
    source.put(name, vec![7; 1 << 20], &metadata, Condition::None).await?;
    source.put("empty", "", &none(), Condition::None).await?;
    let replaced = BTreeMap::from([("to".to_owned(), "target".to_owned())]);
    for (to, name, metadata) in
        [("kept", name, none()), ("replaced", name, replaced), ("empty", "empty", none())]
    {
        let url = source.sas_url(name, "r", soon())?;
        let started = container.start_copy(to, &url, &metadata).await?;
        told.fact(format!("copy between accounts, {to}: begun"), format!("{:?}", started.status));
        let properties = ended(container, to).await?;
        let copy = properties.copy.as_ref().context("a copied blob tells of its copy")?;
        told.fact(format!("copy between accounts, {to}: end"), end(&properties));
        told.fact(format!("copy between accounts, {to}: id"), copy.id == started.copy_id);
        told.fact(format!("copy between accounts, {to}: source"), copy.source == Some(source.url(name)));
        let content = container
            .get(to)
            .await?
            .map(|(content, _)| (content.len(), content.iter().all(|byte| *byte == 7)));
        told.fact(format!("copy between accounts, {to}: content"), format!("{content:?}"));
    }
    Ok(())
}

/// A copy that goes on for long, and is stopped.
async fn stopped(
    place: &Place,
    container: &Container,
    source: &Container,
    told: &mut Transcript,
) -> anyhow::Result<()> {
    let create = source.sas_url("disk.vhd", "c", soon())?;
    let create = place.request(Method::PUT, create.expose()).header("x-ms-blob-type", "PageBlob");
    let create = create.header("x-ms-blob-content-length", place.disk).header("content-length", "0");
    told.fact("make a page blob", answer(create).await?);
    let url = source.sas_url("disk.vhd", "r", soon())?;
    let started = container.start_copy("disk.vhd", &url, &none()).await?;
    told.fact("copy of a disk: begun", format!("{:?}", started.status));
    let meanwhile = properties(container, "disk.vhd").await?;
    told.fact("copy of a disk: meanwhile", format!("{:?}", meanwhile.copy.map(|copy| copy.status)));
    told.fact("copy of a disk: it has its full length at once", meanwhile.length == place.disk);
    told.note(
        "copy of a disk: another one",
        container.start_copy("disk.vhd", &url, &none()).await.map(|_| ()),
    );
    let put = container.put("disk.vhd", "x", &none(), Condition::IfMatch("\"0x1\"".into())).await;
    told.note("copy of a disk: put over a version", put);
    let foreign = "7d1b1b1c-0000-4000-8000-000000000000";
    told.note("copy of a disk: abort another copy", container.abort_copy("disk.vhd", foreign).await);
    told.note("copy of a disk: abort", container.abort_copy("disk.vhd", &started.copy_id).await);
    let after = properties(container, "disk.vhd").await?;
    told.fact("copy of a disk: after that", format!("{:?}", after.copy.map(|copy| copy.status)));
    told.fact("copy of a disk: it is empty after that", after.length == 0);
    told.note("copy of a disk: abort again", container.abort_copy("disk.vhd", &started.copy_id).await);
    told.note(
        "copy of a disk: over what is left",
        container.start_copy("disk.vhd", &url, &none()).await.map(|_| ()),
    );
    told.note("copy of a disk: delete", container.delete("disk.vhd").await);
    told.note("copy of a disk: gone", container.properties("disk.vhd").await);
    Ok(())
}

async fn refused(
    place: &Place,
    container: &Container,
    source: &Container,
    told: &mut Transcript,
) -> anyhow::Result<()> {
    source.put("b", "b", &none(), Condition::None).await?;
    let url = source.sas_url("b", "r", soon())?;
    let ended = OffsetDateTime::now_utc() - time::Duration::HOUR;
    let missing = Secret::new(container.url("missing"));
    let sources = [
        ("a missing blob of the account", missing),
        ("a missing blob elsewhere", source.sas_url("missing", "r", soon())?),
        ("a blob elsewhere without a SAS", Secret::new(source.url("b"))),
        ("a SAS that was tampered with", Secret::new(url.expose().replace("sig=", "sig=AAAA"))),
        ("a SAS that has ended", source.sas_url("b", "r", ended)?),
        ("a SAS that does not read", source.sas_url("b", "w", soon())?),
        ("no URL", Secret::new("nonsense".to_owned())),
    ];
    for (what, url) in sources {
        told.note(
            format!("copy from {what}"),
            container.start_copy("refused", &url, &none()).await.map(|_| ()),
        );
    }
    told.note("after refused copies", container.properties("refused").await);
    let nowhere = place.container("no-such-container")?;
    told.note("copy to a missing container", nowhere.start_copy("x", &url, &none()).await.map(|_| ()));
    Ok(())
}

async fn properties(container: &Container, name: &str) -> anyhow::Result<BlobProperties> {
    container.properties(name).await?.context("the blob is there as soon as its copy has begun")
}

/// The blob once no copy is pending.
async fn ended(container: &Container, name: &str) -> anyhow::Result<BlobProperties> {
    let until_ended = async {
        loop {
            let properties = properties(container, name).await?;
            if properties.copy.as_ref().is_none_or(|copy| copy.status != CopyStatus::Pending) {
                return anyhow::Ok(properties);
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, until_ended)
        .await
        .with_context(|| format!("the copy to {name} does not end"))?
}

/// What callers go by: status, length, whether everything was copied, what went wrong, and metadata.
fn end(properties: &BlobProperties) -> String {
    let copy = properties.copy.as_ref();
    let whole = copy.and_then(|copy| copy.copied).map(|(copied, total)| copied == total);
    let (status, description) = (copy.map(|copy| copy.status), copy.map(|copy| &copy.description));
    let BlobProperties { length, metadata, .. } = properties;
    format!("{status:?}, {length} bytes, whole: {whole:?}, {description:?}, {metadata:?}")
}
