//! Where the simulated services are reached: Azure's host names in process, or sockets of the loopback interface.

use std::net::SocketAddr;

use http::uri::Scheme;

/// A service that answers HTTP requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// `management.azure.com`.
    ResourceManager,
    /// Blob Storage; the account (or the managed disk export) and the path below it, still percent-encoded, with its `/`.
    Blob {
        /// `acct` of `acct.blob.core.windows.net`, or `md-…` of a disk export.
        account: String,
        /// `/container/blob`; `/` for the account itself.
        path: String,
    },
    /// `login.microsoftonline.com` and the managed identity endpoint.
    Identity,
}

/// How the simulator's services are addressed.
#[derive(Clone, Debug)]
pub enum Endpoints {
    /// Azure's own host names: for the in-process transport, which never opens a socket.
    Azure,
    /// Loopback sockets, one per service. Blob Storage is then addressed by path (`/account/container/blob`), as in Azurite.
    Loopback {
        /// `http`, or `https` with certificates of our own.
        scheme: Scheme,
        /// Where Resource Manager listens.
        resource_manager: SocketAddr,
        /// Where Blob Storage listens.
        blob: SocketAddr,
        /// Where tokens are handed out.
        identity: SocketAddr,
    },
}

const AZURE_RESOURCE_MANAGER: &str = "management.azure.com";
const AZURE_BLOB_SUFFIX: &str = ".blob.core.windows.net";
/// Exports of managed disks come from hosts such as `md-abc.z10.blob.storage.azure.net`.
const AZURE_DISK_SUFFIX: &str = ".z10.blob.storage.azure.net";
const AZURE_LOGIN: &str = "login.microsoftonline.com";
/// The instance metadata service of a VM.
const AZURE_METADATA: &str = "169.254.169.254";

impl Endpoints {
    /// The base of every Resource Manager URL, without a `/` at the end.
    pub fn resource_manager(&self) -> String {
        match self {
            Self::Azure => format!("https://{AZURE_RESOURCE_MANAGER}"),
            Self::Loopback { scheme, resource_manager, .. } => format!("{scheme}://{resource_manager}"),
        }
    }

    /// An account's blob endpoint (`properties.primaryEndpoints.blob` without its `/` at the end).
    pub fn blob(&self, account: &str) -> String {
        match self {
            Self::Azure => format!("https://{account}{AZURE_BLOB_SUFFIX}"),
            Self::Loopback { scheme, blob, .. } => format!("{scheme}://{blob}/{account}"),
        }
    }

    /// The base of a managed disk export's URL, without a `/` at the end; `export` is a name such as `md-abc`.
    pub fn disk_export(&self, export: &str) -> String {
        match self {
            Self::Azure => format!("https://{export}{AZURE_DISK_SUFFIX}"),
            Self::Loopback { scheme, blob, .. } => format!("{scheme}://{blob}/{export}"),
        }
    }

    /// Where tokens come from, without a `/` at the end.
    pub fn identity(&self) -> String {
        match self {
            Self::Azure => format!("https://{AZURE_LOGIN}"),
            Self::Loopback { scheme, identity, .. } => format!("{scheme}://{identity}"),
        }
    }

    /// The service that a URL reaches; `None` for a host that is none of ours. The URL of a blob service names the account.
    pub fn service_of(&self, uri: &http::Uri) -> Option<Service> {
        let authority = uri.authority()?;
        match self {
            Self::Azure => {
                let host = authority.host().to_ascii_lowercase();
                let account =
                    host.strip_suffix(AZURE_BLOB_SUFFIX).or_else(|| host.strip_suffix(AZURE_DISK_SUFFIX));
                match (host.as_str(), account) {
                    (AZURE_RESOURCE_MANAGER, _) => Some(Service::ResourceManager),
                    (AZURE_LOGIN | AZURE_METADATA, _) => Some(Service::Identity),
                    (_, Some(account)) => {
                        Some(Service::Blob { account: account.to_owned(), path: uri.path().to_owned() })
                    }
                    _ => None,
                }
            }
            Self::Loopback { resource_manager, blob, identity, .. } => {
                let address = authority.as_str();
                if address == resource_manager.to_string() {
                    Some(Service::ResourceManager)
                } else if address == identity.to_string() {
                    Some(Service::Identity)
                } else if address == blob.to_string() {
                    Some(Self::by_path(uri.path()))
                } else {
                    None
                }
            }
        }
    }

    /// The blob service of a path-style request: the first segment is the account.
    fn by_path(path: &str) -> Service {
        let path = path.trim_start_matches('/');
        let (account, rest) = path.split_once('/').unwrap_or((path, ""));
        Service::Blob { account: account.to_ascii_lowercase(), path: format!("/{rest}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_url_that_is_handed_out_leads_back_to_its_service() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let loopback = |scheme| Endpoints::Loopback {
            scheme,
            resource_manager: address(1),
            blob: address(2),
            identity: address(3),
        };
        for endpoints in [Endpoints::Azure, loopback(Scheme::HTTP), loopback(Scheme::HTTPS)] {
            let service = |url: String| endpoints.service_of(&url.parse().unwrap());
            let blob = |account: &str| {
                Some(Service::Blob { account: account.to_owned(), path: "/c/b%20b".to_owned() })
            };
            assert_eq!(
                service(endpoints.resource_manager() + "/subscriptions"),
                Some(Service::ResourceManager)
            );
            assert_eq!(service(endpoints.identity() + "/t/oauth2/v2.0/token"), Some(Service::Identity));
            assert_eq!(service(endpoints.blob("acct") + "/c/b%20b?sv=1"), blob("acct"));
            assert_eq!(service(endpoints.disk_export("md-1") + "/c/b%20b"), blob("md-1"));
            assert_eq!(service("https://example.com/".to_owned()), None);
        }
    }
}
