//! Retries: once when a store fails, and with back-off after a conflict.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::Config;
use crate::error::Error;
use crate::random;
use crate::store::{Answer, ErasedStore, Limited, StoreError, StoreErrorKind};

/// How often changes are replayed on a newer record before the request fails with a conflict.
pub(super) const MAX_ATTEMPTS: u32 = 40;

/// A store, with the layer's time limit for each call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls<'c> {
    pub(super) store: &'c dyn ErasedStore,
    limit: Duration,
}

impl<'c> Calls<'c> {
    pub(super) fn new(config: &Config, store: &'c dyn ErasedStore) -> Self {
        Self { store, limit: config.store_timeout }
    }

    /// Applies the time limit to a call.
    #[inline(always)]
    pub(super) fn limit<T>(self, answer: Answer<'_, T>) -> Limited<'_, T> {
        answer.within(self.limit, self.store.name())
    }

    /// Makes an idempotent call, and repeats it once if the store fails: a dead idle connection must not fail a
    /// request.
    pub(super) async fn ask<'a, T: Unpin>(
        self,
        call: impl Fn(&'c dyn ErasedStore) -> Answer<'a, T>,
    ) -> Result<T, StoreError>
    where
        'c: 'a,
    {
        self.ask_noting_repeat(call).await.map(|(answer, _)| answer)
    }

    /// Makes the call like [`ask`](Self::ask). Returns also whether it was repeated: the first attempt may have taken
    /// effect.
    pub(super) async fn ask_noting_repeat<'a, T: Unpin>(
        self,
        call: impl Fn(&'c dyn ErasedStore) -> Answer<'a, T>,
    ) -> Result<(T, bool), StoreError>
    where
        'c: 'a,
    {
        match self.limit(call(self.store)).await {
            Err(error) if error.kind() == StoreErrorKind::Failed => {
                self.limit(call(self.store)).await.map(|answer| (answer, true))
            }
            answer => answer.map(|answer| (answer, false)),
        }
    }
}

/// Returns `true` for a store failure that a retry may fix.
pub(super) fn is_store_failure(error: &Error) -> bool {
    let error = error.source().and_then(|source| source.downcast_ref::<StoreError>());
    let is_reply_lost = |error: &StoreError| error.source().is_some_and(|source| source.is::<LostReplyError>());
    error.is_some_and(|error| error.kind() == StoreErrorKind::Failed && !is_reply_lost(error))
}

/// Backs off after a conflict: not at all at first, then for random times of up to 64 ms, and of up to 256 ms after
/// twenty attempts.
pub(super) async fn pause(attempt: u32) -> Result<(), Error> {
    if attempt == 0 {
        return Ok(());
    }
    let longest = 1_u64 << if attempt < 20 { attempt.min(6) } else { 8 };
    let [random] = random::bytes::<1>()?;
    Box::pin(tokio::time::sleep(Duration::from_millis(u64::from(random) * longest / 255))).await;
    Ok(())
}

/// The reply to a write was lost and later writes hide its outcome.
#[derive(Debug)]
pub(super) struct LostReplyError {
    /// What was written: `session` or `part`.
    pub(super) what: &'static str,
}

impl fmt::Display for LostReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what;
        write!(f, "the reply to a write was lost and the {what} has been changed since, so the write is not repeated")
    }
}

impl StdError for LostReplyError {}
