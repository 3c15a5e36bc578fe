//! Texts in Azure's answers.

use time::{
    OffsetDateTime, PrimitiveDateTime, format_description::well_known::Rfc3339, macros::format_description,
};

/// A date as Azure's providers write it: RFC 3339 with up to nine digits and any offset, with or without one, or as in
/// an HTTP header. What is none of these counts as absent, because no step depends on a date alone.
pub(super) fn date(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    let without_offset =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second][optional [.[subsecond]]]");
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .or_else(|| Some(PrimitiveDateTime::parse(text, without_offset).ok()?.assume_utc()))
        .or_else(|| azure_core::time::parse_rfc7231(text).ok())
}
