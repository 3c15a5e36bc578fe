use std::time::Duration;

use crate::client::*;

#[tokio::test(start_paused = true)]
async fn a_container_is_created_once_and_described() {
    let client = account(&azure(), "acct");
    let made = client.send("PUT", "/images?restype=container", &[("x-ms-meta-team", "a b")], b"").await;
    assert_eq!(status(&made), 201);
    let again = client.send("PUT", "/images?restype=container", &[], b"").await;
    assert_eq!(refusal(&again), (409, "ContainerAlreadyExists"));
    assert!(
        text(&again).starts_with(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>ContainerAlreadyExists</Code>"
        )
    );
    let found = client.get("/images?restype=container").await;
    assert_eq!((status(&found), header(&found, "x-ms-meta-team")), (200, "a b"));
    assert_eq!(header(&found, "etag"), header(&made, "etag"));
    assert_eq!(header(&found, "x-ms-lease-state"), "available");
    for name in ["x-ms-request-id", "x-ms-version", "date"] {
        assert_ne!(header(&found, name), "", "{name}");
        assert_ne!(header(&again, name), "", "{name}");
    }
    let set =
        client.send("PUT", "/images?restype=container&comp=metadata", &[("x-ms-meta-x", "1")], b"").await;
    assert_eq!(status(&set), 200);
    let found = client.get("/images?restype=container&comp=metadata").await;
    assert_eq!((header(&found, "x-ms-meta-team"), header(&found, "x-ms-meta-x")), ("", "1"));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_containers_name_is_free_again_after_half_a_minute() {
    let client = account(&azure(), "acct");
    client.create_container("images").await;
    client.put("/images/a", b"a").await;
    assert_eq!(status(&client.delete("/images?restype=container").await), 202);
    let again = client.delete("/images?restype=container").await;
    assert_eq!(refusal(&again), (404, "ContainerNotFound"));
    assert_eq!(refusal(&client.get("/images/a").await), (404, "ContainerNotFound"));
    let early = client.send("PUT", "/images?restype=container", &[], b"").await;
    assert_eq!(refusal(&early), (409, "ContainerBeingDeleted"));
    client.sim.clock().sleep(Duration::from_secs(30)).await;
    client.create_container("images").await;
    assert_eq!(refusal(&client.get("/images/a").await), (404, "BlobNotFound"));
}

#[tokio::test(start_paused = true)]
async fn bad_names_and_unknown_containers_are_refused() {
    let client = account(&azure(), "acct");
    for (name, code) in
        [("Images", "InvalidResourceName"), ("a--b", "InvalidResourceName"), ("ab", "OutOfRangeInput")]
    {
        let response = client.send("PUT", &format!("/{name}?restype=container"), &[], b"").await;
        assert_eq!(refusal(&response), (400, code), "{name}");
    }
    for target in ["/none?restype=container", "/none?restype=container&comp=list", "/none/blob"] {
        assert_eq!(refusal(&client.get(target).await), (404, "ContainerNotFound"), "{target}");
    }
    let head = client.head("/none/blob").await;
    assert_eq!(refusal(&head), (404, "ContainerNotFound"));
    assert!(head.body().is_empty());
}

#[tokio::test(start_paused = true)]
async fn containers_are_listed_in_pages() {
    let client = account(&azure(), "acct");
    for name in ["alpha", "beta", "beta2"] {
        client.create_container(name).await;
    }
    let page = text(&client.get("/?comp=list&maxresults=2").await);
    assert!(page.contains("<Name>alpha</Name>") && page.contains("<Name>beta</Name>"), "{page}");
    assert!(!page.contains("beta2"));
    let marker = page.split("<NextMarker>").nth(1).unwrap().split('<').next().unwrap();
    let rest = text(&client.get(&format!("/?comp=list&marker={}", encode(marker))).await);
    assert!(
        rest.contains("<Name>beta2</Name>") && rest.contains("<NextMarker />") && !rest.contains("alpha"),
        "{rest}"
    );
    let some = text(&client.get("/?comp=list&prefix=beta").await);
    assert_eq!(some.matches("<Container>").count(), 2);
}
