//! The future of a response: the handler's, then the commit, then the headers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Response};
use pin_project_lite::pin_project;

use crate::cookie;
use crate::error::Error;
use crate::session::{Effects, Shared};

/// The commit of a request, and the response that comes of it.
type Committing<B> = Pin<Box<dyn Future<Output = Response<B>> + Send>>;

pin_project! {
    /// The future of [`SessionService`](super::SessionService).
    pub struct ResponseFuture<F, B> {
        #[pin]
        inner: F,
        // The session, until it is committed.
        shared: Option<Arc<Shared>>,
        // Boxed, since most requests have nothing to commit and every future is moved about.
        committing: Option<Committing<B>>,
    }
}

impl<F, B> ResponseFuture<F, B> {
    pub(super) fn new(inner: F, shared: Arc<Shared>) -> Self {
        Self { inner, shared: Some(shared), committing: None }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default + Send + 'static,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(shared) = this.shared {
            let mut response = ready!(this.inner.poll(context))?;
            let effects = shared.finish_at_once();
            let shared = this.shared.take();
            if let (None, Some(shared)) = (&effects, shared) {
                *this.committing = Some(Box::pin(commit(shared, response)));
            } else {
                apply(effects.unwrap_or_default(), response.headers_mut());
                return Poll::Ready(Ok(response));
            }
        }
        match this.committing {
            Some(committing) => committing.as_mut().poll(context).map(Ok),
            None => Poll::Pending,
        }
    }
}

#[expect(clippy::manual_async_fn, reason = "an `async fn` makes room for its arguments twice")]
pub(super) fn commit<B: Default>(shared: Arc<Shared>, mut response: Response<B>) -> impl Future<Output = Response<B>> {
    async move {
        match shared.finish(response.status()).await {
            Ok(effects) => apply(effects, response.headers_mut()),
            Err(error) => {
                response = failure(error);
                apply(shared.give_up(), response.headers_mut());
            }
        }
        response
    }
}

fn apply(effects: Effects, headers: &mut HeaderMap) {
    if !effects.cookies.is_empty() {
        cookie::forbid_caching(headers);
    }
    for cookie in effects.cookies {
        cookie::put(headers, cookie);
    }
    if effects.looked {
        cookie::vary_on_cookie(headers);
    }
}

/// Answers instead of a handler whose changes could not be saved. A middleware that finds the error in the extensions
/// may put a better page in its place.
pub(super) fn failure<B: Default>(error: Error) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = error.status();
    cookie::forbid_caching(response.headers_mut());
    response.extensions_mut().insert(error);
    response
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
