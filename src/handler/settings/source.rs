//! The settings that say where the configuration comes from.

use std::{path::PathBuf, sync::Arc};

use azure_core::{credentials::TokenCredential, http::Url};
use factory_clock::Clock;

use super::UNRESOLVED_REFERENCE;
use crate::{
    domain::{GITHUB_HOST, Repository},
    secret::Secret,
    source::{
        AzureDevOps, AzureDevOpsOptions, BadApp, DevOpsAccess, Folder, GitHub, GitHubAccess, GitHubApp,
        GitHubOptions, Local, PUBLIC_API, Revision, Source,
    },
};

/// A folder with the configuration, or a git repository, of this machine. It comes before the repository of a host.
pub const CONFIGURATION: &str = "IMAGE_FACTORY_CONFIGURATION";
/// A repository of GitHub or Azure DevOps: `https://github.com/owner/repository` or
/// `https://dev.azure.com/organization/project/_git/repository`.
pub const REPOSITORY: &str = "IMAGE_FACTORY_REPOSITORY";
/// The branch whose newest commit is fetched where a run names none; `main` where it is not set.
pub const BRANCH: &str = "IMAGE_FACTORY_BRANCH";
/// The folder of the repository that has the configuration; the repository's own where it is not set.
pub const FOLDER: &str = "IMAGE_FACTORY_FOLDER";
/// A token that may read the repository.
pub const TOKEN: &str = "IMAGE_FACTORY_REPOSITORY_TOKEN";
/// A GitHub App that may read the repository, in place of a token: its id or client id.
pub const GITHUB_APP_ID: &str = "IMAGE_FACTORY_GITHUB_APP_ID";
/// The id of the app's installation.
pub const GITHUB_APP_INSTALLATION: &str = "IMAGE_FACTORY_GITHUB_APP_INSTALLATION_ID";
/// The app's private key, as PEM.
pub const GITHUB_APP_KEY: &str = "IMAGE_FACTORY_GITHUB_APP_PRIVATE_KEY";
/// The API of a GitHub Enterprise server, such as `https://git.example.org/api/v3`.
pub const GITHUB_API: &str = "IMAGE_FACTORY_GITHUB_API";

const DEFAULT_BRANCH: &str = "main";

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    place: Place,
    branch: Revision,
    folder: Folder,
    token: Option<Secret<String>>,
    app: Option<GitHubApp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Local(PathBuf),
    GitHub { api: Url, owner: String, repository: String },
    AzureDevOps { organization: Url, project: String, repository: String },
}

impl SourceSettings {
    /// Reads them; what is wrong goes to the problems.
    pub fn read<'a>(get: impl Fn(&str) -> Option<&'a str>, problems: &mut Vec<String>) -> Option<Self> {
        let before = problems.len();
        let place = match (get(CONFIGURATION), get(REPOSITORY)) {
            (Some(path), _) => Some(Place::Local(path.into())),
            (None, Some(text)) => place(text, get(GITHUB_API)).map_err(|problem| problems.push(problem)).ok(),
            (None, None) => {
                problems.push(format!(
                    "{CONFIGURATION} is not set: the folder with Labs.json and GoldenImages; or set {REPOSITORY} to the \
                     repository that holds them"
                ));
                None
            }
        };
        let branch = branch(&get).parse();
        let branch = branch.map_err(|error| problems.push(format!("{BRANCH}: {error}"))).ok();
        let folder = get(FOLDER).unwrap_or_default().parse();
        let folder = folder.map_err(|error| problems.push(format!("{FOLDER}: {error}"))).ok();
        let token = get(TOKEN).filter(|token| is_resolved(TOKEN, token, problems));
        let app = app(&get, problems);
        if app.is_some() && token.is_some() {
            problems.push(format!("{TOKEN} and {GITHUB_APP_ID} are both set: take one of them away"));
        }
        if app.is_some() && !matches!(place, None | Some(Place::GitHub { .. })) {
            problems.push(format!("{GITHUB_APP_ID} is set, but the configuration does not come from GitHub"));
        }
        let token = token.map(|token| Secret::new(token.to_owned()));
        match (place, branch, folder) {
            (Some(place), Some(branch), Some(folder)) if problems.len() == before => {
                Some(Self { place, branch, folder, token, app })
            }
            _ => None,
        }
    }

    /// The source. Opens no connection yet.
    pub fn source(self, credential: Arc<dyn TokenCredential>, clock: Clock) -> Arc<dyn Source> {
        let Self { place, branch, folder, token, app } = self;
        match place {
            Place::Local(path) => Arc::new(Local::new(path, branch, folder)),
            Place::GitHub { api, owner, repository } => {
                let access = match (app, token) {
                    (Some(app), _) => GitHubAccess::App(app),
                    (None, Some(token)) => GitHubAccess::Token(token),
                    (None, None) => GitHubAccess::Public,
                };
                let options = GitHubOptions { api, owner, repository, branch, folder, access };
                Arc::new(GitHub::new(options, clock))
            }
            Place::AzureDevOps { organization, project, repository } => {
                let access = token.map_or(DevOpsAccess::Identity(credential), DevOpsAccess::Token);
                let options =
                    AzureDevOpsOptions { organization, project, repository, branch, folder, access };
                Arc::new(AzureDevOps::new(options, clock))
            }
        }
    }
}

