//! A store that yields at random, and random numbers for its users.

use std::sync::{Arc, Mutex};

use session_state::store::StoreError;
use session_state::test_kit::Call;
use session_state::{Error, Session};

use crate::paused::{Pauses, Side};
use crate::random::Random;

/// Yields up to three times at each store call. The same seed yields at the same points.
#[derive(Clone, Debug)]
pub(crate) struct Jitter {
    random: Arc<Mutex<Random>>,
    /// Also after the call, so that a dropped call may have taken effect.
    after: bool,
}

impl Jitter {
    /// Yields before each call.
    pub(crate) fn before(seed: u64) -> Self {
        // Adjacent seeds give unrelated numbers.
        Self { random: Arc::new(Mutex::new(Random::new(Random::new(seed).next()))), after: false }
    }

    /// Yields before and after each call.
    pub(crate) fn around(seed: u64) -> Self {
        Self { after: true, ..Self::before(seed) }
    }

    /// Returns a number below `limit`, which is not 0. Clones share the sequence.
    pub(crate) fn below(&self, limit: usize) -> usize {
        self.random.lock().unwrap().below(limit)
    }

    /// Yields fewer than `limit` times.
    pub(crate) async fn yield_below(&self, limit: usize) {
        for _ in 0..self.below(limit) {
            tokio::task::yield_now().await;
        }
    }

    /// Saves in a task that is aborted after fewer than `limit` yields. Returns the outcome, if it is known.
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
