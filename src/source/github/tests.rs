use super::*;
use crate::dev::git_host::Host;

const LABS: (&str, &str) = ("conf/Labs.json", "{}");

fn source(host: &Host, token: Option<&str>) -> GitHub {
    of(&host.url, "images", token)
}

fn of(api: &Url, repository: &str, token: Option<&str>) -> GitHub {
    let options = GitHubOptions {
        api: api.clone(),
        owner: "octo".to_owned(),
        repository: repository.to_owned(),
        branch: "main".parse().unwrap(),
        folder: "conf".parse().unwrap(),
        access: token
            .map_or(GitHubAccess::Public, |token| GitHubAccess::Token(Secret::new(token.to_owned()))),
    };
    GitHub::new(options, Clock::system())
}

#[tokio::test]
async fn a_commit_is_fetched_from_another_host_which_never_sees_the_token() {
    let host = Host::github().await;
    host.state().token = Some("right".to_owned());
    let first = host
        .commit("main", &[LABS, ("conf/GoldenImages/Win/a.json", "[]"), ("conf/x.txt", ""), ("y.json", "")]);
    host.commit("main", &[LABS]);
    let files = source(&host, Some("right")).fetch(Some(&first)).await.unwrap().files;
    assert_eq!(files.into_keys().collect::<Vec<_>>(), ["GoldenImages/Win/a.json", "Labs.json"]);
}

#[tokio::test]
async fn a_branch_is_resolved_to_its_newest_commit_and_an_id_needs_no_asking() {
    let host = Host::github().await;
    host.commit("main", &[LABS]);
    let newest = host.commit("main", &[LABS]);
    let other = host.commit("team/x", &[LABS]);
    let source = source(&host, None);
    assert_eq!(source.resolve(None).await.unwrap(), Some(newest.clone()));
    assert_eq!(source.resolve(Some("team/x")).await.unwrap(), Some(other));
    let asked = host.state().asked.clone();
    assert_eq!(asked, ["commits/main", "commits/team/x"]);
    assert_eq!(source.resolve(Some(&newest)).await.unwrap(), Some(newest));
    assert_eq!(host.state().asked, asked);
    assert_eq!(
        source.resolve(Some("../../../user")).await.unwrap_err().to_string().matches("git allows").count(),
        1
    );
    assert_eq!(host.state().asked, asked, "nor is anything asked that is no revision");
}

