//! The cookies of a response, and the removal of their variants.

use std::mem;

use http::HeaderValue;

use super::config::{Config, State};
use super::part::PlacedPart;
use super::work::Work;
use crate::cookie::{Found, Likely, Received, Target, removals_of_variants};

/// Takes the cookies to send: the session's, those of parts, and the removals of variants that the browser may hold
/// beside them.
#[inline(always)]
pub(crate) fn take_cookies(
    config: &Config,
    received: &Received,
    work: &mut Option<Box<Work>>,
    of_parts: Option<Vec<HeaderValue>>,
) -> Vec<HeaderValue> {
    let Some(work) = work else { return of_parts.unwrap_or_default() };
    let mut cookies = mem::take(&mut work.cookies);
    if let Some(of_parts) = of_parts {
        cookies.extend(of_parts);
    }
    if received.target().is_none() {
        return cookies;
    }
    with_removals(config, received, work, cookies)
}

/// Adds the removals of variants. They come before a cookie that is set, since some clients take two cookies of one
/// name for the same.
///
/// With them the browser's next request carries one cookie of each name.
#[cold]
fn with_removals(config: &Config, received: &Received, work: &Work, cookies: Vec<HeaderValue>) -> Vec<HeaderValue> {
    let unset = unset_duplicates(config, received, &cookies);
    let count = cookies.len() + unset.len();
    let removals = |name: &str, likely| removals_of_variants(&config.cookie, received.target(), name, likely, count);
    let mut all = Vec::new();
    for cookie in cookies {
        let (name, value) = name_and_value(&cookie);
        let likely = likely_variants(config, received, work, (name, value));
        let removals = likely.map(|likely| removals(name, likely)).unwrap_or_default();
        if value.is_empty() {
            all.push(cookie);
            all.extend(removals);
        } else {
            all.extend(removals);
            all.push(cookie);
        }
    }
    all.extend(unset.iter().flat_map(|name| removals(name, Likely::Any)));
    all
}

/// Returns the names that a browser sent with different values, and that the response does not set. Otherwise its reads
/// stay anonymous until a response sets the cookie, and a login page outside the path of a variant never learns of it.
///
/// Other clients get no `Set-Cookie` from a read.
fn unset_duplicates(config: &Config, received: &Received, cookies: &[HeaderValue]) -> Vec<String> {
    if !received.target().is_some_and(Target::is_from_browser) {
        return Vec::new();
    }
    let mut names = match &config.state {
        State::Client(client) => client.cookie.duplicates(received),
        State::Server(_) => received.duplicates(&config.cookie_writer, 1),
    };
    names.extend(config.parts.iter().filter_map(PlacedPart::cookie).flat_map(|part| part.duplicates(received)));
    names.retain(|name| cookies.iter().all(|cookie| name_and_value(cookie).0 != name));
    names
}

/// Returns which variants of a cookie the browser may keep beside the one it gets, or `None` if that should be none.
fn likely_variants(config: &Config, received: &Received, work: &Work, cookie: (&str, &[u8])) -> Option<Likely> {
    let (name, value) = cookie;
    match received.find(name.as_bytes()) {
        Found::Absent => None,
        Found::Duplicate => Some(Likely::Any),
        // It may have been set by a release with other attributes. State in cookies changes its value with each write:
        // without a login, a session that such a cookie holds is given up for shorter responses.
        Found::One(before) => {
            let is_state = matches!(config.state, State::Client(_)) && !config.is_cookie_of_part(name);
            let is_replaced = before != value && (!is_state || work.has_begun_or_ended());
            is_replaced.then_some(Likely::OneChange)
        }
    }
}

fn name_and_value(cookie: &HeaderValue) -> (&str, &[u8]) {
    let pair = cookie.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
    let (name, value) = pair.split_at(pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len()));
    (str::from_utf8(name).unwrap_or_default(), value.strip_prefix(b"=").unwrap_or_default())
}
