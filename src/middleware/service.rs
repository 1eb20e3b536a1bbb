//! The service that gives each request its session.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Extensions, Request, Response};
use tower_service::Service;

use super::ResponseFuture;
use crate::session::{self, Shared};
use crate::state::Config;

/// The functions that insert and find the session in the extensions of a request, for the layer's marker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marker {
    insert: fn(&mut Extensions, Arc<Shared>),
    find: fn(&Extensions) -> Option<&Arc<Shared>>,
}

impl Marker {
    /// Returns a reference, since a service is cloned and moved for each request.
    pub(super) fn of<M: 'static>() -> &'static Self {
        const { &Self { insert: session::insert::<M>, find: session::find::<M> } }
    }
}

/// The service of a [`SessionLayer`](super::SessionLayer).
///
/// The body type of its responses must implement `Default`: if a session cannot be saved, an empty response with the
/// status of the error replaces the handler's.
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    config: Arc<Config>,
    marker: &'static Marker,
}

impl<S> SessionService<S> {
    pub(super) fn new(inner: S, config: Arc<Config>, marker: &'static Marker) -> Self {
        Self { inner, config, marker }
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
        // A layer that is applied twice, as happens with nested routers, gives a request one session.
        let outer = (self.marker.find)(request.extensions());
        let shared = if outer.is_some_and(|shared| Arc::ptr_eq(shared.config(), &self.config)) {
            None
        } else {
            let shared = Arc::new(Shared::new(Arc::clone(&self.config), request.headers()));
            (self.marker.insert)(request.extensions_mut(), Arc::clone(&shared));
            Some(shared)
        };
        ResponseFuture::new(self.inner.call(request), shared)
    }
}
