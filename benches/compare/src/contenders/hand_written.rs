//! The least code that keeps a session, in two forms, both without configuration or care for anything that goes wrong.
//!
//! The floor has an unforgeable cookie, an expiry, lazy loading and write-back. The bound also has what this crate does
//! for each request: the store has hashes of IDs, a record has a handle, times and a version that each write checks,
//! uses are recorded once a minute, a seal names its key and has a nonce of 192 bits (XAES), two different cookies of
//! the name are none, and a response says `Vary`, and `no-store` beside a cookie.

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
use axum::http::header::{CACHE_CONTROL, COOKIE, HeaderValue, SET_COOKIE, VARY};
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};
use axum::routing::get;
use base64_simd::{Out, URL_SAFE_NO_PAD};
use memchr::memchr;
use pin_project_lite::pin_project;
use rand::Rng as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tower_layer::Layer;
use tower_service::Service;
use xaes_256_gcm::Xaes256Gcm;

use super::{next_replacement, unused};
use crate::scenario::{KEYS, LARGE, NUMBER, ONE, Place, SEED, SMALL, value};

const NAME: &str = "__Host-session";
const ATTRIBUTES: &str = "; Secure; HttpOnly; SameSite=Lax; Path=/";
const IDLE: u64 = 1_800_000;
const ABSOLUTE: u64 = 86_400_000;
const TOUCH: u64 = 60_000;

/// How a record begins: its deadline, and in the bound its version, when it was last used and begun, and its handle.
const HEAD: usize = 48;
/// How a seal of the bound begins: format, algorithm and the name of the key.
const SEAL: [u8; 6] = [1, 1, 0xaa, 0xbb, 0xcc, 0xdd];

/// Returns the floor, or the bound.
pub fn router(place: Place, is_bound: bool) -> Router {
    let mut key = [0; 32];
    getrandom::fill(&mut key).unwrap();
    let kind = match (place, is_bound) {
        (Place::Memory, _) => Kind::Memory(Box::new(std::array::from_fn(|_| Mutex::default()))),
        (Place::Encrypted, false) => Kind::Encrypted(Box::new(Aes256Gcm::new(&key.into()))),
        (Place::Encrypted, true) => Kind::Sealed(Box::new(Xaes256Gcm::new(&key.into()))),
    };
    let state = State { kind, is_bound };
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

enum Kind {
    Memory(Box<[Shard; 64]>),
    Encrypted(Box<Aes256Gcm>),
    Sealed(Box<Xaes256Gcm>),
}

struct State {
    kind: Kind,
    is_bound: bool,
}

fn now() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    time.as_secs() * 1000 + u64::from(time.subsec_millis())
}

/// A number in the head of a record.
fn number(record: &[u8], at: usize) -> u64 {
    record[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn put_number(record: &mut [u8], at: usize, number: u64) {
    record[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

/// The associated data of the bound's seals.
fn aad() -> [u8; 19 + NAME.len()] {
    let mut aad = [0; 19 + NAME.len()];
    aad[..13].copy_from_slice(b"session-state");
    aad[13..19].copy_from_slice(&SEAL);
    aad[19..].copy_from_slice(NAME.as_bytes());
    aad
}

impl State {
    fn shard<'a>(shards: &'a [Shard; 64], id: &Id) -> &'a Shard {
        &shards[usize::from(id[31] & 63)]
    }

    /// The name of a session in the store.
    fn key(&self, id: Id) -> Id {
        if self.is_bound { Sha256::new().chain_update(NAME).chain_update(id).finalize().into() } else { id }
    }

    /// The record of a cookie.
    fn load(&self, cookie: &[u8]) -> Option<(Id, Arc<[u8]>)> {
        let mut id = Id::default();
        let record: Arc<[u8]> = match &self.kind {
            Kind::Memory(shards) => {
                let id_length = URL_SAFE_NO_PAD.decode(cookie, Out::from_slice(&mut id[..])).ok()?.len();
                (cookie.len() == 43 && id_length == 32).then_some(())?;
                id = self.key(id);
                Self::shard(shards, &id).lock().unwrap().get(&id)?.clone()
            }
            Kind::Encrypted(cipher) => {
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
            Kind::Sealed(cipher) => {
                let mut sealed = URL_SAFE_NO_PAD.decode_to_vec(cookie).ok()?;
                let (header, body) = sealed.split_first_chunk_mut::<6>()?;
                (*header == SEAL).then_some(())?;
                let (nonce, body) = body.split_first_chunk_mut::<24>()?;
                let (plain, tag) = body.split_last_chunk_mut::<16>()?;
                cipher.decrypt_inout_detached(&(*nonce).into(), &aad(), (&mut *plain).into(), &(*tag).into()).ok()?;
                Arc::from(&*plain)
            }
        };
        let now = now();
        let is_live = number(&record, 0) > now && (!self.is_bound || number(&record, 24) + ABSOLUTE > now);
        is_live.then_some((id, record))
    }

    /// Writes a record back and gives the cookie to set, if there is one.
    fn save(&self, id: Option<Id>, mut record: Vec<u8>) -> Option<HeaderValue> {
        let (now, version) = (now(), number(&record, 8));
        put_number(&mut record, 0, now + IDLE);
        if self.is_bound {
            put_number(&mut record, 8, version + 1);
            put_number(&mut record, 16, now);
        }
        let mut cookie = String::with_capacity(NAME.len() + 1 + (record.len() + 46) * 4 / 3 + 4 + ATTRIBUTES.len());
        cookie.push_str(NAME);
        cookie.push('=');
        match &self.kind {
            Kind::Memory(shards) => {
                if let Some(id) = id {
                    let mut shard = Self::shard(shards, &id).lock().unwrap();
                    let current = shard.get_mut(&id)?;
                    if self.is_bound && number(current, 8) != version {
                        return None;
                    }
                    *current = record.into();
                    return None;
                }
                let mut id = Id::default();
                getrandom::fill(&mut id).unwrap();
                let key = self.key(id);
                Self::shard(shards, &key).lock().unwrap().insert(key, record.into());
                URL_SAFE_NO_PAD.encode_append(id, &mut cookie);
            }
            Kind::Encrypted(cipher) => {
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
            Kind::Sealed(cipher) => {
                let mut nonce = [0; 24];
                rand::rng().fill_bytes(&mut nonce);
                let mut sealed = Vec::with_capacity(record.len() + 46);
                sealed.extend_from_slice(&SEAL);
                sealed.extend_from_slice(&nonce);
                sealed.extend_from_slice(&record);
                let tag = cipher.encrypt_inout_detached(&nonce.into(), &aad(), (&mut sealed[30..]).into()).ok()?;
                sealed.extend_from_slice(&tag);
                URL_SAFE_NO_PAD.encode_append(&sealed, &mut cookie);
            }
        }
        cookie.push_str(ATTRIBUTES);
        let mut cookie = HeaderValue::try_from(cookie).ok()?;
        cookie.set_sensitive(self.is_bound);
        Some(cookie)
    }

    /// A record with the head of a session that begins.
    fn begin(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        if self.is_bound {
            put_number(&mut head, 24, now());
            getrandom::fill(&mut head[32..]).unwrap();
        }
        head
    }
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
            && number(record, 16) + TOUCH <= now()
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
