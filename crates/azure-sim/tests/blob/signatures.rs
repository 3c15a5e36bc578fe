use std::time::Duration;

use crate::client::*;

async fn with_blob() -> Client {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    client.put("/ccc/a%20b", b"data").await;
    client
}

#[tokio::test(start_paused = true)]
async fn both_keys_sign_and_others_do_not() {
    let client = with_blob().await;
    let date = rfc1123(client.sim.clock().now());
    let target = "/ccc?restype=container&comp=list&prefix=a%20b&include=metadata";
    for index in [0, 1] {
        let response = client.signed(&client.key(index), &date, "GET", target, &[], b"").await;
        assert_eq!(status(&response), 200, "{}", text(&response));
    }
    let refused = client.signed("AAAA", &date, "GET", target, &[], b"").await;
    assert_eq!(refusal(&refused), (403, "AuthenticationFailed"));
    assert!(text(&refused).contains("Server used following string to sign: 'GET"), "{}", text(&refused));
    // A signed header that changed on the way.
    let text = "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:x\n/acct/ccc/a%20b";
    let authorization = format!("SharedKey acct:{}", hmac(&client.key(0), text));
    let headers =
        [("authorization", authorization.as_str()), ("x-ms-date", &date), ("x-ms-version", VERSION)];
    assert_eq!(
        refusal(&client.plain("GET", "/ccc/a%20b", &headers, b"").await),
        (403, "AuthenticationFailed")
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_is_good_for_a_quarter_of_an_hour() {
    let client = with_blob().await;
    let now = client.sim.clock().now();
    let key = client.key(0);
    for (minutes, expected) in [(-16, 403), (-14, 200), (14, 200), (16, 403)] {
        let date = rfc1123(now + time::Duration::minutes(minutes));
        let response = client.signed(&key, &date, "GET", "/ccc/a%20b", &[], b"").await;
        assert_eq!(status(&response), expected, "{minutes}");
    }
    let response = client.signed(&key, "yesterday", "GET", "/ccc/a%20b", &[], b"").await;
    assert_eq!(refusal(&response), (403, "AuthenticationFailed"));
}

#[tokio::test(start_paused = true)]
async fn nobody_reads_without_credentials() {
    let client = with_blob().await;
    let old = client.plain("GET", "/ccc/a%20b", &[], b"").await;
    assert_eq!(refusal(&old), (404, "ResourceNotFound"));
    let new = client.plain("GET", "/ccc/a%20b", &[("x-ms-version", VERSION)], b"").await;
    assert_eq!(refusal(&new), (401, "NoAuthenticationInformation"));
    assert!(header(&new, "www-authenticate").starts_with("Bearer authorization_uri="));
    let acl = [("x-ms-blob-public-access", "blob")];
    assert_eq!(status(&client.send("PUT", "/ccc?restype=container&comp=acl", &acl, b"").await), 200);
    assert_eq!(status(&client.plain("GET", "/ccc/a%20b", &[], b"").await), 200);
    let listing = client.plain("GET", "/ccc?restype=container&comp=list", &[], b"").await;
    assert_eq!(refusal(&listing), (404, "ResourceNotFound"));
    let put = client.plain("PUT", "/ccc/new", &[("x-ms-blob-type", "BlockBlob")], b"").await;
    assert_eq!(refusal(&put), (404, "ResourceNotFound"));
    client.sim.world().storage.accounts.get_mut("acct").unwrap().allow_blob_public_access = false;
    let closed = client.plain("GET", "/ccc/a%20b", &[], b"").await;
    assert_eq!(refusal(&closed), (409, "PublicAccessNotPermitted"));
}

#[tokio::test(start_paused = true)]
async fn an_account_without_keys_takes_tokens_only() {
    let client = with_blob().await;
    let sas = client.service_sas("/ccc/a%20b", "r", "2026-12-01");
    client.sim.world().storage.accounts.get_mut("acct").unwrap().allow_shared_key_access = false;
    let expected = (403, "KeyBasedAuthenticationNotPermitted");
    assert_eq!(refusal(&client.get("/ccc/a%20b").await), expected);
    assert_eq!(refusal(&client.plain("GET", &format!("/ccc/a%20b?{sas}"), &[], b"").await), expected);
    let bearer = client.bearer();
    let headers = [("authorization", bearer.as_str()), ("x-ms-version", VERSION)];
    assert_eq!(text(&client.plain("GET", "/ccc/a%20b", &headers, b"").await), "data");
    let old = [("authorization", bearer.as_str()), ("x-ms-version", "2016-05-31")];
    assert_eq!(refusal(&client.plain("GET", "/ccc/a%20b", &old, b"").await), (403, "AuthenticationFailed"));
    let forged = [("authorization", "Bearer a.b.c"), ("x-ms-version", VERSION)];
    let refused = client.plain("GET", "/ccc/a%20b", &forged, b"").await;
    assert_eq!(refusal(&refused), (401, "InvalidAuthenticationInfo"));
    client.sim.clock().sleep(Duration::from_secs(3601)).await;
    let expired = client.plain("GET", "/ccc/a%20b", &headers, b"").await;
    assert_eq!(refusal(&expired), (401, "InvalidAuthenticationInfo"));
}

#[tokio::test(start_paused = true)]
async fn a_service_sas_opens_its_blob_for_its_time_and_permissions() {
    let client = with_blob().await;
    client.put("/ccc/other", b"").await;
    let sas = client.service_sas("/ccc/a%20b", "r", "2026-11-22T14:00:00Z");
    let get = async |target: &str, sas: &str| client.plain("GET", &format!("{target}?{sas}"), &[], b"").await;
    assert_eq!(text(&get("/ccc/a%20b", &sas).await), "data");
    let mismatch = (403, "AuthenticationFailed");
    assert_eq!(refusal(&get("/ccc/other", &sas).await), mismatch);
    assert_eq!(refusal(&get("/ccc/a%20b", &sas.replace("sp=r", "sp=rw")).await), mismatch);
    assert_eq!(refusal(&get("/ccc", &format!("restype=container&comp=list&{sas}")).await), mismatch);
    let delete = client.plain("DELETE", &format!("/ccc/a%20b?{sas}"), &[], b"").await;
    assert_eq!(refusal(&delete), (403, "AuthorizationPermissionMismatch"));
    let plain_http = format!("http://acct.blob.core.windows.net/ccc/a%20b?{sas}");
    let mut request = azure_sim::Request::default();
    *request.uri_mut() = plain_http.parse().unwrap();
    let refused = client.sim.call(request).await.unwrap();
    assert_eq!(refusal(&refused), (403, "AuthorizationProtocolMismatch"));
    client.sim.clock().sleep(Duration::from_secs(3600)).await;
    let late = get("/ccc/a%20b", &sas).await;
    assert_eq!(refusal(&late), mismatch);
    assert!(text(&late).contains("Signature not valid in the specified time frame"), "{}", text(&late));
}

#[tokio::test(start_paused = true)]
async fn a_stored_policy_is_taken_back_by_its_container() {
    let client = with_blob().await;
    let policy = "<SignedIdentifiers><SignedIdentifier><Id>p</Id><AccessPolicy><Start>2026-11-22T12:00:00Z</Start>\
                  <Expiry>2026-11-23</Expiry><Permission>rl</Permission></AccessPolicy></SignedIdentifier></SignedIdentifiers>";
    let acl = "/ccc?restype=container&comp=acl";
    assert_eq!(status(&client.send("PUT", acl, &[], policy.as_bytes()).await), 200);
    assert!(
        text(&client.get(acl).await).contains("<Id>p</Id><AccessPolicy><Start>2026-11-22T12:00:00Z</Start>")
    );
    let lines = ["", "", "", "/blob/acct/ccc", "p", "", "", VERSION, "c", "", "", "", "", "", "", ""];
    let sas = format!("si=p&sv={VERSION}&sr=c&sig={}", encode(&hmac(&client.key(0), &lines.join("\n"))));
    let get = async |target: &str| client.plain("GET", &format!("{target}{sas}"), &[], b"").await;
    assert_eq!(text(&get("/ccc/a%20b?").await), "data");
    assert_eq!(status(&get("/ccc?restype=container&comp=list&").await), 200);
    assert_eq!(refusal(&get("/ccc?restype=container&").await), (403, "AuthorizationFailure"));
    assert_eq!(status(&client.send("PUT", acl, &[], b"").await), 200);
    assert_eq!(refusal(&get("/ccc/a%20b?").await), (403, "AuthenticationFailed"));
}

#[tokio::test(start_paused = true)]
async fn an_account_sas_opens_its_services_types_and_permissions() {
    let client = with_blob().await;
    let key = client.key(1);
    let sas = |permissions: &str, services: &str, types: &str| {
        let lines = ["acct", permissions, services, types, "", "2026-12-01", "", "", VERSION, "", ""];
        let signature = encode(&hmac(&key, &lines.join("\n")));
        format!("sp={permissions}&ss={services}&srt={types}&se=2026-12-01&sv={VERSION}&sig={signature}")
    };
    let get =
        async |target: &str, sas: String| client.plain("GET", &format!("{target}{sas}"), &[], b"").await;
    assert_eq!(text(&get("/ccc/a%20b?", sas("r", "b", "o")).await), "data");
    assert_eq!(status(&get("/?comp=list&", sas("l", "bq", "sco")).await), 200);
    for (permissions, services, types, code) in [
        ("r", "q", "o", "AuthorizationServiceMismatch"),
        ("r", "b", "sc", "AuthorizationResourceTypeMismatch"),
        ("wl", "b", "o", "AuthorizationPermissionMismatch"),
    ] {
        let refused = get("/ccc/a%20b?", sas(permissions, services, types)).await;
        assert_eq!(refusal(&refused), (403, code));
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_delegates_with_a_key_of_their_own() {
    let client = with_blob().await;
    let body = "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>2026-11-22T13:00:00Z</Start>\
                <Expiry>2026-11-23T13:00:00Z</Expiry></KeyInfo>";
    let target = "/?restype=service&comp=userdelegationkey";
    let by_key = client.send("POST", target, &[], body.as_bytes()).await;
    assert_eq!(refusal(&by_key), (403, "AuthenticationFailed"));
    let bearer = client.bearer();
    let headers = [("authorization", bearer.as_str()), ("x-ms-version", VERSION)];
    let answer = client.plain("POST", target, &headers, body.as_bytes()).await;
    assert_eq!(status(&answer), 200, "{}", text(&answer));
    let answer = text(&answer);
    let part =
        |name: &str| answer.split(&format!("<{name}>")).nth(1).unwrap().split('<').next().unwrap().to_owned();
    let (oid, tid, value) = (part("SignedOid"), part("SignedTid"), part("Value"));
    let (start, expiry, version) = (part("SignedStart"), part("SignedExpiry"), part("SignedVersion"));
    assert_eq!((start.as_str(), expiry.as_str()), ("2026-11-22T13:00:00Z", "2026-11-23T13:00:00Z"));
    let se = "2026-11-22T15:00:00Z";
    let lines = [
        "r",
        "",
        se,
        "/blob/acct/ccc/a b",
        &oid,
        &tid,
        &start,
        &expiry,
        "b",
        &version,
        "",
        "",
        "",
        "",
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
    let signature = encode(&hmac(&value, &lines.join("\n")));
    let (start, expiry) = (encode(&start), encode(&expiry));
    let sas = format!(
        "sp=r&se={}&skoid={oid}&sktid={tid}&skt={start}&ske={expiry}&sks=b&skv={version}&sv={VERSION}&sr=b&sig={signature}",
        encode(se)
    );
    // It does not depend on the account's keys.
    client.sim.world().storage.accounts.get_mut("acct").unwrap().allow_shared_key_access = false;
    let got = client.plain("GET", &format!("/ccc/a%20b?{sas}"), &[], b"").await;
    assert_eq!((status(&got), text(&got).as_str()), (200, "data"));
    let other = sas.replace(&oid, "11111111-1111-1111-1111-111111111111");
    assert_eq!(
        refusal(&client.plain("GET", &format!("/ccc/a%20b?{other}"), &[], b"").await),
        (403, "AuthenticationFailed")
    );
    let long = body.replace("2026-11-23", "2026-12-23");
    let refused = client.plain("POST", target, &headers, long.as_bytes()).await;
    assert_eq!(refusal(&refused), (400, "InvalidXmlNodeValue"));
    // It allows one blob to be read, and no other, and nothing else.
    for (method, blob, code) in [
        ("PUT", "a%20b", "AuthorizationPermissionMismatch"),
        ("DELETE", "a%20b", "AuthorizationPermissionMismatch"),
        ("GET", "other", "AuthenticationFailed"),
    ] {
        let kind = [("x-ms-blob-type", "BlockBlob")];
        let refused = client.plain(method, &format!("/ccc/{blob}?{sas}"), &kind, b"").await;
        assert_eq!(refusal(&refused), (403, code), "{method} {blob}");
    }
    // Nor more than its signer may at the moment.
    let signed = format!("/ccc/a%20b?{sas}");
    let read = || client.plain("GET", &signed, &[], b"");
    deny(&client, "blobs/read", "");
    assert_eq!(refusal(&read().await), (403, "AuthorizationPermissionMismatch"));
    deny(&client, "blobs/read", "containers/other");
    assert_eq!(status(&read().await), 200);
    deny(&client, "generateUserDelegationKey", "/acct");
    assert_eq!(status(&read().await), 200);
    let refused = client.plain("POST", target, &headers, body.as_bytes()).await;
    assert_eq!(refusal(&refused), (403, "AuthorizationPermissionMismatch"));
    client.sim.world().arm.denials.clear();
    client.sim.clock().sleep(Duration::from_secs(2 * 3600)).await;
    assert_eq!(
        refusal(&client.plain("GET", &format!("/ccc/a%20b?{sas}"), &[], b"").await),
        (403, "AuthenticationFailed")
    );
}

fn deny(client: &Client, action: &str, scope: &str) {
    let denial = azure_sim::arm::Denial {
        action_part: action.to_owned(),
        scope_part: scope.to_owned(),
        ..Default::default()
    };
    client.sim.world().arm.denials = vec![denial];
}

#[tokio::test(start_paused = true)]
async fn a_token_opens_what_its_bearers_roles_allow() {
    let client = with_blob().await;
    let bearer = client.bearer();
    let headers =
        [("authorization", bearer.as_str()), ("x-ms-version", VERSION), ("x-ms-blob-type", "BlockBlob")];
    let call = |method: &'static str, target: &'static str| {
        let (client, headers) = (client.clone(), headers);
        async move { client.plain(method, target, &headers, b"").await.status().as_u16() }
    };
    let calls = [
        ("containers/write", "PUT", "/new?restype=container", 201),
        ("containers/blobs/read", "GET", "/ccc/a%20b", 200),
        ("containers/blobs/read", "GET", "/ccc?restype=container&comp=list", 200),
        ("containers/blobs/write", "PUT", "/ccc/c", 201),
        ("containers/blobs/delete", "DELETE", "/ccc/c", 202),
        ("containers/delete", "DELETE", "/new?restype=container", 202),
    ];
    for (action, method, target, expected) in calls {
        deny(&client, action, "");
        assert_eq!(call(method, target).await, 403, "{method} {target} without {action}");
        client.sim.world().arm.denials.clear();
        assert_eq!(call(method, target).await, expected, "{method} {target}");
    }
}

#[tokio::test(start_paused = true)]
async fn on_loopback_sockets_the_signed_path_holds_the_account_twice() {
    let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let sim = azure_sim::Sim::new(azure_sim::SimOptions {
        seed: 7,
        clock: factory_clock::Clock::virtual_from(START),
        profile: azure_sim::latency::Profile::default(),
        endpoints: azure_sim::Endpoints::Loopback {
            scheme: http::uri::Scheme::HTTP,
            resource_manager: address(1),
            blob: address(2),
            identity: address(3),
        },
    });
    let client = account(&sim, "acct");
    let put = async |path: &str| {
        let date = rfc1123(sim.clock().now());
        let text = format!(
            "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{VERSION}\n{path}\nrestype:container"
        );
        let request = http::Request::put("http://127.0.0.1:2/acct/images?restype=container")
            .header("authorization", format!("SharedKey acct:{}", hmac(&client.key(0), &text)))
            .header("x-ms-date", date)
            .header("x-ms-version", VERSION)
            .header("content-length", "0")
            .body(bytes::Bytes::new())
            .unwrap();
        sim.call(request).await.unwrap()
    };
    assert_eq!(refusal(&put("/acct/images").await), (403, "AuthenticationFailed"));
    assert_eq!(status(&put("/acct/acct/images").await), 201);
}
