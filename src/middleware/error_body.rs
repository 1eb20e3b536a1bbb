//! The bodies of the responses that take the place of a handler's.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::cookie;
use crate::error::Error;
use crate::event::trace_missing_layer;

/// Response body that can also report an error of the session.
///
/// Where [`SessionLayer`](crate::SessionLayer) or [`RequireRecentLogin`](crate::RequireRecentLogin) answers in place of
/// the handler, the body has the type of the handler's. Any body will do:
///
/// - One with a [`Default`], as in axum, tonic and lambda_http, needs nothing. The body of axum (with the feature
///   `axum`) and `String` carry the error's message, which holds no secret; others are the default, usually empty.
/// - For any other, such as the `Incoming` of a hyper client, there is [`BodyOrError`].
/// - A type of yours without a `Default` implements the trait.
///
/// The response has the [status](Error::status) of the error, the type `text/plain`, and the error in its extensions.
pub trait ErrorBody: Sized {
    /// Returns the body of the response to a request that failed with this error.
    fn from_error(error: &Error) -> Self;
}

/// For each type of body that can be made of a text, the function that puts the message into a body of that type.
const TEXT_BODIES: &[fn(&mut dyn Any, &Error)] = &[
    put_message::<String>,
    #[cfg(feature = "axum")]
    put_message::<axum_core::body::Body>,
];

impl<B: Default + 'static> ErrorBody for B {
    fn from_error(error: &Error) -> Self {
        let mut body = Self::default();
        TEXT_BODIES.iter().for_each(|put_message| put_message(&mut body, error));
        body
    }
}

/// Puts the message into a body, if its type is `T`.
fn put_message<T: From<String> + 'static>(body: &mut dyn Any, error: &Error) {
    if let Some(body) = body.downcast_mut::<T>() {
        *body = error.body_text().into();
    }
}

pin_project! {
    /// Response body that is the handler's, or the message of an [`Error`].
    ///
    /// For services whose body has no [`Default`]: put [`wrap`](Self::wrap) between the session layer and the service.
    /// The handler's body is not boxed.
    ///
    /// # Examples
    ///
    /// A proxy, which hands on the responses of another server:
    ///
    /// ```
    /// use http::{Request, Response};
    /// use hyper::body::Incoming;
    /// use session_state::{BodyOrError, MemoryStore, SessionLayer};
    /// use tower::{ServiceBuilder, service_fn};
    ///
    /// async fn proxy(request: Request<Incoming>) -> Result<Response<Incoming>, hyper::Error> {
    /// #   let (stream, _) = tokio::io::duplex(1024);
    /// #   let stream = hyper_util::rt::TokioIo::new(stream);
    /// #   let (mut upstream, _) = hyper::client::conn::http1::handshake(stream).await?;
    ///     // … connect to the other server, and then:
    ///     upstream.send_request(request).await
    /// }
    ///
    /// let service = ServiceBuilder::new()
    ///     .layer(SessionLayer::server(MemoryStore::new()))
    ///     .map_response(BodyOrError::wrap)
    ///     .service(service_fn(proxy));
    /// # fn is_service(_: impl tower::Service<Request<Incoming>, Response = Response<BodyOrError<Incoming>>>) {}
    /// # is_service(service);
    /// ```
    #[derive(Debug)]
    pub struct BodyOrError<B> {
        #[pin]
        content: Content<B>,
    }
}

pin_project! {
    #[project = ContentProjection]
    #[derive(Debug)]
    enum Content<B> {
        Body { #[pin] body: B },
        /// The message, until it has been sent.
        Error { message: Option<String> },
    }
}

impl<B> BodyOrError<B> {
    /// Takes over the body of a handler.
    pub fn new(body: B) -> Self {
        Self { content: Content::Body { body } }
    }

    /// Takes over the body of a handler's response.
    pub fn wrap(response: Response<B>) -> Response<Self> {
        response.map(Self::new)
    }
}

impl<B> ErrorBody for BodyOrError<B> {
    fn from_error(error: &Error) -> Self {
        Self { content: Content::Error { message: Some(error.body_text()) } }
    }
}

impl<B> Body for BodyOrError<B>
where
    B: Body,
    B::Data: From<String>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().content.project() {
            ContentProjection::Body { body } => body.poll_frame(context),
            ContentProjection::Error { message } => {
                Poll::Ready(message.take().map(|message| Ok(Frame::data(message.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Body { body } => body.is_end_stream(),
            Content::Error { message } => message.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Body { body } => body.size_hint(),
            Content::Error { message } => SizeHint::with_exact(message.as_ref().map_or(0, String::len) as u64),
        }
    }
}

/// Answers instead of a handler whose changes could not be saved. A middleware that finds the error in the extensions
/// may put a better page in its place.
pub(crate) fn failure<B: ErrorBody>(error: Error) -> Response<B> {
    trace_missing_layer(&error);
    let mut response = Response::new(B::from_error(&error));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    cookie::forbid_caching(headers);
    response.extensions_mut().insert(error);
    response
}
