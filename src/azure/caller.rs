//! Who calls, as tokens tell it, and whether both sides have the same time.

use azure_core::http::{Method, Url};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc2822};

use super::{Azure, AzureError, json::text};

const TENANTS_API_VERSION: &str = "2022-12-01";
/// A date of HTTP is in whole seconds, cut off.
const HALF_A_SECOND: Duration = Duration::milliseconds(500);

/// What a token says about who has it. It is read, not judged: its service does that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The object id of the principal, which roles are assigned to.
    pub object_id: Option<String>,
    /// The client id of the application or identity.
    pub client_id: Option<String>,
    /// The name that a person signs in with.
    pub user: Option<String>,
}

/// How a machine's clock stands to Azure's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDifference {
    /// Positive: this machine's is fast.
    pub fast_by: Duration,
    /// It may be this much more or less.
    pub uncertain_by: Duration,
}

impl Azure {
    /// Gets a token for an audience such as `https://storage.azure.com`, and reads whose it is.
    ///
    /// # Errors
    /// If whoever hands out tokens does not, or refuses.
    pub async fn caller(&self, audience: &str) -> Result<Caller, AzureError> {
        let attempted = format!("get a token for {audience}");
        let scope = format!("{}/.default", audience.trim_end_matches('/'));
        let scopes = [scope.as_str()];
        let token = self.inner.credential.get_token(&scopes, None);
        let token = self.within_time(&attempted, token).await?;
        Ok(read(token.token.secret()))
    }

    /// The audience of Resource Manager's tokens.
    pub fn resource_manager_audience(&self) -> String {
        match super::is_loopback(&self.inner.resource_manager) {
            true => super::PUBLIC_RESOURCE_MANAGER.to_owned(),
            false => self.inner.resource_manager.origin().ascii_serialization(),
        }
    }

    /// Compares this machine's clock with Resource Manager's. Whatever it answers, it says when.
    ///
    /// # Errors
    /// If no answer comes, or it does not say when.
    pub async fn clock_difference(&self) -> Result<ClockDifference, AzureError> {
        let attempted = "GET tenants";
        let url: Url = self.url(&["tenants"], TENANTS_API_VERSION, &[]);
        let before = self.machine_time();
        let answer = self.call(attempted, Method::Get, url, None).await?;
        let after = self.machine_time();
        let date = answer.header("date").and_then(|text| OffsetDateTime::parse(text, &Rfc2822).ok());
        let date = date
            .ok_or_else(|| AzureError::unanswered(attempted, "UnexpectedAnswer", "the answer has no date"))?;
        let half = (after - before) / 2;
        Ok(ClockDifference {
            fast_by: before + half - (date + HALF_A_SECOND),
            uncertain_by: half + HALF_A_SECOND,
        })
    }

    /// What this machine's clock shows, where the factory's follows Azure's.
    fn machine_time(&self) -> OffsetDateTime {
        self.inner.clock.now() - self.inner.clock.correction()
    }
}

/// The claims of a JSON Web Token (<https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference>); nothing of
/// another token.
fn read(token: &str) -> Caller {
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Value = payload.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let first = |names: &[&str]| names.iter().find_map(|name| text(&claims, name));
    Caller {
        object_id: first(&["/oid"]),
        client_id: first(&["/appid", "/azp"]),
        user: first(&["/upn", "/unique_name", "/preferred_username"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whose_it_is_and_what_is_none_says_nothing() {
        let token = |claims: &str| format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims));
        let caller = read(&token(r#"{"oid": "o", "appid": "a", "upn": "anna@example.org"}"#));
        let text = |text: &str| Some(text.to_owned());
        let expected = Caller { object_id: text("o"), client_id: text("a"), user: text("anna@example.org") };
        assert_eq!(caller, expected);
        for none in ["", "opaque", "h.%%.s", &token("[]"), &token("no JSON")] {
            assert_eq!(read(none), Caller::default(), "{none}");
        }
    }
}
