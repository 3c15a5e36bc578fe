//! Durations as people write them: ISO 8601 (`PT4H`) or .NET's (`04:00:00`, `1.12:00:00`).

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Reads a duration; `None` if it is none, or overflows.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let seconds = match text.strip_prefix('P') {
        Some(rest) => iso(rest)?,
        None => clock(text)?,
    };
    Some(Duration::from_secs(seconds))
}

/// `1DT12H30M5S` without weeks, months and years, whose length ISO 8601 leaves open.
fn iso(text: &str) -> Option<u64> {
    let (days, times) = match text.split_once('T') {
        Some((days, times)) if !times.is_empty() => (days, times),
        Some(_) => return None,
        None if text.is_empty() => return None,
        None => (text, ""),
    };
    let days = parts(days, &[('D', DAY)])?;
    days.checked_add(parts(times, &[('H', HOUR), ('M', MINUTE), ('S', 1)])?)
}

/// Numbers with their units, the units in this order and each at most once.
fn parts(mut text: &str, mut units: &[(char, u64)]) -> Option<u64> {
    let mut sum = 0u64;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let unit = text[end..].chars().next()?;
        let at = units.iter().position(|(name, _)| *name == unit)?;
        sum = sum.checked_add(text[..end].parse::<u64>().ok()?.checked_mul(units[at].1)?)?;
        units = &units[at + 1..];
        text = &text[end + 1..];
    }
    Some(sum)
}

/// `[days.]hours:minutes:seconds`.
fn clock(text: &str) -> Option<u64> {
    let (days, rest) = text.split_once('.').map_or(("0", text), |(days, rest)| (days, rest));
    let mut parts = rest.split(':');
    let mut number = |limit: u64| {
        let part =
            parts.next().filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse::<u64>().ok().filter(|number| *number < limit)
    };
    let (hours, minutes, seconds) = (number(24)?, number(60)?, number(60)?);
    if parts.next().is_some() || !days.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    days.parse::<u64>().ok()?.checked_mul(DAY)?.checked_add(hours * HOUR + minutes * MINUTE + seconds)
}

/// The ISO 8601 form.
pub(super) fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes, rest) =
        (seconds / DAY, seconds % DAY / HOUR, seconds % HOUR / MINUTE, seconds % MINUTE);
    let part = |number: u64, unit: char| {
        if number > 0 { format!("{number}{unit}") } else { String::new() }
    };
    let times = part(hours, 'H') + &part(minutes, 'M') + &part(rest, 'S');
    match (days, times.as_str()) {
        (0, "") => "PT0S".to_owned(),
        (_, "") => format!("P{}", part(days, 'D')),
        _ => format!("P{}T{times}", part(days, 'D')),
    }
}

pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom(format!("'{text}' is no duration such as PT4H or 04:00:00")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        for (text, seconds) in [
            ("PT4H", 4 * HOUR),
            ("P1DT12H30M5S", DAY + 12 * HOUR + 30 * MINUTE + 5),
            ("PT90M", 90 * MINUTE),
            ("P2D", 2 * DAY),
            ("04:00:00", 4 * HOUR),
            ("1.12:00:05", DAY + 12 * HOUR + 5),
            ("00:30:00", 30 * MINUTE),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
            assert_eq!(
                parse(&format(Duration::from_secs(seconds))),
                Some(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        assert_eq!(format(Duration::from_secs(DAY + 4 * HOUR)), "P1DT4H");
        assert_eq!(format(Duration::ZERO), "PT0S");
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "P",
            "PT",
            "4h",
            "PT4",
            "PTH",
            "P1M",
            "PT1M1H",
            "4:0",
            "25:00:00",
            "00:60:00",
            "-1:00:00",
            "1:2:3:4",
            "P1DT",
            "PT99999999999999999999H",
            "+1:00:00",
            "PTé",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
