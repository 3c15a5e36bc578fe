use factory_clock::Clock;
use hostile_bytes::{Attack, Grammar};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use super::*;
use crate::{
    dev::git_host::{Host, Kind, app::App, served::Served},
    source::{GitHubAccess, GitHubOptions, Source as _},
};

const ID: &str = "Iv23liTest";
const INSTALLATION: u64 = 41;

/// A key of the kind that GitHub makes; its public half as PEM.
fn key() -> (String, String) {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    (pair.serialize_pem(), pair.public_key_pem())
}

struct Set {
    host: Host,
    commit: String,
    source: GitHub,
}

impl Set {
    /// A host that knows an app, and a source that is `id` with `key`.
    async fn of(id: &str, installation: u64, key: &str, public_key: &str, clock: Clock) -> Self {
        let served = Served::new().unwrap();
        let host = Host::listening(Kind::GitHub, "images", served, clock.clone()).await.unwrap();
        host.state().app = Some(App::new(ID, INSTALLATION, public_key));
        let commit = host.commit("main", &[("Labs.json", "{}")]);
        let app = GitHubApp::new(id, &installation.to_string(), key).unwrap();
        let options = GitHubOptions {
            api: host.url.clone(),
            owner: "octo".to_owned(),
            repository: "images".to_owned(),
            branch: "main".parse().unwrap(),
            folder: "".parse().unwrap(),
            access: GitHubAccess::App(app),
        };
        let source = GitHub::new(options, clock);
        Self { host, commit, source }
    }

    fn tokens_asked_for(&self) -> usize {
        self.host.state().asked.iter().filter(|path| path.starts_with("access_tokens/")).count()
    }
}

#[tokio::test]
async fn an_app_reads_with_a_token_that_it_asks_for_once() {
    let (key, public_key) = key();
    let set = Set::of(ID, INSTALLATION, &key, &public_key, Clock::system()).await;
    assert_eq!(set.source.resolve(None).await.unwrap(), Some(set.commit.clone()));
    assert_eq!(set.source.fetch(Some(&set.commit)).await.unwrap().files.len(), 1);
    assert_eq!(set.source.author(&set.commit).await.unwrap().as_deref(), Some("Ada Lovelace"));
    assert_eq!(set.tokens_asked_for(), 1);
}

#[tokio::test]
async fn calls_at_the_same_time_share_a_token() {
    let (key, public_key) = key();
    let set = Set::of(ID, INSTALLATION, &key, &public_key, Clock::system()).await;
    let calls = (0..5).map(|_| set.source.resolve(None));
    for found in futures::future::join_all(calls).await {
        assert_eq!(found.unwrap(), Some(set.commit.clone()));
    }
    assert_eq!(set.tokens_asked_for(), 1);
}

