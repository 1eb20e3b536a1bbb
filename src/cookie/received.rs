//! The `Cookie` headers of a request, kept until the session is asked for.

use std::slice;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The `Cookie` headers of a request. Taking them copies no bytes, and most requests have one.
#[derive(Debug)]
pub(crate) enum Received {
    One(Option<HeaderValue>),
    Several(Vec<HeaderValue>),
}

impl Received {
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let mut cookies = headers.get_all(COOKIE).iter();
        let first = cookies.next().cloned();
        match (first, cookies.next()) {
            (Some(first), Some(second)) => {
                Self::Several([first, second.clone()].into_iter().chain(cookies.cloned()).collect())
            }
            (first, _) => Self::One(first),
        }
    }

    pub(crate) fn iter(&self) -> slice::Iter<'_, HeaderValue> {
        match self {
            Self::One(header) => header.as_slice().iter(),
            Self::Several(headers) => headers.iter(),
        }
    }
}
