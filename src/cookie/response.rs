//! Puts a cookie into the headers of a response, and keeps the response out of shared caches.

use http::header::{CACHE_CONTROL, CDN_CACHE_CONTROL, Entry, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue};

use super::read::{pairs, trim, value_of};

// Checked and measured by the compiler, and not in each request.
const COOKIE: HeaderValue = HeaderValue::from_static("Cookie");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Adds a `Set-Cookie` and takes out any that is there for the same cookie: of the same name, domain and path
/// (RFC 6265bis §4.1.1, §5.7). All others stay, in their order.
pub(crate) fn put(headers: &mut HeaderMap, cookie: HeaderValue) {
    let name = cookie.as_bytes().split(|&byte| byte == b'=').next().unwrap_or_default();
    let is_same = |other: &HeaderValue| sets(other, name) && Scope::of(other) == Scope::of(&cookie);
    if headers.get_all(SET_COOKIE).iter().any(is_same) {
        let others: Vec<_> = headers.get_all(SET_COOKIE).iter().filter(|other| !is_same(other)).cloned().collect();
        headers.remove(SET_COOKIE);
        for other in others {
            headers.append(SET_COOKIE, other);
        }
    }
    headers.append(SET_COOKIE, cookie);
}

/// Keeps a response that sets our cookie out of shared caches, unless the handler already did.
///
/// Any other `Cache-Control` is replaced: it was set without knowing of the cookie. A
/// `CDN-Cache-Control`, which the caches it speaks to heed instead of `Cache-Control` (RFC 9213 §2.1), is judged in
/// the same way.
pub(crate) fn forbid_caching(headers: &mut HeaderMap) {
    if !forbids_shared_caching(headers.get_all(CACHE_CONTROL).iter()) {
        headers.insert(CACHE_CONTROL, NO_STORE);
    }
    let mut targeted = headers.get_all(CDN_CACHE_CONTROL).iter().peekable();
    if targeted.peek().is_some() && !forbids_shared_caching(targeted) {
        headers.insert(CDN_CACHE_CONTROL, NO_STORE);
    }
}

/// Says that the response depends on the request's cookies, unless it says so already.
pub(crate) fn vary_on_cookie(headers: &mut HeaderMap) {
    let says_so = |line: &HeaderValue| {
        line.as_bytes().split(|&byte| byte == b',').map(trim).any(|member| {
            // After `*` every response is one of its own.
            member == b"*" || member.eq_ignore_ascii_case(b"cookie")
        })
    };
    match headers.entry(VARY) {
        Entry::Vacant(vary) => {
            vary.insert(COOKIE);
        }
        Entry::Occupied(vary) if vary.iter().any(says_so) => {}
        Entry::Occupied(mut vary) => vary.append(COOKIE),
    }
}

/// The attributes that tell cookies of one name apart.
#[derive(PartialEq, Eq)]
struct Scope<'h> {
    domain: Option<Vec<u8>>,
    path: Option<&'h [u8]>,
    is_partitioned: bool,
}

impl<'h> Scope<'h> {
    /// The last attribute of a name counts, and a domain without its leading dot (RFC 6265bis §5.6).
    fn of(set_cookie: &'h HeaderValue) -> Self {
        let mut scope = Self { domain: None, path: None, is_partitioned: false };
        for attribute in pairs(set_cookie.as_bytes()).skip(1) {
            let mut parts = attribute.splitn(2, |&byte| byte == b'=').map(trim);
            let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            if name.eq_ignore_ascii_case(b"domain") {
                scope.domain = Some(value.strip_prefix(b".").unwrap_or(value).to_ascii_lowercase());
            } else if name.eq_ignore_ascii_case(b"path") {
                scope.path = Some(value);
            } else if name.eq_ignore_ascii_case(b"partitioned") {
                scope.is_partitioned = true;
            }
        }
        scope
    }
}

fn sets(set_cookie: &HeaderValue, name: &[u8]) -> bool {
    pairs(set_cookie.as_bytes()).next().is_some_and(|pair| value_of(pair, name).is_some())
}

/// Several header lines are one list, so a quoted string left open in one of them goes on in the next.
fn forbids_shared_caching<'h>(mut lines: impl Iterator<Item = &'h HeaderValue>) -> bool {
    let mut quoted = false;
    lines.any(|line| line_forbids_shared_caching(line.as_bytes(), &mut quoted))
}

