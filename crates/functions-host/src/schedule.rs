//! When a timer fires: NCRONTAB expressions with six or five fields, and TimeSpans.

use chrono::{DateTime, Datelike, TimeZone, Timelike, Utc};
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use time::{Duration, OffsetDateTime, PrimitiveDateTime, UtcOffset};

use crate::time_span;

/// A timer's schedule. Occurrences are in UTC, which is the time zone of hosts in Azure.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// `{second} {minute} {hour} {day} {month} {day of week}`
    Cron {
        /// As in function.json.
        expression: String,
        /// The same, as its library reads it.
        cron: Box<Cron>,
    },
    /// A fixed time between occurrences.
    Constant(Duration),
}

/// A schedule that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The schedule expression '{expression}' was not recognized as a valid cron expression or timespan string: {reason}"
)]
pub struct ScheduleError {
    expression: String,
    reason: String,
}

/// The fields of an NCRONTAB expression with their bounds. Unlike Unix cron, a Sunday is only 0.
const FIELDS: [(&str, u32, u32); 6] = [
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 6),
];

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

impl Schedule {
    /// Reads a cron expression or a TimeSpan (Azure/azure-webjobs-sdk-extensions TimerSchedule.cs).
    ///
    /// # Errors
    /// If the text is neither.
    pub fn parse(expression: &str) -> Result<Self, ScheduleError> {
        let bad = |reason: String| ScheduleError { expression: expression.into(), reason };
        let fields: Vec<&str> = expression.split_whitespace().collect();
        if let [_] = fields[..] {
            return match time_span::parse(expression) {
                Some(span) if span.is_positive() => Ok(Self::Constant(span)),
                _ => Err(bad("expected a time above zero such as 00:30:00".into())),
            };
        }
        let fields = match fields.len() {
            6 => fields,
            5 => [&["0"], &fields[..]].concat(),
            count => return Err(bad(format!("expected 6 or 5 fields, not {count}"))),
        };
        let mut pattern = Vec::new();
        for (field, (name, least, most)) in fields.iter().zip(FIELDS) {
            pattern.push(
                normalize(field, least, most, name).map_err(|reason| bad(format!("{name}: {reason}")))?,
            );
        }
        // NCrontab wants both day of month and day of week to match; Unix cron wants either.
        let cron = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            .dom_and_dow(true)
            .build()
            .parse(&pattern.join(" "))
            .map_err(|error| bad(error.to_string()))?;
        let schedule = Self::Cron { expression: expression.into(), cron: Box::new(cron) };
        // 30 February and the like: Azure would wait for ever.
        match schedule.next_after(OffsetDateTime::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(bad("it never fires".into())),
        }
    }

    /// The first occurrence after `moment`; `None` if there is none within the calendar.
    pub fn next_after(&self, moment: OffsetDateTime) -> Option<OffsetDateTime> {
        match self {
            Self::Constant(interval) => moment.checked_add(*interval),
            Self::Cron { cron, .. } => {
                let next = cron.find_next_occurrence(&to_chrono(moment)?, false).ok()?;
                from_chrono(&next)
            }
        }
    }

    /// Whether it fires more than once a minute; missed occurrences are not recorded then
    /// (TimerSchedule.cs disables `UseMonitor`).
    pub fn is_sub_minute(&self) -> bool {
        match self {
            Self::Constant(interval) => *interval < Duration::MINUTE,
            // Looked at from a minute's beginning, two occurrences within 60 seconds show in the first minute that has any.
            Self::Cron { .. } => {
                let first = self.next_after(OffsetDateTime::UNIX_EPOCH);
                let second = first.and_then(|first| self.next_after(first));
                matches!((first, second), (Some(first), Some(second)) if second - first < Duration::MINUTE)
            }
        }
    }

    /// `Schedule.AdjustForDST` in the timer's payload: true for cron, false for a TimeSpan.
    pub fn adjusts_for_dst(&self) -> bool {
        matches!(self, Self::Cron { .. })
    }
}

