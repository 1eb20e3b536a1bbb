//! The same application with each crate: `/plain` does not use the session, `/read` reads a number of it, `/write` adds
//! one, `/renew` gives it a new ID and reads.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::{Service, ServiceResponse};
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::routing::get;
use tower::ServiceExt as _;
use tower_sessions_redis_store::fred::prelude::{ClientLike as _, Config, Pool};

const NUMBER: &str = "n";

pub const NAMES: [&str; 4] = ["session-state", "tower-sessions", "axum_session", "actix-session"];

pub struct Answer {
    /// The cookie that was set, as a client sends it back; empty if none was.
    pub session: String,
    pub body: String,
}

/// An application of any framework.
pub trait App {
    fn get<'a>(&'a self, path: &'a str, cookie: &'a str) -> Pin<Box<dyn Future<Output = Answer> + 'a>>;
}

pub async fn app(name: &str, url: &str) -> Box<dyn App> {
    match name {
        "session-state" => Box::new(ours(url).await),
        "tower-sessions" => Box::new(tower_sessions(url).await),
        "axum_session" => Box::new(axum_session(url).await),
        "actix-session" => actix_session(url).await,
        _ => unreachable!("no such contender"),
    }
}

/// Returns the cookie that an answer sets, without its attributes. One without a value is removed and not set.
fn cookie_set(cookies: impl Iterator<Item = String>) -> String {
    let mut pairs = cookies.filter_map(|cookie| Some(cookie.split(';').next()?.to_owned()));
    pairs.find(|pair| !pair.ends_with('=')).unwrap_or_default()
}

impl App for Router {
    fn get<'a>(&'a self, path: &'a str, cookie: &'a str) -> Pin<Box<dyn Future<Output = Answer> + 'a>> {
        Box::pin(async move {
            let mut request = Request::get(path);
            if !cookie.is_empty() {
                request = request.header(COOKIE, cookie);
            }
            let answer = self.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
            let cookies = answer.headers().get_all(SET_COOKIE).iter();
            let session = cookie_set(cookies.map(|cookie| cookie.to_str().unwrap().to_owned()));
            let body = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
            Answer { session, body: String::from_utf8(body.to_vec()).unwrap() }
        })
    }
}

async fn ours(url: &str) -> Router {
    use session_state::{RedisStore, Session, SessionLayer};

    let store = RedisStore::connect(url).await.unwrap();
    Router::new()
        .route("/plain", get(async || "plain"))
        .route("/read", get(async |session: Session| session.get::<u64>(NUMBER).unwrap().unwrap_or(0).to_string()))
        .route(
            "/write",
            get(async |session: Session| {
                session.update(NUMBER, |n: &mut u64| *n += 1).unwrap();
                session.get::<u64>(NUMBER).unwrap().unwrap_or(0).to_string()
            }),
        )
        .route(
            "/renew",
            get(async |session: Session| {
                session.renew();
                session.get::<u64>(NUMBER).unwrap().unwrap_or(0).to_string()
            }),
        )
        .layer(SessionLayer::server(store))
}

async fn tower_sessions(url: &str) -> Router {
    use tower_sessions_014::{Session, SessionManagerLayer};

    async fn number(session: &Session) -> u64 {
        session.get(NUMBER).await.unwrap().unwrap_or(0)
    }

    let pool = Pool::new(Config::from_url(url).unwrap(), None, None, None, 1).unwrap();
    pool.connect();
    pool.wait_for_connect().await.unwrap();
    Router::new()
        .route("/plain", get(async || "plain"))
        .route("/read", get(|session: Session| async move { number(&session).await.to_string() }))
        .route(
            "/write",
            get(|session: Session| async move {
                let number = number(&session).await + 1;
                session.insert(NUMBER, number).await.unwrap();
                number.to_string()
            }),
        )
        .route(
            "/renew",
            get(|session: Session| async move {
                session.cycle_id().await.unwrap();
                number(&session).await.to_string()
            }),
        )
        .layer(SessionManagerLayer::new(tower_sessions_redis_store::RedisStore::new(pool)))
}

async fn axum_session(url: &str) -> Router {
    use axum_session::{SessionConfig, SessionLayer, SessionStore};
    use axum_session_redispool::SessionRedisPool;

    type Session = axum_session::Session<SessionRedisPool>;

    fn number(session: &Session) -> u64 {
        session.get(NUMBER).unwrap_or(0)
    }

    let pool = redis_pool::RedisPool::from(redis::Client::open(url).unwrap());
    let store = SessionStore::new(Some(SessionRedisPool::from(pool)), SessionConfig::default()).await.unwrap();
    Router::new()
        .route("/plain", get(async || "plain"))
        .route("/read", get(async |session: Session| number(&session).to_string()))
        .route(
            "/write",
            get(async |session: Session| {
                let number = number(&session) + 1;
                session.set(NUMBER, number);
                number.to_string()
            }),
        )
        .route(
            "/renew",
            get(async |session: Session| {
                session.renew();
                number(&session).to_string()
            }),
        )
        .layer(SessionLayer::new(store))
}

struct Actix<S>(S);

impl<S> App for Actix<S>
where
    S: Service<actix_http::Request, Response = ServiceResponse, Error = actix_web::Error>,
{
    fn get<'a>(&'a self, path: &'a str, cookie: &'a str) -> Pin<Box<dyn Future<Output = Answer> + 'a>> {
        Box::pin(async move {
            let mut request = actix_web::test::TestRequest::get().uri(path);
            if !cookie.is_empty() {
                request = request.insert_header((actix_web::http::header::COOKIE, cookie));
            }
            let answer = self.0.call(request.to_request()).await.expect("an answer");
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
            let cookies = answer.headers().get_all(actix_web::http::header::SET_COOKIE);
            let session = cookie_set(cookies.map(|cookie| cookie.to_str().unwrap().to_owned()));
            let body = actix_web::test::read_body(answer).await;
            Answer { session, body: String::from_utf8(body.to_vec()).unwrap() }
        })
    }
}

async fn actix_session(url: &str) -> Box<dyn App> {
    use actix_session::storage::RedisSessionStore;
    use actix_session::{Session, SessionMiddleware};
    use actix_web::cookie::Key;
    use actix_web::web;

    fn number(session: &Session) -> u64 {
        session.get(NUMBER).unwrap().unwrap_or(0)
    }

    let store = RedisSessionStore::new(url).await.unwrap();
    // Both processes have the same key.
    let app = actix_web::App::new()
        .wrap(SessionMiddleware::new(store, Key::from(&[7; 64])))
        .route("/plain", web::get().to(async || "plain"))
        .route("/read", web::get().to(async |session: Session| number(&session).to_string()))
        .route(
            "/write",
            web::get().to(async |session: Session| {
                let number = number(&session) + 1;
                session.insert(NUMBER, number).unwrap();
                number.to_string()
            }),
        )
        .route(
            "/renew",
            web::get().to(async |session: Session| {
                session.renew();
                number(&session).to_string()
            }),
        );
    Box::new(Actix(actix_web::test::init_service(app).await))
}