#[tokio::test]
async fn what_is_not_there_or_hidden_is_named_with_what_to_do() {
    let host = Host::github().await;
    let unknown = "0123456789".repeat(4);
    let source = source(&host, None);
    let missing = |error: SourceError| {
        assert!(matches!(error, SourceError::Missing { .. }), "{error:?}");
        error.to_string()
    };
    let text = missing(source.resolve(None).await.unwrap_err());
    assert!(text.contains("main") && text.contains("Git Repository is empty."), "{text}");
    missing(source.fetch(None).await.unwrap_err());
    let commit = host.commit("main", &[LABS]);
    let text = missing(source.fetch(Some(&unknown)).await.unwrap_err());
    assert!(text.contains(&unknown) && text.contains("octo/images") && text.contains("pushed"), "{text}");
    let text = missing(source.resolve(Some("devel")).await.unwrap_err());
    assert!(text.contains("No commit found for SHA: devel"), "{text}");
    missing(of(&host.url, "imagez", None).fetch(Some(&commit)).await.unwrap_err());
    host.state().token = Some("right".to_owned());
    let text = missing(source.fetch(Some(&commit)).await.unwrap_err());
    assert!(text.contains("IMAGE_FACTORY_REPOSITORY_TOKEN"), "{text}");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named_with_its_commit() {
    let host = Host::github().await;
    let commit = host.commit("main", &[("Conf/Labs.json", "{}")]);
    let text = source(&host, None).fetch(Some(&commit)).await.unwrap_err().to_string();
    assert!(
        text.contains(&format!("GitHub repository octo/images at {commit} has no folder conf")),
        "{text}"
    );
}

#[tokio::test]
async fn a_wrong_token_is_refused_for_good_and_not_repeated() {
    let host = Host::github().await;
    let commit = host.commit("main", &[LABS]);
    host.state().token = Some("right".to_owned());
    let wrong = source(&host, Some("wr0ng-t0ken"));
    let error = wrong.fetch(Some(&commit)).await.unwrap_err();
    assert!(matches!(error, SourceError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("Bad credentials"), "{error}");
    assert!(!format!("{error} {error:?} {wrong:?}").contains("wr0ng"), "{error:?}");
    // A matter of permissions has no sign of a limit.
    host.state().troubles = vec![(403, vec![("x-ratelimit-remaining", "4999".to_owned())])];
    let error = source(&host, Some("right")).fetch(Some(&commit)).await.unwrap_err();
    assert!(matches!(error, SourceError::Refused { .. }), "{error:?}");
    let error = source(&host, Some("two\nlines")).fetch(Some(&commit)).await.unwrap_err();
    assert!(error.to_string().contains("no header can carry"), "{error}");
}

#[tokio::test]
async fn limits_and_a_hosts_own_trouble_pass_and_say_how_long() {
    let host = Host::github().await;
    let commit = host.commit("main", &[LABS]);
    let source = source(&host, None);
    let reset = (Clock::system().now().unix_timestamp() + 600).to_string();
    let used_up = |reset: &str| {
        vec![("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", reset.to_owned())]
    };
    let after = || vec![("retry-after", "70".to_owned())];
    for (status, headers, seconds) in [
        (429, after(), Some(70..71)),
        (403, after(), Some(70..71)),
        (403, used_up(&reset), Some(500..601)),
        (403, used_up("0"), Some(0..1)),
        (429, Vec::new(), None),
        (502, Vec::new(), None),
        (503, after(), Some(70..71)),
    ] {
        host.state().troubles = vec![(status, headers)];
        let error = source.fetch(Some(&commit)).await.unwrap_err();
        let SourceError::Unavailable { retry_after, .. } = error else { panic!("{status}: {error:?}") };
        match seconds {
            Some(range) => {
                assert!(range.contains(&retry_after.unwrap().as_secs()), "{status}: {retry_after:?}")
            }
            None => assert_eq!(retry_after, None),
        }
    }
    source.fetch(Some(&commit)).await.unwrap();
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_trouble_that_passes() {
    let gone = {
        let host = Host::github().await;
        host.url.clone()
    };
    let error = of(&gone, "images", None).resolve(None).await.unwrap_err();
    assert!(matches!(error, SourceError::Unavailable { retry_after: None, .. }), "{error:?}");
    assert!(error.to_string().contains("octo/images"), "{error}");
}

#[tokio::test]
async fn an_archive_that_is_none_is_refused_without_its_secret_link() {
    let host = Host::github().await;
    let commit = host.commit("main", &[LABS]);
    host.state().archive = Some(b"<html>come back later</html>".to_vec());
    let error = source(&host, None).fetch(Some(&commit)).await.unwrap_err();
    assert!(matches!(error, SourceError::Malformed { .. }), "{error:?}");
    assert!(error.to_string().contains(&commit) && !error.to_string().contains("SECRET"), "{error}");
}

#[tokio::test]
async fn a_redirect_to_where_others_can_read_along_is_not_followed() {
    let host = Host::github().await;
    let commit = host.commit("main", &[LABS]);
    let location = "http://codeload.example.org/legacy.zip/x?token=SECRET".to_owned();
    host.state().troubles = vec![(302, vec![("location", location)])];
    let error = source(&host, None).fetch(Some(&commit)).await.unwrap_err();
    assert!(error.to_string().contains("http://codeload.example.org/legacy.zip/x"), "{error}");
    assert!(
        error.to_string().contains("is no https URL") && !error.to_string().contains("SECRET"),
        "{error}"
    );
    let moved = format!("{}repos/octo/images/zipball/{commit}", host.url);
    host.state().troubles = vec![(302, vec![("location", moved)]); 4];
    let error = source(&host, None).fetch(Some(&commit)).await.unwrap_err();
    assert!(error.to_string().contains("HTTP status 302"), "{error}");
}

#[tokio::test]
async fn more_than_fits_into_memory_is_not_read() {
    let host = Host::github().await;
    let commit = host.commit("main", &[LABS]);
    host.state().archive = Some(vec![b' '; 2000]);
    let http = Http::new(Clock::system());
    let url: Url = format!("{}repos/octo/images/zipball/{commit}", host.url).parse().unwrap();
    let headers =
        HeaderMap::from_iter([(ACCEPT, JSON), ("x-github-api-version".parse().unwrap(), API_VERSION)]);
    let ask = |most_bytes| {
        http.ask(Question {
            place: "octo/images",
            method: Method::GET,
            url: url.clone(),
            headers: headers.clone(),
            most_bytes,
            most_redirects: 3,
        })
    };
    assert_eq!(ask(2000).await.unwrap().body.len(), 2000);
    let error = ask(1999).await.unwrap_err();
    assert!(matches!(&error, SourceError::TooLarge { path, .. } if path == "octo/images"), "{error:?}");
}

#[tokio::test]
async fn who_wrote_a_commit_is_told_and_cut_to_one_line() {
    let host = Host::github().await;
    let commit = host.repository().commit_by("Grace\tHopper", "main", &[("conf/Labs.json", b"{}")]).unwrap();
    let source = source(&host, None);
    assert_eq!(source.author(&commit).await.unwrap().as_deref(), Some("Grace Hopper"));
    assert_eq!(host.state().asked, [format!("git/commits/{commit}")]);
    let error = source.author(&"0123456789".repeat(4)).await.unwrap_err();
    assert!(matches!(error, SourceError::Missing { .. }), "{error:?}");
    host.state().troubles = vec![(503, Vec::new())];
    let error = source.author(&commit).await.unwrap_err();
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error:?}");
}
