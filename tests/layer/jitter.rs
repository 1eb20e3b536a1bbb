//! A store that yields at random, and the random numbers of those who use it.

use std::sync::{Arc, Mutex};

use session_state::store::StoreError;
use session_state::test_kit::Call;
use session_state::{Error, Session};

use crate::paused::{Pauses, Side};
use crate::random::Random;

/// Yields up to three times at each call of a store. The same seed yields in the same places.
#[derive(Clone, Debug)]
pub(crate) struct Jitter {
    random: Arc<Mutex<Random>>,
    /// Also after the call: one that is dropped then has taken place.
    after: bool,
}

impl Jitter {
    /// Yields before each call.
    pub(crate) fn before(seed: u64) -> Self {
        // Seeds that follow each other give numbers that have nothing in common.
        Self { random: Arc::new(Mutex::new(Random::new(Random::new(seed).next()))), after: false }
    }

    /// Yields before and after each call.
    pub(crate) fn around(seed: u64) -> Self {
        Self { after: true, ..Self::before(seed) }
    }

    /// A number below `limit`, which is not 0. Whoever has a clone shares the numbers.
    pub(crate) fn below(&self, limit: usize) -> usize {
        self.random.lock().unwrap().below(limit)
    }

    /// Yields fewer than `limit` times.
    pub(crate) async fn yield_below(&self, limit: usize) {
        for _ in 0..self.below(limit) {
            tokio::task::yield_now().await;
        }
    }

    /// Saves in a task that is aborted after fewer than `limit` turns. Returns what became of it, if that is known.
    pub(crate) async fn save_and_abort(&self, session: &Session, limit: usize) -> Option<Result<(), Error>> {
        let session = session.clone();
        let save = tokio::spawn(async move { session.save().await });
        self.yield_below(limit).await;
        save.abort();
        save.await.ok()
    }
}

impl Pauses for Jitter {
    async fn at(&self, _: Call, side: Side) -> Result<(), StoreError> {
        if side == Side::Before || self.after {
            self.yield_below(4).await;
        }
        Ok(())
    }
}
