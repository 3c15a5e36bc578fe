//! Keeping secrets out of texts that people read, such as messages of services that repeat what they were asked with.

use percent_encoding::percent_decode_str;

use crate::secret::Secret;

/// Names of signatures in queries, plain and percent-encoded: a value ends where the next parameter begins.
const SIGNATURES: [(&str, &str); 3] = [("sig=", "&"), ("sig%3d", "%26"), ("sig%253d", "%2526")];
const MASK: &str = "***";
/// Words after which a credential comes in a header.
const SCHEMES: [&str; 3] = ["bearer", "basic", "sharedkey"];
/// How JSON Web Tokens begin: `{"` in base64.
const TOKEN: &str = "eyJ";
/// Shorter words that begin so are no tokens.
const SHORTEST_TOKEN: usize = 20;
/// How tokens of GitHub begin (GitHub, "Behind GitHub's new authentication token formats").
const GITHUB_TOKENS: [&str; 6] = ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"];
/// Keys and their signatures are 32 or 64 bytes in base64, which is padded then; checksums that are no secrets are shorter.
const SHORTEST_KEY: usize = 43;

/// `text`, with the query of every URL in it cut off, and stray signatures, tokens and keys masked: none must leak through an
/// error message.
pub(crate) fn without_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, url) = rest.split_at(start + 3);
        out.push_str(before);
        let end = url.find(ends_a_url).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        out.push_str(url.split(['?', '#']).next().unwrap_or_default());
        rest = after;
    }
    out.push_str(rest);
    let out = SIGNATURES.iter().fold(out, |text, (name, next)| without_signatures(&text, name, next));
    without_credentials(&out)
}

/// `text` without this very secret. A message that was cut may end in a part of it.
pub(crate) fn without_secret(text: &str, secret: &Secret<String>) -> String {
    let secret = secret.expose().as_str();
    if secret.is_empty() {
        return text.to_owned();
    }
    let text = text.replace(secret, MASK);
    let (whole, end) = match text.strip_suffix('…') {
        Some(cut) => (cut, "…"),
        None => (text.as_str(), ""),
    };
    let part = (4..secret.len())
        .rev()
        .find(|length| secret.get(..*length).is_some_and(|part| whole.ends_with(part)));
    match part {
        Some(length) => format!("{}{MASK}{end}", &whole[..whole.len() - length]),
        None => text,
    }
}

fn without_signatures(text: &str, name: &str, next: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // ASCII lowering keeps every byte offset.
    while let Some(start) = rest.to_ascii_lowercase().find(name) {
        let value = start + name.len();
        out.push_str(&rest[..value]);
        out.push_str(MASK);
        let after = &rest[value..];
        let end = after.find(|c: char| c == '&' || ends_a_url(c)).unwrap_or(after.len());
        rest = &after[after[..end].find(next).unwrap_or(end)..];
    }
    out.push_str(rest);
    out
}

fn without_credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_after_scheme = false;
    while let Some(start) = rest.find(is_of_a_credential) {
        let (between, word) = rest.split_at(start);
        let end = word.find(|c| !is_of_a_credential(c)).unwrap_or(word.len());
        let (word, after) = word.split_at(end);
        out.push_str(between);
        // "SharedKey account:signature": the colon parts two words.
        let is_account = is_after_scheme && after.starts_with(':');
        // "The bearer token" is a word about tokens, and none.
        if is_after_scheme && !is_account && word.len() >= SHORTEST_TOKEN {
            out.push_str(MASK);
        } else {
            push_word(&mut out, word);
        }
        is_after_scheme = is_account || SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// A word, or its mask: as a whole, or from where a token begins in it.
fn push_word(out: &mut String, word: &str) {
    let key = percent_decode_str(word).decode_utf8_lossy();
    let is_key = key.len() >= SHORTEST_KEY && key.ends_with('=');
    if is_key || GITHUB_TOKENS.iter().any(|start| word.starts_with(start)) {
        out.push_str(MASK);
        return;
    }
    let begins_a_token = |at: usize| {
        let before = word[..at].chars().next_back();
        let is_first = before.is_none_or(|c| !c.is_ascii_alphanumeric()) || word[..at].ends_with("%20");
        is_first && word.len() - at >= SHORTEST_TOKEN
    };
    match word.match_indices(TOKEN).map(|(at, _)| at).find(|at| begins_a_token(*at)) {
        Some(at) => {
            out.push_str(&word[..at]);
            out.push_str(MASK);
        }
        None => out.push_str(word),
    }
}

/// What tokens and keys are made of, percent-encoded or not.
fn is_of_a_credential(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_' | '.' | '~' | '%')
}

fn ends_a_url(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | '\\' | ')' | ']' | '}' | '|')
}
