//! The entry points of untrusted bytes: the `Cookie` headers, the seals in them, and the records in a store. Each
//! function takes arbitrary bytes and panics when a rule is broken.
//!
//! The tests in this directory call them with random bytes, the targets in `fuzz/` with those of a fuzzer.

#![expect(clippy::unwrap_used, reason = "a panic reports a broken rule")]

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, Request, Response};
use session_state::store::Record;
use session_state::{CookieState, Key, MemoryStore, Session, SessionLayer};
use tower::{Layer, ServiceExt, service_fn};

const NAME: &[u8] = b"__Host-Http-id";

/// A layer, and a cookie of it that opens a session.
struct Place {
    layer: SessionLayer,
    cookie: Vec<u8>,
}

/// One layer for each place of the state. Its sessions outlive a long run.
static PLACES: LazyLock<[Place; 3]> = LazyLock::new(|| {
    let key = || Key::generate().unwrap();
    [
        Place::new(SessionLayer::server(MemoryStore::new())),
        Place::new(SessionLayer::client(CookieState::encrypted(key()))),
        Place::new(SessionLayer::client(CookieState::signed(key()))),
    ]
});

impl Place {
    fn new(layer: SessionLayer) -> Self {
        let layer = layer.with_idle_timeout(None).with_absolute_timeout(None);
        let (_, answer) = visit(&layer, &[], |session| session.insert("n", 1).unwrap());
        let cookie = answer.headers()[SET_COOKIE].as_bytes();
        let value = cookie.strip_prefix(NAME).and_then(|rest| rest.strip_prefix(b"=")).unwrap();
        let cookie = value.split(|byte| *byte == b';').next().unwrap().to_vec();
        Self { layer, cookie }
    }

    /// Returns whether a request with these `Cookie` headers opens the session. Any headers get a response.
    fn opens(&self, headers: &[Vec<u8>]) -> bool {
        let (is_open, answer) = visit(&self.layer, headers, |session| {
            let n: Option<u32> = session.get("n").unwrap();
            assert_eq!(n, (!session.is_new()).then_some(1));
            n.is_some()
        });
        assert!(answer.status().is_success());
        assert_eq!(answer.headers()["vary"], "Cookie");
        is_open.unwrap()
    }
}

/// Arbitrary `Cookie` headers. Bytes that are invalid in a header stand for what random bytes would never produce: the
/// session cookie's name, a valid value, both as a pair, and the end of a header.
pub(crate) fn cookie_headers(bytes: &[u8]) {
    for place in &*PLACES {
        let mut headers = vec![Vec::new()];
        for byte in bytes {
            let header = headers.last_mut().unwrap();
            match byte {
                0x01 => header.extend_from_slice(NAME),
                0x02 => header.extend_from_slice(&place.cookie),
                0x03 => header.extend_from_slice(&[NAME, b"=", &place.cookie].concat()),
                0x04 => headers.push(Vec::new()),
                byte if is_of_header(byte) => header.push(*byte),
                _ => {}
            }
        }
        // The same value twice is one cookie.
        let sent = values_of_our_name(&headers);
        let is_good = !sent.is_empty() && sent.iter().all(|value| *value == place.cookie);
        assert_eq!(place.opens(&headers), is_good, "{headers:?}");
    }
}

/// Whether a header may have the byte.
fn is_of_header(byte: &u8) -> bool {
    *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)
}

/// The parsing rules of RFC 6265bis, step by step.
fn values_of_our_name(headers: &[Vec<u8>]) -> Vec<&[u8]> {
    let trim = |mut text: &[u8]| -> std::ops::Range<usize> {
        let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
        let start = text.iter().take_while(|byte| blank(byte)).count();
        text = &text[start..];
        start..start + text.len() - text.iter().rev().take_while(|byte| blank(byte)).count()
    };
    let pairs = headers.iter().flat_map(|header| header.split(|byte| *byte == b';'));
    let named = pairs.filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&pair[..equals], &pair[equals + 1..]);
        (&name[trim(name)] == NAME).then(|| &value[trim(value)])
    });
    named.collect()
}

/// A valid value with some bytes changed, cut or doubled, as the input says. It opens the session only if it equals the
/// original.
pub(crate) fn changed_value(bytes: &[u8]) {
    for place in &*PLACES {
        let mut value = place.cookie.clone();
        for change in bytes.chunks_exact(4) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % (value.len() + 1);
            let with = change[3];
            match change[2] % 5 {
                0 if at < value.len() => value[at] = with,
                1 if at < value.len() => value[at] ^= 1 << (with % 8),
                2 => value.insert(at, with),
                3 => value.truncate(at),
                4 => value.rotate_left(at),
                _ => {}
            }
        }
        value.retain(|byte| is_of_header(byte) && *byte != b';');
        let headers = [[NAME, b"=", &value].concat()];
        assert_eq!(place.opens(&headers), values_of_our_name(&headers) == [&place.cookie], "{}", value.escape_ascii());
    }
}

/// Arbitrary bytes as a record: they are rejected, or decode to a record that round-trips unchanged.
pub(crate) fn record(bytes: &[u8]) {
    let Ok(record) = Record::decode(bytes) else { return };
    let written = record.encode();
    assert!(Record::decode(&written).unwrap() == record);
    // Accounts for every byte: values and principal, format, flags and handle, and nine numbers of up to ten bytes.
    let texts = record.values.as_frames().len() + record.principal.as_deref().map_or(0, str::len);
    assert!(bytes.len() <= texts + 18 + 9 * 10);
    for (key, value) in record.values.iter() {
        assert!(record.values.get(key).is_some());
        assert!(bytes.len() >= key.len() + value.len());
    }
    let _ = format!("{record:?}");
}

/// Sends a request and returns the handler's result. No step ever waits.
fn visit<T: Send + 'static>(
    layer: &SessionLayer,
    headers: &[Vec<u8>],
    handler: fn(&Session) -> T,
) -> (Option<T>, Response<()>) {
    let mut request = Request::new(());
    for header in headers {
        request.headers_mut().append(COOKIE, HeaderValue::from_bytes(header).unwrap());
    }
    let output = Arc::new(Mutex::new(None));
    let returned = Arc::clone(&output);
    let service = layer.layer(service_fn(move |request: Request<()>| {
        let returned = Arc::clone(&returned);
        async move {
            let session = Session::from_extensions(request.extensions()).unwrap().load().await.unwrap();
            *returned.lock().unwrap() = Some(handler(&session));
            Ok::<_, Infallible>(Response::new(()))
        }
    }));
    let Poll::Ready(answer) = pin!(service.oneshot(request)).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("the future waits")
    };
    let output = output.lock().unwrap().take();
    (output, answer.unwrap())
}
