//! A deploy changes the cookie: what becomes of a browser that comes with the former release's.

use std::time::Duration;

use http::header::COOKIE;
use http::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use session_state::{
    CookieConfig, CookieLifetime, CookieState, InCookie, KeyRing, MemoryStore, Part, SameSite, Session, SessionLayer,
    SessionPart,
};

use crate::browser::{App, send_request};
use crate::jar::Jar;
use crate::part_kit::IDLE;

pub(crate) const PAGE: &str = "https://app.example.com/shop/cart";

/// Where the releases keep their state.
#[derive(Clone)]
pub(crate) enum Place {
    Store(MemoryStore),
    Cookie(KeyRing),
}

impl Place {
    pub(crate) fn both() -> [Self; 2] {
        [Self::Store(MemoryStore::new()), Self::Cookie(KeyRing::generate().unwrap())]
    }

    pub(crate) fn is_store(&self) -> bool {
        matches!(self, Self::Store(_))
    }

    /// A release of the application, over the same state as the others.
    pub(crate) fn release(&self, cookie: &CookieConfig) -> App {
        let layer = match self {
            Self::Store(store) => SessionLayer::server(store.clone()),
            Self::Cookie(keys) => SessionLayer::client(CookieState::encrypted(keys.clone())),
        };
        App::new(layer.with_cookie(cookie.clone()).unwrap())
    }
}

pub(crate) fn named(name: &'static str) -> CookieConfig {
    CookieConfig::new().with_name(name).unwrap()
}

pub(crate) fn under(domain: &'static str) -> CookieConfig {
    named("sid").with_domain(domain).unwrap()
}

pub(crate) fn at(path: &'static str) -> CookieConfig {
    named("sid").with_path(path).unwrap()
}

/// Follows visitors of the former release: one with a live session, one who logs out, and one who comes back when the
/// session has ended.
async fn deploy(place: &Place, former: &CookieConfig, present: &CookieConfig, page: &str, keeps_session: bool) {
    let case = format!("{former:?} to {present:?}");
    let (before, after) = (place.release(former), place.release(present));

    let mut reader = visitor(&before, page).await;
    assert_eq!(reader.principal(&after, page).await.is_some(), keeps_session, "{case}");
    logs_in_and_out(reader, &after, present, page, &case).await;

    let mut logged_out = visitor(&before, page).await;
    logged_out.visit(&after, page, |session| async move { session.logout() }).await.value();
    assert_eq!(logged_out.principal(&after, page).await, None, "{case}");
    assert_eq!(logged_out.named(former.name()).len(), usize::from(!keeps_session), "{case}");

    let mut late = visitor(&before, page).await;
    after.pass(IDLE);
    assert_eq!(late.principal(&after, page).await, None, "{case}");
    logs_in_and_out(late, &after, present, page, &case).await;
}

/// Logs in a visitor.
pub(crate) async fn visitor(app: &App, page: &str) -> Jar {
    let mut jar = Jar::default();
    jar.log_in(app, page, "alice").await;
    assert_eq!(jar.principal(app, page).await.as_deref(), Some("alice"));
    jar
}

/// Asserts that the first login takes, that the browser then has one cookie of the name, and that a logout takes.
pub(crate) async fn logs_in_and_out(mut jar: Jar, app: &App, cookie: &CookieConfig, page: &str, case: &str) {
    jar.log_in(app, page, "bob").await;
    assert_eq!(jar.principal(app, page).await.as_deref(), Some("bob"), "{case}");
    assert_eq!(jar.named(cookie.name()).len(), 1, "{case}: {jar:?}");
    jar.visit(app, page, |session| async move { session.insert("n", 1).unwrap() }).await.value();
    assert_eq!(jar.principal(app, page).await.as_deref(), Some("bob"), "{case}");
    jar.visit(app, page, |session| async move { session.logout() }).await.value();
    assert_eq!(jar.principal(app, page).await, None, "{case}");
    assert!(jar.named(cookie.name()).is_empty(), "{case}: {jar:?}");
}

