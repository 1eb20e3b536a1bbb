//! What a request says about its cookies, kept until the session is asked for.

use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Uri};

use super::chunks::{FoundChunks, find_chunks};
use super::read::{Found, find};
use super::variants::Target;

/// The `Cookie` headers of a request, and where it was sent.
#[derive(Debug)]
pub(crate) struct Received {
    headers: Headers,
    /// Kept only if the request has cookies, and a browser may hold several of the layer's names.
    target: Option<Box<Target>>,
    /// A name was looked for that the request has twice.
    has_duplicate: AtomicBool,
}

/// Taking them copies no bytes, and most requests have one.
#[derive(Debug)]
enum Headers {
    One(Option<HeaderValue>),
    Several(Vec<HeaderValue>),
}

impl Received {
    /// With `keeps_target` it also remembers where a request with cookies was sent.
    pub(crate) fn new(headers: &HeaderMap, uri: &Uri, keeps_target: bool) -> Self {
        let cookies = Headers::of(headers);
        let has_cookies = !matches!(cookies, Headers::One(None));
        let target = (keeps_target && has_cookies).then(|| Box::new(Target::new(headers, uri)));
        Self { headers: cookies, target, has_duplicate: AtomicBool::new(false) }
    }

    pub(crate) fn find(&self, name: &[u8]) -> Found<'_> {
        let found = find(self.iter(), name);
        if matches!(found, Found::Duplicate) {
            self.has_duplicate.store(true, Ordering::Relaxed);
        }
        found
    }

    pub(crate) fn find_chunks(&self, name: &[u8]) -> FoundChunks<'_> {
        let found = find_chunks(self.iter(), name);
        if matches!(found, FoundChunks::Duplicate(_)) {
            self.has_duplicate.store(true, Ordering::Relaxed);
        }
        found
    }

    /// Returns whether a name was looked for that the request has twice.
    pub(crate) fn has_duplicate(&self) -> bool {
        self.has_duplicate.load(Ordering::Relaxed)
    }

    pub(crate) fn target(&self) -> Option<&Target> {
        self.target.as_deref()
    }

    fn iter(&self) -> slice::Iter<'_, HeaderValue> {
        match &self.headers {
            Headers::One(header) => header.as_slice().iter(),
            Headers::Several(headers) => headers.iter(),
        }
    }
}

impl Headers {
    fn of(headers: &HeaderMap) -> Self {
        let mut cookies = headers.get_all(COOKIE).iter();
        let first = cookies.next().cloned();
        match (first, cookies.next()) {
            (Some(first), Some(second)) => {
                Self::Several([first, second.clone()].into_iter().chain(cookies.cloned()).collect())
            }
            (first, _) => Self::One(first),
        }
    }
}
