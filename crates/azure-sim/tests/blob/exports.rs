use std::time::Duration;

use azure_sim::{Request, Response, Sim, storage};

use crate::client::*;

const DISK_ID: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/os";

async fn read(sim: &Sim, method: http::Method, url: &str, range: Option<&str>) -> Response {
    let mut request = Request::default();
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().unwrap();
    if let Some(range) = range {
        request.headers_mut().insert("range", range.parse().unwrap());
    }
    sim.call(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_open_disk_reads_as_a_fixed_vhd() {
    let sim = azure();
    let length = 127_u64 << 30;
    let expires = START + Duration::from_secs(3600);
    let url = storage::open_export(&mut sim.world(), DISK_ID, length, expires);
    assert!(url.contains(".z10.blob.storage.azure.net/"), "{url}");
    let head = read(&sim, http::Method::HEAD, &url, None).await;
    assert_eq!((status(&head), header(&head, "content-length")), (200, "136365212160"));
    assert_eq!(header(&head, "x-ms-blob-type"), "PageBlob");
    let range = format!("bytes={length}-{}", length + 511);
    let footer = read(&sim, http::Method::GET, &url, Some(&range)).await;
    let footer = footer.body();
    assert_eq!((&footer[..8], footer.len()), (&b"conectix"[..], 512));
    assert_eq!(footer[48..56], length.to_be_bytes());
    // The checksum is the complement of the sum of all other bytes.
    let sum: u32 = footer
        .iter()
        .enumerate()
        .filter(|(at, _)| !(64..68).contains(at))
        .map(|(_, byte)| u32::from(*byte))
        .sum();
    assert_eq!(footer[64..68], (!sum).to_be_bytes());
    let again = storage::open_export(&mut sim.world(), &DISK_ID.to_uppercase(), length, expires);
    assert_eq!(again, url);
}

#[tokio::test(start_paused = true)]
async fn a_disk_can_be_read_only_with_its_sas_and_while_it_is_open() {
    let sim = azure();
    let expires = START + Duration::from_secs(3600);
    let url = storage::open_export(&mut sim.world(), DISK_ID, 1 << 30, expires);
    let get = async |url: &str| read(&sim, http::Method::HEAD, url, None).await;
    assert_eq!(status(&get(&url).await), 200);
    assert_eq!(refusal(&get(url.split('?').next().unwrap()).await), (404, "ResourceNotFound"));
    let forged = url.replace("&sig=", "&sig=x");
    assert_eq!(refusal(&get(&forged).await), (403, "AuthenticationFailed"));
    let written = read(&sim, http::Method::DELETE, &url, None).await;
    assert_eq!(refusal(&written), (403, "AuthorizationPermissionMismatch"));
    assert_eq!(sim.world().storage.open_exports()[&DISK_ID.to_ascii_lowercase()], expires);
    sim.clock().sleep(Duration::from_secs(3600)).await;
    assert_eq!(refusal(&get(&url).await), (403, "AuthenticationFailed"));
    storage::close_export(&mut sim.world(), DISK_ID);
    assert_eq!(refusal(&get(&url).await), (404, "ResourceNotFound"));
    assert!(sim.world().storage.open_exports().is_empty());
}
