//! [`CookieConfig`]: the name and the attributes of a cookie.

use std::borrow::Cow;

use super::rules::{Prefix, check_domain, check_name, check_path, ends_like_a_chunk};
use crate::error::ConfigError;

const DEFAULT_NAME: &str = "__Host-Http-id";
const INSECURE_NAME: &str = "id";

/// The name and the attributes of the session's cookie.
///
/// The default is named `__Host-Http-id`, is `Secure`, `HttpOnly`, `SameSite=Lax` and `Path=/`, has no `Domain`, and is
/// gone when the browser is closed, unless the session was given a longer timeout (OWASP ASVS 5.0, V3.3). `HttpOnly` is
/// always on: no script needs a session's cookie.
///
/// Names and values of attributes are checked by the setters; rules that bind several of them, such as those of a
/// name's prefix, when the layer is built.
///
/// # Examples
///
/// A cookie that all hosts under `example.com` receive needs a name whose prefix allows a domain:
///
/// ```
/// use session_state::{CookieConfig, SameSite};
///
/// # fn main() -> Result<(), session_state::ConfigError> {
/// let cookie = CookieConfig::new()
///     .with_name("__Http-id")?
///     .with_domain("example.com")?
///     .with_same_site(SameSite::Strict);
/// assert_eq!(cookie.name(), "__Http-id");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieConfig {
    name: Cow<'static, str>,
    domain: Option<Cow<'static, str>>,
    path: Cow<'static, str>,
    same_site: SameSite,
    secure: bool,
    partitioned: bool,
    lifetime: CookieLifetime,
}

/// Which requests from other sites carry the cookie (RFC 6265bis §5.6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SameSite {
    /// None. A visitor who follows a link from another site arrives without a session.
    Strict,
    /// Only those of a visitor who follows a link. The default.
    #[default]
    Lax,
    /// All. The cookie must be `Secure`, and the application must defend itself against cross-site request forgery
    /// (CSRF).
    None,
}

/// How long a browser keeps the cookie.
///
/// This is only a hint to the browser. It does not change how long the session lasts: the server enforces the timeouts
/// in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CookieLifetime {
    /// Until the browser is closed, even if the session was given a longer timeout. For shared computers.
    BrowserSession,
    /// Until the browser is closed, or [persistent](Self::Persistent) if the session was given a longer idle or
    /// absolute timeout than the layer's, as for "remember me". The default.
    #[default]
    PersistentIfLonger,
    /// As long as the session has left to live, at most 400 days, also when the browser is closed in between.
    Persistent,
}

