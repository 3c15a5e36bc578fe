use std::time::Duration;

use crate::client::*;

const A: &str = "11111111-1111-1111-1111-111111111111";
const B: &str = "22222222-2222-2222-2222-222222222222";

async fn lease(client: &Client, target: &str, action: &str, headers: &[(&str, &str)]) -> azure_sim::Response {
    let mut headers = headers.to_vec();
    headers.push(("x-ms-lease-action", action));
    client.send("PUT", target, &headers, b"").await
}

#[tokio::test(start_paused = true)]
async fn a_leased_blob_is_written_and_deleted_only_by_its_holder() {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    client.put("/ccc/b", b"1").await;
    let target = "/ccc/b?comp=lease";
    let acquire = [("x-ms-lease-duration", "60"), ("x-ms-proposed-lease-id", A)];
    let acquired = lease(&client, target, "acquire", &acquire).await;
    assert_eq!((status(&acquired), header(&acquired, "x-ms-lease-id")), (201, A));
    let other = [("x-ms-lease-duration", "60"), ("x-ms-proposed-lease-id", B)];
    assert_eq!(refusal(&lease(&client, target, "acquire", &other).await), (409, "LeaseAlreadyPresent"));
    let head = client.head("/ccc/b").await;
    assert_eq!(
        (header(&head, "x-ms-lease-state"), header(&head, "x-ms-lease-duration")),
        ("leased", "fixed")
    );
    assert_eq!(refusal(&client.put("/ccc/b", b"2").await), (412, "LeaseIdMissing"));
    assert_eq!(refusal(&client.delete("/ccc/b").await), (412, "LeaseIdMissing"));
    let put = async |id| {
        let headers = [("x-ms-blob-type", "BlockBlob"), ("x-ms-lease-id", id)];
        client.send("PUT", "/ccc/b", &headers, b"2").await
    };
    assert_eq!(refusal(&put(B).await), (412, "LeaseIdMismatchWithBlobOperation"));
    assert_eq!(status(&put(A).await), 201);
    let renew = lease(&client, target, "renew", &[("x-ms-lease-id", B)]).await;
    assert_eq!(refusal(&renew), (409, "LeaseIdMismatchWithLeaseOperation"));
    let change = [("x-ms-lease-id", A), ("x-ms-proposed-lease-id", B)];
    let changed = lease(&client, target, "change", &change).await;
    assert_eq!((status(&changed), header(&changed, "x-ms-lease-id")), (200, B));
    assert_eq!(status(&lease(&client, target, "release", &[("x-ms-lease-id", B)]).await), 200);
    assert_eq!(status(&client.delete("/ccc/b").await), 202);
}

#[tokio::test(start_paused = true)]
async fn a_lease_runs_out_or_is_broken() {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    client.put("/ccc/b", b"1").await;
    let target = "/ccc/b?comp=lease";
    assert_eq!(status(&lease(&client, target, "acquire", &[("x-ms-lease-duration", "15")]).await), 201);
    client.sim.clock().sleep(Duration::from_secs(15)).await;
    assert_eq!(header(&client.head("/ccc/b").await, "x-ms-lease-state"), "expired");
    assert_eq!(status(&client.put("/ccc/b", b"2").await), 201);
    assert_eq!(status(&lease(&client, target, "acquire", &[("x-ms-lease-duration", "-1")]).await), 201);
    let broken = lease(&client, target, "break", &[("x-ms-lease-break-period", "5")]).await;
    assert_eq!((status(&broken), header(&broken, "x-ms-lease-time")), (202, "5"));
    assert_eq!(header(&client.head("/ccc/b").await, "x-ms-lease-state"), "breaking");
    client.sim.clock().sleep(Duration::from_secs(5)).await;
    assert_eq!(header(&client.head("/ccc/b").await, "x-ms-lease-state"), "broken");
    let odd = lease(&client, target, "acquire", &[("x-ms-lease-duration", "61")]).await;
    assert_eq!(refusal(&odd), (400, "InvalidHeaderValue"));
}

#[tokio::test(start_paused = true)]
async fn a_leased_container_is_deleted_only_by_its_holder() {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    let target = "/ccc?restype=container&comp=lease";
    let acquire = [("x-ms-lease-duration", "-1"), ("x-ms-proposed-lease-id", A)];
    assert_eq!(status(&lease(&client, target, "acquire", &acquire).await), 201);
    assert_eq!(refusal(&client.delete("/ccc?restype=container").await), (412, "LeaseIdMissing"));
    let deleted = client.send("DELETE", "/ccc?restype=container", &[("x-ms-lease-id", A)], b"").await;
    assert_eq!(status(&deleted), 202);
}
