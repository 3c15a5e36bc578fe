//! Numbers that follow from a seed and a name.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::{Chance, operations::Quota};

/// What the draws so far left behind.
#[derive(Debug, Default)]
pub(crate) struct Draws {
    /// How often each kind was drawn for each subject.
    counts: HashMap<u64, u32>,
    /// Names of operations that never end.
    pub(super) stuck: BTreeSet<String>,
    /// Labs of which it was drawn whether they go, by id.
    pub(super) labs: BTreeSet<String>,
    /// What was decided about a VM that is not made yet, by its id in lower case.
    pub(super) quota: HashMap<String, Quota>,
}

impl Draws {
    /// The next draw of this kind for this subject.
    pub(super) fn next(&mut self, seed: u64, chance: Chance, subject: &str) -> Draw {
        let key = mixed(hash(subject) ^ mixed(hash(chance.name())));
        let count = self.counts.entry(key).or_default();
        let draw = Draw(mixed(key ^ mixed(seed ^ mixed(u64::from(*count)))));
        *count += 1;
        draw
    }
}

/// A draw: a sequence of numbers (SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw(u64);

/// By which SplitMix64 steps: 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draw {
    /// The next number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mixed(self.0)
    }

    /// The next number, from 0 to below 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        // 53 bits are what a double holds.
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The next number, from `least` to below `most`.
    pub(crate) fn between(&mut self, least: f64, most: f64) -> f64 {
        least + self.fraction() * (most - least)
    }

    /// The next number as a time between these seconds.
    pub(crate) fn seconds(&mut self, least: f64, most: f64) -> Duration {
        Duration::from_millis((self.between(least, most) * 1000.0) as u64)
    }

    /// One of `count` choices, from 0.
    pub(crate) fn choice(&mut self, count: usize) -> usize {
        (self.number() % count.max(1) as u64) as usize
    }

    /// Yes or no.
    pub(crate) fn coin(&mut self) -> bool {
        self.choice(2) == 0
    }
}

/// SplitMix64's finalizer: spreads every bit over all.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// FNV-1a of a text, ignoring case (RFC 9923): it runs on every request, several times.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fractions(draws: &mut Draws, seed: u64, chance: Chance, subject: &str) -> Vec<f64> {
        (0..4).map(|_| draws.next(seed, chance, subject).fraction()).collect()
    }

    #[test]
    fn a_draw_follows_from_seed_kind_subject_and_count_alone() {
        let alone = fractions(&mut Draws::default(), 1, Chance::Throttled, "/Subscriptions/S");
        let mut draws = Draws::default();
        let other = fractions(&mut draws, 1, Chance::ResetAfter, "/Subscriptions/S");
        fractions(&mut draws, 1, Chance::Throttled, "/subscriptions/t");
        assert_eq!(fractions(&mut draws, 1, Chance::Throttled, "/subscriptions/s"), alone);
        assert_ne!(other, alone);
        assert_ne!(fractions(&mut Draws::default(), 2, Chance::Throttled, "/subscriptions/s"), alone);
        assert!(alone.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn draws_are_spread_evenly() {
        for seed in [0, 1, 7] {
            let mut draws = Draws::default();
            let hits = (0..20_000)
                .filter(|at| {
                    let subject = format!("GET https://management.azure.com/{}", at / 4);
                    draws.next(seed, Chance::Throttled, &subject).fraction() < 0.02
                })
                .count();
            // 400 are expected; four standard deviations are 79.
            assert!((321..=479).contains(&hits), "seed {seed}: {hits}");
        }
    }
}
