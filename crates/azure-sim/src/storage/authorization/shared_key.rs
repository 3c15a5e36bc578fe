//! SharedKey (Microsoft, "Authorize with Shared Key").

use super::{check_keys_allowed, is_signed};
use crate::storage::{account::Account, error::Error, request::Call};

/// Checks `account:signature`.
pub(super) fn check(call: &Call<'_>, account: &Account, credential: &str) -> Result<(), Error> {
    check_keys_allowed(account)?;
    let (name, signature) = credential
        .trim()
        .split_once(':')
        .ok_or_else(|| Error::authentication_failed("The Authorization header is malformed."))?;
    if name != account.name {
        let detail = "The account name of the Authorization header is not that of the request.";
        return Err(Error::authentication_failed(detail));
    }
    let text = string_to_sign(call);
    if account.keys.iter().any(|key| is_signed(key, &text, signature)) {
        return Ok(());
    }
    Err(Error::authentication_failed(format!(
        "The MAC signature found in the HTTP request '{signature}' is not the same as any computed signature. Server used \
         following string to sign: '{text}'."
    )))
}

/// The text that the client signed. The path holds the account twice on loopback sockets, as in Azurite.
pub(super) fn string_to_sign(call: &Call<'_>) -> String {
    let header = |name: &str| call.header(name).unwrap_or_default().trim();
    // In process no header may say the length; an empty body is signed as no length at all.
    let length = match call.body.len() {
        0 if matches!(header("content-length"), "" | "0") => String::new(),
        0 => header("content-length").to_owned(),
        length => length.to_string(),
    };
    let date = if call.headers.contains_key("x-ms-date") { "" } else { header("date") };
    let mut text = [
        call.method.as_str(),
        header("content-encoding"),
        header("content-language"),
        &length,
        header("content-md5"),
        header("content-type"),
        date,
        header("if-modified-since"),
        header("if-match"),
        header("if-none-match"),
        header("if-unmodified-since"),
        header("range"),
        "",
    ]
    .join("\n");
    let mut names: Vec<&str> = call.headers.keys().map(http::HeaderName::as_str).collect();
    names.retain(|name| name.starts_with("x-ms-"));
    names.sort_unstable();
    for name in names {
        let values: Vec<&str> =
            call.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        text += &format!("{name}:{}\n", values.join(",").trim());
    }
    text += &format!("/{}{}", call.account, call.full_path);
    for (name, value) in &call.query {
        text += &format!("\n{name}:{value}");
    }
    text
}
