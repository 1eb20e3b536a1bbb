//! The floor: the least code that still keeps a session with an unforgeable cookie, an expiry, lazy loading and
//! write-back. It has no renewal, no conflict handling, no configuration and no care for anything that goes wrong.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::header::{COOKIE, HeaderValue, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};
use axum::routing::get;
use base64_simd::{Out, URL_SAFE_NO_PAD};
use memchr::memchr;
use pin_project_lite::pin_project;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower_layer::Layer;
use tower_service::Service;

use super::{next_replacement, unused};
use crate::scenario::{KEYS, LARGE, NUMBER, ONE, Place, SEED, SMALL, value};

const NAME: &str = "__Host-session";
const ATTRIBUTES: &str = "; Secure; HttpOnly; SameSite=Lax; Path=/";
const IDLE: u64 = 1800;

pub fn router(place: Place) -> Router {
    let mut key = [0; 32];
    getrandom::fill(&mut key).unwrap();
    let state = match place {
        Place::Memory => State::Memory(Box::new(std::array::from_fn(|_| Mutex::default()))),
        Place::Encrypted => State::Encrypted(Box::new(Aes256Gcm::new(&key.into()))),
    };
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

type Id = [u8; 32];

/// IDs are random already.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

type Shard = Mutex<HashMap<Id, Arc<[u8]>, BuildHasherDefault<IdHasher>>>;

enum State {
    Memory(Box<[Shard; 64]>),
    Encrypted(Box<Aes256Gcm>),
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

impl State {
    fn shard<'a>(shards: &'a [Shard; 64], id: &Id) -> &'a Shard {
        &shards[usize::from(id[31] & 63)]
    }

    /// The record of a cookie: its expiry, then its values.
    fn load(&self, cookie: &[u8]) -> Option<(Id, Arc<[u8]>)> {
        let mut id = Id::default();
        let record = match self {
            Self::Memory(shards) => {
                let id_length = URL_SAFE_NO_PAD.decode(cookie, Out::from_slice(&mut id[..])).ok()?.len();
                (cookie.len() == 43 && id_length == 32).then_some(())?;
                Self::shard(shards, &id).lock().unwrap().get(&id)?.clone()
            }
            Self::Encrypted(cipher) => {
                let mut sealed = URL_SAFE_NO_PAD.decode_to_vec(cookie).ok()?;
                let nonce: [u8; 12] = *sealed.first_chunk()?;
                let (tag_at, sealed_end) = (sealed.len().checked_sub(16)?, sealed.len());
                let tag: [u8; 16] = sealed.get(tag_at..sealed_end)?.try_into().ok()?;
                let plain = sealed.get_mut(12..tag_at)?;
                cipher
                    .decrypt_inout_detached(&nonce.into(), NAME.as_bytes(), (&mut *plain).into(), &tag.into())
                    .ok()?;
                Arc::from(&*plain)
            }
        };
        (u64::from_le_bytes(*record.first_chunk()?) > now()).then_some((id, record))
    }

    /// Writes a record back and gives the cookie to set, if there is one.
    fn save(&self, id: Option<Id>, mut record: Vec<u8>) -> Option<HeaderValue> {
        record[..8].copy_from_slice(&(now() + IDLE).to_le_bytes());
        let mut cookie = String::with_capacity(NAME.len() + 1 + (record.len() + 28) * 4 / 3 + 4 + ATTRIBUTES.len());
        cookie.push_str(NAME);
        cookie.push('=');
        match self {
            Self::Memory(shards) => {
                if let Some(id) = id {
                    Self::shard(shards, &id).lock().unwrap().insert(id, record.into());
                    return None;
                }
                let mut id = Id::default();
                getrandom::fill(&mut id).unwrap();
                Self::shard(shards, &id).lock().unwrap().insert(id, record.into());
                URL_SAFE_NO_PAD.encode_append(id, &mut cookie);
            }
            Self::Encrypted(cipher) => {
                let mut sealed = Vec::with_capacity(record.len() + 28);
                sealed.resize(12, 0);
                getrandom::fill(&mut sealed).unwrap();
                let nonce: [u8; 12] = *sealed.first_chunk()?;
                sealed.extend_from_slice(&record);
                let tag =
                    cipher.encrypt_inout_detached(&nonce.into(), NAME.as_bytes(), (&mut sealed[12..]).into()).ok()?;
                sealed.extend_from_slice(&tag);
                URL_SAFE_NO_PAD.encode_append(&sealed, &mut cookie);
            }
        }
        cookie.push_str(ATTRIBUTES);
        HeaderValue::try_from(cookie).ok()
    }
}

/// The values of one request's session: key length, value length, key, JSON; and again.
struct Slot {
    state: Arc<State>,
    cookie: Option<HeaderValue>,
    values: Mutex<Values>,
}

#[derive(Default)]
struct Values {
    loaded: Option<(Id, Arc<[u8]>)>,
    changed: Option<Vec<u8>>,
}

impl Values {
    fn bytes(&self) -> &[u8] {
        match (&self.changed, &self.loaded) {
            (Some(bytes), _) => bytes,
            (None, Some((_, bytes))) => bytes,
            (None, None) => &[0; 8],
        }
    }

    /// Where an entry is: its start, its value's start and its end.
    fn find(bytes: &[u8], key: &str) -> Option<(usize, usize, usize)> {
        let mut at = 8;
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
        let bytes = values.bytes();
        let (_, start, end) = Values::find(bytes, key)?;
        serde_json::from_slice(&bytes[start..end]).ok()
    }

    fn set<T: Serialize>(&self, key: &str, value: &T) {
        let mut values = self.0.values.lock().unwrap();
        let old = values.bytes();
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
        if values.loaded.is_none()
            && let Some(header) = &session.0.cookie
        {
            values.loaded = find_cookie(header.as_bytes()).and_then(|cookie| session.0.state.load(cookie));
        }
        drop(values);
        Ok(session.clone())
    }
}

fn find_cookie(mut header: &[u8]) -> Option<&[u8]> {
    loop {
        let end = memchr(b';', header);
        let (pair, rest) = header.split_at(end.unwrap_or(header.len()));
        if let Some(value) =
            pair.trim_ascii_start().strip_prefix(NAME.as_bytes()).and_then(|pair| pair.strip_prefix(b"="))
        {
            return Some(value);
        }
        header = rest.get(1..)?;
    }
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
        let cookie = request.headers().get(COOKIE).cloned();
        let slot = Arc::new(Slot { state: self.state.clone(), cookie, values: Mutex::default() });
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
        if let Some(changed) = values.changed.take() {
            let id = values.loaded.as_ref().map(|(id, _)| *id);
            if let Some(cookie) = this.slot.state.save(id, changed) {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
        }
        Poll::Ready(Ok(response))
    }
}
