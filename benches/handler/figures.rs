//! What was measured, as a table and as JSON.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

/// One figure of every handler, in the order in which they are compared; the first one is ours.
pub struct Figure {
    /// What it is, with its unit.
    pub title: String,
    /// A word for machines.
    pub key: String,
    /// The middle one of the values of all rounds.
    pub values: Vec<f64>,
    /// Whether more is better.
    pub more_is_better: bool,
    /// What we want, if anything.
    pub goal: Option<Goal>,
}

/// What we want.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At most this.
    AtMost(f64),
    /// At least so many times what the second handler (Node) has.
    TimesNode(f64),
}

impl Figure {
    /// How many times better ours is than another's.
    fn ratio(&self, other: usize) -> f64 {
        let (ours, theirs) = (self.values[0], self.values[other]);
        if self.more_is_better { ours / theirs } else { theirs / ours }
    }

    fn goal(&self) -> Option<(String, bool)> {
        Some(match self.goal? {
            Goal::AtMost(most) => (format!("≤ {most}"), self.values[0] <= most),
            Goal::TimesNode(times) => (format!("≥ {times} × Node"), self.ratio(1) >= times),
        })
    }
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// All figures, with how many times better ours are.
pub fn table(names: &[&str], figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    let mut header = vec![String::new()];
    header.extend(names.iter().map(|name| (*name).to_owned()));
    header.extend(names.iter().skip(1).map(|name| format!("better than {name}")));
    header.extend(["goal".to_owned(), "met".to_owned()]);
    table.set_header(header);
    for figure in figures {
        let mut row = vec![figure.title.clone()];
        row.extend(figure.values.iter().map(|value| number(*value)));
        row.extend((1..names.len()).map(|other| format!("{:.2} ×", figure.ratio(other))));
        let (goal, met) = figure.goal().unwrap_or_default();
        row.extend([
            goal.clone(),
            if goal.is_empty() {
                ""
            } else if met {
                "yes"
            } else {
                "no"
            }
            .to_owned(),
        ]);
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Three digits are more than these measurements are worth.
fn number(value: f64) -> String {
    match value {
        _ if value >= 1000.0 => format!("{:.1} k", value / 1000.0),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

/// The same for machines.
pub fn to_json(names: &[&str], figures: &[Figure]) -> Value {
    let figures = figures.iter().map(|figure| {
        let values: serde_json::Map<String, Value> = names
            .iter()
            .zip(&figure.values)
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let ratios: serde_json::Map<String, Value> =
            (1..names.len()).map(|other| (names[other].to_owned(), json!(figure.ratio(other)))).collect();
        let goal = figure.goal();
        json!({"key": figure.key, "title": figure.title, "values": values, "timesBetter": ratios,
            "goal": goal.as_ref().map(|(goal, _)| goal), "met": goal.map(|(_, met)| met)})
    });
    figures.collect()
}
