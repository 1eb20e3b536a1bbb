//! [`Store`] as a trait object.

use std::any::Any;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::span::in_span;
use super::{Entry, Forward, Handle, Outcome, Record, Renewal, Store, StoreError, StoreKey, Version};
use crate::clock::Timestamp;

type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A call of a store: its result, or a future.
pub(crate) enum Answer<'a, T> {
    /// The result, from a store that never waits.
    Ready(Result<T, StoreError>),
    /// A store that waits.
    Waiting(Call<'a, T>),
}

impl<'a, T> Answer<'a, T> {
    /// Polls the call once if the store never waits, without an allocation. Boxes it otherwise.
    fn of<S: Store>(
        store: &S,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> Self {
        let call = in_span(store.name(), operation, call);
        if S::WAITS {
            return Self::Waiting(Box::pin(call));
        }
        match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Self::Ready(answer),
            Poll::Pending => Self::Ready(Err(StoreError::failed(store.name(), WaitedError))),
        }
    }

    /// Makes a call from a future that waits.
    pub(crate) fn later(
        store: &'static str,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> Self {
        Self::Waiting(Box::pin(in_span(store, operation, call)))
    }

    /// Limits how long the call may take.
    pub(crate) fn within(self, limit: Duration, store: &'static str) -> Limited<'a, T> {
        match self {
            Self::Ready(answer) => Limited::Ready(Some(answer)),
            Self::Waiting(call) => Limited::Waiting { call, limit, timer: None, store },
        }
    }
}

/// An [`Answer`] with a time limit. An `async fn` would store the answer twice.
pub(crate) enum Limited<'a, T> {
    Ready(Option<Result<T, StoreError>>),
    Waiting {
        call: Call<'a, T>,
        limit: Duration,
        /// Created when the call does not complete at the first poll.
        timer: Option<Pin<Box<Sleep>>>,
        store: &'static str,
    },
}

impl<T: Unpin> Future for Limited<'_, T> {
    type Output = Result<T, StoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Ready(answer) => Poll::Ready(answer.take().expect("a future is not polled after its end")),
            Self::Waiting { call, limit, timer, store } => {
                if let Poll::Ready(answer) = call.as_mut().poll(context) {
                    return Poll::Ready(answer);
                }
                let timer = timer.get_or_insert_with(|| Box::pin(sleep(*limit)));
                timer.as_mut().poll(context).map(|()| Err(StoreError::timed_out(store)))
            }
        }
    }
}

/// A store with `WAITS = false` waited.
#[derive(Debug)]
struct WaitedError;

impl fmt::Display for WaitedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store waited although its `WAITS` is false")
    }
}

impl std::error::Error for WaitedError {}

/// The calls of [`Store`] with boxed futures.
pub(crate) trait ErasedStore: fmt::Debug + Send + Sync + 'static {
    fn name(&self) -> &'static str;
    /// Returns the store itself.
    fn as_any(&self) -> &dyn Any;
    fn load<'a>(&'a self, key: &'a StoreKey, now: Timestamp) -> Answer<'a, Option<Entry>>;
    fn create<'a>(&'a self, key: &'a StoreKey, record: Arc<Record>, now: Timestamp) -> Answer<'a, bool>;
    fn update<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Answer<'a, Outcome>;
    fn touch<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Version,
        last_seen_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Answer<'a, Outcome>;
    fn renew(&self, renewal: Renewal, now: Timestamp) -> Answer<'_, Outcome>;
    fn delete<'a>(&'a self, key: &'a StoreKey, forward: Option<Forward>, now: Timestamp) -> Answer<'a, Outcome>;
    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, usize>;
    fn finds_principals(&self) -> bool;
    fn list<'a>(
        &'a self,
        principal: &'a str,
        after: Option<&'a Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'a, Vec<Arc<Record>>>;
    fn count<'a>(&'a self, principal: &'a str, now: Timestamp) -> Answer<'a, usize>;
    fn revoke<'a>(
        &'a self,
        principal: &'a str,
        sessions: &'a [Handle],
        forward: Option<Forward>,
        now: Timestamp,
    ) -> Answer<'a, Vec<Handle>>;
}

