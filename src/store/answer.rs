//! A call of a store in progress.

use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::error::StoreError;
use super::span::in_span;

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
    #[inline]
    pub(super) fn of(
        store: &'static str,
        never_waits: bool,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> Self {
        let call = in_span(store, operation, call);
        if !never_waits {
            return Self::Waiting(Box::pin(call));
        }
        match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Self::Ready(answer),
            Poll::Pending => Self::Ready(Err(StoreError::failed(store, WaitedError))),
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

    /// Waits for the result.
    pub(crate) async fn get(self) -> Result<T, StoreError> {
        match self {
            Self::Ready(answer) => answer,
            Self::Waiting(call) => call.await,
        }
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

/// A store with `NEVER_WAITS` waited.
#[derive(Debug)]
struct WaitedError;

impl fmt::Display for WaitedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store waited although its `NEVER_WAITS` is true")
    }
}

impl std::error::Error for WaitedError {}