#[tokio::test]
async fn a_changed_domain_keeps_the_session_and_the_first_login_takes() {
    let host = named("sid");
    for place in Place::both() {
        for (former, present) in [
            (&host, &under("example.com")),
            (&under("example.com"), &host),
            (&under("example.com"), &under("app.example.com")),
            (&under("app.example.com"), &under("Example.COM")),
        ] {
            deploy(&place, former, present, PAGE, true).await;
        }
    }
}

#[tokio::test]
async fn a_changed_path_keeps_the_session_and_the_first_login_takes() {
    for place in Place::both() {
        for (former, present) in [
            (&at("/"), &at("/shop")),
            (&at("/shop"), &at("/")),
            (&at("/shop"), &under("example.com").with_path("/shop").unwrap()),
        ] {
            deploy(&place, former, present, PAGE, true).await;
        }
    }
}

#[tokio::test]
async fn state_in_a_cookie_of_another_domain_begins_anew_with_the_first_write() {
    let place = Place::Cookie(KeyRing::generate().unwrap());
    let (before, after) = (place.release(&named("sid")), place.release(&under("example.com")));
    let mut jar = visitor(&before, PAGE).await;
    let write = jar.visit(&after, PAGE, |session| async move { session.insert("n", 1).unwrap() }).await;
    assert_eq!(write.set_cookies().len(), 1, "removals with each write would take too much of the header");
    assert_eq!(jar.principal(&after, PAGE).await, None);
    logs_in_and_out(jar, &after, &under("example.com"), PAGE, "after a write").await;
}

#[tokio::test]
async fn a_changed_name_begins_anew_and_the_first_login_takes() {
    for place in Place::both() {
        for (former, present) in [
            (named("sid"), named("id")),
            (named("sid"), named("__Host-sid")),
            (named("__Host-sid"), named("sid")),
            (CookieConfig::new(), under("example.com")),
            (CookieConfig::new().with_insecure_http(), CookieConfig::new()),
            (CookieConfig::new(), CookieConfig::new().with_insecure_http()),
        ] {
            deploy(&place, &former, &present, PAGE, false).await;
        }
    }
}

#[tokio::test]
async fn changed_attributes_keep_the_session_and_come_with_the_next_cookie() {
    let insecure = || named("sid").with_insecure_http();
    for place in Place::both() {
        for (former, present) in [
            (CookieConfig::new(), CookieConfig::new().with_same_site(SameSite::Strict)),
            (CookieConfig::new(), CookieConfig::new().with_same_site(SameSite::None)),
            (insecure(), named("sid")),
            (named("sid"), insecure()),
        ] {
            deploy(&place, &former, &present, PAGE, true).await;
            let (before, after) = (place.release(&former), place.release(&present));
            let mut jar = visitor(&before, PAGE).await;
            jar.visit(&after, PAGE, |session| async move { session.renew() }).await.value();
            let [cookie] = &jar.cookies[..] else { panic!("one cookie: {jar:?}") };
            assert_eq!(cookie.is_secure, present.is_secure());
            assert_eq!(cookie.same_site, format!("{:?}", present.same_site()));
        }
    }
}

#[tokio::test]
async fn a_changed_lifetime_keeps_the_session_and_comes_with_the_next_cookie() {
    let browser = CookieConfig::new().with_lifetime(CookieLifetime::BrowserSession);
    let persistent = CookieConfig::new().with_lifetime(CookieLifetime::Persistent);
    for place in Place::both() {
        for (former, present) in [
            (&browser, &persistent),
            (&persistent, &browser),
            (&CookieConfig::new(), &persistent),
            (&persistent, &CookieConfig::new()),
        ] {
            deploy(&place, former, present, PAGE, true).await;
            let (before, after) = (place.release(former), place.release(present));
            let mut jar = visitor(&before, PAGE).await;
            // A touch moves the deadline of a persistent cookie, and every write that of state in the cookie.
            after.pass(Duration::from_secs(60));
            assert!(jar.principal(&after, PAGE).await.is_some());
            let is_persistent = present == &persistent || place.is_store();
            assert_eq!(jar.cookies[0].is_persistent, is_persistent, "{present:?}");
            jar.visit(&after, PAGE, |session| async move { session.renew() }).await.value();
            jar.close();
            assert_eq!(jar.principal(&after, PAGE).await.is_some(), present == &persistent, "{present:?}");
        }
    }
}

