//! Services of other crates, whose response bodies are not ours: each can be served behind the layer, and hands on its
//! body until the session cannot be saved.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use session_state::test_kit::{Call, Fault, FaultyStore};
use session_state::{
    BodyOrError, Error, ErrorBody, MemoryStore, RequireRecentLogin, Session, SessionLayer, require_recent_login,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::{Layer, Service, ServiceBuilder, ServiceExt as _, service_fn};
use tower_http::body::Limited;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::ResponseBodyTimeoutLayer;
use tower_http::trace::TraceLayer;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const UNAVAILABLE: &str = "the session store is unavailable";

/// A layer whose store is away.
fn failing() -> SessionLayer {
    let store = FaultyStore::new(MemoryStore::new());
    store.faults().next_of(Call::Create, usize::MAX, Fault::Refuse);
    SessionLayer::server(store)
}

fn working() -> SessionLayer {
    SessionLayer::server(MemoryStore::new())
}

async fn write(request: &Request<Full<Bytes>>) -> Result<(), Error> {
    Session::from_extensions(request.extensions())?.load().await?.insert("n", 1)
}

/// A handler that writes to its session and answers with this body.
fn answering<B: Clone + Send>(
    body: B,
) -> impl Service<Request<Full<Bytes>>, Response = Response<B>, Error = Error, Future: Send> {
    service_fn(move |request| {
        let response = Response::new(body.clone());
        async move { write(&request).await.map(|()| response) }
    })
}

/// Sends a request, and returns the status, the type and the content of the answer.
async fn answer<B>(
    service: impl Service<Request<Full<Bytes>>, Response = Response<B>, Error: std::fmt::Debug>,
) -> (StatusCode, String, String)
where
    B: Body<Error: std::fmt::Debug>,
{
    let response = service.oneshot(Request::new(Full::default())).await.unwrap();
    let content_type = response.headers().get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap()).to_owned();
    let status = response.status();
    let content = response.into_body().collect().await.unwrap().to_bytes();
    (status, content_type, String::from_utf8(content.to_vec()).unwrap())
}

fn ok(content: &str) -> (StatusCode, String, String) {
    (StatusCode::OK, String::new(), content.to_owned())
}