/// The configured branch, by its short name.
pub(super) fn branch<'a>(get: impl Fn(&str) -> Option<&'a str>) -> &'a str {
    let branch = get(BRANCH).unwrap_or(DEFAULT_BRANCH);
    branch.strip_prefix("refs/heads/").unwrap_or(branch)
}

/// Whether a secret is one, and not a reference to Key Vault that Azure could not resolve. The value is not repeated.
fn is_resolved(name: &str, value: &str, problems: &mut Vec<String>) -> bool {
    let is_resolved = !value.starts_with(UNRESOLVED_REFERENCE);
    if !is_resolved {
        problems.push(format!(
            "{name} is a reference to Key Vault that Azure could not resolve: see the app's environment variables in the \
             portal"
        ));
    }
    is_resolved
}

/// The GitHub App, if one is set up.
fn app<'a>(get: impl Fn(&str) -> Option<&'a str>, problems: &mut Vec<String>) -> Option<GitHubApp> {
    let names = [GITHUB_APP_ID, GITHUB_APP_INSTALLATION, GITHUB_APP_KEY];
    let values = names.map(&get);
    if values.iter().all(Option::is_none) {
        return None;
    }
    let [Some(id), Some(installation), Some(key)] = values else {
        let missing: Vec<&str> = names.into_iter().filter(|name| get(name).is_none()).collect();
        problems
            .push(format!("of a GitHub App all three settings are needed; missing: {}", missing.join(", ")));
        return None;
    };
    if !is_resolved(GITHUB_APP_KEY, key, problems) {
        return None;
    }
    let of = |bad: &BadApp| match bad {
        BadApp::Id => GITHUB_APP_ID,
        BadApp::Installation => GITHUB_APP_INSTALLATION,
        BadApp::Key => GITHUB_APP_KEY,
    };
    GitHubApp::new(id, installation, key).map_err(|bad| problems.push(format!("{}: {bad}", of(&bad)))).ok()
}

