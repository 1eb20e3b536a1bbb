//! actix-session with its encrypted cookie, in an application of actix-web; and that application without it, which is
//! subtracted from this contender in place of the bare router.

use std::any::Any;
use std::hint::black_box;

use actix_http::Request;
use actix_session::storage::CookieSessionStore;
use actix_session::{Session, SessionMiddleware};
use actix_web::body::{BoxBody, to_bytes};
use actix_web::cookie::Key;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::header::{COOKIE, SET_COOKIE};
use actix_web::{App, HttpResponse, web};
use axum::http::HeaderValue;

use super::next_replacement;
use crate::measure::{self, Answer};
use crate::scenario::{KEYS, LARGE, NUMBER, ONE, SEED, SMALL, value};

/// An application of actix-web.
pub struct Actix<S>(S);

impl<S> measure::App for Actix<S>
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = actix_web::Error>,
{
    type Request = Request;
    type Response = ServiceResponse<BoxBody>;

    fn request(path: &str, cookies: Option<HeaderValue>) -> Request {
        let request = actix_web::test::TestRequest::get().uri(path);
        match cookies {
            Some(cookies) => request.insert_header((COOKIE, cookies.as_bytes())).to_request(),
            None => request.to_request(),
        }
    }

    async fn call(&mut self, request: Request) -> Self::Response {
        self.0.call(request).await.expect("an answer")
    }

    async fn answer(response: Self::Response) -> Answer {
        let (request, response) = response.into_parts();
        let (head, body) = response.into_parts();
        let cookies = head.headers().get_all(SET_COOKIE).map(|cookie| cookie.to_str().expect("ASCII").to_owned());
        let (ok, cookies) = (head.status().is_success(), cookies.collect());
        let body = to_bytes(body).await.expect("a body").to_vec();
        let head: Box<dyn Any> = Box::new((request, head));
        Answer { ok, cookies, body, head }
    }
}

/// The same answers without a session.
pub async fn bare() -> impl measure::App {
    let app = App::new()
        .route("/unused", web::get().to(unused))
        .route("/seed-number", web::get().to(bare_seed))
        .route("/seed-small", web::get().to(bare_seed))
        .route("/seed-large", web::get().to(bare_seed))
        .route("/read", web::get().to(async || black_box(SEED).to_string()))
        .route("/increment", web::get().to(async || black_box(SEED).to_string()))
        .route("/read-one", web::get().to(async || value(ONE, SMALL)))
        .route("/change-one", web::get().to(async || next_replacement()));
    Actix(actix_web::test::init_service(app).await)
}

pub async fn app() -> impl measure::App {
    let app = App::new()
        .wrap(SessionMiddleware::new(CookieSessionStore::default(), Key::generate()))
        .route("/unused", web::get().to(unused))
        .route("/seed-number", web::get().to(async |session: Session| set(&session, NUMBER, SEED)))
        .route("/seed-small", web::get().to(async |session: Session| seed(&session, SMALL)))
        .route("/seed-large", web::get().to(async |session: Session| seed(&session, LARGE)))
        .route("/read", web::get().to(read))
        .route("/increment", web::get().to(increment))
        .route("/read-one", web::get().to(read_one))
        .route("/change-one", web::get().to(change_one));
    Actix(actix_web::test::init_service(app).await)
}

async fn unused() -> &'static str {
    "unused"
}

async fn bare_seed() -> HttpResponse {
    let cookie = (SET_COOKIE, "id=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; Path=/");
    HttpResponse::Ok().insert_header(cookie).body(Vec::new()).map_into_boxed_body()
}

fn set(session: &Session, key: &str, value: impl serde::Serialize) -> &'static str {
    session.insert(key, value).unwrap();
    ""
}

fn seed(session: &Session, size: usize) -> &'static str {
    for key in KEYS {
        set(session, key, value(key, size));
    }
    ""
}

async fn read(session: Session) -> String {
    session.get::<u64>(NUMBER).unwrap().unwrap_or(0).to_string()
}

async fn increment(session: Session) -> String {
    let n = session.get::<u64>(NUMBER).unwrap().unwrap_or(0) + 1;
    set(&session, NUMBER, n);
    n.to_string()
}

async fn read_one(session: Session) -> String {
    session.get::<String>(ONE).unwrap().unwrap_or_default()
}

async fn change_one(session: Session) -> &'static str {
    let replacement = next_replacement();
    set(&session, ONE, replacement);
    replacement
}
