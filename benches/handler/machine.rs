//! On what it was measured: figures of two machines, or of a busy and an idle one, say nothing about each other.

use serde_json::{Value, json};

/// This machine.
pub struct Machine {
    /// As the processor names itself.
    pub model: String,
    /// How many of them this process may use.
    pub processors: usize,
    /// How many processes wanted one, on average over the minute before.
    pub load_before: f64,
    /// What the compared programs say of themselves.
    pub versions: Vec<String>,
}

impl Machine {
    /// Looks at it; what it does not tell is unknown.
    pub fn look(versions: Vec<String>) -> Self {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            model: model.map_or("unknown processor", |(_, name)| name.trim()).to_owned(),
            processors: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            load_before: load(),
            versions,
        }
    }

    /// In a line, for people.
    pub fn line(&self) -> String {
        let Self { model, processors, load_before, versions } = self;
        let versions = versions.join(", ");
        format!("{processors} × {model}; load {load_before:.1} before and {:.1} after; {versions}", load())
    }

    /// For machines.
    pub fn to_json(&self) -> Value {
        json!({"model": self.model, "processors": self.processors, "loadBefore": self.load_before,
            "loadAfter": load(), "versions": self.versions})
    }
}

/// The load average of the last minute.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(f64::NAN)
}