/// A field with names made numbers and `a/b` written out, checked against NCRONTAB's own limits: of the things that the
/// cron library also understands, `L`, `W`, `#`, `?` and `@daily` are errors in Azure.
fn normalize(field: &str, least: u32, most: u32, name: &str) -> Result<String, String> {
    let value = |text: &str| -> Result<u32, String> {
        let number = if text.starts_with(|first: char| first.is_ascii_alphabetic()) {
            let lower = text.to_ascii_lowercase();
            let (names, first): (&[&str], u32) = match name {
                "month" => (&MONTHS, 1),
                "day of week" => (&DAYS, 0),
                _ => (&[], 0),
            };
            // NCrontab takes any beginning of a name; three letters tell all of them apart.
            let found = names.iter().position(|name| lower.len() >= 3 && name.starts_with(&lower));
            first + u32::try_from(found.ok_or_else(|| format!("'{text}' is no known name"))?).unwrap_or(0)
        } else if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.parse().map_err(|_| format!("'{text}' is too large"))?
        } else {
            return Err(format!("'{text}' is no number"));
        };
        if (least..=most).contains(&number) {
            Ok(number)
        } else {
            Err(format!("{number} is not between {least} and {most}"))
        }
    };
    let mut parts = Vec::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            None => (part, None),
            Some((range, step)) => match step.parse::<u32>() {
                Ok(step) if step > 0 && step <= most => (range, Some(step)),
                _ => return Err(format!("'{step}' is no step between 1 and {most}")),
            },
        };
        let range = match (range, range.split_once('-')) {
            ("*", _) => {
                if step.is_some() {
                    format!("{least}-{most}")
                } else {
                    "*".into()
                }
            }
            (_, Some((from, to))) => {
                let (from, to) = (value(from)?, value(to)?);
                // NCrontab takes a range's ends in either order.
                format!("{}-{}", from.min(to), from.max(to))
            }
            (single, None) => match (value(single)?, step) {
                (single, Some(step)) if step > 1 => format!("{single}-{most}"),
                (single, _) => {
                    parts.push(single.to_string());
                    continue;
                }
            },
        };
        parts.push(match step {
            Some(step) => format!("{range}/{step}"),
            None => range,
        });
    }
    Ok(parts.join(","))
}

fn to_chrono(moment: OffsetDateTime) -> Option<DateTime<Utc>> {
    let moment = moment.to_offset(UtcOffset::UTC);
    DateTime::from_timestamp(moment.unix_timestamp(), moment.nanosecond())
}

fn from_chrono(moment: &DateTime<Utc>) -> Option<OffsetDateTime> {
    let date = time::Date::from_ordinal_date(moment.year(), u16::try_from(moment.ordinal()).ok()?).ok()?;
    let part = |value: u32| u8::try_from(value).ok();
    let time =
        time::Time::from_hms(part(moment.hour())?, part(moment.minute())?, part(moment.second())?).ok()?;
    debug_assert_eq!(moment.timezone(), Utc.timestamp_nanos(0).timezone());
    Some(PrimitiveDateTime::new(date, time).assume_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-22 13:00:00 UTC); // a Sunday

    fn next(expression: &str) -> OffsetDateTime {
        Schedule::parse(expression).unwrap().next_after(NOW).unwrap()
    }

    #[test]
    fn six_fields_five_fields_and_timespans_are_schedules() {
        assert_eq!(next("0 */5 * * * *"), datetime!(2026-11-22 13:05 UTC));
        assert_eq!(next("*/5 * * * *"), datetime!(2026-11-22 13:05 UTC));
        assert_eq!(next("30 0 2 * * 1-5"), datetime!(2026-11-23 02:00:30 UTC));
        assert_eq!(next("0 0 2 * * Mon"), datetime!(2026-11-23 02:00 UTC));
        assert_eq!(next("0 0 0 1 January *"), datetime!(2027-01-01 00:00 UTC));
        assert_eq!(next("0 5/15 * * * *"), datetime!(2026-11-22 13:05 UTC));
        assert_eq!(next("00:30:00"), datetime!(2026-11-22 13:30 UTC));
    }

    #[test]
    fn an_occurrence_is_always_after_the_moment() {
        let schedule = Schedule::parse("0 0 13 * * *").unwrap();
        assert_eq!(schedule.next_after(NOW), Some(datetime!(2026-11-23 13:00 UTC)));
        let just_before = datetime!(2026-11-22 12:59:59.999 UTC);
        assert_eq!(schedule.next_after(just_before), Some(NOW));
    }

    #[test]
    fn day_of_month_and_day_of_week_must_both_match() {
        // The next Friday that is a 13th.
        assert_eq!(next("0 0 0 13 * FRI"), datetime!(2027-08-13 00:00 UTC));
    }

    #[test]
    fn what_ncrontab_does_not_know_is_refused() {
        for text in [
            "",
            "* * * *",
            "* * * * * * *",
            "0 0 0 L * *",
            "0 0 0 15W * *",
            "0 0 0 * * 5#2",
            "@daily",
            "0 0 0 * * 7",
            "60 * * * * *",
            "0 0 24 * * *",
            "0 */0 * * * *",
            "0 0 0 30 2 *",
            "a * * * * *",
            "-00:01:00",
            "00:00:00",
            "0 0 0 ? * *",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn schedules_faster_than_a_minute_are_not_monitored() {
        for (text, expected) in [
            ("*/30 * * * * *", true),
            ("0 * * * * *", false),
            ("00:00:59", true),
            ("00:01:00", false),
            ("0,1 0 3 * * *", true),
        ] {
            assert_eq!(Schedule::parse(text).unwrap().is_sub_minute(), expected, "{text}");
        }
    }
}
