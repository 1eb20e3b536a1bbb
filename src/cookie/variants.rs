//! Variants of a cookie: those of its name with another domain or path, which a browser keeps and sends beside it.
//!
//! They are left over from a release with other attributes, or planted by another host of the domain. The server does
//! not see their attributes, but a browser sends a cookie only if its domain is the request's host or a parent of it,
//! and its path a prefix of the request's path (RFC 6265bis §5.8.3). So the request bounds the possible variants.
//!
//! Nothing here is trusted: a proxy may send another `Host`, and a nested router may cut the path. The removals then
//! name cookies that do not exist, or that the browser does not let this host remove.

use std::net::Ipv4Addr;

use http::header::{ACCEPT, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri};

use super::config::{CookieConfig, SameSite};
use super::read::trim;
use super::write::CookieWriter;

/// The most removals of variants in a response. One takes about 100 bytes, and proxies limit the headers of a response
/// to 4 KiB or more.
const MAX_REMOVALS: usize = 16;

/// The longest name of a host (RFC 1035 §2.3.4).
const LONGEST_HOST: usize = 253;

/// The header that browsers send from HTTPS and `localhost` (Fetch Metadata Request Headers §2.3).
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Where a request was sent. Keeping it copies no bytes.
#[derive(Debug)]
pub(crate) struct Target {
    uri: Uri,
    host: Option<HeaderValue>,
    /// The page's origin, from which browsers send most writes.
    origin: Option<HeaderValue>,
    is_from_browser: bool,
}

/// Which variants to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Likely {
    /// Those whose domain or path alone was changed. For a request that carried one cookie, which may be any of them.
    OneChange,
    /// All. For a request that carried several.
    Any,
}

impl Target {
    pub(crate) fn new(headers: &HeaderMap, uri: &Uri) -> Self {
        // The authority of a request's target replaces its `Host` (RFC 9112 §3.2.2).
        let host = if uri.authority().is_some() { None } else { headers.get(HOST).cloned() };
        let is_from_browser = headers.contains_key(SEC_FETCH_SITE) || accepts_html(headers);
        Self { uri: uri.clone(), host, origin: headers.get(ORIGIN).cloned(), is_from_browser }
    }

    /// Returns whether a browser sent the request: any over HTTPS, and over plain HTTP that of a page.
    pub(crate) fn is_from_browser(&self) -> bool {
        self.is_from_browser
    }

    /// Returns the host.
    fn host(&self) -> Option<String> {
        let of_header = || self.host.as_ref()?.to_str().ok()?.parse::<Authority>().ok();
        domain_of(&self.uri.authority().cloned().or_else(of_header)?)
    }

    /// Returns the host of the page, which is the public one behind a proxy that sends another `Host`.
    fn page_host(&self) -> Option<String> {
        domain_of(self.origin.as_ref()?.to_str().ok()?.parse::<Uri>().ok()?.authority()?)
    }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let is_html = |range: &[u8]| {
        let media_type = range.split(|&byte| byte == b';').next().map(trim);
        media_type.is_some_and(|media_type| media_type.eq_ignore_ascii_case(b"text/html"))
    };
    headers.get_all(ACCEPT).iter().any(|line| line.as_bytes().split(|&byte| byte == b',').any(is_html))
}

/// Returns a host in lower case, if a cookie can have it as its domain.
fn domain_of(authority: &Authority) -> Option<String> {
    let host = authority.host();
    let is_domain = host.len() <= LONGEST_HOST && host.parse::<Ipv4Addr>().is_err();
    is_domain.then(|| host.to_ascii_lowercase())
}

/// Returns the removals of the variants of the cookie `name`, which has the other attributes of `config`. The limit is
/// shared by so many `names`.
pub(crate) fn removals(
    config: &CookieConfig,
    target: Option<&Target>,
    name: &str,
    likely: Likely,
    names: usize,
) -> Vec<HeaderValue> {
    let limit = (MAX_REMOVALS / names.max(1)).max(2);
    // The setters check each domain and path, and the prefix of a name may forbid it.
    let writers = variants(config, target, likely).into_iter().filter_map(|variant| CookieWriter::new(&variant).ok());
    writers.take(limit).map(|writer| writer.renamed(name).removal()).collect()
}

