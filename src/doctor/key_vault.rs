//! Whether the references to Key Vault are resolved.

use std::collections::BTreeMap;

use super::Finding;
use crate::handler::settings::{
    UNRESOLVED_REFERENCE,
    source::{GITHUB_APP_ID, GITHUB_APP_INSTALLATION, GITHUB_APP_KEY},
};

/// The check's name.
pub const NAME: &str = "key-vault";

/// The settings that still hold a reference, where Azure puts the secret if it can read it.
pub fn unresolved(variables: &BTreeMap<String, String>) -> Vec<String> {
    let is_reference = |value: &str| value.trim().starts_with(UNRESOLVED_REFERENCE);
    variables.iter().filter(|(_, value)| is_reference(value)).map(|(name, _)| name.clone()).collect()
}

/// The settings without those references, so that the rest can be looked at.
pub fn resolved(variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let without = unresolved(variables);
    // A GitHub App is nothing without its key.
    let has_no_app = without.iter().any(|name| name == GITHUB_APP_KEY);
    let is_left_out = |name: &String| {
        let of_app = name == GITHUB_APP_ID || name == GITHUB_APP_INSTALLATION;
        without.contains(name) || (has_no_app && of_app)
    };
    variables.iter().filter(|(name, _)| !is_left_out(name)).map(|(a, b)| (a.clone(), b.clone())).collect()
}

/// Looks at the settings alone.
pub fn look(variables: &BTreeMap<String, String>) -> Vec<Finding> {
    let findings: Vec<Finding> = unresolved(variables)
        .iter()
        .map(|name| {
            let (vault, secret) = named(variables.get(name).map_or("", String::as_str));
            let found = format!("the reference to the secret {secret} of {vault} is not resolved");
            let fix = format!(
                "az keyvault secret set --vault-name {vault} --name {secret} --value …, if there is no such secret; the role 'Key Vault \
                 Secrets User' on the vault for the app's identity, and keyVaultReferenceIdentity of the app; then restart the app. If \
                 these settings are a copy of the app's, put the secret into the place of the reference here"
            );
            Finding::failed(name, found, fix)
        })
        .collect();
    match findings.is_empty() {
        true => vec![Finding::ok("", "no reference is unresolved")],
        false => findings,
    }
}

/// The vault and the secret that a reference names, in either of its forms
/// (<https://learn.microsoft.com/azure/app-service/app-service-key-vault-references>).
fn named(reference: &str) -> (String, String) {
    let inside = reference.trim().trim_start_matches(UNRESOLVED_REFERENCE).trim_end_matches(')');
    let part = |name: &str| {
        let mut parts = inside.split(';').filter_map(|part| part.split_once('='));
        parts.find(|(own, _)| own.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let mut found = (part("VaultName"), part("SecretName"));
    if let Some(uri) = part("SecretUri") {
        let mut parts = uri.trim_start_matches("https://").split('/');
        let host = parts.next().and_then(|host| host.split('.').next());
        found = (host.map(str::to_owned), parts.nth(1).map(str::to_owned));
    }
    (found.0.unwrap_or_else(|| "<vault>".to_owned()), found.1.unwrap_or_else(|| "<secret>".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_its_vault_and_its_secret_in_either_form() {
        let expected = ("v1".to_owned(), "hook".to_owned());
        for reference in [
            "@Microsoft.KeyVault(VaultName=v1;SecretName=hook)",
            "@Microsoft.KeyVault(vaultname=v1;secretname=hook;secretversion=ec96)",
            "@Microsoft.KeyVault(SecretUri=https://v1.vault.azure.net/secrets/hook/)",
            "@Microsoft.KeyVault(SecretUri=https://v1.vault.azure.net/secrets/hook/ec96)",
        ] {
            assert_eq!(named(reference), expected, "{reference}");
        }
        assert_eq!(named("@Microsoft.KeyVault("), ("<vault>".to_owned(), "<secret>".to_owned()));
    }

    #[test]
    fn an_app_whose_key_is_not_resolved_is_left_out_whole() {
        let all = [
            ("A", "text"),
            (GITHUB_APP_ID, "1"),
            (GITHUB_APP_INSTALLATION, "2"),
            (GITHUB_APP_KEY, "@Microsoft.KeyVault(VaultName=v;SecretName=s)"),
        ];
        let all = all.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(resolved(&all).into_keys().collect::<Vec<_>>(), ["A"]);
        assert_eq!(unresolved(&all), [GITHUB_APP_KEY]);
    }
}
