//! The `Cookie` headers of a request, kept until the handler uses the session.

use std::slice;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Uri};

use super::chunks::{FoundChunks, find_chunks};
use super::read::{Found, find};
use super::variants::Target;
use super::write::CookieWriter;

/// The `Cookie` headers of a request, and where it was sent.
///
/// Taking them copies no bytes. Most requests have one, and most layers need no more.
#[derive(Debug)]
pub(crate) enum Received {
    One(Option<HeaderValue>),
    More(Box<More>),
}

/// Several headers, or those of a layer whose cookie a browser may hold several times.
#[derive(Debug)]
pub(crate) struct More {
    headers: Vec<HeaderValue>,
    target: Option<Target>,
}

impl Received {
    /// With `has_variants` it also remembers where a request with cookies was sent.
    #[inline(always)]
    pub(crate) fn new(headers: &HeaderMap, uri: &Uri, has_variants: bool) -> Self {
        let mut cookies = headers.get_all(COOKIE).iter();
        let Some(first) = cookies.next() else { return Self::One(None) };
        if !has_variants && cookies.next().is_none() {
            return Self::One(Some(first.clone()));
        }
        Self::more(headers, has_variants.then_some(uri))
    }

    #[cold]
    fn more(headers: &HeaderMap, uri: Option<&Uri>) -> Self {
        let target = uri.map(|uri| Target::new(headers, uri));
        Self::More(Box::new(More { headers: headers.get_all(COOKIE).iter().cloned().collect(), target }))
    }

    #[inline(always)]
    pub(crate) fn find(&self, name: &[u8]) -> Found<'_> {
        find(self.iter(), name)
    }

    pub(crate) fn find_chunks(&self, name: &[u8]) -> FoundChunks<'_> {
        find_chunks(self.iter(), name)
    }

    /// Returns the names of the cookies of a value in up to `max_chunks`, if one of them has different values.
    pub(crate) fn duplicates(&self, writer: &CookieWriter, max_chunks: usize) -> Vec<String> {
        let name = writer.name();
        if max_chunks == 1 {
            let is_duplicate = self.find(name.as_bytes()) == Found::Duplicate;
            return if is_duplicate { vec![name.to_owned()] } else { Vec::new() };
        }
        // Also those beyond the maximum, which a former release may have allowed.
        let FoundChunks::Duplicate(chunks) = self.find_chunks(name.as_bytes()) else { return Vec::new() };
        chunks.carried().map(|index| writer.chunk(index).name().to_owned()).collect()
    }

    /// Returns where the request was sent, if the browser may hold several cookies of one name.
    #[inline(always)]
    pub(crate) fn target(&self) -> Option<&Target> {
        if let Self::More(more) = self { more.target.as_ref() } else { None }
    }

    fn iter(&self) -> slice::Iter<'_, HeaderValue> {
        match self {
            Self::One(header) => header.as_slice().iter(),
            Self::More(more) => more.headers.iter(),
        }
    }
}
