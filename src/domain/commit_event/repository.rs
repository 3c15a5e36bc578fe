//! Repositories: the configured one, and the one that a push names.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::shown;

/// The collection that addresses of the form `org.visualstudio.com` may name; there is no other.
const DEFAULT_COLLECTION: &str = "defaultcollection";
/// What stands before the repository in a path of Azure DevOps.
const GIT: &str = "_git";

/// A repository at one of the two hosts. Both ignore case in names, so these are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repository {
    /// `https://github.com/{owner}/{name}`
    GitHub {
        /// The person or organisation.
        owner: String,
        /// The repository.
        name: String,
    },
    /// `https://dev.azure.com/{organisation}/{project}/_git/{name}`
    AzureDevOps {
        /// The organisation.
        organisation: String,
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
    /// Reads an address as the host's web page shows it for cloning.
    ///
    /// # Errors
    /// If it is no HTTPS address of a repository at GitHub or Azure DevOps, or has a password in it.
    pub fn parse(text: &str) -> Result<Self, BadRepository> {
        let url: Url = text.parse().map_err(|_| BadRepository::Unknown)?;
        if url.password().is_some() {
            return Err(BadRepository::Password);
        }
        let is_plain = url.port().is_none() && url.query().is_none() && url.fragment().is_none();
        let Some(Host::Domain(host)) = url.host().filter(|_| url.scheme() == "https" && is_plain) else {
            return Err(BadRepository::Unknown);
        };
        let segments: Option<Vec<String>> = url.path().trim_matches('/').split('/').map(name).collect();
        let segments = segments.ok_or(BadRepository::Unknown)?;
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let azure = |organisation: &str, project: &str, name: &str| Self::AzureDevOps {
            organisation: organisation.to_owned(),
            project: project.to_owned(),
            name: name.to_owned(),
        };
        match (host, path.as_slice()) {
            // Azure DevOps puts the organisation there; at GitHub a token alone is a login.
            ("github.com" | "www.github.com", _) if !url.username().is_empty() => {
                Err(BadRepository::Password)
            }
            ("github.com" | "www.github.com", [owner, name]) => {
                let name = name.strip_suffix(".git").unwrap_or(name);
                let fits = |text: &str| {
                    !text.is_empty()
                        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
                };
                let known = || Self::GitHub { owner: (*owner).to_owned(), name: name.to_owned() };
                if fits(owner) && fits(name) { Ok(known()) } else { Err(BadRepository::Unknown) }
            }
            ("dev.azure.com", [organisation, project, GIT, name]) => Ok(azure(organisation, project, name)),
            // A project's repository of the project's own name goes without it.
            ("dev.azure.com", [organisation, GIT, name]) => Ok(azure(organisation, name, name)),
            (other, path) => {
                let organisation = other.strip_suffix(".visualstudio.com").filter(|name| !name.contains('.'));
                let organisation = organisation.ok_or(BadRepository::Unknown)?;
                match path.strip_prefix(&[DEFAULT_COLLECTION]).unwrap_or(path) {
                    [project, GIT, name] => Ok(azure(organisation, project, name)),
                    [GIT, name] => Ok(azure(organisation, name, name)),
                    _ => Err(BadRepository::Unknown),
                }
            }
        }
    }
}

/// A segment of the path as a name; `None` if it cannot be one. The template of a sample has names in angle brackets.
fn name(segment: &str) -> Option<String> {
    let name = percent_decode_str(segment).decode_utf8().ok()?.to_lowercase();
    let is_name = !name.trim().is_empty()
        && !name.contains(|c: char| c.is_control() || matches!(c, '<' | '>' | '/' | '\\'));
    is_name.then_some(name)
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GitHub { owner, name } => write!(f, "{owner}/{name}"),
            Self::AzureDevOps { organisation, project, name } => {
                write!(f, "{organisation}/{project}/_git/{name}")
            }
        }
    }
}

/// A repository as a push names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushedRepository {
    /// At GitHub.
    GitHub {
        /// `{owner}/{name}`
        full_name: String,
    },
    /// At Azure DevOps.
    AzureDevOps {
        /// The GUID.
        id: String,
        /// The name within its project.
        name: String,
        /// The address for cloning.
        remote_url: Option<String>,
    },
}

impl PushedRepository {
    /// Whether it is that one.
    pub fn is(&self, repository: &Repository) -> bool {
        match (self, repository) {
            (Self::GitHub { full_name }, Repository::GitHub { owner, name }) => {
                full_name.to_lowercase() == format!("{owner}/{name}")
            }
            (Self::AzureDevOps { id, remote_url, .. }, Repository::AzureDevOps { name, .. }) => {
                // An id is one repository's in the whole world; a name is so only with its project and organisation.
                let is_same = |url: &String| Repository::parse(url).as_ref() == Ok(repository);
                is_guid(name) && id.to_lowercase() == *name || remote_url.as_ref().is_some_and(is_same)
            }
            _ => false,
        }
    }
}

fn is_guid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

impl fmt::Display for PushedRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::GitHub { full_name: name } | Self::AzureDevOps { name, .. }) = self;
        f.write_str(&shown(name))
    }
}
