//! How many tests a suite ran, from its closing lines.

use std::fmt;

/// The counts of a suite.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tally {
    passed: usize,
    /// Failed, skipped, to be done, or expected to fail: whatever did not judge.
    others: usize,
}

impl Tally {
    /// Whether there were tests, and all passed. A test that was left out judged nothing.
    pub fn is_clean(&self) -> bool {
        self.passed > 0 && self.others == 0
    }

    fn add(&mut self, word: &str, count: usize) {
        match word {
            "passed" => self.passed += count,
            // Not about tests.
            "warning" | "warnings" => {}
            _ => self.others += count,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed", self.passed)?;
        if self.others > 0 { write!(f, ", {} did not", self.others) } else { Ok(()) }
    }
}

/// Reads `3 passed, 1 skipped in 0.52s`, between equals signs or not.
pub fn of_pytest(output: &str) -> Option<Tally> {
    let line =
        output.lines().rev().map(|line| line.trim_matches(['=', ' '])).find(|line| !line.is_empty())?;
    if line.starts_with("no tests ran") {
        return Some(Tally::default());
    }
    let (counts, _) = line.split_once(" in ")?;
    let mut tally = Tally::default();
    for part in counts.split(", ") {
        let (count, word) = part.split_once(' ')?;
        tally.add(word, count.parse().ok()?);
    }
    Some(tally)
}

/// Reads the comments at the end of TAP: `# pass 3`, `# skipped 1`.
pub fn of_node(output: &str) -> Option<Tally> {
    let mut tally = Tally::default();
    let mut told = false;
    for line in output.lines().filter_map(|line| line.strip_prefix("# ")) {
        let Some((word, Ok(count))) = line.split_once(' ').map(|(word, count)| (word, count.parse())) else {
            continue;
        };
        match word {
            "pass" => {
                told = true;
                tally.add("passed", count);
            }
            "fail" | "cancelled" | "skipped" | "todo" => tally.add(word, count),
            _ => {}
        }
    }
    told.then_some(tally)
}

#[test]
fn only_a_suite_whose_tests_all_passed_is_clean() {
    let pytest = |line: &str| of_pytest(&format!("....\n{line}\n"));
    let clean = |tally: Option<Tally>| tally.is_some_and(|tally| tally.is_clean());
    assert!(clean(pytest("3 passed in 0.52s")));
    assert!(clean(pytest("===== 12 passed, 2 warnings in 62.10s (0:01:02) =====")));
    assert!(!clean(pytest("3 passed, 1 skipped in 0.52s")));
    assert!(!clean(pytest("1 failed, 3 passed in 0.52s")));
    assert!(!clean(pytest("no tests ran in 0.01s")));
    assert_eq!(pytest("Segmentation fault"), None);

    let node = |pass: u32, skipped: u32| {
        format!(
            "TAP version 13\n1..1\n# tests 4\n# suites 0\n# pass {pass}\n# fail 0\n# cancelled 0\n# skipped {skipped}\n# todo 0\n# duration_ms 51\n"
        )
    };
    assert!(clean(of_node(&node(4, 0))));
    assert!(!clean(of_node(&node(3, 1))));
    assert!(!clean(of_node(&node(0, 0))));
    assert_eq!(of_node("TAP version 13\n"), None);
}
