//! Lists: names of every kind, prefixes, pages, and what an item tells.

use std::collections::BTreeMap;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use image_factory::azure::Condition;

use super::{place::Place, transcript::Transcript};

/// Names that a URL, a query or XML cannot carry as they are, and some that look as if they were encoded already.
const NAMES: [&str; 13] = [
    "a b.json",
    "plus+and&eq=.json",
    "100%.json",
    "%41.json",
    "%2F.json",
    "sharp#question?.json",
    "quote'\"<>.json",
    "umlaut äöü.json",
    "日本語/ファイル.json",
    "Windows/Server 2022.json",
    "tilde~dash-_.()!*,;@$:",
    "emoji 🦀.json",
    "brackets[1]{2}|^`.json",
];
/// A page holds 1,000.
const MANY: usize = 1_005;
/// So many are written at a time.
const AT_ONCE: usize = 16;

pub async fn tell(place: &Place, told: &mut Transcript) -> anyhow::Result<()> {
    names(place, told).await?;
    prefixes(place, told).await?;
    pages(place, told).await
}

async fn names(place: &Place, told: &mut Transcript) -> anyhow::Result<()> {
    let container = place.container("names")?;
    container.create_if_missing().await?;
    for name in NAMES {
        let metadata = BTreeMap::from([("length".to_owned(), name.len().to_string())]);
        let put = container.put(name, name, &metadata, Condition::IfMissing).await;
        told.note(format!("put '{name}'"), put.map(|_| ()));
        let content = container.get(name).await;
        told.note(
            format!("get '{name}'"),
            content.map(|found| found.map(|(content, _)| String::from_utf8(content))),
        );
        let listed = container.list(name).await;
        let listed =
            listed.map(|items| items.into_iter().map(|item| (item.name, item.metadata)).collect::<Vec<_>>());
        told.note(format!("list '{name}'"), listed);
        let url = container.url(name);
        let path =
            url.strip_prefix(place.account.endpoint.as_str()).context("a URL begins with its endpoint")?;
        told.fact(format!("URL of '{name}'"), path);
    }
    let all =
        container.list("").await.map(|items| items.into_iter().map(|item| item.name).collect::<Vec<_>>());
    told.note("list all names", all);
    for name in NAMES {
        told.note(format!("delete '{name}'"), container.delete(name).await);
    }
    told.note("list after all was deleted", container.list("").await);
    for name in ["", ".", "a/../b", "back\\slash.json"] {
        told.note(format!("get the impossible name '{name}'"), container.get(name).await);
    }
    Ok(())
}

async fn prefixes(place: &Place, told: &mut Transcript) -> anyhow::Result<()> {
    let container = place.container("prefixes")?;
    container.create_if_missing().await?;
    let mut versions = BTreeMap::new();
    for name in
        ["runs/1/build.json", "runs/1/copy.json", "runs/2/build.json", "runs.json", "Runs/3.json", "runs"]
    {
        let etag = container.put(name, name, &BTreeMap::new(), Condition::None).await?;
        versions.insert(name.to_owned(), etag.as_str().trim_matches('"').to_owned());
    }
    for prefix in ["", "runs", "runs/", "runs/1/", "RUNS", "nothing"] {
        let names = container.list(prefix).await;
        let names = names.map(|items| items.into_iter().map(|item| item.name).collect::<Vec<_>>());
        told.note(format!("list the prefix '{prefix}'"), names);
    }
    let items = container.list("").await?;
    told.fact("lengths in a list", format!("{:?}", items.iter().map(|item| item.length).collect::<Vec<_>>()));
    let same =
        items.iter().all(|item| versions.get(&item.name).is_some_and(|etag| etag == item.etag.as_str()));
    told.fact("a list tells the versions that put told, without quotes", same);
    told.fact("a list tells when", items.iter().all(|item| item.last_modified.is_some()));
    Ok(())
}

async fn pages(place: &Place, told: &mut Transcript) -> anyhow::Result<()> {
    let container = place.container("pages")?;
    container.create_if_missing().await?;
    let writes = futures::stream::iter(0..MANY).map(|number| {
        let container = container.clone();
        async move {
            let metadata = BTreeMap::from([("number".to_owned(), number.to_string())]);
            container.put(&format!("many/{number:05}.json"), "{}", &metadata, Condition::IfMissing).await
        }
    });
    writes.buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    let (mut pages, mut sizes, mut items) = (container.pages("many/"), Vec::new(), Vec::new());
    while let Some(page) = pages.next().await? {
        sizes.push(page.len());
        items.extend(page);
    }
    told.fact("sizes of pages", format!("{sizes:?}"));
    let in_order = items.iter().enumerate().all(|(number, item)| {
        item.name == format!("many/{number:05}.json")
            && item.metadata.get("number") == Some(&number.to_string())
    });
    told.fact("pages hold everything once, in order, with metadata", in_order && items.len() == MANY);
    told.note("a page after the last", pages.next().await.map(|page| page.is_some()));
    let mut none = place.container("no-such-container")?.pages("");
    told.note("pages of a missing container", none.next_if_any().await);
    Ok(())
}
