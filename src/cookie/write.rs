//! Renders `Set-Cookie`.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use ::cookie::{Cookie, time};
use http::HeaderValue;

use super::config::{CookieConfig, SameSite};
use crate::error::ConfigError;

/// The most bytes a name and its value have together, the `=` between them not counted (RFC 6265bis §5.6).
pub(crate) const MAX_NAME_AND_VALUE: usize = 4096;

/// The longest `Max-Age`, in seconds: browsers cut it down to 400 days (RFC 6265bis §5.5).
const MAX_MAX_AGE: u64 = 400 * 24 * 60 * 60;

const MAX_AGE: &[u8] = b"; Max-Age=";

/// Returns whether a browser stores a cookie of this name and value.
#[cfg(test)]
pub(super) fn fits(name: &str, value: &str) -> bool {
    name.len() + value.len() <= MAX_NAME_AND_VALUE
}

/// Writes one cookie again and again. The attributes are rendered once, so that a request only joins bytes.
#[derive(Clone, Debug)]
pub(crate) struct CookieWriter {
    /// The name, and the `=` after it.
    start: Box<str>,
    /// The text after the value.
    attributes: Arc<str>,
    /// The text after the `=` of a removal.
    removal: Arc<str>,
    /// Whether a browser may hold several cookies of the name: it has no prefix that binds it to the host, or may be
    /// partitioned or not.
    has_variants: bool,
}

impl CookieWriter {
    /// # Errors
    ///
    /// Fails when a browser would refuse the cookie, see [`CookieConfig::validate`].
    pub(crate) fn new(config: &CookieConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let start: Box<str> = format!("{}=", config.name()).into();
        let mut cookie = render(config);
        let attributes = cookie.to_string()[start.len()..].into();
        cookie.set_max_age(time::Duration::ZERO);
        cookie.set_expires(time::OffsetDateTime::UNIX_EPOCH);
        let removal = cookie.to_string()[start.len()..].into();
        let may_be_partitioned = config.is_partitioned() || config.same_site() == SameSite::None;
        let has_variants = may_be_partitioned || !config.is_bound_to_host();
        Ok(Self { start, attributes, removal, has_variants })
    }

    /// Makes the writer of another name with the same attributes.
    pub(super) fn renamed(&self, name: &str) -> Self {
        Self {
            start: format!("{name}=").into(),
            attributes: Arc::clone(&self.attributes),
            removal: Arc::clone(&self.removal),
            has_variants: self.has_variants,
        }
    }

    pub(crate) fn has_variants(&self) -> bool {
        self.has_variants
    }

    pub(crate) fn name(&self) -> &str {
        &self.start[..self.start.len() - 1]
    }

    /// Renders the cookie with a value, which the caller made of characters that need no quoting and found to fit.
    ///
    /// `max_age` is rounded up to whole seconds, so that the browser never forgets a cookie that is still good, and
    /// cut down to 400 days. Without it the cookie goes when the browser is closed.
    pub(crate) fn set(&self, value: &str, max_age: Option<Duration>) -> HeaderValue {
        self.set_with(value.len(), max_age, |header| header.extend_from_slice(value.as_bytes()))
    }

    /// Does what [`set`](Self::set) does, with a value of `length` bytes that `put_value` appends: what is made for the
    /// cookie is made where it goes.
    pub(crate) fn set_with(
        &self,
        length: usize,
        max_age: Option<Duration>,
        put_value: impl FnOnce(&mut Vec<u8>),
    ) -> HeaderValue {
        let seconds = max_age.map(whole_seconds);
        let max_age_len = seconds.map_or(0, |seconds| MAX_AGE.len() + decimal_digits(seconds));
        // Of exactly this length: a vector with room to spare costs a second allocation when it becomes a header.
        let mut header = Vec::with_capacity(self.start.len() + length + self.attributes.len() + max_age_len);
        header.extend_from_slice(self.start.as_bytes());
        put_value(&mut header);
        let value = &header[self.start.len()..];
        debug_assert_eq!(value.len(), length, "the caller knew the length");
        debug_assert!(value.iter().copied().all(is_cookie_octet), "a value of ours needs no quoting");
        debug_assert!(self.name().len() + length <= MAX_NAME_AND_VALUE, "the caller checked that the value fits");
        header.extend_from_slice(self.attributes.as_bytes());
        if let Some(seconds) = seconds {
            header.extend_from_slice(MAX_AGE);
            write!(header, "{seconds}").expect("writing to a vector does not fail");
        }
        secret_header(header)
    }

    /// Renders the removal of the cookie: the same name, path, domain and attributes, no value, and a lifetime that is
    /// over.
    pub(crate) fn removal(&self) -> HeaderValue {
        secret_header([self.start.as_bytes(), self.removal.as_bytes()].concat())
    }
}