fn unavailable(content: &str) -> (StatusCode, String, String) {
    (StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8".to_owned(), content.to_owned())
}

/// A server at the other end of a connection, which answers one request, as seen by hyper's client.
async fn fetch(request: Request<Full<Bytes>>) -> Result<Response<Incoming>, BoxError> {
    write(&request).await?;
    let (near, mut far) = tokio::io::duplex(1024);
    tokio::spawn(async move {
        let mut head = [0; 1024];
        assert_ne!(far.read(&mut head).await.unwrap(), 0);
        far.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nupstream").await.unwrap();
    });
    let (mut upstream, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await?;
    tokio::spawn(connection);
    let request = Request::get("/").header("host", "localhost").body(Empty::<Bytes>::new())?;
    Ok(upstream.send_request(request).await?)
}

#[tokio::test]
async fn a_proxy_hands_on_the_bodies_of_a_hyper_client() {
    let proxy = |sessions: SessionLayer| {
        ServiceBuilder::new().layer(sessions).map_response(BodyOrError::wrap).service(service_fn(fetch))
    };
    assert_eq!(answer(proxy(working())).await, ok("upstream"));
    assert_eq!(answer(proxy(failing())).await, unavailable(UNAVAILABLE));
}

#[tokio::test]
async fn a_route_that_needs_a_recent_login_may_have_any_body() {
    let guard: RequireRecentLogin = require_recent_login(Duration::from_secs(60));
    let proxy = ServiceBuilder::new().layer(working()).layer(guard).map_response(BodyOrError::wrap);
    let (status, _, content) = answer(proxy.service(service_fn(fetch))).await;
    assert_eq!((status, content.as_str()), (StatusCode::UNAUTHORIZED, "no principal is logged in"));
}

#[tokio::test]
async fn layers_of_tower_http_may_be_inside() {
    let stack = |sessions: SessionLayer| {
        ServiceBuilder::new()
            .layer(sessions)
            .map_response(BodyOrError::wrap)
            .layer(TraceLayer::new_for_http())
            .layer(ResponseBodyTimeoutLayer::new(Duration::from_secs(60)))
            .service(answering(Full::<Bytes>::from("traced")))
    };
    assert_eq!(answer(stack(working())).await, ok("traced"));
    assert_eq!(answer(stack(failing())).await, unavailable(UNAVAILABLE));
}

#[tokio::test]
async fn a_limited_body_is_handed_on() {
    let echo = |sessions: SessionLayer| {
        let inner = service_fn(async |request: Request<Limited<Full<Bytes>>>| {
            Session::from_extensions(request.extensions())?.load().await?.insert("n", 1)?;
            Ok::<_, Error>(Response::new(request.into_body()))
        });
        let limit = RequestBodyLimitLayer::new(100);
        ServiceBuilder::new().layer(sessions).map_response(BodyOrError::wrap).layer(limit).service(inner)
    };
    assert_eq!(answer(echo(working())).await, ok(""));
    assert_eq!(answer(echo(failing())).await, unavailable(UNAVAILABLE));
}

#[tokio::test]
async fn a_body_with_a_default_needs_nothing() {
    let text = Full::<Bytes>::from("text");
    assert_eq!(answer(working().layer(answering(text.clone()))).await, ok("text"));
    assert_eq!(answer(failing().layer(answering(text))).await, unavailable(""));
}

#[tokio::test]
async fn the_body_of_tonic_needs_nothing() {
    let handler =
        || answering("grpc").map_response(|response| response.map(|text| tonic::body::Body::new(Full::from(text))));
    assert_eq!(answer(working().layer(handler())).await, ok("grpc"));
    assert_eq!(answer(failing().layer(handler())).await, unavailable(""));
}

/// A service of tonic without any method.
#[derive(Clone)]
struct Grpc;

impl tonic::server::NamedService for Grpc {
    const NAME: &'static str = "test.Grpc";
}

impl Service<Request<tonic::body::Body>> for Grpc {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<tonic::body::Body>) -> Self::Future {
        std::future::ready(Ok(Response::new(tonic::body::Body::empty())))
    }
}

/// They compile, and are not run: the one would listen, the other asks AWS for requests.
#[test]
fn servers_of_tonic_and_lambda_http_accept_the_layer() {
    let server = tonic::transport::Server::builder().layer(working()).add_service(Grpc);
    drop(server.serve(([127, 0, 0, 1], 0).into()));
    let handler = service_fn(async |_: lambda_http::Request| {
        Ok::<_, Infallible>(Response::new(lambda_http::Body::from("lambda")))
    });
    drop(lambda_http::run(working().layer(handler)));
}

/// A page of an application's own, which is no default.
#[derive(Clone)]
struct Page(String);

impl ErrorBody for Page {
    fn from_error(error: &Error) -> Self {
        Self(format!("Sorry: {error}"))
    }
}

#[tokio::test]
async fn a_body_may_say_by_itself_what_an_error_looks_like() {
    let page = |sessions: SessionLayer| {
        sessions
            .layer(answering(Page("page".to_owned())))
            .map_response(|response| response.map(|page| Full::<Bytes>::from(page.0)))
    };
    assert_eq!(answer(page(working())).await, ok("page"));
    assert_eq!(answer(page(failing())).await, unavailable(&format!("Sorry: {UNAVAILABLE}")));
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn the_bodies_of_axum_carry_the_message() {
    let handler = || answering("axum").map_response(|response| response.map(axum::body::Body::from));
    assert_eq!(answer(working().layer(handler())).await, ok("axum"));
    assert_eq!(answer(failing().layer(handler())).await, unavailable(UNAVAILABLE));
}

#[test]
fn the_length_of_an_error_is_known_and_it_ends() {
    let error = Session::from_extensions(&http::Extensions::new()).unwrap_err();
    let (text, mut body) = (error.to_string(), BodyOrError::<Full<Bytes>>::from_error(&error));
    assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
    assert!(!body.is_end_stream());
    let frame = body.frame().now_or_never().flatten().unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), text);
    assert_eq!((body.is_end_stream(), body.size_hint().exact()), (true, Some(0)));
    let of_handler = BodyOrError::new(Full::<Bytes>::from("four"));
    assert_eq!((of_handler.is_end_stream(), of_handler.size_hint().exact()), (false, Some(4)));
}
