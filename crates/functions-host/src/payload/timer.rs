//! The body for a `timerTrigger` (Azure/azure-webjobs-sdk-extensions TimerInfo.cs, ScheduleStatus.cs).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{BindingData, BindingValue, Sys, body};
use crate::newtonsoft::{self, Fraction};

/// When a timer last fired and fires next: what the status file keeps and the function sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScheduleStatus {
    /// The last occurrence; year 1 if there was none.
    #[serde(with = "time::serde::rfc3339")]
    pub last: OffsetDateTime,
    /// The next occurrence.
    #[serde(with = "time::serde::rfc3339")]
    pub next: OffsetDateTime,
    /// From when `next` was computed.
    #[serde(with = "time::serde::rfc3339")]
    pub last_updated: OffsetDateTime,
}

/// A timer's tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// True for cron expressions, false for TimeSpans.
    pub adjust_for_dst: bool,
    /// `None` with `useMonitor: false`.
    pub schedule_status: Option<ScheduleStatus>,
    /// Whether an occurrence was missed while the host was away.
    pub is_past_due: bool,
}

/// The body for a tick. The value is a nested object in PascalCase; the only binding data, `TimerTrigger`, falls under the
/// rule that drops keys ending in "trigger".
pub fn invocation(name: &str, tick: &Tick, sys: &Sys<'_>) -> Vec<u8> {
    let mut data = BindingData::default();
    data.set("TimerTrigger", BindingValue::Other(Value::Null));
    data.set_sys(sys);
    finish(name, tick, data)
}

/// The body for a tick that the admin API asked for; its input appears under the binding's name in the metadata.
pub fn manual_invocation(name: &str, tick: &Tick, input: Option<&str>, sys: &Sys<'_>) -> Vec<u8> {
    let mut data = BindingData::default();
    data.set(name, BindingValue::text(input));
    data.set_sys(sys);
    finish(name, tick, data)
}

fn finish(name: &str, tick: &Tick, data: BindingData) -> Vec<u8> {
    let date = |moment| newtonsoft::date_time_offset(moment, Fraction::Full);
    let status = tick.schedule_status.map(|status| {
        json!({"Last": date(status.last), "Next": date(status.next), "LastUpdated": date(status.last_updated)})
    });
    let value = json!({
        "Schedule": {"AdjustForDST": tick.adjust_for_dst},
        "ScheduleStatus": status,
        "IsPastDue": tick.is_past_due,
    });
    body(name, value, data.metadata())
}