/// Marks the header as secret: `Debug` does not show it, and HTTP/2 keeps it out of its compression table.
fn secret_header(bytes: Vec<u8>) -> HeaderValue {
    let mut header = HeaderValue::try_from(bytes).expect("name, value and attributes are visible ascii");
    header.set_sensitive(true);
    header
}

fn render(config: &CookieConfig) -> Cookie<'_> {
    let mut cookie = Cookie::new(config.name(), "");
    cookie.set_http_only(true);
    cookie.set_same_site(match config.same_site() {
        SameSite::Strict => ::cookie::SameSite::Strict,
        SameSite::Lax => ::cookie::SameSite::Lax,
        SameSite::None => ::cookie::SameSite::None,
    });
    cookie.set_partitioned(config.is_partitioned());
    cookie.set_secure(config.is_secure());
    cookie.set_path(config.path());
    if let Some(domain) = config.domain() {
        cookie.set_domain(domain);
    }
    cookie
}

fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))).min(MAX_MAX_AGE)
}

fn decimal_digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// RFC 6265bis §4.1.1.
const fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cookie::CookieWriter;

    fn strict() -> CookieConfig {
        CookieConfig::new()
    }

    fn rendered(config: &CookieConfig) -> HeaderValue {
        CookieWriter::new(config).unwrap().set("v", None)
    }

    #[test]
    fn the_default_cookie_is_the_strictest() {
        let writer = CookieWriter::new(&CookieConfig::default()).unwrap();
        assert_eq!(writer.name(), "__Host-Http-id");
        assert_eq!(writer.set("abc_-1", None), "__Host-Http-id=abc_-1; HttpOnly; SameSite=Lax; Secure; Path=/");
        assert_eq!(
            writer.removal(),
            "__Host-Http-id=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        );
    }

    #[test]
    fn every_attribute_is_rendered_and_repeated_by_the_removal() {
        let named = |name: &'static str| strict().with_name(name).unwrap();
        let cases = [
            (strict().with_same_site(SameSite::Strict), "__Host-Http-id=v; HttpOnly; SameSite=Strict; Secure; Path=/"),
            (
                strict().with_same_site(SameSite::None).with_partitioned(true),
                "__Host-Http-id=v; HttpOnly; SameSite=None; Partitioned; Secure; Path=/",
            ),
            (strict().with_insecure_http(), "id=v; HttpOnly; SameSite=Lax; Path=/"),
            (
                named("__Http-id").with_domain("example.com").unwrap().with_path("/app").unwrap(),
                "__Http-id=v; HttpOnly; SameSite=Lax; Secure; Path=/app; Domain=example.com",
            ),
            (
                named("plain").with_insecure_http().with_domain("example.com").unwrap(),
                "plain=v; HttpOnly; SameSite=Lax; Path=/; Domain=example.com",
            ),
        ];
        for (config, expected) in cases {
            assert_eq!(rendered(&config), expected);
            let removal = CookieWriter::new(&config).unwrap().removal();
            let expected = expected.replacen("=v;", "=;", 1) + "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
            assert_eq!(removal, expected.as_str());
        }
    }

    #[test]
    fn max_age_is_rounded_up_and_at_most_400_days() {
        let writer = CookieWriter::new(&strict().with_insecure_http()).unwrap();
        let nanos = |secs, nanos| Duration::new(secs, nanos);
        let cases = [
            (Duration::ZERO, 0),
            (nanos(0, 1), 1),
            (nanos(1, 0), 1),
            (nanos(1, 1), 2),
            (nanos(9, 0), 9),
            (nanos(9, 999_999_999), 10),
            (nanos(1800, 0), 1800),
            (nanos(34_559_999, 1), 34_560_000),
            (nanos(34_560_000, 0), 34_560_000),
            (nanos(34_560_000, 1), 34_560_000),
            (Duration::MAX, 34_560_000),
        ];
        for (max_age, seconds) in cases {
            let expected = format!("id=v; HttpOnly; SameSite=Lax; Path=/; Max-Age={seconds}");
            assert_eq!(writer.set("v", Some(max_age)), expected.as_str());
        }
    }

    #[test]
    fn name_and_value_fit_up_to_4096_bytes_together() {
        assert!(fits("id", &"x".repeat(4094)));
        assert!(!fits("id", &"x".repeat(4095)));
        assert!(!fits("id2", &"x".repeat(4094)));
    }

    #[test]
    fn debug_shows_no_value() {
        let writer = CookieWriter::new(&strict()).unwrap();
        assert!(!format!("{:?}", writer.set("secret", None)).contains("secret"));
        assert!(writer.removal().is_sensitive());
    }

    #[test]
    fn a_cookie_that_a_browser_refuses_is_not_written() {
        CookieWriter::new(&strict().with_domain("example.com").unwrap()).unwrap_err();
    }
}
