//! A cookie jar that tells cookies apart as browsers do (RFC 6265bis §5.7): by name, domain and path, and by partition.

use std::future::Future;

use http::header::{ACCEPT, COOKIE, HOST};
use http::request::Builder;
use http::{Extensions, Request, StatusCode};
use session_state::{Error, Session};

use crate::browser::{App, Visit, send_request};

#[derive(Clone, Debug)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) value: String,
    domain: String,
    is_host_only: bool,
    path: String,
    pub(crate) is_secure: bool,
    is_partitioned: bool,
    pub(crate) same_site: String,
    /// The browser keeps it when it is closed.
    pub(crate) is_persistent: bool,
}

impl Cookie {
    /// What tells cookies of a jar apart.
    fn key(&self) -> (&str, &str, bool, &str, bool) {
        (&self.name, &self.domain, self.is_host_only, &self.path, self.is_partitioned)
    }
}

/// The URL of a page: `http:` or `https:`, a host and a path.
#[derive(Clone, Copy)]
struct Url<'u> {
    is_secure: bool,
    host: &'u str,
    path: &'u str,
}

impl<'u> Url<'u> {
    fn parse(url: &'u str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (host, path) = rest.split_at(rest.find('/').unwrap());
        Self { is_secure: scheme == "https", host, path }
    }
}

/// What sends the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A browser that loads pages.
    #[default]
    Page,
    /// `fetch()` in a page.
    Script,
    /// A program other than a browser.
    Program,
}

impl Sender {
    /// Adds the headers that tell the sender. Browsers send no `Sec-Fetch-Site` over plain HTTP.
    fn sign(self, url: Url<'_>, request: Builder) -> Builder {
        let accept = match self {
            Self::Page => "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            Self::Script | Self::Program => "*/*",
        };
        let request = request.header(ACCEPT, accept);
        if self != Self::Program && url.is_secure { request.header("sec-fetch-site", "same-origin") } else { request }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Jar {
    pub(crate) cookies: Vec<Cookie>,
    pub(crate) sender: Sender,
}

impl Jar {
    /// Sends a request to a page with the cookies for it, and keeps those of the response.
    pub(crate) async fn send<T, F, Fut>(&mut self, app: &App, url: &str, handler: F) -> Visit<T>
    where
        F: FnOnce(Extensions) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        let page = Url::parse(url);
        let request = Request::builder().uri(page.path).header(HOST, page.host);
        let mut request = self.sender.sign(page, request);
        if let Some(cookies) = self.cookies_for(page) {
            request = request.header(COOKIE, cookies);
        }
        let handle = |extensions| async move { Ok((StatusCode::OK, handler(extensions).await?)) };
        let visit = send_request(app, request.body(()).unwrap(), handle).await;
        visit.set_cookies().into_iter().for_each(|line| self.receive(page, line));
        visit
    }

    pub(crate) async fn visit<T, F, Fut>(&mut self, app: &App, url: &str, handler: F) -> Visit<T>
    where
        F: FnOnce(Session) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let handle = |extensions: Extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            Ok(handler(session).await)
        };
        self.send(app, url, handle).await
    }

    pub(crate) async fn log_in(&mut self, app: &App, url: &str, principal: &'static str) -> Visit<()> {
        let visit = self.visit(app, url, move |session| async move { session.login(principal) }).await;
        assert_eq!(visit.status, StatusCode::OK);
        visit
    }

    pub(crate) async fn principal(&mut self, app: &App, url: &str) -> Option<String> {
        self.visit(app, url, |session| async move { session.principal() }).await.value()
    }

    /// Returns the cookies of a name, its chunks included.
    pub(crate) fn named(&self, name: &str) -> Vec<&Cookie> {
        let is_of = |cookie: &&Cookie| cookie.name == name || cookie.name.starts_with(&format!("{name}."));
        self.cookies.iter().filter(is_of).collect()
    }

    /// Closes the browser.
    pub(crate) fn close(&mut self) {
        self.cookies.retain(|cookie| cookie.is_persistent);
    }

    /// Returns the `Cookie` header: longer paths first, then older cookies.
    fn cookies_for(&self, page: Url<'_>) -> Option<String> {
        let is_sent = |cookie: &&Cookie| {
            let is_host =
                if cookie.is_host_only { page.host == cookie.domain } else { is_under(page.host, &cookie.domain) };
            is_host && matches_path(page.path, &cookie.path) && (page.is_secure || !cookie.is_secure)
        };
        let mut sent: Vec<_> = self.cookies.iter().filter(is_sent).collect();
        sent.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<_> = sent.iter().map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    fn receive(&mut self, page: Url<'_>, line: &str) {
        let (pair, attributes) = line.split_once("; ").unwrap();
        let (name, value) = pair.split_once('=').unwrap();
        let of = |name: &str| attributes.split("; ").find_map(|attribute| attribute.strip_prefix(name));
        let has = |name: &str| attributes.split("; ").any(|attribute| attribute == name);
        let domain = of("Domain=");
        let cookie = Cookie {
            name: name.to_owned(),
            value: value.to_owned(),
            domain: domain.unwrap_or(page.host).to_ascii_lowercase(),
            is_host_only: domain.is_none(),
            path: of("Path=").unwrap().to_owned(),
            is_secure: has("Secure"),
            is_partitioned: has("Partitioned"),
            same_site: of("SameSite=").unwrap().to_owned(),
            is_persistent: of("Max-Age=").is_some(),
        };
        if !self.accepts(page, &cookie) {
            return;
        }
        let old = self.cookies.iter().position(|old| old.key() == cookie.key());
        match (old, of("Max-Age=") == Some("0")) {
            (Some(old), true) => drop(self.cookies.remove(old)),
            (None, true) => {}
            (Some(old), false) => self.cookies[old] = cookie,
            (None, false) => self.cookies.push(cookie),
        }
    }

    fn accepts(&self, page: Url<'_>, cookie: &Cookie) -> bool {
        let Cookie { name, domain, path, .. } = cookie;
        let is_domain = cookie.is_host_only || (is_under(page.host, domain) && domain.contains('.'));
        let holds_host_prefix = cookie.is_secure && cookie.is_host_only && path == "/";
        let holds_prefix = match name {
            name if name.starts_with("__Host-") => holds_host_prefix,
            name if name.starts_with("__") => cookie.is_secure,
            _ => true,
        };
        let is_protected = |old: &Cookie| {
            let is_domain = is_under(&old.domain, domain) || is_under(domain, &old.domain);
            old.is_secure && old.name == *name && is_domain && matches_path(path, &old.path)
        };
        let is_from_plain_http = !page.is_secure && (cookie.is_secure || self.cookies.iter().any(is_protected));
        is_domain && holds_prefix && !is_from_plain_http
    }
}

fn is_under(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn matches_path(path: &str, cookie: &str) -> bool {
    path.strip_prefix(cookie).is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}
