//! Addresses of repositories, as people copy them from a host's pages: the one reader of them.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// GitHub's own host.
pub const GITHUB_HOST: &str = "github.com";
/// Azure DevOps' own host.
const AZURE_HOST: &str = "dev.azure.com";
/// What older addresses of Azure DevOps end with; the organisation stands before it.
const OLD_AZURE_HOST: &str = ".visualstudio.com";
/// The collection that addresses of the form `org.visualstudio.com` may name; there is no other.
const DEFAULT_COLLECTION: &str = "DefaultCollection";
/// What stands before the repository in a path of Azure DevOps.
const GIT: &str = "_git";
/// What stands before the organisation in an SSH path of Azure DevOps.
const SSH_VERSION: &str = "v3";

/// A repository at one of the two hosts. Names are as they were written; both hosts ignore case in them, see [`Self::is`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repository {
    /// `https://github.com/{owner}/{name}`
    GitHub {
        /// [`GITHUB_HOST`], or a GitHub Enterprise server, with its port where it has one of its own.
        host: String,
        /// The person or organisation.
        owner: String,
        /// The repository.
        name: String,
    },
    /// `https://dev.azure.com/{organization}/{project}/_git/{name}`
    AzureDevOps {
        /// The organisation's URL, such as `https://dev.azure.com/contoso`, or a collection's of a server.
        organization: Url,
        /// The project.
        project: String,
        /// The repository's name or its id.
        name: String,
    },
}

/// Why a text is no repository. The text is not repeated: a token may be a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRepository {
    /// Something else.
    #[error(
        "it is no repository's address: expected https://github.com/<owner>/<repository> or \
         https://dev.azure.com/<organization>/<project>/_git/<repository>"
    )]
    Unknown,
    /// It holds a secret that everybody would see who sees the setting.
    #[error("it holds a password or a token: take that out, and withdraw it where it was made")]
    Password,
}

impl Repository {
    /// Reads an address as a browser or the host's own page for cloning shows it, over HTTPS or SSH. Plain HTTP is taken of
    /// this machine alone: others could read along.
    ///
    /// # Errors
    /// If it is no address of a repository at GitHub or Azure DevOps, or has a password in it.
    pub fn parse(text: &str) -> Result<Self, BadRepository> {
        let text = text.trim();
        let url: Url = with_scheme(text).parse().map_err(|_| BadRepository::Unknown)?;
        if url.password().is_some() {
            return Err(BadRepository::Password);
        }
        if !has_usual_host(&url) {
            return Err(BadRepository::Unknown);
        }
        let names: Option<Vec<String>> = url.path().trim_matches('/').split('/').map(name).collect();
        let names = names.ok_or(BadRepository::Unknown)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match url.scheme() {
            "ssh" => over_ssh(&url, &names),
            "https" => over_http(url, &names),
            "http" if is_this_machine(&url) => over_http(url, &names),
            _ => None,
        }
        .unwrap_or(Err(BadRepository::Unknown))
    }

