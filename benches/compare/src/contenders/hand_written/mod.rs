//! The least code that keeps a session, in two forms, both without configuration or care for anything that goes wrong.
//!
//! The floor has an unforgeable cookie, an expiry, lazy loading and write-back. The bound also has what this crate does
//! for each request: the store has hashes of IDs, a record has a handle, times and a version that each write checks,
//! uses are recorded once a minute, a seal names its key and has a nonce of 192 bits (XAES), two different cookies of
//! the name are none, and a response says `Vary`, and `no-store` beside a cookie.

mod state;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::header::{CACHE_CONTROL, COOKIE, HeaderValue, SET_COOKIE, VARY};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};
use axum::routing::get;
use memchr::memchr;
use pin_project_lite::pin_project;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower_layer::Layer;
use tower_service::Service;

use self::state::{HEAD, Id, NAME, State};
use super::{next_replacement, unused};
use crate::scenario::{KEYS, LARGE, NUMBER, ONE, Place, SEED, SMALL, value};

/// Returns the floor, or the bound.
pub fn router(place: Place, is_bound: bool) -> Router {
    let state = State::new(place, is_bound);
    Router::new()
        .route("/unused", get(unused))
        .route("/seed-number", get(|session: Session| async move { session.set(NUMBER, &SEED) }))
        .route("/seed-small", get(|session| seed(session, SMALL)))
        .route("/seed-large", get(|session| seed(session, LARGE)))
        .route("/seed-100", get(|session: Session| async move { session.set("v", &value("v", 90)) }))
        .route("/read", get(read))
        .route("/increment", get(increment))
        .route("/read-one", get(read_one))
        .route("/change-one", get(change_one))
        .layer(SessionLayer(Arc::new(state)))
}

async fn seed(session: Session, size: usize) {
    for key in KEYS {
        session.set(key, &value(key, size));
    }
}

async fn read(session: Session) -> String {
    session.get::<u64>(NUMBER).unwrap_or(0).to_string()
}

async fn increment(session: Session) -> String {
    let n = session.get::<u64>(NUMBER).unwrap_or(0) + 1;
    session.set(NUMBER, &n);
    n.to_string()
}

async fn read_one(session: Session) -> String {
    session.get::<String>(ONE).unwrap_or_default()
}

async fn change_one(session: Session) -> &'static str {
    let replacement = next_replacement();
    session.set(ONE, &replacement);
    replacement
}

/// The values of one request's session: key length, value length, key, JSON; and again.
struct Slot {
    state: Arc<State>,
    cookies: Vec<HeaderValue>,
    values: Mutex<Values>,
}

#[derive(Default)]
struct Values {
    /// The handler has asked for the session.
    is_used: bool,
    loaded: Option<(Id, Arc<[u8]>)>,
    changed: Option<Vec<u8>>,
}

impl Values {
    fn bytes(&self) -> Option<&[u8]> {
        match (&self.changed, &self.loaded) {
            (Some(bytes), _) => Some(bytes),
            (None, Some((_, bytes))) => Some(bytes),
            (None, None) => None,
        }
    }

    /// Where an entry is: its start, its value's start and its end.
    fn find(bytes: &[u8], key: &str) -> Option<(usize, usize, usize)> {
        let mut at = HEAD;
        while let Some([key_length, low, high]) = bytes.get(at..at + 3) {
            let start = at + 3 + usize::from(*key_length);
            let end = start + usize::from(u16::from_le_bytes([*low, *high]));
            if &bytes[at + 3..start] == key.as_bytes() {
                return Some((at, start, end));
            }
            at = end;
        }
        None
    }
}

#[derive(Clone)]
struct Session(Arc<Slot>);

impl Session {
    fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let values = self.0.values.lock().unwrap();
        let bytes = values.bytes()?;
        let (_, start, end) = Values::find(bytes, key)?;
        serde_json::from_slice(&bytes[start..end]).ok()
    }

    fn set<T: Serialize>(&self, key: &str, value: &T) {
        let mut values = self.0.values.lock().unwrap();
        let begun;
        let old = match values.bytes() {
            Some(bytes) => bytes,
            None => {
                begun = self.0.state.begin();
                &begun
            }
        };
        let (before, after) = match Values::find(old, key) {
            Some((start, _, end)) => (&old[..start], &old[end..]),
            None => (old, &[][..]),
        };
        let mut new = Vec::with_capacity(old.len() + key.len() + 64);
        new.extend_from_slice(before);
        new.extend_from_slice(&[key.len() as u8, 0, 0]);
        new.extend_from_slice(key.as_bytes());
        let start = new.len();
        serde_json::to_writer(&mut new, value).unwrap();
        let length = (new.len() - start) as u16;
        new[before.len() + 1..before.len() + 3].copy_from_slice(&length.to_le_bytes());
        new.extend_from_slice(after);
        values.changed = Some(new);
    }
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let session = parts.extensions.get::<Self>().ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        let mut values = session.0.values.lock().unwrap();
        if !values.is_used {
            values.is_used = true;
            let state = &session.0.state;
            values.loaded = find_cookie(&session.0.cookies, state.is_bound).and_then(|cookie| state.load(cookie));
        }
        drop(values);
        Ok(session.clone())
    }
}

fn find_cookie(headers: &[HeaderValue], is_bound: bool) -> Option<&[u8]> {
    let mut found = None;
    for header in headers {
        let mut header = header.as_bytes();
        loop {
            let end = memchr(b';', header);
            let (pair, rest) = header.split_at(end.unwrap_or(header.len()));
            if let Some(value) =
                pair.trim_ascii_start().strip_prefix(NAME.as_bytes()).and_then(|pair| pair.strip_prefix(b"="))
            {
                if !is_bound {
                    return Some(value);
                }
                if found.is_some_and(|found| found != value) {
                    return None;
                }
                found = Some(value);
            }
            let Some(rest) = rest.get(1..) else { break };
            header = rest;
        }
    }
    found
}

#[derive(Clone)]
struct SessionLayer(Arc<State>);

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService { inner, state: self.0.clone() }
    }
}

#[derive(Clone)]
struct SessionService<S> {
    inner: S,
    state: Arc<State>,
}

impl<S: Service<Request, Response = Response<Body>>> Service<Request> for SessionService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = SessionFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let cookies = request.headers().get_all(COOKIE).iter().cloned().collect();
        let slot = Arc::new(Slot { state: self.state.clone(), cookies, values: Mutex::default() });
        request.extensions_mut().insert(Session(slot.clone()));
        SessionFuture { inner: self.inner.call(request), slot }
    }
}

pin_project! {
    struct SessionFuture<F> {
        #[pin]
        inner: F,
        slot: Arc<Slot>,
    }
}

impl<F: Future<Output = Result<Response<Body>, E>>, E> Future for SessionFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(context))?;
        let mut values = this.slot.values.lock().unwrap();
        let (state, headers) = (&this.slot.state, response.headers_mut());
        if let Some(changed) = values.changed.take() {
            let id = values.loaded.as_ref().map(|(id, _)| *id);
            if let Some(cookie) = state.save(id, changed) {
                if state.is_bound {
                    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                }
                headers.append(SET_COOKIE, cookie);
            }
        } else if state.is_bound
            && let Some((id, record)) = &values.loaded
            && state.is_touch_due(record)
            && let Some(cookie) = state.save(Some(*id), record.to_vec())
        {
            headers.append(SET_COOKIE, cookie);
        }
        if state.is_bound && values.is_used {
            headers.append(VARY, HeaderValue::from_static("Cookie"));
        }
        Poll::Ready(Ok(response))
    }
}
