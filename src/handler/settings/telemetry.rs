//! Where telemetry goes. Further variables of OpenTelemetry are read by its library: docs/telemetry.md names those that matter.

use std::collections::BTreeMap;

use super::UNRESOLVED_REFERENCE;

/// The address of an OTLP receiver over HTTP, such as `http://127.0.0.1:4318`; spans and metrics are made only where it is set.
pub const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Headers for it, `name=value` separated by commas: secrets, as a rule.
pub const OTLP_HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// The receiver's address, if there is one.
///
/// # Errors
/// If its headers are not there yet.
pub fn endpoint(variables: &BTreeMap<String, String>) -> Result<Option<&str>, String> {
    let get = |name: &str| variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    match get(OTLP_HEADERS) {
        Some(headers) if headers.starts_with(UNRESOLVED_REFERENCE) => {
            Err(format!("{OTLP_HEADERS}: its reference to Key Vault is not resolved"))
        }
        _ => Ok(get(OTLP_ENDPOINT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let pairs = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        endpoint(&pairs.collect()).map(|found| found.map(str::to_owned))
    }

    #[test]
    fn telemetry_goes_nowhere_unless_somebody_says_where_and_with_headers_that_are_there() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[(OTLP_ENDPOINT, " ")]), Ok(None));
        assert_eq!(read(&[(OTLP_ENDPOINT, "http://c:4318")]), Ok(Some("http://c:4318".to_owned())));
        let unresolved = [
            (OTLP_ENDPOINT, "http://c:4318"),
            (OTLP_HEADERS, "@Microsoft.KeyVault(VaultName=v;SecretName=s)"),
        ];
        assert!(read(&unresolved).unwrap_err().contains(OTLP_HEADERS));
    }
}