    /// Whether both are the same one.
    pub fn is(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    /// What is the same of all spellings.
    fn key(&self) -> String {
        match self {
            Self::GitHub { host, owner, name } => format!("{host}/{owner}/{name}").to_lowercase(),
            Self::AzureDevOps { organization, project, name } => {
                format!("{}/{project}/{GIT}/{name}", organization.as_str().trim_end_matches('/'))
                    .to_lowercase()
            }
        }
    }
}

/// `user@host:path`, as SSH addresses are mostly written, is `ssh://user@host/path`.
fn with_scheme(text: &str) -> String {
    let short = text.split_once(':').filter(|(place, path)| !place.contains('/') && !path.starts_with("//"));
    match short {
        Some((place, path)) if place.contains('@') => format!("ssh://{place}/{path}"),
        _ => text.to_owned(),
    }
}

/// Whether the host is one that an address over HTTPS can have, too: over SSH anything may stand in its place.
fn has_usual_host(url: &Url) -> bool {
    let as_usual =
        |host: &str| Host::parse(host).is_ok_and(|read| read.to_string().eq_ignore_ascii_case(host));
    url.host_str().is_some_and(as_usual)
}

/// Whether nobody can read along on the way there.
fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

type Read = Option<Result<Repository, BadRepository>>;

/// <https://docs.github.com/authentication/troubleshooting-ssh/using-ssh-over-the-https-port>,
/// <https://learn.microsoft.com/azure/devops/repos/git/use-ssh-keys-to-authenticate>
fn over_ssh(url: &Url, names: &[&str]) -> Read {
    let host = url.host_str()?.to_ascii_lowercase();
    match (host.as_str(), names) {
        ("ssh.dev.azure.com" | "vs-ssh.visualstudio.com", [SSH_VERSION, organization, project, name]) => {
            Some(Ok(azure(at_azure(organization)?, project, name)))
        }
        (host, _) if host.ends_with(AZURE_HOST) || host.ends_with(OLD_AZURE_HOST) => None,
        ("ssh.github.com", [owner, name]) => github(GITHUB_HOST, owner, name),
        (host, [owner, name]) => github(host, owner, name),
        _ => None,
    }
}

fn over_http(url: Url, names: &[&str]) -> Read {
    let host = url.host_str()?.to_owned();
    if let Some(at) = names.iter().position(|name| *name == GIT) {
        let ([before @ .., GIT], [name]) = names.split_at(at + 1) else { return None };
        return at_azure_devops(url, &host, before, name).map(Ok);
    }
    if host == AZURE_HOST || host.ends_with(OLD_AZURE_HOST) {
        return None;
    }
    // Azure DevOps puts the organisation there; at GitHub a token alone is a login.
    if !url.username().is_empty() {
        return Some(Err(BadRepository::Password));
    }
    let [owner, name] = names else { return None };
    match (host.as_str(), url.port()) {
        (GITHUB_HOST | "www.github.com", None) => github(GITHUB_HOST, owner, name),
        (GITHUB_HOST | "www.github.com", Some(_)) => None,
        (host, None) => github(host, owner, name),
        (host, Some(port)) => github(&format!("{host}:{port}"), owner, name),
    }
}

/// A project's repository of the project's own name may go without the project.
fn at_azure_devops(mut url: Url, host: &str, before: &[&str], name: &str) -> Option<Repository> {
    if let Some(organization) = host.strip_suffix(OLD_AZURE_HOST) {
        let organization = at_azure(organization).filter(|_| !organization.contains('.'))?;
        let is_default = |first: &&str| first.eq_ignore_ascii_case(DEFAULT_COLLECTION);
        let before =
            before.split_first().filter(|(first, _)| is_default(first)).map_or(before, |(_, rest)| rest);
        return match before {
            [project] => Some(azure(organization, project, name)),
            [] => Some(azure(organization, name, name)),
            _ => None,
        };
    }
    let (organization, project) = match before {
        [] => return None,
        [organization @ .., project] if !organization.is_empty() => (organization, *project),
        organization => (organization, name),
    };
    match host {
        GITHUB_HOST | "www.github.com" => return None,
        AZURE_HOST if organization.len() > 1 || url.port().is_some() => return None,
        _ => {}
    }
    url.set_query(None);
    url.set_fragment(None);
    // Clone addresses begin with the organisation's name as a user's.
    url.set_username("").ok()?;
    url.path_segments_mut().ok()?.clear().extend(organization);
    Some(azure(url, project, name))
}

fn at_azure(organization: &str) -> Option<Url> {
    let mut url: Url = format!("https://{AZURE_HOST}").parse().ok()?;
    url.path_segments_mut().ok()?.push(organization);
    Some(url)
}

fn azure(organization: Url, project: &str, name: &str) -> Repository {
    Repository::AzureDevOps { organization, project: project.to_owned(), name: name.to_owned() }
}

fn github(host: &str, owner: &str, name: &str) -> Read {
    let name = name.strip_suffix(".git").unwrap_or(name);
    let is_name = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    (is_name(owner) && is_name(name)).then(|| {
        Ok(Repository::GitHub { host: host.to_owned(), owner: owner.to_owned(), name: name.to_owned() })
    })
}

/// A segment of the path as a name; `None` if it cannot be one. The template of a sample has names in angle brackets.
fn name(segment: &str) -> Option<String> {
    let name = percent_decode_str(segment).decode_utf8().ok()?.into_owned();
    let is_name = !name.trim_matches(|c: char| c == '.' || c.is_whitespace()).is_empty()
        && !name.contains(|c: char| c.is_control() || r#"/\<>:"|?*"#.contains(c));
    is_name.then_some(name)
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GitHub { host, owner, name } if host == GITHUB_HOST => write!(f, "{owner}/{name}"),
            Self::GitHub { host, owner, name } => write!(f, "{host}/{owner}/{name}"),
            Self::AzureDevOps { organization, project, name } => {
                let host = organization.host_str().filter(|host| *host != AZURE_HOST);
                let path = organization.path().trim_matches('/');
                write!(
                    f,
                    "{}{path}/{project}/{GIT}/{name}",
                    host.map(|host| format!("{host}/")).unwrap_or_default()
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