#[tokio::test]
async fn a_token_that_was_taken_back_is_replaced_once() {
    let (key, public_key) = key();
    let set = Set::of(ID, INSTALLATION, &key, &public_key, Clock::system()).await;
    set.source.resolve(None).await.unwrap();
    set.host.state().app.as_mut().unwrap().take_back_tokens();
    set.source.fetch(Some(&set.commit)).await.unwrap();
    assert_eq!(set.tokens_asked_for(), 2);
    // A host that refuses fresh tokens too is not asked for ever.
    set.host.state().troubles = vec![(401, Vec::new())];
    set.host.state().app.as_mut().unwrap().take_back_tokens();
    set.source.fetch(Some(&set.commit)).await.unwrap();
    assert_eq!(set.tokens_asked_for(), 3);
    let before = set.host.state().asked.len();
    set.host.state().app.as_mut().unwrap().take_back_tokens();
    set.host.state().troubles = vec![(401, Vec::new()), (401, Vec::new())];
    let error = set.source.fetch(Some(&set.commit)).await.unwrap_err();
    assert!(matches!(error, SourceError::Refused { .. }), "{error:?}");
    assert!(set.host.state().asked.len() <= before + 3);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_used_until_shortly_before_its_end() {
    let (key, public_key) = key();
    let clock = Clock::virtual_from(OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
    let served = Served::new().unwrap();
    let commit = served.commit("main", &[("Labs.json", "{}")]).unwrap();
    // Without sockets: under virtual time their answers would come too late.
    let host = Host::in_process(Kind::GitHub, "images", served, clock.clone());
    host.state().app = Some(App::new(ID, INSTALLATION, &public_key));
    let options = GitHubOptions {
        api: host.url.clone(),
        owner: "octo".to_owned(),
        repository: "images".to_owned(),
        branch: "main".parse().unwrap(),
        folder: "".parse().unwrap(),
        access: GitHubAccess::App(GitHubApp::new(ID, "41", &key).unwrap()),
    };
    let source = GitHub::new(options, clock.clone()).carried_by(host.carrier().unwrap());
    let tokens = || host.state().app.as_ref().unwrap().tokens();
    for (minutes, expected) in [(0, 1), (54, 1), (2, 2), (54, 2), (600, 3)] {
        clock.sleep(Duration::from_secs(minutes * 60)).await;
        assert_eq!(source.fetch(Some(&commit)).await.unwrap().files.len(), 1);
        assert_eq!(tokens(), expected, "after {minutes} minutes more");
    }
}

#[tokio::test]
async fn who_is_not_the_app_is_refused_with_githubs_reason_and_what_to_do() {
    let ((key_of_app, public_key), (other_key, _)) = (key(), key());
    for (id, installation, key, reason) in [
        (ID, INSTALLATION, &other_key, "could not be decoded"),
        ("Iv23liOther", INSTALLATION, &key_of_app, "'Issuer' claim"),
        (ID, INSTALLATION + 1, &key_of_app, "Not Found"),
    ] {
        let set = Set::of(id, installation, key, &public_key, Clock::system()).await;
        let error = set.source.fetch(Some(&set.commit)).await.unwrap_err();
        assert!(matches!(error, SourceError::Refused { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(reason) && text.contains("IMAGE_FACTORY_GITHUB_APP_PRIVATE_KEY"), "{text}");
        assert!(!text.contains("eyJ") && !text.contains("PRIVATE KEY--"), "{text}");
        assert_eq!(set.tokens_asked_for(), 1, "{reason}");
    }
}

#[tokio::test]
async fn githubs_trouble_with_a_token_passes() {
    let (key, public_key) = key();
    let set = Set::of(ID, INSTALLATION, &key, &public_key, Clock::system()).await;
    set.host.state().troubles = vec![(502, Vec::new())];
    let error = set.source.fetch(Some(&set.commit)).await.unwrap_err();
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error:?}");
    set.source.fetch(Some(&set.commit)).await.unwrap();
}

#[test]
fn a_proof_lasts_no_longer_than_github_allows() {
    let (key, public_key) = key();
    let app = GitHubApp::new(ID, "41", &key).unwrap();
    let now = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
    let proof = app.proof(now).unwrap();
    let mut validation = jsonwebtoken::Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    let key = jsonwebtoken::DecodingKey::from_rsa_pem(public_key.as_bytes()).unwrap();
    let claims = jsonwebtoken::decode::<serde_json::Value>(&proof, &key, &validation).unwrap().claims;
    assert_eq!(claims, serde_json::json!({"iat": 1_767_225_540, "exp": 1_767_226_140, "iss": ID}));
}

#[test]
fn a_key_is_taken_however_its_lines_were_broken() {
    let (key, _) = key();
    let lines: Vec<&str> = key.lines().collect();
    for text in [
        key.clone(),
        lines.join("\r\n"),
        lines.join("\\n"),
        lines.join(" "),
        lines.join(""),
        format!("  {key}\n\n"),
    ] {
        assert!(GitHubApp::new(ID, "41", &text).is_ok(), "{}", text.replace(char::is_alphanumeric, "x"));
    }
}

#[test]
fn what_is_no_app_is_refused_without_repeating_a_key() {
    let (key, public_key) = key();
    let elliptic = KeyPair::generate().unwrap().serialize_pem();
    let cut: String = key.lines().filter(|line| !line.starts_with("MII")).collect::<Vec<_>>().join("\n");
    let refusal =
        |id: &str, installation: &str, key: &str| GitHubApp::new(id, installation, key).unwrap_err();
    for text in [
        "",
        "hunter2",
        "-----BEGIN RSA PRIVATE KEY-----",
        &public_key,
        &elliptic,
        &cut,
        &key[..key.len() / 2],
    ] {
        assert_eq!(refusal(ID, "41", text), BadApp::Key, "{text}");
        assert!(!BadApp::Key.to_string().contains("hunter2"));
    }
    for id in ["", "<the app's id>", "a b", "12/34"] {
        assert_eq!(refusal(id, "41", &key), BadApp::Id, "{id}");
    }
    for installation in ["", "octo", "-1", "4.1"] {
        assert_eq!(refusal(ID, installation, &key), BadApp::Installation, "{installation}");
    }
    let shown = format!("{:?}", GitHubApp::new(ID, "41", &key).unwrap());
    assert!(shown.contains(ID) && !shown.contains("PRIVATE"), "{shown}");
}

#[tokio::test]
async fn the_stand_in_takes_no_proof_that_github_would_not_take() {
    let (key, public_key) = key();
    let set = Set::of(ID, INSTALLATION, &key, &public_key, Clock::system()).await;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let claims = |iat: i64, exp: i64| serde_json::json!({"iat": now + iat, "exp": now + exp, "iss": ID});
    let signing = EncodingKey::from_rsa_pem(key.as_bytes()).unwrap();
    let signed = |claims| encode(&Header::new(Algorithm::RS256), &claims, &signing).unwrap();
    let shared = encode(
        &Header::new(Algorithm::HS256),
        &claims(-60, 540),
        &EncodingKey::from_secret(public_key.as_bytes()),
    );
    for (proof, reason) in [
        (signed(claims(-60, 700)), "too far in the future"),
        (signed(claims(-700, -60)), "must be a numeric value in the future"),
        (signed(claims(120, 540)), "'Issued at' claim"),
        (signed(serde_json::json!({"exp": now + 540, "iss": ID})), "could not be decoded"),
        (shared.unwrap(), "could not be decoded"),
        (String::new(), "could not be decoded"),
    ] {
        let path = format!("app/installations/{INSTALLATION}/access_tokens");
        let authorization = Some(format!("Bearer {proof}"));
        let answer =
            set.source.ask(Method::POST, &path, authorization, JSON, LARGEST_ANSWER, 0).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{reason}");
        assert!(answer.reason().contains(reason), "{}", answer.reason());
    }
}

#[test]
fn no_text_breaks_the_reader_of_keys_or_is_repeated() {
    let (key, _) = key();
    let words = ["-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----", "\\n", "=", "MII"];
    Attack::on("private keys", Grammar::Text).sample(&key).words(words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        GitHubApp::new(ID, "41", &text).map(drop).map_err(|refusal| refusal.to_string())
    });
}