/// Browsers let no page over plain HTTP replace a `Secure` cookie (RFC 6265bis §5.7).
#[tokio::test]
async fn a_site_that_leaves_https_needs_another_cookie_name() {
    const PLAIN: &str = "http://app.example.com/shop/cart";
    for place in Place::both() {
        for (former, present, takes) in [
            (named("sid"), named("sid").with_insecure_http(), false),
            (named("sid"), named("sid2").with_insecure_http(), true),
            (CookieConfig::new(), CookieConfig::new().with_insecure_http(), true),
        ] {
            let (before, after) = (place.release(&former), place.release(&present));
            let mut jar = visitor(&before, PAGE).await;
            assert_eq!(jar.principal(&after, PLAIN).await, None);
            jar.log_in(&after, PLAIN, "bob").await;
            assert_eq!(jar.principal(&after, PLAIN).await.is_some(), takes, "{present:?}");
        }
    }
}

#[tokio::test]
async fn a_cookie_that_becomes_partitioned_keeps_the_session_and_the_first_login_takes() {
    let embedded = CookieConfig::new().with_same_site(SameSite::None);
    for place in Place::both() {
        deploy(&place, &embedded, &embedded.clone().with_partitioned(true), PAGE, true).await;
    }
}

/// The response of an application that never changed its cookie has no other lines.
#[tokio::test]
async fn without_a_former_cookie_a_response_sets_one() {
    for place in Place::both() {
        for cookie in [CookieConfig::new(), named("sid"), under("example.com"), at("/shop")] {
            let app = place.release(&cookie);
            let mut jar = Jar::default();
            assert_eq!(jar.log_in(&app, PAGE, "alice").await.set_cookies().len(), 1, "{cookie:?}");
            let write = jar.visit(&app, PAGE, |session| async move { session.insert("n", 1).unwrap() }).await;
            assert_eq!(write.set_cookies().len(), usize::from(!place.is_store()), "{cookie:?}");
            let logins = jar.log_in(&app, PAGE, "bob").await.set_cookies().len();
            assert_eq!(logins == 1, cookie == CookieConfig::new(), "{cookie:?}");
        }
    }
}

pub(crate) async fn write_large(jar: &mut Jar, app: &App, length: usize) -> StatusCode {
    let write = move |session: Session| async move { session.insert("v", "x".repeat(length)).unwrap() };
    jar.visit(app, PAGE, write).await.status
}

pub(crate) async fn length(jar: &mut Jar, app: &App) -> Option<usize> {
    let read = |session: Session| async move { session.get::<String>("v").unwrap().map(|value| value.len()) };
    jar.visit(app, PAGE, read).await.value()
}

#[tokio::test]
async fn another_number_of_chunks_keeps_what_fits_and_leaves_no_chunk_behind() {
    let keys = KeyRing::generate().unwrap();
    let release = |chunks: usize, cookie: &CookieConfig| {
        let state = CookieState::encrypted(keys.clone()).with_chunks(chunks);
        App::new(SessionLayer::client(state).with_cookie(cookie.clone()).unwrap())
    };
    for cookie in [CookieConfig::new(), named("sid")] {
        for (former, present, is_kept) in [(3, 4, true), (3, 3, true), (3, 2, false), (3, 1, false)] {
            let (before, after) = (release(former, &cookie), release(present, &cookie));
            let mut jar = Jar::default();
            assert_eq!(write_large(&mut jar, &before, 8000).await, StatusCode::OK);
            assert_eq!(jar.cookies.len(), 3);
            assert_eq!(length(&mut jar, &after).await.is_some(), is_kept, "{former} to {present}");
            jar.log_in(&after, PAGE, "alice").await;
            assert_eq!(jar.principal(&after, PAGE).await.as_deref(), Some("alice"), "{former} to {present}");
            assert_eq!(write_large(&mut jar, &after, 10).await, StatusCode::OK);
            assert_eq!(jar.cookies.len(), 1, "{former} to {present}: {jar:?}");
            assert_eq!(length(&mut jar, &after).await, Some(10));
        }
    }
}

