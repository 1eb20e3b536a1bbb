//! The service that gives each request its session.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::{ErrorBody, ResponseFuture, insecure_page};
use crate::session::{Marker, Shared, Slots};
use crate::state::Config;

/// The service of a [`SessionLayer`](super::SessionLayer).
///
/// Where a session cannot be saved, an error replaces the handler's response. Its body has the same type: see
/// [`ErrorBody`].
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    config: Arc<Config>,
    marker: Marker,
}

impl<S> SessionService<S> {
    pub(super) fn new(inner: S, config: Arc<Config>, marker: Marker) -> Self {
        Self { inner, config, marker }
    }
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for SessionService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
    ResponseBody: ErrorBody + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResponseBody>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let outer = request.extensions().get::<Slots>();
        let shared = if outer.is_some_and(|slots| slots.has(self.marker, &self.config)) {
            // A layer that is applied twice, as happens with nested routers, gives a request one session.
            None
        } else {
            let shared = Arc::new(Shared::new(Arc::clone(&self.config), request.headers(), request.uri()));
            insecure_page::warn(&self.config, &request);
            Slots::insert(request.extensions_mut(), self.marker, &shared);
            Some(shared)
        };
        ResponseFuture::new(self.inner.call(request), shared)
    }
}
