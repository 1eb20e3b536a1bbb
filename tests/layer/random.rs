//! Deterministic pseudo-random numbers, and searches over many seeds.
//!
//! The environment variable `SESSION_STATE_TEST_SEEDS` sets the number of seeds, and a search prints each failing seed.
//! The default takes a few seconds; after a change of the commit code, try ten thousand. The crate's own pauses between
//! attempts are random, so a failing seed may need several runs to fail again.
//!
//! ```text
//! SESSION_STATE_TEST_SEEDS=10000 cargo test --release --features test-kit --test layer random_
//! ```

use std::env;
use std::future::Future;
use std::iter::repeat_n;

/// The default number of seeds.
const SEEDS: u64 = 300;

/// SplitMix64 (Steele, Lea, Flood: *Fast splittable pseudorandom number generators*, 2014).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 32).unwrap() % limit
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// A seed that once failed in about every third run: back-off is random in each run.
const ONCE_WRONG: u64 = 9811;

/// Tries many seeds, and fails with all failing ones. Returns the results of the runs.
pub(crate) async fn search<Fut, T>(run: impl Fn(u64) -> Fut) -> Vec<T>
where
    Fut: Future<Output = Result<T, String>>,
{
    let seeds = env::var("SESSION_STATE_TEST_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("a number of seeds"));
    let (mut answers, mut wrong) = (Vec::new(), Vec::new());
    for seed in (1..=seeds).chain(repeat_n(ONCE_WRONG, 10)) {
        match run(seed).await {
            Ok(answer) => answers.push(answer),
            Err(what) => wrong.push(format!("seed {seed}: {what}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {seeds} seeds fail:\n{}", wrong.len(), wrong.join("\n"));
    answers
}