fn line_forbids_shared_caching(line: &[u8], quoted: &mut bool) -> bool {
    let mut start = 0;
    let mut index = 0;
    while let Some(&byte) = line.get(index) {
        match byte {
            b'\\' if *quoted => index += 1,
            b'"' => *quoted = !*quoted,
            b',' if !*quoted => {
                if is_forbidding(&line[start..index]) {
                    return true;
                }
                start = index + 1;
            }
            _ => {}
        }
        index += 1;
    }
    !*quoted && is_forbidding(&line[start..])
}

/// Only the bare directives count: `private="set-cookie"` lets a shared cache keep the rest (RFC 9111 §5.2.2.7).
fn is_forbidding(directive: &[u8]) -> bool {
    let directive = trim(directive);
    directive.eq_ignore_ascii_case(b"no-store") || directive.eq_ignore_ascii_case(b"private")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::{forbid_caching, put, vary_on_cookie};
    use http::header::HeaderName;

    fn headers(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), HeaderValue::from_static(line))).collect()
    }

    fn lines<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<&'h str> {
        headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect()
    }

    #[test]
    fn a_cookie_replaces_the_one_of_its_name_domain_and_path() {
        let cases: [(&[&'static str], &[&'static str], &[&str]); 5] = [
            (
                &["id=a; Path=/; HttpOnly", "x=1"],
                &["id=b; Max-Age=1; PATH = / "],
                &["x=1", "id=b; Max-Age=1; PATH = / "],
            ),
            (
                &["id=a; Path=/", "id=b; Path=/app", "id=c"],
                &["id=d; Path=/"],
                &["id=b; Path=/app", "id=c", "id=d; Path=/"],
            ),
            (
                &["id=a; domain=.Example.com; Path=/", "id=b; Path=/"],
                &["id=c; Path=/; Domain=example.com"],
                &["id=b; Path=/", "id=c; Path=/; Domain=example.com"],
            ),
            (&["id=; Partitioned; Path=/"], &["id=c; Path=/"], &["id=; Partitioned; Path=/", "id=c; Path=/"]),
            (&["id=a; Path=/app; Path=/"], &["id=; Path=/app", "id=b; Path=/"], &["id=; Path=/app", "id=b; Path=/"]),
        ];
        for (before, cookies, after) in cases {
            let mut headers = headers(&SET_COOKIE, before);
            for cookie in cookies {
                put(&mut headers, HeaderValue::from_static(cookie));
            }
            assert_eq!(lines(&headers, &SET_COOKIE), after, "{before:?}");
        }
    }

    #[test]
    fn a_cookie_leaves_those_of_other_names_in_order() {
        let cases: [(&[&'static str], &[&str]); 6] = [
            (&[], &["id=new"]),
            (&["a=1; Path=/", "b=2"], &["a=1; Path=/", "b=2", "id=new"]),
            (&["id=old; Secure"], &["id=new"]),
            (&["a=1", "id=old", "b=2", " id =older; Secure", "a=3"], &["a=1", "b=2", "a=3", "id=new"]),
            (&["a=1", "id=; Max-Age=0"], &["a=1", "id=new"]),
            (
                &["ID=1", "id2=1", "xid=1", "id", "=id", "a=id=1", "a=1; id=2", "id.1=x", "%69d=1", ""],
                &["ID=1", "id2=1", "xid=1", "id", "=id", "a=id=1", "a=1; id=2", "id.1=x", "%69d=1", "", "id=new"],
            ),
        ];
        for (before, after) in cases {
            let mut headers = headers(&SET_COOKIE, before);
            put(&mut headers, HeaderValue::from_static("id=new"));
            assert_eq!(lines(&headers, &SET_COOKIE), after, "{before:?}");
        }
    }

    #[test]
    fn a_cookie_of_someone_else_that_is_not_ascii_stays() {
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, HeaderValue::from_bytes(b"caf\xe9=\xff").unwrap());
        headers.append(SET_COOKIE, HeaderValue::from_static("id=old"));
        put(&mut headers, HeaderValue::from_static("id=new"));
        let values: Vec<_> = headers.get_all(SET_COOKIE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(values, [&b"caf\xe9=\xff"[..], b"id=new"]);
    }

    /// `None`: the handler's own lines stay as they are.
    const CACHING: [(&[&str], Option<&str>); 27] = [
        (&[""], Some("no-store")),
        (&["public, max-age=60"], Some("no-store")),
        (&["max-age=60"], Some("no-store")),
        (&["no-cache"], Some("no-store")),
        (&["public", "s-maxage=60"], Some("no-store")),
        (&["no-store"], None),
        (&["private"], None),
        (&["Private"], None),
        (&["NO-STORE, max-age=0"], None),
        (&["max-age=60,private"], None),
        (&["max-age=60 ,\tprivate\t, must-revalidate"], None),
        (&["max-age=60", "must-revalidate, private"], None),
        (&[",, ,private,"], None),
        (&["private=\"set-cookie\""], Some("no-store")),
        (&["private=\"a, b\", max-age=60"], Some("no-store")),
        (&["private="], Some("no-store")),
        (&["no-store=1"], Some("no-store")),
        (&["no-stored, xprivate, private2"], Some("no-store")),
        (&["no-store private"], Some("no-store")),
        (&["ext=\"a, private, b\""], Some("no-store")),
        (&["ext=\"a, private, b\", private"], None),
        (&["ext=\"a\\\", private, b\""], Some("no-store")),
        (&["ext=\"a\\\\\", private"], None),
        (&["ext=\"a, private"], Some("no-store")),
        (&["ext=\"a", "private", "b\""], Some("no-store")),
        (&["ext=\"a", "private\", private"], None),
        (&["ext=\\\", private, \""], Some("no-store")),
    ];

    #[test]
    fn a_response_that_shared_caches_may_keep_becomes_no_store() {
        let mut none = HeaderMap::new();
        forbid_caching(&mut none);
        assert_eq!(lines(&none, &CACHE_CONTROL), ["no-store"]);
        assert!(!none.contains_key(CDN_CACHE_CONTROL));

        for (before, after) in CACHING {
            let mut headers = headers(&CACHE_CONTROL, before);
            forbid_caching(&mut headers);
            let expected = after.map_or(before.to_vec(), |after| vec![after]);
            assert_eq!(lines(&headers, &CACHE_CONTROL), expected, "{before:?}");
            assert!(!headers.contains_key(CDN_CACHE_CONTROL));
        }
    }

    #[test]
    fn a_field_for_content_networks_is_judged_by_itself() {
        for (before, after) in CACHING {
            let mut headers = headers(&CDN_CACHE_CONTROL, before);
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
            forbid_caching(&mut headers);
            let expected = after.map_or(before.to_vec(), |after| vec![after]);
            assert_eq!(lines(&headers, &CDN_CACHE_CONTROL), expected, "{before:?}");
            assert_eq!(lines(&headers, &CACHE_CONTROL), ["private"]);
        }
    }

    #[test]
    fn vary_names_the_cookie_once() {
        let cases: [(&[&'static str], &[&str]); 11] = [
            (&[], &["Cookie"]),
            (&["Accept"], &["Accept", "Cookie"]),
            (&["Accept", "Origin, Accept-Encoding"], &["Accept", "Origin, Accept-Encoding", "Cookie"]),
            (&["cookie"], &["cookie"]),
            (&["COOKIE"], &["COOKIE"]),
            (&["Accept,Cookie ,Origin"], &["Accept,Cookie ,Origin"]),
            (&["Accept", "\tCookie"], &["Accept", "\tCookie"]),
            (&["*"], &["*"]),
            (&["Accept", " * "], &["Accept", " * "]),
            (&["Cookies, Set-Cookie, X-Cookie, **"], &["Cookies, Set-Cookie, X-Cookie, **", "Cookie"]),
            (&[""], &["", "Cookie"]),
        ];
        for (before, after) in cases {
            let mut headers = headers(&VARY, before);
            vary_on_cookie(&mut headers);
            assert_eq!(lines(&headers, &VARY), after, "{before:?}");
            vary_on_cookie(&mut headers);
            assert_eq!(lines(&headers, &VARY), after, "{before:?} a second time");
        }
    }
}
