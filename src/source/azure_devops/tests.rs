use std::sync::atomic::{AtomicBool, Ordering};

use azure_core::{
    credentials::{AccessToken, TokenRequestOptions},
    time::{Duration, OffsetDateTime},
};

use super::*;
use crate::dev::git_host::Host;

const LABS: (&str, &str) = ("conf/Labs.json", "{}");

fn token(token: &str) -> DevOpsAccess {
    DevOpsAccess::Token(Secret::new(token.to_owned()))
}

fn source(host: &Host, access: DevOpsAccess) -> AzureDevOps {
    of(host, "images", access)
}

fn of(host: &Host, repository: &str, access: DevOpsAccess) -> AzureDevOps {
    let options = AzureDevOpsOptions {
        organization: host.url.join("contoso").unwrap(),
        project: "Image Factory".to_owned(),
        repository: repository.to_owned(),
        branch: "main".parse().unwrap(),
        folder: "conf".parse().unwrap(),
        access,
    };
    AzureDevOps::new(options, Clock::system())
}

#[tokio::test]
async fn a_commit_is_fetched_with_a_personal_token() {
    let host = Host::azure_devops().await;
    host.state().token = Some("right".to_owned());
    let first = host
        .commit("main", &[LABS, ("conf/GoldenImages/Win/a.json", "[]"), ("conf/x.txt", ""), ("y.json", "")]);
    host.commit("main", &[LABS]);
    let files = source(&host, token("right")).fetch(Some(&first)).await.unwrap().files;
    assert_eq!(files.into_keys().collect::<Vec<_>>(), ["GoldenImages/Win/a.json", "Labs.json"]);
    assert_eq!(source(&host, token("right")).fetch(None).await.unwrap().files.len(), 1);
}

/// An identity with the token `right`, for Azure DevOps alone.
#[derive(Debug, Default)]
struct Identity {
    is_broken: AtomicBool,
}

#[async_trait]
impl TokenCredential for Identity {
    async fn get_token(
        &self,
        scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        assert_eq!(scopes, ["499b84ac-1321-427f-aa17-267ca6975798/.default"]);
        if self.is_broken.load(Ordering::Relaxed) {
            let kind = azure_core::error::ErrorKind::Credential;
            return Err(azure_core::Error::with_message(kind, "the identity endpoint is out of reach"));
        }
        Ok(AccessToken::new("right", OffsetDateTime::now_utc() + Duration::HOUR))
    }
}

#[tokio::test]
async fn an_identity_gets_in_as_well_and_its_trouble_passes() {
    let host = Host::azure_devops().await;
    host.state().token = Some("right".to_owned());
    let commit = host.commit("main", &[LABS]);
    let identity = Arc::new(Identity::default());
    let source = source(&host, DevOpsAccess::Identity(identity.clone()));
    source.fetch(Some(&commit)).await.unwrap();
    identity.is_broken.store(true, Ordering::Relaxed);
    let error = source.fetch(Some(&commit)).await.unwrap_err();
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_branch_is_resolved_by_its_whole_name_and_an_id_needs_no_asking() {
    let host = Host::azure_devops().await;
    host.commit("mainframe", &[LABS]);
    let newest = host.commit("main", &[LABS]);
    let source = source(&host, token(""));
    assert_eq!(source.resolve(None).await.unwrap(), Some(newest.clone()));
    let asked = host.state().asked.len();
    assert_eq!(source.resolve(Some(&newest)).await.unwrap(), Some(newest));
    assert_eq!(host.state().asked.len(), asked);
    let error = source.resolve(Some("mai")).await.unwrap_err();
    assert!(matches!(&error, SourceError::Missing { what, .. } if what.contains("mai")), "{error:?}");
}

#[tokio::test]
async fn a_page_to_sign_in_on_is_a_refused_token() {
    let host = Host::azure_devops().await;
    host.state().token = Some("right".to_owned());
    let commit = host.commit("main", &[LABS]);
    let stranger = Identity::default();
    for access in [token("wr0ng"), DevOpsAccess::Identity(Arc::new(stranger))] {
        if matches!(access, DevOpsAccess::Identity(_)) {
            host.state().token = Some("another".to_owned());
        }
        let source = source(&host, access);
        for error in [source.fetch(Some(&commit)).await.unwrap_err(), source.resolve(None).await.unwrap_err()]
        {
            assert!(matches!(error, SourceError::Refused { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("sign in on") && text.contains("IMAGE_FACTORY_REPOSITORY_TOKEN"), "{text}");
            assert!(!text.contains("wr0ng") && !text.contains("<html>"), "{text}");
        }
    }
    // A page with the status of success is one too.
    host.state().token = None;
    host.state().troubles = vec![(200, vec![("content-type", "text/html; charset=utf-8".to_owned())])];
    let error = source(&host, token("x")).fetch(Some(&commit)).await.unwrap_err();
    assert!(matches!(error, SourceError::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_not_there_is_named_in_azure_devops_own_words() {
    let host = Host::azure_devops().await;
    let commit = host.commit("main", &[LABS]);
    let unknown = "0123456789".repeat(4);
    let text = source(&host, token("x")).fetch(Some(&unknown)).await.unwrap_err().to_string();
    assert!(text.contains("contoso/Image Factory/images"), "{text}");
    assert!(text.contains("TF401175") && text.contains(&unknown), "{text}");
    let text = of(&host, "imagez", token("x")).fetch(Some(&commit)).await.unwrap_err().to_string();
    assert!(text.contains("TF401019") && text.contains("IMAGE_FACTORY_REPOSITORY"), "{text}");
    let text = of(&host, "images/../../x", token("x")).fetch(Some(&commit)).await.unwrap_err().to_string();
    assert!(text.contains("TF401019"), "a name is one name: {text}");
}

#[tokio::test]
async fn limits_and_trouble_pass_and_a_strange_answer_does_not() {
    let host = Host::azure_devops().await;
    let commit = host.commit("main", &[LABS]);
    let source = source(&host, token("x"));
    host.state().troubles = vec![(429, vec![("retry-after", "30".to_owned())]), (500, Vec::new())];
    for seconds in [Some(30), None] {
        let error = source.fetch(Some(&commit)).await.unwrap_err();
        let SourceError::Unavailable { retry_after, .. } = error else { panic!("{error:?}") };
        assert_eq!(retry_after.map(|wait| wait.as_secs()), seconds);
    }
    host.state().troubles = vec![(204, Vec::new())];
    let error = source.fetch(Some(&commit)).await.unwrap_err();
    assert!(matches!(error, SourceError::Malformed { .. }), "{error:?}");
    host.state().archive = Some(b"PK no zip".to_vec());
    let error = source.fetch(Some(&commit)).await.unwrap_err();
    assert!(error.to_string().contains("no good zip file"), "{error}");
}

#[tokio::test]
async fn who_wrote_a_commit_is_told() {
    let host = Host::azure_devops().await;
    host.state().token = Some("right".to_owned());
    let commit = host.commit("main", &[LABS]);
    let author = source(&host, token("right")).author(&commit).await.unwrap();
    assert_eq!(author.as_deref(), Some("Ada Lovelace"));
    assert!(host.state().asked[0].contains(&format!("/commits/{commit}?api-version=7.1")));
    let error = source(&host, token("right")).author(&"0123456789".repeat(4)).await.unwrap_err();
    assert!(matches!(&error, SourceError::Missing { what, .. } if what.contains("TF401175")), "{error:?}");
    let error = source(&host, token("wr0ng")).author(&commit).await.unwrap_err();
    assert!(matches!(error, SourceError::Refused { .. }), "{error:?}");
}