impl CookieConfig {
    /// Makes the default cookie: `__Host-Http-id=…; HttpOnly; SameSite=Lax; Secure; Path=/`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            name: Cow::Borrowed(DEFAULT_NAME),
            domain: None,
            path: Cow::Borrowed("/"),
            same_site: SameSite::Lax,
            secure: true,
            partitioned: false,
            lifetime: CookieLifetime::PersistentIfLonger,
        }
    }

    /// Replaces the name. Default: `__Host-Http-id`.
    ///
    /// Two session layers in one application need two names. Keep a prefix: browsers refuse a cookie whose prefix
    /// promises what its attributes do not hold, so that no other host can set one of that name (RFC 6265bis §4.1.3,
    /// and draft-ietf-httpbis-layered-cookies §4.1.3 for those with `Http`).
    ///
    /// | prefix | `Secure` | `HttpOnly` | `Path=/`, no `Domain` |
    /// | --- | --- | --- | --- |
    /// | `__Host-Http-` | yes | yes | yes |
    /// | `__Host-` | yes | | yes |
    /// | `__Http-` | yes | yes | |
    /// | `__Secure-` | yes | | |
    ///
    /// # Errors
    ///
    /// Fails when the name is empty, longer than 256 bytes, or has a character that is not one of a token (letters,
    /// digits and ``!#$%&'*+-.^_`|~``; RFC 9110 §5.6.2).
    ///
    /// A changed name begins all sessions anew. The former cookie stays in browsers until it expires.
    ///
    /// # Security
    ///
    /// Without a prefix, another host of the same domain, or anyone on the network path, can plant a cookie of this
    /// name in a visitor's browser.
    ///
    /// Without the prefix `__Host-` or `__Host-Http-`, the name must be used by no other application of the domain: a
    /// login or logout, and each page of a browser that sends two values, also removes cookies of this name that were
    /// set with a parent domain or another path.
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Result<Self, ConfigError> {
        self.name = name.into();
        check_name(&self.name)?;
        Ok(self)
    }

    /// Sends the cookie to a domain and all hosts under it. Default: only to the host that set it.
    ///
    /// Set it when several hosts share one session; the name must then be one without the `__Host-` and
    /// `__Host-Http-` prefix.
    ///
    /// A changed domain keeps sessions: a login, a logout or a new ID also removes the former release's cookie. That
    /// needs the public host name in the request's `Host`. Other writes of state in the cookie do not, and begin anew.
    ///
    /// # Errors
    ///
    /// Fails when the domain is not a plain host name: empty, longer than 1024 bytes, with a leading or trailing dot,
    /// a port, or a character other than ASCII letters, digits, `-`, `_` and `.`.
    ///
    /// # Security
    ///
    /// Every host under the domain sees the cookie and can replace it, also a host of another operator.
    pub fn with_domain(mut self, domain: impl Into<Cow<'static, str>>) -> Result<Self, ConfigError> {
        let domain = domain.into();
        check_domain(&domain)?;
        self.domain = Some(domain);
        Ok(self)
    }

    /// Sends the cookie to one path and those below it only. Default: `/`.
    ///
    /// Set it when several applications live under one host. The name must then be one without the `__Host-` and
    /// `__Host-Http-` prefix.
    ///
    /// A changed path keeps sessions as a changed [domain](Self::with_domain) does, if the request's path lies under
    /// both. After a login elsewhere, and when domain and path change at once, the [first
    /// page](crate::guide::deploys#two-cookies-of-one-name) with both cookies is anonymous.
    ///
    /// # Errors
    ///
    /// Fails when the path does not start with `/`, is longer than 1024 bytes, or has a `;` or a character that is
    /// not visible ASCII. Write such a character percent-encoded, as it stands in a URL.
    ///
    /// # Security
    ///
    /// A path keeps nothing apart: pages of one host can reach each other's cookies whatever the path
    /// (RFC 6265bis §8.6).
    pub fn with_path(mut self, path: impl Into<Cow<'static, str>>) -> Result<Self, ConfigError> {
        self.path = path.into();
        check_path(&self.path)?;
        Ok(self)
    }

    /// Sets which requests from other sites carry the cookie. Default: [`SameSite::Lax`].
    ///
    /// Choose [`SameSite::None`] only for an application that is used inside other sites' frames, together with
    /// [`with_partitioned`](Self::with_partitioned) where that serves.
    ///
    /// # Security
    ///
    /// With [`SameSite::None`] every site can make a visitor's browser send requests with the visitor's session.
    #[must_use]
    pub fn with_same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self
    }

    /// Keeps a separate cookie for each site the application is embedded in (CHIPS). Default: off.
    ///
    /// Turned on or off later, it keeps sessions. Turned off, the [first
    /// page](crate::guide::deploys#two-cookies-of-one-name) after a login is anonymous.
    #[must_use]
    pub fn with_partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = partitioned;
        self
    }

    /// Sets how long a browser keeps the cookie. Default: [`CookieLifetime::PersistentIfLonger`].
    ///
    /// A changed lifetime keeps sessions. It applies from the next cookie that a session is sent, at the latest with
    /// its next login or renewal; a cookie becomes persistent with the next touch.
    ///
    /// # Security
    ///
    /// A persistent cookie stays on the disk of a shared computer until the session ends.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: CookieLifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sends the cookie over plain HTTP too: without `Secure`, and named `id` where the name is still the default.
    ///
    /// Use it where clients speak plain HTTP to the address they were given: a device on a local network, a test
    /// without certificates. An application behind a proxy that ends TLS does not need it. Chromium and Firefox accept
    /// `Secure` cookies from `http://localhost`; Safari does not. Browsers drop them on any other page over plain HTTP,
    /// of which observers are warned once ([`SetupWarning`](crate::SessionEvent::SetupWarning)).
    ///
    /// Change the name when a site leaves HTTPS: browsers let no page over plain HTTP replace a `Secure` cookie, so the
    /// former one would lock its users out. The default name changes by itself.
    ///
    /// # Security
    ///
    /// Anyone on the network path can read the cookie and so take over the session, and can plant another one.
    #[must_use]
    pub fn with_insecure_http(mut self) -> Self {
        self.secure = false;
        if self.name == DEFAULT_NAME {
            self.name = Cow::Borrowed(INSECURE_NAME);
        }
        self
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the domain, if one was set.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns which requests from other sites carry the cookie.
    #[must_use]
    pub fn same_site(&self) -> SameSite {
        self.same_site
    }

    /// Returns whether the cookie has the attribute `Secure`.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns whether the cookie has the attribute `Partitioned`.
    #[must_use]
    pub fn is_partitioned(&self) -> bool {
        self.partitioned
    }

    /// Returns how long a browser keeps the cookie.
    #[must_use]
    pub fn lifetime(&self) -> CookieLifetime {
        self.lifetime
    }

    /// Checks the rules that bind several attributes.
    ///
    /// # Errors
    ///
    /// Fails when a browser would refuse the cookie: its prefix promises what its attributes do not hold
    /// (RFC 6265bis §4.1.3), or it is `SameSite=None` or `Partitioned` without being `Secure`.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let name = &self.name;
        if let Some(prefix) = Prefix::of(name) {
            if !self.secure {
                return Err(ConfigError::new(format!(
                    "cookie {name:?} is not secure, as its prefix {} asks: give it a name without a prefix",
                    prefix.text()
                )));
            }
            if prefix.is_bound_to_host() && (self.path != "/" || self.domain.is_some()) {
                return Err(ConfigError::new(format!(
                    "cookie {name:?} has a domain or a path other than \"/\", which its prefix {} forbids: \
                     give it a name with the prefix __Http-",
                    prefix.text()
                )));
            }
        }
        if self.same_site == SameSite::None && !self.secure {
            return Err(ConfigError::new(format!("cookie {name:?} has SameSite=None and must be secure")));
        }
        if self.partitioned && !self.secure {
            return Err(ConfigError::new(format!("cookie {name:?} is partitioned and must be secure")));
        }
        Ok(())
    }

    /// Returns whether the prefix of the name lets browsers hold only one cookie of it for a host.
    pub(super) fn is_bound_to_host(&self) -> bool {
        Prefix::of(&self.name).is_some_and(Prefix::is_bound_to_host)
    }

    /// Sends the cookie only to the host that sets it.
    pub(super) fn without_domain(mut self) -> Self {
        self.domain = None;
        self
    }

    /// Makes the cookie of a part: the same attributes and prefix, then the name of the part.
    ///
    /// # Errors
    ///
    /// Fails when the part's name makes no name of a cookie, makes the name of the session's cookie itself, or could
    /// be read as that of a chunk (`cart.1`).
    pub(crate) fn for_part(&self, part: &str) -> Result<Self, ConfigError> {
        self.derive_for(part)
            .map_err(|error| ConfigError::new(format!("part {part:?} cannot have a cookie of its own: {error}")))
    }

    fn derive_for(&self, part: &str) -> Result<Self, ConfigError> {
        let prefix = Prefix::of(&self.name).map_or("", |prefix| &self.name[..prefix.text().len()]);
        let cookie = self.clone().with_name(format!("{prefix}{part}"))?;
        if part.is_empty() || cookie.name.eq_ignore_ascii_case(&self.name) {
            return Err(ConfigError::new(format!("{:?} is the session's cookie: rename the part", cookie.name)));
        }
        if ends_like_a_chunk(part) {
            return Err(ConfigError::new("its name ends like that of a cookie chunk: drop the number"));
        }
        cookie.validate()?;
        Ok(cookie)
    }
}

