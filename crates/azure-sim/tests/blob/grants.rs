//! What a SAS limits besides its time and its letters: from where it may be used, and what it may write over.

use std::net::IpAddr;

use azure_sim::ClientAddress;

use crate::client::*;

const BLOCK: (&str, &str) = ("x-ms-blob-type", "BlockBlob");

async fn with_blob() -> Client {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    client.put("/ccc/b", b"data").await;
    client
}

#[tokio::test(start_paused = true)]
async fn a_sas_to_create_writes_over_nothing() {
    let client = with_blob().await;
    let put = async |target: &str, permissions: &str| {
        let sas = client.service_sas(target, permissions, "2026-12-01");
        client.plain("PUT", &format!("{target}?{sas}"), &[BLOCK], b"new").await
    };
    assert_eq!(refusal(&put("/ccc/b", "c").await), (403, "UnauthorizedBlobOverwrite"));
    assert_eq!(text(&client.get("/ccc/b").await), "data");
    assert_eq!(status(&put("/ccc/other", "c").await), 201);
    assert_eq!(status(&put("/ccc/b", "w").await), 201);
    let source = client.url(&format!("/ccc/b?{}", client.service_sas("/ccc/b", "r", "2026-12-01")));
    let sas = client.service_sas("/ccc/other", "c", "2026-12-01");
    let copy = [("x-ms-copy-source", source.as_str())];
    let refused = client.plain("PUT", &format!("/ccc/other?{sas}"), &copy, b"").await;
    assert_eq!(refusal(&refused), (403, "UnauthorizedBlobOverwrite"));
}

#[tokio::test(start_paused = true)]
async fn tags_that_come_with_a_blob_need_their_letter() {
    let client = with_blob().await;
    let put = async |permissions: &str| {
        let sas = client.service_sas("/ccc/b", permissions, "2026-12-01");
        client.plain("PUT", &format!("/ccc/b?{sas}"), &[BLOCK, ("x-ms-tags", "a=b")], b"new").await
    };
    assert_eq!(refusal(&put("cw").await), (403, "AuthorizationPermissionMismatch"));
    assert_eq!(status(&put("cwt").await), 201);
}

#[tokio::test(start_paused = true)]
async fn a_sas_is_good_for_its_addresses_only() {
    let client = with_blob().await;
    let sas = |addresses: &str| {
        let lines = [
            "r",
            "",
            "2026-12-01",
            "/blob/acct/ccc/b",
            "",
            addresses,
            "",
            VERSION,
            "b",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
        ];
        let signature = encode(&hmac(&client.key(0), &lines.join("\n")));
        format!("sp=r&se=2026-12-01&sip={addresses}&sv={VERSION}&sr=b&sig={signature}")
    };
    let get = async |addresses: &str, from: Option<&str>| {
        let mut request = azure_sim::Request::default();
        *request.uri_mut() = client.url(&format!("/ccc/b?{}", sas(addresses))).parse().unwrap();
        if let Some(from) = from {
            request.extensions_mut().insert(ClientAddress(from.parse::<IpAddr>().unwrap()));
        }
        client.sim.call(request).await.unwrap()
    };
    for (addresses, from) in
        [("10.0.0.5", "10.0.0.5"), ("10.0.0.1-10.0.0.9", "10.0.0.1"), ("10.0.0.1-10.0.0.9", "10.0.0.9")]
    {
        assert_eq!(status(&get(addresses, Some(from)).await), 200, "{addresses} {from}");
    }
    let foreign = (403, "AuthorizationSourceIPMismatch");
    for (addresses, from) in [
        ("10.0.0.5", Some("10.0.0.6")),
        ("10.0.0.1-10.0.0.9", Some("10.0.0.10")),
        ("10.0.0.5", Some("::1")),
        ("10.0.0.5", None),
    ] {
        assert_eq!(refusal(&get(addresses, from).await), foreign, "{addresses} {from:?}");
    }
    assert_eq!(refusal(&get("anywhere", Some("10.0.0.5")).await), (403, "AuthenticationFailed"));
    // The service itself reads the source of a copy, from addresses of its own.
    let source = client.url(&format!("/ccc/b?{}", sas("10.0.0.5")));
    assert_eq!(refusal(&client.copy("/ccc/copy", &source).await), (403, "CannotVerifyCopySource"));
}
