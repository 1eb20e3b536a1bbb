//! The future of a response: runs the handler, then the commit, then adds the headers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use super::error_body::{ErrorBody, failure};
use crate::cookie;
use crate::session::{Effects, Polling, Shared};

/// The commit of a request, which returns the final response.
type Committing<B> = Pin<Box<dyn Future<Output = Response<B>> + Send>>;

/// The session of a request without a response yet. Dropping it abandons the request.
pub(super) struct Unfinished(Option<Arc<Shared>>);

#[cfg(test)]
impl Unfinished {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Some(shared))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.abandon();
        }
    }
}

pin_project! {
    /// The future of [`SessionService`](super::SessionService).
    pub struct ResponseFuture<F, B> {
        #[pin]
        inner: F,
        state: State<B>,
    }
}

enum State<B> {
    /// The handler is running. Holds no session if an outer layer commits it.
    Handling(Unfinished),
    /// Boxed to keep the future small: most requests have nothing to commit.
    Committing(Committing<B>),
}

impl<F, B> ResponseFuture<F, B> {
    /// Without a session, an outer layer commits it.
    pub(super) fn new(inner: F, shared: Option<Arc<Shared>>) -> Self {
        Self { inner, state: State::Handling(Unfinished(shared)) }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: ErrorBody + Send + 'static,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let State::Handling(unfinished) = this.state {
            let polled = {
                let _polling = Polling::begin();
                this.inner.poll(context)
            };
            let mut response = ready!(polled)?;
            let Some(shared) = &unfinished.0 else { return Poll::Ready(Ok(response)) };
            if let Some(effects) = shared.finish_at_once() {
                apply(shared, effects, &mut response);
                unfinished.0 = None;
                return Poll::Ready(Ok(response));
            }
            let unfinished = Unfinished(unfinished.0.take());
            *this.state = State::Committing(Box::pin(commit(unfinished, response)));
        }
        match this.state {
            State::Committing(committing) => committing.as_mut().poll(context).map(Ok),
            State::Handling(_) => Poll::Pending,
        }
    }
}

#[expect(clippy::manual_async_fn, reason = "an `async fn` would store its arguments twice")]
pub(super) fn commit<B: ErrorBody>(
    mut unfinished: Unfinished,
    mut response: Response<B>,
) -> impl Future<Output = Response<B>> {
    async move {
        if let Some(shared) = &unfinished.0 {
            let effects = shared.finish(response.status()).await;
            apply(shared, effects, &mut response);
            drop(unfinished.0.take());
        }
        response
    }
}

#[inline(always)]
fn apply<B: ErrorBody>(shared: &Shared, effects: Effects, response: &mut Response<B>) {
    if let Some(error) = effects.error {
        *response = failure(error);
    }
    let answer = response.extensions().get();
    if answer.is_some() || effects.returned.is_some() {
        shared.tell_end(response.status(), answer, effects.returned);
    }
    let headers = response.headers_mut();
    if !effects.cookies.is_empty() {
        cookie::forbid_caching(headers);
        for cookie in effects.cookies {
            cookie::put(headers, cookie);
        }
    }
    if effects.looked {
        cookie::vary_on_cookie(headers);
    }
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
