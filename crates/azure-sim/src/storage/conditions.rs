//! Conditional headers (Microsoft, "Specifying conditional headers for Blob service operations").

use time::OffsetDateTime;

use super::{
    error::Error,
    request::{Call, parse_http_date},
};

/// The conditions of a request.
#[derive(Debug, Default)]
pub(super) struct Conditions<'a> {
    if_match: Option<&'a str>,
    if_none_match: Option<&'a str>,
    if_modified_since: Option<OffsetDateTime>,
    if_unmodified_since: Option<OffsetDateTime>,
}

/// A resource as conditions see it: its quoted ETag, and when it was written.
pub(super) type Seen = (String, OffsetDateTime);

/// What became of the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Met,
    /// `If-Match` or `If-Unmodified-Since` failed.
    Changed,
    /// `If-None-Match` or `If-Modified-Since` failed.
    Unchanged,
}

impl<'a> Conditions<'a> {
    /// The conditions on the resource that the URL names.
    pub fn of(call: &Call<'a>) -> Result<Self, Error> {
        Self::named(call, ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"])
    }

    /// The conditions on the source of a copy.
    pub fn of_source(call: &Call<'a>) -> Result<Self, Error> {
        Self::named(
            call,
            [
                "x-ms-source-if-match",
                "x-ms-source-if-none-match",
                "x-ms-source-if-modified-since",
                "x-ms-source-if-unmodified-since",
            ],
        )
    }

    fn named(call: &Call<'a>, names: [&str; 4]) -> Result<Self, Error> {
        let date = |name: &str| {
            let parse = |text: &str| parse_http_date(text).ok_or_else(|| Error::invalid_header(name, text));
            call.header(name).map(parse).transpose()
        };
        Ok(Self {
            if_match: call.header(names[0]),
            if_none_match: call.header(names[1]),
            if_modified_since: date(names[2])?,
            if_unmodified_since: date(names[3])?,
        })
    }

    /// Whether the request must not touch what exists.
    pub fn wants_none(&self) -> bool {
        self.if_none_match.is_some_and(|value| value.trim() == "*")
    }

    fn judge(&self, seen: Option<&Seen>) -> Verdict {
        let Some((etag, modified)) = seen else {
            // There is nothing that could match, and nothing that could be in the way.
            return if self.if_match.is_some() { Verdict::Changed } else { Verdict::Met };
        };
        // Headers carry whole seconds.
        let modified = modified.replace_nanosecond(0).unwrap_or(*modified);
        let names = |list: &str| {
            let bare = |text: &str| text.trim().trim_start_matches("W/").trim_matches('"').to_owned();
            list.split(',').map(bare).any(|one| one == "*" || one == etag.trim_matches('"'))
        };
        if self.if_match.is_some_and(|list| !names(list))
            || self.if_unmodified_since.is_some_and(|moment| modified > moment)
        {
            return Verdict::Changed;
        }
        let is_same = self.if_none_match.map(names);
        let is_old = self.if_modified_since.map(|moment| modified <= moment);
        // Sent together, either of the two lets the request pass.
        match (is_same, is_old) {
            (Some(true), Some(true) | None) | (None, Some(true)) => Verdict::Unchanged,
            _ => Verdict::Met,
        }
    }

    /// Whether a read may go on; 304 or 412.
    pub fn check_read(&self, seen: &Seen) -> Result<(), Error> {
        match self.judge(Some(seen)) {
            Verdict::Met => Ok(()),
            Verdict::Changed => Err(Error::condition_not_met()),
            Verdict::Unchanged => {
                let error = Error::condition_not_met();
                Err(Error::new(304, error.code, error.message).header("etag", seen.0.clone()))
            }
        }
    }

    /// Whether a write may go on; 412.
    pub fn check_write(&self, seen: Option<&Seen>) -> Result<(), Error> {
        match self.judge(seen) {
            Verdict::Met => Ok(()),
            _ => Err(Error::condition_not_met()),
        }
    }

    /// Whether a copy may replace its destination; 412.
    pub fn check_target(&self, seen: Option<&Seen>) -> Result<(), Error> {
        let message = "The target condition specified using HTTP conditional header(s) is not met.";
        let failed = |_| Error::new(412, "TargetConditionNotMet", message);
        self.check_write(seen).map_err(failed)
    }

    /// Whether a copy may read its source; 412.
    pub fn check_source(&self, seen: &Seen) -> Result<(), Error> {
        let message = "The source condition specified using HTTP conditional header(s) is not met.";
        let failed = |_| Error::new(412, "SourceConditionNotMet", message);
        self.check_write(Some(seen)).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn each_condition_is_judged_alone_and_together() {
        let written = datetime!(2026-11-22 12:00:00.7 UTC);
        let seen = ("\"0x1\"".to_owned(), written);
        let at = |moment| Some(moment);
        let judge = |conditions: Conditions<'_>| conditions.judge(Some(&seen));
        let conditions = Conditions::default;
        for (list, verdict) in [
            ("*", Verdict::Met),
            ("\"0x1\"", Verdict::Met),
            ("0x1", Verdict::Met),
            ("\"0x0\", \"0x1\"", Verdict::Met),
            ("\"0x2\"", Verdict::Changed),
        ] {
            let conditions = Conditions { if_match: Some(list), ..conditions() };
            assert_eq!(judge(conditions), verdict, "{list}");
        }
        let second = datetime!(2026-11-22 12:00:00 UTC);
        let since = Conditions { if_modified_since: at(second), ..conditions() };
        assert_eq!(judge(since), Verdict::Unchanged);
        let before = Conditions { if_unmodified_since: at(second - time::Duration::SECOND), ..conditions() };
        assert_eq!(judge(before), Verdict::Changed);
        let none = || Conditions { if_none_match: Some("*"), ..conditions() };
        assert_eq!((judge(none()), none().judge(None)), (Verdict::Unchanged, Verdict::Met));
        let both = Conditions { if_modified_since: at(second - time::Duration::SECOND), ..none() };
        assert_eq!(judge(both), Verdict::Met);
        let missing = Conditions { if_match: Some("*"), ..conditions() };
        assert_eq!(missing.judge(None), Verdict::Changed);
    }
}