impl<S: Store> ErasedStore for S {
    fn name(&self) -> &'static str {
        Store::name(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn load<'a>(&'a self, key: &'a StoreKey, now: Timestamp) -> Answer<'a, Option<Entry>> {
        Answer::of(self, "load", Store::load(self, key, now))
    }

    fn create<'a>(&'a self, key: &'a StoreKey, record: Arc<Record>, now: Timestamp) -> Answer<'a, bool> {
        Answer::of(self, "create", Store::create(self, key, record, now))
    }

    fn update<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Answer<'a, Outcome> {
        Answer::of(self, "update", Store::update(self, key, expected, record, now))
    }

    fn touch<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Version,
        last_seen_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Answer<'a, Outcome> {
        Answer::of(self, "touch", Store::touch(self, key, expected, last_seen_at, expires_at, now))
    }

    fn renew(&self, renewal: Renewal, now: Timestamp) -> Answer<'_, Outcome> {
        Answer::of(self, "renew", Store::renew(self, renewal, now))
    }

    fn delete<'a>(&'a self, key: &'a StoreKey, forward: Option<Forward>, now: Timestamp) -> Answer<'a, Outcome> {
        Answer::of(self, "delete", Store::delete(self, key, forward, now))
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, usize> {
        Answer::of(self, "sweep", Store::sweep(self, now, limit))
    }

    fn finds_principals(&self) -> bool {
        S::FINDS_PRINCIPALS
    }

    fn list<'a>(
        &'a self,
        principal: &'a str,
        after: Option<&'a Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'a, Vec<Arc<Record>>> {
        Answer::of(self, "list", Store::list(self, principal, after, limit, now))
    }

    fn count<'a>(&'a self, principal: &'a str, now: Timestamp) -> Answer<'a, usize> {
        Answer::of(self, "count", Store::count(self, principal, now))
    }

    fn revoke<'a>(
        &'a self,
        principal: &'a str,
        sessions: &'a [Handle],
        forward: Option<Forward>,
        now: Timestamp,
    ) -> Answer<'a, Vec<Handle>> {
        Answer::of(self, "revoke", Store::revoke(self, principal, sessions, forward, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;

    #[derive(Debug)]
    struct Liar;

    impl Store for Liar {
        const WAITS: bool = false;

        fn name(&self) -> &'static str {
            "liar"
        }

        async fn load(&self, _: &StoreKey, _: Timestamp) -> Result<Option<Entry>, StoreError> {
            std::future::pending().await
        }

        async fn create(&self, _: &StoreKey, _: Arc<Record>, _: Timestamp) -> Result<bool, StoreError> {
            Ok(true)
        }

        async fn update(&self, _: &StoreKey, _: Version, _: Arc<Record>, _: Timestamp) -> Result<Outcome, StoreError> {
            Ok(Outcome::Gone)
        }

        async fn touch(
            &self,
            _: &StoreKey,
            _: Version,
            _: Timestamp,
            _: Timestamp,
            _: Timestamp,
        ) -> Result<Outcome, StoreError> {
            Ok(Outcome::Gone)
        }

        async fn renew(&self, _: Renewal, _: Timestamp) -> Result<Outcome, StoreError> {
            Ok(Outcome::Gone)
        }

        async fn delete(&self, _: &StoreKey, _: Option<Forward>, _: Timestamp) -> Result<Outcome, StoreError> {
            Ok(Outcome::Gone)
        }
    }

    #[test]
    fn a_call_that_waits_although_waits_is_false_fails() {
        let (key, now) = (StoreKey::from_bytes([1; 32]), Timestamp::from_millis(0));
        let Answer::Ready(Err(error)) = ErasedStore::load(&Liar, &key, now) else {
            panic!("the call was polled at once")
        };
        assert_eq!((error.kind(), error.store()), (StoreErrorKind::Failed, "liar"));
        assert!(matches!(ErasedStore::delete(&Liar, &key, None, now), Answer::Ready(Ok(Outcome::Gone))));
    }
}