impl Default for CookieConfig {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::{MAX_ATTRIBUTE, MAX_NAME};
    use super::*;

    fn named(name: &'static str) -> CookieConfig {
        CookieConfig::new().with_name(name).unwrap()
    }

    fn under_domain(cookie: CookieConfig) -> CookieConfig {
        cookie.with_domain("example.com").unwrap()
    }

    fn under_path(cookie: CookieConfig) -> CookieConfig {
        cookie.with_path("/app").unwrap()
    }

    fn message<T: std::fmt::Debug>(result: Result<T, ConfigError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn names_are_tokens() {
        let longest = "x".repeat(MAX_NAME);
        for name in ["id", "__Host-Http-id", "!#$%&'*+-.^_`|~09azAZ", "$Version", "id.1", &longest] {
            assert_eq!(CookieConfig::new().with_name(name.to_owned()).unwrap().name(), name);
        }
        let too_long = "x".repeat(MAX_NAME + 1);
        for name in [
            "",
            " ",
            "i d",
            " id",
            "id ",
            "id\t",
            "i=d",
            "i;d",
            "i,d",
            "\"id\"",
            "i(d",
            "i/d",
            "i:d",
            "i\\d",
            "i\0d",
            "i\nd",
            "i\x7fd",
            "ïd",
            "\u{2000}id",
            "id[0]",
            "{id}",
            "<id>",
            "id@",
            "id?",
            &too_long,
        ] {
            CookieConfig::new().with_name(name.to_owned()).unwrap_err();
        }
    }

    #[test]
    fn domains_are_plain_host_names() {
        for domain in
            ["example.com", "localhost", "a.b-c.example", "xn--bcher-kva.example", "my_host.example", "127.0.0.1"]
        {
            let cookie = CookieConfig::new().with_domain(domain).unwrap();
            assert_eq!(cookie.domain(), Some(domain));
        }
        let too_long = "x".repeat(MAX_ATTRIBUTE + 1);
        for domain in [
            "",
            ".",
            ".example.com",
            "example.com.",
            "a..b",
            "example.com:80",
            "[::1]",
            "::1",
            "exam ple.com",
            "example.com ",
            "example.com;",
            "example.com; Path=/",
            "a,b",
            "a/b",
            "https://example.com",
            "bücher.example",
            "a\0b",
            "a\r\nb",
            "a\x7fb",
            "*.example.com",
            &too_long,
        ] {
            CookieConfig::new().with_domain(domain.to_owned()).unwrap_err();
        }
        CookieConfig::new().with_domain("x".repeat(MAX_ATTRIBUTE)).unwrap();
    }

    #[test]
    fn paths_start_with_a_slash_and_are_visible_ascii() {
        let longest = format!("/{}", "x".repeat(MAX_ATTRIBUTE - 1));
        for path in ["/", "/app", "/app/", "/a%20b", "/~x,y=\"z\"", &longest] {
            assert_eq!(CookieConfig::new().with_path(path.to_owned()).unwrap().path(), path);
        }
        let too_long = format!("{longest}x");
        for path in [
            "",
            "app",
            " /",
            "/a;b",
            "/; Domain=evil",
            "/a b",
            "/ ",
            "/a\tb",
            "/a\0b",
            "/a\r\nb",
            "/\x7f",
            "/ä",
            &too_long,
        ] {
            CookieConfig::new().with_path(path.to_owned()).unwrap_err();
        }
    }

    #[test]
    fn a_prefix_holds_what_it_promises() {
        type Change = fn(CookieConfig) -> CookieConfig;
        let insecure: Change = CookieConfig::with_insecure_http;
        let changes: [(&str, Change); 4] =
            [("plain", |cookie| cookie), ("insecure", insecure), ("domain", under_domain), ("path", under_path)];
        // Which of these changes a cookie of the name may have.
        let cases = [
            ("id", [true, true, true, true]),
            ("__Secure-id", [true, false, true, true]),
            ("__Http-id", [true, false, true, true]),
            ("__Host-id", [true, false, false, false]),
            ("__Host-Http-x", [true, false, false, false]),
            ("__Secure-", [true, false, true, true]),
            ("__SECURE-id", [true, false, true, true]),
            ("__hTTp-id", [true, false, true, true]),
            ("__host-id", [true, false, false, false]),
            ("__HOST-http-id", [true, false, false, false]),
            ("__Host-http", [true, false, false, false]),
            ("__Hostid", [true, true, true, true]),
            ("__Host", [true, true, true, true]),
            ("_Host-id", [true, true, true, true]),
            ("a__Host-id", [true, true, true, true]),
        ];
        for (name, allowed) in cases {
            for ((what, change), allowed) in changes.into_iter().zip(allowed) {
                let result = change(named(name)).validate();
                assert_eq!(result.is_ok(), allowed, "{name} {what}: {result:?}");
            }
        }
    }

    #[test]
    fn the_default_passes_and_its_breaches_name_the_remedy() {
        CookieConfig::new().validate().unwrap();
        CookieConfig::new().with_insecure_http().validate().unwrap();
        for cookie in [under_domain(CookieConfig::new()), under_path(CookieConfig::new())] {
            assert_eq!(
                message(cookie.validate()),
                "cookie \"__Host-Http-id\" has a domain or a path other than \"/\", which its prefix __Host-Http- \
                 forbids: give it a name with the prefix __Http-"
            );
        }
        assert_eq!(
            message(named("__Host-a").with_insecure_http().validate()),
            "cookie \"__Host-a\" is not secure, as its prefix __Host- asks: give it a name without a prefix"
        );
    }

    #[test]
    fn cookies_for_other_sites_must_be_secure() {
        let insecure = || CookieConfig::new().with_insecure_http();
        assert_eq!(
            message(insecure().with_same_site(SameSite::None).validate()),
            "cookie \"id\" has SameSite=None and must be secure"
        );
        assert_eq!(
            message(insecure().with_partitioned(true).validate()),
            "cookie \"id\" is partitioned and must be secure"
        );
        insecure().with_same_site(SameSite::Strict).with_partitioned(false).validate().unwrap();
        CookieConfig::new().with_same_site(SameSite::None).with_partitioned(true).validate().unwrap();
    }

    #[test]
    fn plain_http_changes_only_the_default_name() {
        let cookie = CookieConfig::new().with_insecure_http();
        assert_eq!((cookie.name(), cookie.is_secure()), ("id", false));
        let cookie = named("sid").with_insecure_http();
        assert_eq!((cookie.name(), cookie.is_secure()), ("sid", false));
    }

    #[test]
    fn setters_are_read_back() {
        let cookie = CookieConfig::default();
        assert_eq!((cookie.name(), cookie.domain(), cookie.path()), ("__Host-Http-id", None, "/"));
        assert_eq!((cookie.same_site(), cookie.lifetime()), (SameSite::Lax, CookieLifetime::PersistentIfLonger));
        assert_eq!((cookie.is_secure(), cookie.is_partitioned()), (true, false));
        let cookie = cookie.with_lifetime(CookieLifetime::Persistent).with_partitioned(true);
        assert_eq!((cookie.lifetime(), cookie.is_partitioned()), (CookieLifetime::Persistent, true));
    }

    #[test]
    fn the_cookie_of_a_part_keeps_prefix_and_attributes() {
        let cases = [
            (CookieConfig::new(), "__Host-Http-preferences"),
            (named("__Host-sid"), "__Host-preferences"),
            (named("__Secure-sid"), "__Secure-preferences"),
            (named("__Http-sid"), "__Http-preferences"),
            (named("__HOST-sid"), "__HOST-preferences"),
            (named("sid"), "preferences"),
            (CookieConfig::new().with_insecure_http(), "preferences"),
        ];
        for (session, name) in cases {
            let part = session.for_part("preferences").unwrap();
            assert_eq!(part.name(), name);
            assert_eq!(CookieConfig { name: session.name.clone(), ..part }, session);
        }
        let part = under_path(under_domain(named("__Http-sid"))).with_lifetime(CookieLifetime::Persistent);
        let part = part.with_same_site(SameSite::Strict).for_part("cart").unwrap();
        assert_eq!((part.domain(), part.path()), (Some("example.com"), "/app"));
        assert_eq!((part.same_site(), part.lifetime()), (SameSite::Strict, CookieLifetime::Persistent));
    }

    #[test]
    fn a_part_gets_no_name_that_another_cookie_has() {
        for part in ["", "id", "ID", "cart.1", "id.15", "a b", "a;b", "käse", &"x".repeat(MAX_NAME)] {
            CookieConfig::new().for_part(part).unwrap_err();
        }
        let plain = CookieConfig::new().with_insecure_http();
        for part in ["", "id", "__Host-cart", "__secure-cart"] {
            plain.for_part(part).unwrap_err();
        }
        under_domain(named("__Secure-id")).for_part("cart.v2").unwrap();
    }
}