/// The repository at an address.
fn place(text: &str, api: Option<&str>) -> Result<Place, String> {
    match Repository::parse(text).map_err(|bad| format!("{REPOSITORY}: {bad}"))? {
        Repository::GitHub { host, owner, name: repository } => {
            let api = match api {
                Some(api) => api,
                None if host == GITHUB_HOST => PUBLIC_API,
                None => {
                    return Err(format!(
                        "{REPOSITORY}: {host} is not {GITHUB_HOST}; if it is a GitHub Enterprise server, set {GITHUB_API} too"
                    ));
                }
            };
            let api = api.parse().map_err(|error| format!("{GITHUB_API} is no URL: {error}"))?;
            Ok(Place::GitHub { api, owner, repository })
        }
        Repository::AzureDevOps { organization, project, name: repository } => {
            Ok(Place::AzureDevOps { organization, project, repository })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<SourceSettings, Vec<String>> {
        let variables: BTreeMap<&str, &str> = pairs.iter().copied().collect();
        let mut problems = Vec::new();
        SourceSettings::read(|name| variables.get(name).copied(), &mut problems).ok_or(problems)
    }

    fn of(address: &str) -> Option<(String, String, String)> {
        match read(&[(REPOSITORY, address)]).ok()?.place {
            Place::GitHub { api, owner, repository } => Some((api.to_string(), owner, repository)),
            Place::AzureDevOps { organization, project, repository } => {
                Some((organization.to_string(), project, repository))
            }
            Place::Local(_) => None,
        }
    }

    #[test]
    fn the_address_says_which_host_is_asked_and_for_what() {
        let parts = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        for address in ["https://github.com/octo/images.git", "git@github.com:octo/images.git"] {
            assert_eq!(of(address), parts("https://api.github.com/", "octo", "images"), "{address}");
        }
        let azure = "https://dev.azure.com/contoso";
        for address in [
            "https://contoso@dev.azure.com/contoso/Image%20Factory/_git/images?version=GBmain",
            "https://contoso.visualstudio.com/Image%20Factory/_git/images",
            "git@ssh.dev.azure.com:v3/contoso/Image%20Factory/images",
        ] {
            assert_eq!(of(address), parts(azure, "Image Factory", "images"), "{address}");
        }
    }

    #[test]
    fn what_is_no_repositorys_address_is_refused_and_not_repeated() {
        for (address, reason) in [
            ("images", "expected https://github.com/<owner>/<repository>"),
            ("https://github.com/<owner>/<repository>", "expected https://github.com/<owner>/<repository>"),
            ("https://ada:p4ssw0rd@github.com/octo/images", "password"),
            ("https://git.example.org/octo/images", GITHUB_API),
        ] {
            let problems = read(&[(REPOSITORY, address)]).unwrap_err();
            assert!(problems.len() == 1 && problems[0].starts_with(REPOSITORY), "{address}: {problems:?}");
            assert!(!problems[0].contains("p4ssw0rd") && problems[0].contains(reason), "{problems:?}");
        }
    }

    #[test]
    fn an_enterprise_server_is_known_by_its_api() {
        let own = [
            (REPOSITORY, "https://git.example.org/octo/images"),
            (GITHUB_API, "https://git.example.org/api/v3"),
        ];
        let Place::GitHub { api, .. } = read(&own).unwrap().place else { panic!("not GitHub") };
        assert_eq!(api.as_str(), "https://git.example.org/api/v3");
        assert!(read(&[own[0], (GITHUB_API, "api")]).unwrap_err()[0].starts_with(GITHUB_API));
        assert!(read(&own[..1]).unwrap_err()[0].contains(GITHUB_API), "what is missing is told");
    }

    #[test]
    fn a_folder_of_this_machine_comes_first_and_one_of_both_is_needed() {
        let both = [(CONFIGURATION, "/conf"), (REPOSITORY, "https://github.com/<owner>/<repository>")];
        assert_eq!(read(&both).unwrap().place, Place::Local("/conf".into()));
        let problems = read(&[]).unwrap_err();
        assert!(problems[0].starts_with(CONFIGURATION) && problems[0].contains(REPOSITORY), "{problems:?}");
    }

    #[test]
    fn branch_and_folder_have_defaults_and_are_checked() {
        let with = |name, value| read(&[(REPOSITORY, "https://github.com/octo/images"), (name, value)]);
        let settings = with(BRANCH, "refs/heads/release/2026").unwrap();
        assert_eq!((settings.branch.as_str(), settings.folder.names().len()), ("release/2026", 0));
        let settings = with(FOLDER, "/ImageFactoryConfiguration/").unwrap();
        assert_eq!(
            (settings.branch.as_str(), settings.folder.to_string().as_str()),
            ("main", "ImageFactoryConfiguration")
        );
        for (name, value) in [(BRANCH, "a b"), (FOLDER, "../other")] {
            let problems = with(name, value).unwrap_err();
            assert!(problems.len() == 1 && problems[0].starts_with(name), "{problems:?}");
        }
    }

    #[test]
    fn a_token_is_not_printed_and_a_reference_that_was_not_resolved_is_none() {
        let with = |token| read(&[(REPOSITORY, "https://github.com/octo/images"), (TOKEN, token)]);
        assert!(!format!("{:?}", with("ghp_hunter2").unwrap()).contains("hunter2"));
        let problems =
            with("@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/t)").unwrap_err();
        assert!(problems[0].starts_with(TOKEN) && problems[0].contains("Key Vault"), "{problems:?}");
    }

    #[test]
    fn an_app_needs_its_three_settings_and_no_token_beside_it() {
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
        let key = key.unwrap().serialize_pem();
        let all = [
            (REPOSITORY, "https://github.com/octo/images"),
            (GITHUB_APP_ID, "123456"),
            (GITHUB_APP_INSTALLATION, "41"),
            (GITHUB_APP_KEY, key.as_str()),
        ];
        assert!(read(&all).unwrap().app.is_some());
        for missing in 1..4 {
            let some: Vec<_> =
                all.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, one)| *one).collect();
            let problems = read(&some).unwrap_err();
            assert!(
                problems.len() == 1 && problems[0].ends_with(&format!("missing: {}", all[missing].0)),
                "{problems:?}"
            );
            let mut wrong = all;
            wrong[missing].1 = "<hunter2>";
            let problems = read(&wrong).unwrap_err();
            assert!(problems.len() == 1 && problems[0].starts_with(all[missing].0), "{problems:?}");
            assert!(!problems[0].contains("hunter2"), "{problems:?}");
        }
        let both = [&all[..], &[(TOKEN, "ghp_hunter2")]].concat();
        assert!(read(&both).unwrap_err()[0].starts_with(TOKEN));
        let mut elsewhere = all;
        elsewhere[0].1 = "https://dev.azure.com/org/p/_git/images";
        assert!(read(&elsewhere).unwrap_err()[0].contains("does not come from GitHub"));
        let mut unresolved = all;
        unresolved[3].1 = "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/k)";
        assert!(read(&unresolved).unwrap_err()[0].contains("could not resolve"));
    }
}