/// Returns the variants, the most likely first.
fn variants(config: &CookieConfig, target: Option<&Target>, likely: Likely) -> Vec<CookieConfig> {
    let mut variants = Vec::new();
    if config.is_partitioned() || (likely == Likely::Any && config.same_site() == SameSite::None) {
        variants.push(config.clone().with_partitioned(!config.is_partitioned()));
    }
    let host = target.and_then(Target::host);
    let path = target.map_or("/", |target| target.uri.path());
    // Browsers do not send the configured cookie here: the host is not the public one, or the page no part of the
    // application.
    let is_elsewhere = !is_under(host.as_deref(), config.domain()) || !matches_path(path, config.path());
    if likely == Likely::OneChange && is_elsewhere {
        return variants;
    }
    let page_host = target.filter(|_| likely == Likely::Any).and_then(Target::page_host);
    let hosts = host.iter().chain(page_host.iter().filter(|page_host| host.as_ref() != Some(page_host)));
    let (domains, paths) = (other_domains(config, hosts), other_paths(config, path, likely));
    variants.extend(domains.iter().cloned());
    variants.extend(paths.iter().filter_map(|path| config.clone().with_path(path.clone()).ok()));
    if likely == Likely::Any {
        let both = |domain: &CookieConfig| {
            let domain = domain.clone();
            paths.iter().filter_map(move |path| domain.clone().with_path(path.clone()).ok()).collect::<Vec<_>>()
        };
        variants.extend(domains.iter().flat_map(both));
    }
    variants
}

/// Returns the cookie for the host alone, and for the domains of the hosts and their parents, except for the configured
/// one.
fn other_domains<'h>(config: &CookieConfig, hosts: impl Iterator<Item = &'h String>) -> Vec<CookieConfig> {
    let parents = |host| std::iter::successors(Some(host), |host: &&'h str| Some(host.split_once('.')?.1));
    let with_domain = hosts.flat_map(|host| parents(&**host)).filter(|parent| parent.contains('.')).map(Some);
    let others = std::iter::once(None).chain(with_domain).filter(|domain| !is_same_domain(*domain, config.domain()));
    others
        .filter_map(|domain| match domain {
            Some(domain) => config.clone().with_domain(domain.to_owned()).ok(),
            None => Some(config.clone().without_domain()),
        })
        .collect()
}

/// Returns the paths whose cookies the request carries, except for the configured one: the root and the directories of
/// the request's path, and of all likely ones also the path itself and directories with a slash at the end.
fn other_paths(config: &CookieConfig, path: &str, likely: Likely) -> Vec<String> {
    // Bounded: each directory of a long path is a copy of its beginning.
    let slashes: Vec<_> = path.match_indices('/').map(|(at, _)| at).skip(1).take(MAX_REMOVALS).collect();
    let mut paths = vec!["/".to_owned()];
    paths.extend(slashes.iter().map(|&at| path[..at].to_owned()));
    if likely == Likely::Any {
        paths.push(path.to_owned());
        paths.extend(slashes.iter().map(|&at| path[..=at].to_owned()));
    }
    let mut others = Vec::with_capacity(paths.len());
    for path in paths {
        if path != config.path() && !others.contains(&path) {
            others.push(path);
        }
    }
    others
}

fn is_same_domain(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        (one, other) => one == other,
    }
}

