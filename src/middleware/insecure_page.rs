//! Detects pages over plain HTTP, whose `Secure` cookies browsers drop.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::{HOST, ORIGIN, REFERER};
use http::{HeaderMap, Method, Request};

use crate::event::SessionEvent;
use crate::state::Config;

const MESSAGE: &str = "browsers drop the `Secure` cookies of a page that was served over http from a host other than \
                       localhost, so each of its requests begins a new session: serve it over https, or call \
                       `CookieConfig::with_insecure_http` if clients speak plain http on purpose";

/// Warns once if the page that sent a request was served over plain HTTP, while the cookie is `Secure`.
///
/// Reads are not checked, so that most requests cost nothing. A login is a write.
#[inline]
pub(super) fn warn<B>(config: &Config, request: &Request<B>) {
    if !is_read(request.method()) && config.cookie.is_secure() && !config.setup.has_seen_http.is_raised() {
        look(config, request.headers(), request.uri().authority().map(|authority| authority.as_str()));
    }
}

#[inline]
fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

#[inline(never)]
fn look(config: &Config, headers: &HeaderMap, authority: Option<&str>) {
    let page = headers.get(ORIGIN).or_else(|| headers.get(REFERER));
    if let Some(page) = page.and_then(|page| insecure_authority(page.as_bytes()))
        && is_own(page, headers, authority)
        && !is_local(page)
        && config.setup.has_seen_http.raise()
    {
        config.tell(&SessionEvent::SetupWarning { message: Cow::Borrowed(MESSAGE) });
    }
}

/// Returns the host and port of an `http:` URL.
fn insecure_authority(url: &[u8]) -> Option<&str> {
    let rest = url.strip_prefix(b"http://")?;
    let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    std::str::from_utf8(&rest[..end]).ok().filter(|authority| !authority.is_empty())
}

/// Whether the host of the page is that of the request, if that is known. A link from a page of another host does not
/// count.
fn is_own(page: &str, headers: &HeaderMap, authority: Option<&str>) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).or(authority);
    host.is_none_or(|host| host.eq_ignore_ascii_case(page))
}

/// Whether browsers trust the host without TLS.
fn is_local(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        let address = rest.split(']').next().unwrap_or_default();
        return address.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback());
    }
    let host = authority.split(':').next().unwrap_or_default().to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_page_is_read_from_its_url() {
        for (url, authority) in [
            ("http://shop.example", Some("shop.example")),
            ("http://shop.example:8080/cart?a=http://b", Some("shop.example:8080")),
            ("http://[2001:db8::1]:80#top", Some("[2001:db8::1]:80")),
            ("https://shop.example", None),
            ("http://", None),
            ("null", None),
            ("", None),
        ] {
            assert_eq!(insecure_authority(url.as_bytes()), authority, "{url}");
        }
        assert_eq!(insecure_authority(b"http://\xff\xfe/"), None);
    }

    #[test]
    fn hosts_that_browsers_trust_without_tls_are_local() {
        for host in ["localhost", "LOCALHOST:3000", "shop.localhost:80", "127.0.0.1:3000", "127.1.2.3", "[::1]:3000"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["shop.example", "localhost.example", "192.168.1.5:3000", "127.0.0.1.example", "[fe80::1]", "[", ""]
        {
            assert!(!is_local(host), "{host}");
        }
    }
}
