//! JSON and text the way the host's JSON library (Newtonsoft.Json on .NET) writes them.
//!
//! The handler sees bytes that this library made, and it differs from `serde_json` in few but visible places: three more
//! escaped characters, how floating-point numbers look, and strings that look like ISO dates, which it reads as dates and
//! writes again in its own form.

use std::io;

use serde::Serialize;
use serde_json::{
    Value,
    ser::{CompactFormatter, Formatter, PrettyFormatter},
};
use time::{
    OffsetDateTime, PrimitiveDateTime, UtcOffset, format_description::BorrowedFormatItem,
    macros::format_description,
};

/// Writes a value in one line, as `JsonConvert.SerializeObject` does.
pub fn compact(value: &Value) -> String {
    write(value, Escaping(CompactFormatter))
}

/// Writes a value over several lines, as `JToken.ToString()` does: two blanks per level, `\n` on Linux.
pub fn indented(value: &Value) -> String {
    write(value, Escaping(PrettyFormatter::with_indent(b"  ")))
}

fn write<F: Formatter>(value: &Value, formatter: F) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // A `Value` has only string keys and a `Vec` takes every byte: neither can fail.
    let _ = value.serialize(&mut serializer);
    String::from_utf8_lossy(&out).into_owned()
}

/// Adds what Newtonsoft does differently to one of `serde_json`'s formatters.
struct Escaping<F>(F);

impl<F: Formatter> Formatter for Escaping<F> {
    /// NEL and the two Unicode line separators are escaped (Newtonsoft.Json `JavaScriptUtils.WriteEscapedJavaScriptString`).
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['\u{85}', '\u{2028}', '\u{2029}']) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut tail = rest[at..].chars();
            let special = tail.next().map_or(0, u32::from);
            write!(writer, "\\u{special:04x}")?;
            rest = tail.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let text = double(value);
        writer.write_all(text.as_bytes())?;
        // `JsonConvert.EnsureDecimalPlace`: a whole double keeps a decimal place, so that it is read as a double again.
        if text.contains(['.', 'E']) { Ok(()) } else { writer.write_all(b".0") }
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }
    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }
    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }
    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }
    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }
    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }
    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }
    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// A double as .NET's `ToString("R")` writes it: shortest form, with an exponent from 1E+15 upwards and below 1E-04.
fn double(value: f64) -> String {
    if value == 0.0 {
        return if value.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..15).contains(&exponent) {
        format!("{value}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}E{sign}{:02}", exponent.unsigned_abs())
    }
}

/// A scalar as .NET's `ToString()` gives it in the invariant culture (`True`, `4`, `11/22/2026 13:00:00`);
/// objects and arrays as indented JSON; null as nothing.
pub fn to_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => double(float),
            _ => number.to_string(),
        },
        Value::String(text) => iso_date(text).map_or_else(|| text.clone(), |date| date.invariant()),
        Value::Array(_) | Value::Object(_) => indented(&reformat_dates(value.clone())),
    }
}

/// Every string that reads as an ISO date, anywhere in the value, in the form in which Newtonsoft writes dates.
pub fn reformat_dates(value: Value) -> Value {
    match value {
        Value::String(text) => match iso_date(&text) {
            Some(date) => Value::String(date.iso()),
            None => Value::String(text),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(reformat_dates).collect()),
        Value::Object(map) => Value::Object(map.into_iter().map(|(k, v)| (k, reformat_dates(v))).collect()),
        other => other,
    }
}

/// What the JSON reader makes of a string that looks like an ISO date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IsoDate {
    moment: PrimitiveDateTime,
    zone: Zone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zone {
    Unspecified,
    Utc,
    /// Read from an offset: .NET turns it into local time, and hosts run in UTC.
    Local,
}

