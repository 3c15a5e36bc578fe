//! Draws that depend on the seed, on what is drawn for, and on how often that was drawn for before: not on time, and not on
//! other kinds of draws, so that a story without one kind of fault is otherwise the same story.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, PoisonError},
};

/// A source of draws.
#[derive(Debug)]
pub struct Dice {
    seed: u64,
    drawn: Mutex<HashMap<u64, u32>>,
}

impl Dice {
    /// The draws of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: Mutex::default() }
    }

    /// A number from 0 up to, but not including, 1.
    pub fn fraction(&self, kind: &str, subject: &str) -> f64 {
        let key = hash(|hasher| (self.seed, kind, subject).hash(hasher));
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let times = drawn.entry(key).or_default();
        *times += 1;
        let drawn = hash(|hasher| (key, *times).hash(hasher));
        // 53 bits are what an f64 holds exactly.
        (drawn >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something of this rate happens.
    pub fn strikes(&self, rate: f64, kind: &str, subject: &str) -> bool {
        rate > 0.0 && self.fraction(kind, subject) < rate
    }
}

fn hash(feed: impl FnOnce(&mut DefaultHasher)) -> u64 {
    // Its keys are fixed: the same in every process of one build.
    let mut hasher = DefaultHasher::new();
    feed(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_repeat_for_a_seed_and_do_not_look_at_each_other() {
        let (one, other) = (Dice::new(7), Dice::new(7));
        let first = [one.fraction("a", "x"), one.fraction("a", "x"), one.fraction("b", "x")];
        other.fraction("b", "x");
        assert_eq!([other.fraction("a", "x"), other.fraction("a", "x")], first[..2]);
        assert_ne!(first[0], first[1]);
        assert_ne!(Dice::new(8).fraction("a", "x"), first[0]);
        assert!(!one.strikes(0.0, "a", "y") && one.strikes(1.0, "a", "y"));
    }
}
