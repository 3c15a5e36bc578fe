//! .NET's `TimeSpan` text: `hh:mm`, `hh:mm:ss`, `d.hh:mm:ss.fffffff`, a number of days, with an optional minus sign.

use time::Duration;

/// Reads a `TimeSpan`; `None` where .NET's `TimeSpan.Parse` would refuse the text.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (text, ticks) = match text.rsplit_once('.') {
        // The last dot is a fraction's only after a colon; before the first colon it separates the days.
        Some((whole, fraction)) if whole.contains(':') => {
            if fraction.len() > 7 {
                return None;
            }
            (whole, number(&format!("{fraction:0<7}"))?)
        }
        _ => (text, 0),
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (days, hours, minutes, seconds) = match parts[..] {
        [days] => (number(days)?, 0, 0, 0),
        [first, minutes] => {
            let (days, hours) = days_and_hours(first)?;
            (days, hours, number(minutes)?, 0)
        }
        [first, minutes, seconds] => {
            let (days, hours) = days_and_hours(first)?;
            (days, hours, number(minutes)?, number(seconds)?)
        }
        [days, hours, minutes, seconds] => {
            (number(days)?, number(hours)?, number(minutes)?, number(seconds)?)
        }
        _ => return None,
    };
    if hours > 23 || minutes > 59 || seconds > 59 || days > MOST_DAYS {
        return None;
    }
    let span = Duration::seconds(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
        + Duration::nanoseconds(ticks * 100);
    Some(if negative { -span } else { span })
}

/// `TimeSpan.MaxValue` in days.
const MOST_DAYS: i64 = 10_675_198;

fn days_and_hours(text: &str) -> Option<(i64, i64)> {
    match text.split_once('.') {
        Some((days, hours)) => Some((number(days)?, number(hours)?)),
        None => Some((0, number(text)?)),
    }
}

fn number(text: &str) -> Option<i64> {
    (!text.is_empty() && text.len() <= 8 && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_dotnet_reads_them() {
        for (text, expected) in [
            ("00:05:00", Duration::minutes(5)),
            ("00:30", Duration::minutes(30)),
            ("1.02:00:00", Duration::hours(26)),
            ("2", Duration::days(2)),
            ("1:00:00:01", Duration::seconds(86401)),
            ("00:00:00.80", Duration::milliseconds(800)),
            ("-00:00:00.0010000", Duration::milliseconds(-1)),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for text in
            ["", "x", "24:00:00", "00:60:00", "00:00:60", "1:2:3:4:5", "0 */5 * * * *", "00:00:00.12345678"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
