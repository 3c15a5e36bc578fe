//! What the simulator does not know it refuses: nobody shall believe that it had an effect.

use crate::client::*;

#[tokio::test(start_paused = true)]
async fn headers_that_would_change_the_meaning_of_a_request_are_refused() {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    for (name, value) in
        [("x-ms-access-tier", "Cool"), ("x-ms-if-tags", "a='b'"), ("x-ms-legal-hold", "true")]
    {
        let headers = [("x-ms-blob-type", "BlockBlob"), (name, value)];
        let refused = client.send("PUT", "/ccc/b", &headers, b"x").await;
        assert_eq!(refusal(&refused), (400, "UnsupportedHeader"));
        assert!(text(&refused).contains(&format!("<HeaderName>{name}</HeaderName>")), "{}", text(&refused));
    }
    assert_eq!(status(&client.head("/ccc/b").await), 404);
}

#[tokio::test(start_paused = true)]
async fn parameters_that_would_change_the_meaning_of_a_request_are_refused() {
    let client = account(&azure(), "acct");
    client.create_container("ccc").await;
    client.put("/ccc/b", b"x").await;
    for target in ["/ccc/b?versionid=2026-11-22T13:00:00.0000000Z", "/ccc/b?comp=pagelist&prevsnapshot=x"] {
        assert_eq!(refusal(&client.get(target).await), (400, "UnsupportedQueryParameter"), "{target}");
    }
}
