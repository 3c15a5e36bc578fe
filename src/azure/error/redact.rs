//! Keeping signatures out of texts that people read.

/// Query parameters that are secret wherever they turn up.
const SIGNATURE: &str = "sig=";
const MASK: &str = "***";

/// `text`, with the query of every URL in it cut off and any stray signature masked: a SAS must not leak through an
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
    without_signatures(&out)
}

fn without_signatures(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // ASCII lowering keeps every byte offset.
    while let Some(start) = rest.to_ascii_lowercase().find(SIGNATURE) {
        let value = start + SIGNATURE.len();
        out.push_str(&rest[..value]);
        out.push_str(MASK);
        let after = &rest[value..];
        rest = &after[after.find(|c: char| c == '&' || ends_a_url(c)).unwrap_or(after.len())..];
    }
    out.push_str(rest);
    out
}

fn ends_a_url(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | '\\' | ')' | ']' | '}' | '|')
}