#[tokio::test]
async fn another_application_name_or_algorithm_begins_anew_and_the_first_login_takes() {
    let keys = KeyRing::generate().unwrap();
    let app = |state: CookieState| App::new(SessionLayer::client(state));
    let signed = || CookieState::signed(keys.clone());
    let encrypted = || CookieState::encrypted(keys.clone());
    for (former, present) in [
        (signed(), encrypted()),
        (encrypted(), signed()),
        (encrypted(), encrypted().with_application("shop")),
        (encrypted().with_application("shop"), encrypted()),
    ] {
        let (before, after) = (app(former), app(present));
        let mut jar = visitor(&before, PAGE).await;
        assert_eq!(jar.principal(&after, PAGE).await, None);
        assert_eq!(after.events(), ["InvalidCookie"]);
        logs_in_and_out(jar, &after, &CookieConfig::new(), PAGE, "another seal").await;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Theme {
    pub(crate) name: String,
}

impl SessionPart for Theme {
    const NAME: &'static str = "theme";
}

/// Sets the part, if a name is given, and returns what it was before.
pub(crate) async fn theme(jar: &mut Jar, app: &App, name: Option<&'static str>) -> String {
    let handler = move |extensions| async move {
        let mut theme = Part::<Theme>::from_extensions(&extensions).await?;
        let before = theme.name.clone();
        if let Some(name) = name {
            theme.name = name.to_owned();
        }
        Ok(before)
    };
    jar.send(app, PAGE, handler).await.value()
}

#[tokio::test]
async fn the_cookie_of_a_part_is_kept_and_replaced_as_the_sessions_is() {
    let keys = KeyRing::generate().unwrap();
    for place in [InCookie::encrypted(keys.clone()), InCookie::encrypted(keys).with_default_retention()] {
        for (former, present) in
            [(named("sid"), under("example.com")), (under("example.com"), named("sid")), (at("/shop"), at("/"))]
        {
            let store = Place::Store(MemoryStore::new());
            let release = |cookie: &CookieConfig| {
                let placed = |layer: SessionLayer| layer.with_part::<Theme>(place.clone()).unwrap();
                store.release(cookie).with(placed)
            };
            let (before, after) = (release(&former), release(&present));
            let mut jar = visitor(&before, PAGE).await;
            theme(&mut jar, &before, Some("dark")).await;
            assert_eq!(theme(&mut jar, &after, None).await, "dark", "{present:?}");
            assert_eq!(theme(&mut jar, &after, Some("light")).await, "dark");
            assert_eq!(theme(&mut jar, &after, None).await, "light", "{present:?}");
            jar.log_in(&after, PAGE, "alice").await;
            assert_eq!(theme(&mut jar, &after, None).await, "light", "{present:?}");
            assert_eq!((jar.named("sid").len(), jar.named("theme").len()), (1, 1), "{jar:?}");
        }
    }
}

#[tokio::test]
async fn a_part_with_two_cookies_is_its_default_until_it_is_set() {
    let place = InCookie::encrypted(KeyRing::generate().unwrap()).with_default_retention();
    let store = Place::Store(MemoryStore::new());
    let app = store.release(&named("sid")).with(|layer| layer.with_part::<Theme>(place).unwrap());
    let mut jar = Jar::default();
    theme(&mut jar, &app, Some("dark")).await;
    let ours = jar.named("theme")[0].value.clone();
    for (cookies, before) in
        [(format!("theme={ours}; theme={ours}"), "dark"), (format!("theme={ours}; theme=planted"), "")]
    {
        let _ = app.events();
        let request = Request::builder().uri("/a/b").header(COOKIE, cookies).body(()).unwrap();
        let visit = send_request(&app, request, |extensions| async move {
            let mut theme = Part::<Theme>::from_extensions(&extensions).await?;
            let before = theme.name.clone();
            theme.name = "light".to_owned();
            Ok((StatusCode::OK, before))
        });
        let visit = visit.await;
        let lines = visit.set_cookies();
        let (set, removals) = lines.split_last().unwrap();
        assert!(set.starts_with("theme=") && !set.contains("Max-Age=0"), "{lines:?}");
        assert!(removals.iter().all(|line| line.starts_with("theme=; ")), "{lines:?}");
        assert_eq!(removals.len() > 1, before.is_empty(), "{lines:?}");
        assert_eq!(visit.value(), before);
        assert_eq!(app.events().len(), usize::from(before.is_empty()));
    }
}
