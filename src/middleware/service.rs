//! The service that gives each request its session.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Extensions, Request, Response};
use tower_service::Service;

use super::ResponseFuture;
use crate::session::Shared;
use crate::state::Config;

/// How the session gets into the extensions of a request: with the marker that the layer was given.
pub(super) type Insert = fn(&mut Extensions, Arc<Shared>);

/// The service of a [`SessionLayer`](super::SessionLayer).
///
/// The body of its responses has to have a default, an empty one: where a session cannot be saved, an empty response
/// with the status of the error takes the place of the handler's.
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    config: Arc<Config>,
    insert: Insert,
}

impl<S> SessionService<S> {
    pub(super) fn new(inner: S, config: Arc<Config>, insert: Insert) -> Self {
        Self { inner, config, insert }
    }
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for SessionService<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>>,
    ResponseBody: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResponseBody>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Self::Future {
        let shared = Arc::new(Shared::new(Arc::clone(&self.config), request.headers()));
        (self.insert)(request.extensions_mut(), Arc::clone(&shared));
        ResponseFuture::new(self.inner.call(request), shared)
    }
}