/// Whether browsers send a cookie of this domain to the host (RFC 6265bis §5.1.3).
fn is_under(host: Option<&str>, domain: Option<&str>) -> bool {
    let Some(domain) = domain.map(str::to_ascii_lowercase) else { return true };
    let rest = host.and_then(|host| host.strip_suffix(&*domain));
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether browsers send a cookie of this path to the path of a request (RFC 6265bis §5.1.4).
fn matches_path(path: &str, cookie: &str) -> bool {
    path.strip_prefix(cookie).is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn named(name: &'static str) -> CookieConfig {
        CookieConfig::new().with_name(name).unwrap()
    }

    fn sent_to(host: &'static str, path: &str) -> Target {
        let request = Request::builder().uri(path).header(HOST, host).body(()).unwrap();
        Target::new(request.headers(), request.uri())
    }

    /// Returns the domain and the path of each removal.
    fn scopes(config: &CookieConfig, target: Option<&Target>, likely: Likely) -> Vec<String> {
        let removals = removals(config, target, "id", likely, 1);
        let scope = |line: &HeaderValue| {
            let line = line.to_str().unwrap();
            assert!(line.starts_with("id=; ") && line.contains("; Max-Age=0"), "{line}");
            assert_eq!(line.contains("; Secure"), config.is_secure(), "{line}");
            let of = |name: &str| line.split("; ").find_map(|part| part.strip_prefix(name)).unwrap_or_default();
            let partitioned = if line.contains("; Partitioned") { " partitioned" } else { "" };
            format!("{}{}{partitioned}", of("Domain="), of("Path="))
        };
        removals.iter().map(scope).collect()
    }

    #[test]
    fn one_cookie_may_have_had_another_domain_or_path() {
        let under = |domain: &'static str| named("id").with_domain(domain).unwrap();
        let at = |path: &'static str| named("id").with_path(path).unwrap();
        let cases: [(CookieConfig, &str, &str, &[&str]); 12] = [
            (named("id"), "localhost:3000", "/login", &[]),
            (named("id"), "127.0.0.1:80", "/login", &[]),
            (named("id"), "[::1]:80", "/login", &[]),
            (named("id"), "example.com", "/login?next=/a/b", &["example.com/"]),
            (named("id"), "App.Example.com:443", "/", &["app.example.com/", "example.com/"]),
            (named("id"), "example.com", "/app/x/login", &["example.com/", "/app", "/app/x"]),
            (under("example.com"), "example.com", "/login", &["/"]),
            (under("Example.com"), "app.example.com", "/login", &["/", "app.example.com/"]),
            (under("example.com"), "badexample.com", "/login", &[]),
            (under("example.com"), "10.0.0.1", "/login", &[]),
            (at("/app"), "localhost", "/app/login", &["/"]),
            (at("/app"), "localhost", "/application", &[]),
        ];
        for (config, host, path, expected) in cases {
            assert_eq!(scopes(&config, Some(&sent_to(host, path)), Likely::OneChange), expected, "{host}{path}");
        }
        assert_eq!(scopes(&named("id"), None, Likely::OneChange), [""; 0]);
    }

    #[test]
    fn of_several_cookies_each_may_have_any_domain_and_path() {
        let config = named("id").with_domain("example.com").unwrap();
        let expected = ["/", "app.example.com/", "example.com/a", "/a", "app.example.com/a"];
        assert_eq!(scopes(&config, Some(&sent_to("app.example.com", "/a")), Likely::Any), expected);
        assert_eq!(scopes(&config, Some(&sent_to("backend", "/")), Likely::Any), ["/"], "behind a proxy");
        assert_eq!(scopes(&config, None, Likely::Any), ["/"]);
        let config = named("id").with_path("/shop/").unwrap();
        assert_eq!(scopes(&config, Some(&sent_to("localhost", "/shop/x")), Likely::Any), ["/", "/shop", "/shop/x"]);
        let config = named("id");
        let expected = ["/shop", "/shop/x", "/shop/"];
        assert_eq!(scopes(&config, Some(&sent_to("localhost", "/shop/x")), Likely::Any), expected);
    }

    #[test]
    fn the_authority_of_a_request_comes_before_its_host() {
        let request = Request::builder().uri("https://user@shop.example:8443/").header(HOST, "evil.example");
        let request = request.body(()).unwrap();
        let target = Target::new(request.headers(), request.uri());
        assert_eq!(scopes(&named("id"), Some(&target), Likely::Any), ["shop.example/"]);
    }

    #[test]
    fn behind_a_proxy_the_origin_of_a_write_tells_the_host() {
        let sent_from = |origin: &'static str| {
            let request = Request::builder().uri("/").header(HOST, "backend:3000").header(ORIGIN, origin);
            let request = request.body(()).unwrap();
            Target::new(request.headers(), request.uri())
        };
        let target = sent_from("https://www.shop.example:8443");
        assert_eq!(scopes(&named("id"), Some(&target), Likely::Any), ["www.shop.example/", "shop.example/"]);
        assert_eq!(scopes(&named("id"), Some(&target), Likely::OneChange), [""; 0]);
        for origin in ["null", "", "https://", "https://127.0.0.1", "x y"] {
            assert_eq!(scopes(&named("id"), Some(&sent_from(origin)), Likely::Any), [""; 0], "{origin}");
        }
    }

    #[test]
    fn a_browser_is_told_by_its_headers() {
        let cases: [(&[(&str, &str)], bool); 9] = [
            (&[], false),
            (&[("accept", "*/*"), ("sec-fetch-mode", "cors")], false),
            (&[("accept", "application/json, text/*"), ("user-agent", "text/html")], false),
            (&[("accept", "text/html5, application/xhtml+xml, x/text/html")], false),
            (&[("sec-fetch-site", "same-origin"), ("accept", "*/*")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("accept", "text/html")], true),
            (&[("accept", "application/xml;q=0.9,\tText/HTML ;q=0.8")], true),
            (&[("accept", "*/*"), ("accept", "text/html")], true),
        ];
        for (headers, expected) in cases {
            let request =
                headers.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
            let request = request.body(()).unwrap();
            assert_eq!(Target::new(request.headers(), request.uri()).is_from_browser(), expected, "{headers:?}");
        }
    }

    #[test]
    fn nothing_but_plain_hosts_and_paths_gets_into_a_header() {
        for host in [
            "a.b; Path=/x",
            "a.b\tc",
            "a,b.c",
            "*.b.c",
            "a..b",
            ".a.b",
            "a.b.",
            "a.b/c",
            "\u{e4}.b",
            "a.b:x:1",
            "",
            "[",
        ] {
            let header = HeaderValue::from_bytes(host.as_bytes()).unwrap();
            let target = Target { uri: Uri::from_static("/"), host: Some(header), origin: None, is_from_browser: true };
            for line in removals(&named("id"), Some(&target), "id", Likely::Any, 1) {
                let line = line.to_str().unwrap();
                let domain = line.split("Domain=").nth(1).unwrap().split(';').next().unwrap();
                assert!(domain.split('.').all(|label| label.bytes().all(|b| b.is_ascii_alphanumeric())), "{line}");
                assert!(host.contains(domain), "{line}");
            }
        }
        let config = named("id");
        assert_eq!(scopes(&config, Some(&sent_to("localhost", "/a;b/c%3Bd")), Likely::Any), [""; 0]);
    }

    #[test]
    fn a_browser_holds_one_cookie_of_a_name_that_is_bound_to_the_host() {
        let target = sent_to("app.example.com", "/a/b");
        for name in ["__Host-Http-id", "__Host-id", "__HOST-id"] {
            assert!(removals(&named(name), Some(&target), name, Likely::Any, 1).is_empty(), "{name}");
        }
        assert!(!removals(&named("__Secure-id"), Some(&target), "__Secure-id", Likely::Any, 1).is_empty());
    }

    #[test]
    fn a_cookie_may_have_been_partitioned() {
        let config = CookieConfig::new().with_same_site(SameSite::None);
        assert_eq!(scopes(&config, None, Likely::Any), ["/ partitioned"]);
        assert_eq!(scopes(&config, None, Likely::OneChange), [""; 0]);
        let config = config.with_partitioned(true);
        assert_eq!(scopes(&config, None, Likely::Any), ["/"]);
        assert_eq!(scopes(&config, None, Likely::OneChange), ["/"]);
    }

    #[test]
    fn a_response_removes_a_bounded_number_of_variants() {
        let target = sent_to("a.b.c.d.e.f.g", "/a/b/c/d/e/f/g/h/i/j");
        assert_eq!(removals(&named("id"), Some(&target), "id", Likely::Any, 1).len(), MAX_REMOVALS);
        assert_eq!(removals(&named("id"), Some(&target), "id", Likely::Any, 4).len(), 4);
        assert_eq!(removals(&named("id"), Some(&target), "id", Likely::Any, 16).len(), 2);
        for path in ["/".repeat(60_000), "/a".repeat(30_000), format!("/{}", "a".repeat(60_000))] {
            let target = sent_to("localhost", &path);
            for likely in [Likely::OneChange, Likely::Any] {
                assert!(other_paths(&named("id"), target.uri.path(), likely).len() <= 2 * MAX_REMOVALS + 1);
                assert!(removals(&named("id"), Some(&target), "id", likely, 1).len() <= MAX_REMOVALS);
            }
        }
        let request = Request::builder().uri("/").header(HOST, "a.".repeat(30_000) + "b").body(()).unwrap();
        assert_eq!(Target::new(request.headers(), request.uri()).host(), None);
    }
}
