//! Whether this machine has Azure's time. The handler goes by Azure's, but tokens and certificates are judged by the machine's.

use async_trait::async_trait;
use time::Duration;

use super::{Check, Finding, Known, Reached, patience::patiently};
use crate::azure::ClockDifference;

/// Entra's services allow this much (<https://learn.microsoft.com/entra/identity-platform/access-tokens>, "clock skew").
const MOST: Duration = Duration::minutes(5);
/// A machine that keeps its time is not out by this much.
const USUAL: Duration = Duration::seconds(30);

/// The check.
pub struct SameTime;

#[async_trait]
impl Check for SameTime {
    fn name(&self) -> &'static str {
        "clock"
    }

    async fn look(&self, at: &Reached, _: &Known) -> Vec<Finding> {
        let compared = patiently(&at.factory.clock, || at.factory.azure.clock_difference()).await;
        vec![match compared {
            Ok(difference) => judge(difference),
            Err(error) => Finding::refused("", &error, "let this machine reach Resource Manager (port 443)"),
        }]
    }
}

fn judge(difference: ClockDifference) -> Finding {
    // As little as it can be: a slow answer is no wrong clock.
    let least = (difference.fast_by.abs() - difference.uncertain_by).max(Duration::ZERO);
    let word = if difference.fast_by.is_negative() { "behind" } else { "ahead of" };
    let found = format!("this machine's clock is {} s {word} Azure's", least.whole_seconds());
    let fix = "set the clock: sudo timedatectl set-ntp true (Linux), w32tm /resync (Windows)";
    match least {
        least if least > MOST => Finding::failed("", found, fix),
        least if least > USUAL => Finding::warning("", found, fix),
        _ => Finding::ok("", "the same time as Azure"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_clock_is_wrong_only_by_what_the_way_of_the_answer_does_not_explain() {
        let verdict = |fast_by: i64, uncertain_by: i64| {
            let (fast_by, uncertain_by) = (Duration::seconds(fast_by), Duration::seconds(uncertain_by));
            judge(ClockDifference { fast_by, uncertain_by }).verdict
        };
        assert_eq!(verdict(20, 0), Verdict::Ok);
        assert_eq!(verdict(-31, 0), Verdict::Warning);
        assert_eq!(verdict(301, 0), Verdict::Failed);
        assert_eq!(verdict(-301, 0), Verdict::Failed);
        assert_eq!(verdict(400, 390), Verdict::Ok);
    }
}
