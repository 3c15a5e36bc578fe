//! SAS made by our code: what they open, and that nothing else is opened.

use std::collections::BTreeMap;

use image_factory::azure::{Condition, Container};
use reqwest::{Method, RequestBuilder};
use time::{Duration, OffsetDateTime};

use super::{
    place::{Place, answer},
    transcript::Transcript,
};

const CONTENT: &str = "signed";

pub async fn tell(place: &Place, told: &mut Transcript) -> anyhow::Result<()> {
    let container = place.container("signatures")?;
    container.create_if_missing().await?;
    for name in ["plain.json", "a dir/x+y %41 ä&=.json", "other.json"] {
        container.put(name, CONTENT, &BTreeMap::new(), Condition::None).await?;
    }
    let soon = OffsetDateTime::now_utc() + Duration::HOUR;
    for name in ["plain.json", "a dir/x+y %41 ä&=.json"] {
        let read = container.sas_url(name, "r", soon)?;
        let get = |url: &str| place.request(Method::GET, url);
        told.fact(format!("SAS of '{name}': get"), answer(get(read.expose())).await?);
        told.fact(
            format!("SAS of '{name}': head"),
            answer(place.request(Method::HEAD, read.expose())).await?,
        );
        let delete = place.request(Method::DELETE, read.expose());
        told.fact(format!("SAS of '{name}' to read: delete"), answer(delete).await?);
        let put = put(place, read.expose());
        told.fact(format!("SAS of '{name}' to read: put"), answer(put).await?);
    }
    let read = container.sas_url("plain.json", "r", soon)?.expose().clone();
    let get = async |url: String| answer(place.request(Method::GET, &url)).await;
    told.fact("SAS with another signature", get(read.replace("sig=", "sig=AAAA")).await?);
    told.fact("SAS with a permission more", get(read.replace("sp=r", "sp=rw")).await?);
    told.fact("SAS with a later end", get(later(&read, soon)?).await?);
    told.fact("SAS of another blob", get(read.replace("plain.json", "other.json")).await?);
    told.fact(
        "SAS of a blob for its container",
        get(read.replace("/plain.json?", "?restype=container&comp=list&")).await?,
    );
    told.fact("no SAS at all", get(container.url("plain.json")).await?);
    let over = container.sas_url("plain.json", "r", OffsetDateTime::now_utc() - Duration::HOUR)?;
    told.fact("SAS that has ended", get(over.expose().clone()).await?);
    let of_a_missing_blob = container.sas_url("missing.json", "r", soon)?;
    told.fact("SAS of a missing blob", get(of_a_missing_blob.expose().clone()).await?);
    writing(place, &container, told).await
}

async fn writing(place: &Place, container: &Container, told: &mut Transcript) -> anyhow::Result<()> {
    let soon = OffsetDateTime::now_utc() + Duration::HOUR;
    let create = container.sas_url("made.json", "c", soon)?;
    told.fact("SAS to create: put", answer(put(place, create.expose())).await?);
    told.fact("SAS to create: put over a blob", answer(put(place, create.expose())).await?);
    told.fact("SAS to create: get", answer(place.request(Method::GET, create.expose())).await?);
    let write = container.sas_url("made.json", "w", soon)?;
    told.fact("SAS to write: put over a blob", answer(put(place, write.expose())).await?);
    let delete = container.sas_url("made.json", "d", soon)?;
    told.fact("SAS to delete: delete", answer(place.request(Method::DELETE, delete.expose())).await?);
    told.note("what was deleted by SAS", container.get("made.json").await);
    Ok(())
}

fn put(place: &Place, url: &str) -> RequestBuilder {
    place.request(Method::PUT, url).header("x-ms-blob-type", "BlockBlob").body("by SAS")
}

/// The URL with a later `se`.
fn later(url: &str, expires: OffsetDateTime) -> anyhow::Result<String> {
    let year = expires.year();
    let changed = url.replace(&format!("se={year}"), &format!("se={}", year + 1));
    anyhow::ensure!(changed != url, "the SAS names no end");
    Ok(changed)
}