impl IsoDate {
    fn invariant(self) -> String {
        const FORMAT: &[BorrowedFormatItem<'_>] =
            format_description!("[month]/[day]/[year] [hour]:[minute]:[second]");
        self.moment.format(FORMAT).unwrap_or_default()
    }

    fn iso(self) -> String {
        let zone = match self.zone {
            Zone::Unspecified => "",
            Zone::Utc => "Z",
            Zone::Local => "+00:00",
        };
        date_time(self.moment.assume_utc(), Fraction::Full) + zone
    }
}

/// Lengths of text that Newtonsoft tries as a date (`StringReferenceExtensions`/`DateTimeUtils.TryParseDateTime`).
const DATE_LENGTHS: std::ops::RangeInclusive<usize> = 19..=40;

fn iso_date(text: &str) -> Option<IsoDate> {
    let bytes = text.as_bytes();
    if !DATE_LENGTHS.contains(&bytes.len()) || !text.is_ascii() || bytes[10] != b'T' {
        return None;
    }
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let mut moment = PrimitiveDateTime::parse(&text[..19], FORMAT).ok()?;
    let mut rest = &text[19..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.len() - fraction.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return None;
        }
        // .NET keeps 100 ns; more digits are cut.
        let ticks: u32 = format!("{:0<7}", &fraction[..digits.min(7)]).parse().ok()?;
        moment = moment.replace_nanosecond(ticks * 100).ok()?;
        rest = &fraction[digits..];
    }
    let zone = match rest {
        "" => Zone::Unspecified,
        "Z" => Zone::Utc,
        _ => {
            let (hours, minutes) = match (rest.len(), rest.get(1..3), rest.get(rest.len().checked_sub(2)?..))
            {
                (6, Some(h), Some(m)) if rest.as_bytes()[3] == b':' => (h, m),
                (5, Some(h), Some(m)) => (h, m),
                (3, Some(h), _) => (h, "0"),
                _ => return None,
            };
            let sign = match rest.as_bytes()[0] {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            let offset =
                UtcOffset::from_hms(sign * hours.parse::<i8>().ok()?, sign * minutes.parse::<i8>().ok()?, 0)
                    .ok()?;
            let utc = moment.assume_offset(offset).to_offset(UtcOffset::UTC);
            moment = PrimitiveDateTime::new(utc.date(), utc.time());
            Zone::Local
        }
    };
    Some(IsoDate { moment, zone })
}

/// How much of a second a date shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fraction {
    /// Whole seconds.
    None,
    /// Up to seven digits, without zeros at the end (`FFFFFFF`).
    Full,
}

/// A .NET `DateTime` of no zone, `2026-11-22T13:00:00`; the moment is shown in UTC.
pub fn date_time(moment: OffsetDateTime, fraction: Fraction) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let moment = moment.to_offset(UtcOffset::UTC);
    let mut text = moment.format(FORMAT).unwrap_or_default();
    let ticks = moment.nanosecond() / 100;
    if fraction == Fraction::Full && ticks > 0 {
        text.push_str(format!(".{ticks:07}").trim_end_matches('0'));
    }
    text
}

/// A .NET `DateTimeOffset` in UTC, `2026-11-22T13:00:00+00:00`.
pub fn date_time_offset(moment: OffsetDateTime, fraction: Fraction) -> String {
    date_time(moment, fraction) + "+00:00"
}

/// Whether the host takes a text for JSON: only its first and last character count
/// (Azure/azure-functions-host Utility.cs `IsJson`).
pub fn looks_like_json(text: &str) -> bool {
    let text = text.trim();
    (text.starts_with('{') && text.ends_with('}')) || (text.starts_with('[') && text.ends_with(']'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    #[test]
    fn line_separators_are_escaped_and_other_unicode_is_not() {
        assert_eq!(
            compact(&json!("a\u{85}b\u{2028}\u{2029}é\n\u{1}")),
            "\"a\\u0085b\\u2028\\u2029é\\n\\u0001\""
        );
    }

    #[test]
    fn doubles_keep_a_decimal_place_and_large_ones_get_dotnets_exponent() {
        assert_eq!(
            compact(&json!([1.0, 1.5, 1e15, 1e16, 123456789012.0, 0.0001, 0.00001, -0.5, 1.25e-7])),
            "[1.0,1.5,1E+15,1E+16,123456789012.0,0.0001,1E-05,-0.5,1.25E-07]"
        );
        assert_eq!(to_text(&json!(1.0)), "1");
    }

    #[test]
    fn indented_json_uses_two_blanks_and_short_empty_containers() {
        assert_eq!(
            indented(&json!({"a":[1,{}],"b":[]})),
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}"
        );
    }

    #[test]
    fn strings_that_are_iso_dates_are_read_as_dates() {
        assert_eq!(to_text(&json!("2026-11-22T13:00:00Z")), "11/22/2026 13:00:00");
        assert_eq!(to_text(&json!("2026-11-22T13:00:00+02:00")), "11/22/2026 11:00:00");
        assert_eq!(to_text(&json!("2026-11-22")), "2026-11-22");
        assert_eq!(to_text(&json!("2026-13-22T13:00:00Z")), "2026-13-22T13:00:00Z");
        assert_eq!(
            reformat_dates(json!({"d":["2026-11-22T13:00:00.5000Z"]})),
            json!({"d":["2026-11-22T13:00:00.5Z"]})
        );
        assert_eq!(reformat_dates(json!("2026-11-22T13:00:00-01")), json!("2026-11-22T14:00:00+00:00"));
    }

    #[test]
    fn dates_show_up_to_seven_digits_of_a_second() {
        let moment = datetime!(2026-11-22 13:00:00.001_200_09 UTC);
        assert_eq!(date_time(moment, Fraction::Full), "2026-11-22T13:00:00.0012");
        assert_eq!(date_time_offset(moment, Fraction::None), "2026-11-22T13:00:00+00:00");
    }
}
