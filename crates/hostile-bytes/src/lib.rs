//! Attacks parsers with bytes that no well-meaning peer sends. For tests only.
//!
//! [`Attack::run`] gives a parser, in this order: its valid samples, which it must accept; inputs that once broke it; fixed
//! monsters (100,000 brackets, huge numbers, a text of a megabyte) alone and in every place of the samples; and for a second
//! (`FUZZ_SECONDS` says otherwise) mutations of the samples and noise. Whatever comes, a parser must neither panic nor overflow
//! the stack, allocate no more than its input is worth, come to an end, and say something if it refuses.
//!
//! Each run draws a fresh seed; `FUZZ_SEED` repeats one. What breaks a parser is made as small as possible and shown as a literal, to
//! be kept with [`Attack::once_broke`].

mod grammar;
mod mutation;
mod tree;

use std::{
    env,
    hash::{BuildHasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use proptest::{
    strategy::{BoxedStrategy, Strategy},
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use rustix::time::{ClockId, clock_gettime};

pub use grammar::{DEEP, Grammar, nested};

/// How long mutations are tried where `FUZZ_SECONDS` says nothing.
const USUAL_SECONDS: f64 = 1.0;
/// Inputs between two looks at the clock.
const AT_ONCE: u32 = 16;
/// No input may keep a parser busy for longer, in processor time: what else the machine does is not counted. Far above what any
/// needs, far below "for ever".
const LONGEST: Duration = Duration::from_secs(20);
/// What a parser may allocate for nothing, in bytes.
const MEMORY_FLOOR: u64 = 1 << 20;
/// What it may allocate for each byte of its input. A JSON value takes 32 bytes in memory and one in the text, an entry of an object
/// three times that, and a growing list is there twice while it moves.
const MEMORY_PER_BYTE: u64 = 512;
/// Longest literal in a failure's message, in characters.
const LONGEST_LITERAL: usize = 4000;

/// One parser, with what it understands.
#[derive(Debug)]
pub struct Attack {
    name: &'static str,
    grammar: Grammar,
    samples: Vec<Vec<u8>>,
    broke: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
    memory: (u64, u64),
}

impl Attack {
    /// An attack on what is called `name`, which reads bytes of this grammar.
    pub fn on(name: &'static str, grammar: Grammar) -> Self {
        let words = grammar.words();
        Self {
            name,
            grammar,
            samples: Vec::new(),
            broke: Vec::new(),
            words,
            memory: (MEMORY_FLOOR, MEMORY_PER_BYTE),
        }
    }

    /// A valid input: the parser must accept it, and mutations begin with it.
    pub fn sample(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.samples.push(bytes.as_ref().to_vec());
        self
    }

    /// Several valid inputs.
    pub fn samples(self, all: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        all.into_iter().fold(self, Self::sample)
    }

    /// An input that was a defect once.
    pub fn once_broke(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.broke.push(bytes.as_ref().to_vec());
        self
    }

    /// Words that mean something to this parser, to be put anywhere.
    pub fn words(mut self, words: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        self.words.extend(words.into_iter().map(|word| word.as_ref().to_vec()));
        self
    }

    /// Another bound on memory: `floor` bytes, and `per_byte` for each byte of the input.
    pub fn memory(mut self, floor: u64, per_byte: u64) -> Self {
        self.memory = (floor, per_byte);
        self
    }

    /// Attacks; the parser says with an error that it refuses an input, and why.
    ///
    /// # Panics
    /// If the parser does what it must not.
    pub fn run(self, parser: impl Fn(&[u8]) -> Result<(), String>) {
        assert!(!self.samples.is_empty(), "{}: mutations need a sample to begin with", self.name);
        for sample in &self.samples {
            if let Err(reason) = parser(sample) {
                panic!("{}: a valid sample is refused: {reason}\n{}", self.name, literal(sample));
            }
        }
        for bytes in self.broke.iter().chain(&self.grammar.monsters(&self.samples)) {
            if let Err(reason) = self.judge(bytes, &parser) {
                panic!("{}: {reason}\n{}", self.name, literal(bytes));
            }
        }
        let seed = variable("FUZZ_SEED").unwrap_or_else(|| RandomState::new().hash_one(self.name));
        let end = Instant::now() + Duration::from_secs_f64(variable("FUZZ_SECONDS").unwrap_or(USUAL_SECONDS));
        println!("{}: FUZZ_SEED={seed}", self.name);
        let mut runner = runner(seed);
        let inputs = self.inputs();
        while Instant::now() < end {
            let result =
                runner.run(&inputs, |bytes| self.judge(&bytes, &parser).map_err(TestCaseError::fail));
            match result {
                Ok(()) => {}
                Err(TestError::Fail(reason, bytes)) => {
                    panic!("{}: {reason}\nFUZZ_SEED={seed}, the input is\n{}", self.name, literal(&bytes));
                }
                Err(TestError::Abort(reason)) => panic!("{}: gave up: {reason}", self.name),
            }
        }
    }

    fn inputs(&self) -> BoxedStrategy<Vec<u8>> {
        let mutated = mutation::mutated(&self.samples, &self.words, &self.grammar.pairs());
        if self.grammar != Grammar::Json {
            return mutated;
        }
        proptest::prop_oneof![mutated, tree::mutated(&self.samples)].boxed()
    }

    /// What is wrong with what the parser does, if anything is.
    fn judge(&self, bytes: &[u8], parser: &impl Fn(&[u8]) -> Result<(), String>) -> Result<(), String> {
        let started = processor_time();
        let mut outcome = Ok(Ok(()));
        let counted = allocation_counter::measure(|| {
            outcome = catch_unwind(AssertUnwindSafe(|| parser(bytes)));
        });
        let taken = processor_time().saturating_sub(started);
        match outcome {
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                return Err(format!("it panics: {}", text.unwrap_or("(no text)")));
            }
            Ok(Err(reason)) if reason.trim().is_empty() => return Err("it refuses without a reason".into()),
            Ok(_) => {}
        }
        let (floor, per_byte) = self.memory;
        let most = floor + per_byte * bytes.len() as u64;
        if counted.bytes_max > most {
            let (used, length) = (counted.bytes_max, bytes.len());
            return Err(format!("it allocates {used} bytes for an input of {length}; {most} are allowed"));
        }
        if taken > LONGEST {
            return Err(format!("it takes {} s", taken.as_secs()));
        }
        Ok(())
    }
}

/// What this thread has taken of a processor so far.
fn processor_time() -> Duration {
    let taken = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(taken).unwrap_or_default()
}

fn runner(seed: u64) -> TestRunner {
    let config =
        Config { cases: AT_ONCE, failure_persistence: None, max_shrink_iters: 5000, ..Config::default() };
    let mut whole = [0; 32];
    whole[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &whole))
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not '{text}'")))
}

/// The bytes as a literal of Rust.
fn literal(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    match text.char_indices().nth(LONGEST_LITERAL) {
        None => format!("b\"{text}\""),
        Some((end, _)) => format!("b\"{}… ({} bytes)", &text[..end], bytes.len()),
    }
}

#[cfg(test)]
mod tests;
