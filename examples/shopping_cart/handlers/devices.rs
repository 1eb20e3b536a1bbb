//! The devices an account is logged in on, and remote logout.

use std::time::{Duration, SystemTime};

use axum::Form;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use session_state::{ConfigError, Handle, RequireRecentLogin, Session, SessionInfo, Sessions, require_recent_login};

use super::Failure;
use super::login::to_login;
use crate::humanize::{ago, plural};
use crate::pages::{DevicesPage, View};
use crate::visitor::{Flash, Visitor};

/// How long a password confirmation lasts.
const RECENTLY: Duration = Duration::from_secs(10 * 60);

/// Guards actions that an unattended session must not allow: asks for the password again if the last confirmation is
/// too old.
pub(super) fn guard() -> Result<RequireRecentLogin, ConfigError> {
    require_recent_login(RECENTLY).with_redirect("/confirm?next=/devices")
}

/// A session of the account, as the page shows it.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) handle: Handle,
    pub(crate) name: String,
    pub(crate) logged_in: String,
    pub(crate) last_seen: String,
    pub(crate) is_this: bool,
}

impl Device {
    fn new(info: SessionInfo, session: &Session) -> Self {
        let since = |time: SystemTime| ago(time.elapsed().unwrap_or_default());
        Self {
            handle: info.handle,
            logged_in: since(info.created_at),
            last_seen: since(info.last_seen_at),
            is_this: info.is(session),
            name: info.label.unwrap_or_else(|| "A browser".to_owned()),
        }
    }
}

/// The handle of a session, as it comes from a form.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice {
    device: String,
}

/// `GET /devices`
pub(super) async fn list(visitor: Visitor, State(sessions): State<Sessions>) -> Result<Response, Failure> {
    let Some(account) = visitor.session.principal() else {
        return Ok(to_login("/devices").into_response());
    };
    let devices = sessions.list(&account).await?;
    let mut devices: Vec<_> = devices.into_iter().map(|info| Device::new(info, &visitor.session)).collect();
    devices.sort_by_key(|device| !device.is_this);
    Ok(View(DevicesPage { page: visitor.page()?, devices }).into_response())
}

/// `POST /devices/end`: another account's device does not exist.
pub(super) async fn end(
    session: Session,
    State(sessions): State<Sessions>,
    Form(choice): Form<Choice>,
) -> Result<Redirect, Failure> {
    let account = session.principal().ok_or(Failure::NotFound)?;
    let device = choice.device.parse().map_err(|_| Failure::NotFound)?;
    if !sessions.revoke(&account, device).await? {
        return Err(Failure::NotFound);
    }
    if session.handle() == Some(device) {
        return Ok(Redirect::to("/"));
    }
    Flash::done(&session, "That device is logged out.")?;
    Ok(Redirect::to("/devices"))
}

/// `POST /devices/end-others`, behind the [`guard`]
pub(super) async fn end_others(session: Session, State(sessions): State<Sessions>) -> Result<Redirect, Failure> {
    let ended = sessions.revoke_others(&session).await?;
    Flash::done(&session, format!("{} logged out. Only this one is left.", plural(ended, "device")))?;
    Ok(Redirect::to("/devices"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode, header};
    use session_state::{Clock, SystemClock, Timestamp};
    use sqlx::sqlite::SqlitePoolOptions;
    use tower::ServiceExt as _;

    use super::*;
    use crate::database::Database;

    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
    const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) Version/18.6 Safari/604.1";

    /// The system's clock, set forward.
    #[derive(Clone, Debug, Default)]
    struct Ahead(Arc<AtomicU64>);

    impl Clock for Ahead {
        fn now(&self) -> Timestamp {
            SystemClock.now().after(Duration::from_secs(self.0.load(Ordering::Relaxed)))
        }
    }

    async fn shop() -> (Router, Ahead) {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.expect("a database");
        let (database, clock) = (Database::Sqlite(pool), Ahead::default());
        let sessions = crate::sessions(&database).await.expect("sessions").with_clock(clock.clone());
        (crate::app(sessions, database).expect("a shop"), clock)
    }

    /// A visitor with a browser that keeps the session cookie.
    struct Browser {
        shop: Router,
        user_agent: &'static str,
        cookie: String,
    }

    impl Browser {
        fn new(shop: &Router, user_agent: &'static str) -> Self {
            Self { shop: shop.clone(), user_agent, cookie: String::new() }
        }

        async fn logged_in(shop: &Router, user_agent: &'static str, form: &'static str) -> Self {
            let mut browser = Self::new(shop, user_agent);
            assert_eq!(browser.send("/login", form).await, (StatusCode::SEE_OTHER, "/".to_owned()));
            browser
        }

        async fn get(&mut self, path: &str) -> String {
            let (status, page) = self.exchange(Request::get(path), "").await;
            assert_eq!(status, StatusCode::OK, "{path}: {page}");
            page
        }

        /// Submits a form. Returns the status and the redirect target.
        async fn send(&mut self, path: &str, form: &str) -> (StatusCode, String) {
            self.exchange(Request::post(path), form).await
        }

        async fn exchange(&mut self, request: axum::http::request::Builder, form: &str) -> (StatusCode, String) {
            let request = request
                .header(header::USER_AGENT, self.user_agent)
                .header(header::COOKIE, &self.cookie)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            let request = request.body(Body::from(form.to_owned())).expect("a request");
            let response = self.shop.clone().oneshot(request).await.expect("an answer");
            let (head, body) = response.into_parts();
            if let Some(cookie) = head.headers.get(header::SET_COOKIE) {
                self.cookie = cookie.to_str().expect("text").split(';').next().unwrap_or_default().to_owned();
            }
            let text = match head.headers.get(header::LOCATION) {
                Some(location) => location.to_str().expect("text").to_owned(),
                None => String::from_utf8(to_bytes(body, 1 << 20).await.expect("a body").to_vec()).expect("text"),
            };
            (head.status, text)
        }

        async fn is_logged_in(&mut self) -> bool {
            self.get("/").await.contains("id=\"log-out\"")
        }
    }

    const ALICE: &str = "name=alice&password=shortbread";
    const BRUNO: &str = "name=bruno&password=gingerbread";

    /// Returns the first device on a page that can be logged out.
    fn form_in(page: &str) -> String {
        let (_, handle) = page.split_once("name=\"device\" value=\"").expect("a form");
        format!("device={}", handle.split('"').next().unwrap_or_default())
    }

    #[tokio::test]
    async fn an_account_sees_its_devices_and_ends_one() {
        let (shop, _) = shop().await;
        let mut desk = Browser::logged_in(&shop, FIREFOX, ALICE).await;
        let mut phone = Browser::logged_in(&shop, SAFARI, ALICE).await;
        let mut other = Browser::logged_in(&shop, FIREFOX, BRUNO).await;
        let page = desk.get("/devices").await;
        for text in ["Firefox on Linux", "Safari on an iPhone", "This device", "Last seen just now"] {
            assert!(page.contains(text), "{text:?} is not in {page}");
        }
        assert_eq!(page.matches("name=\"device\"").count(), 1, "this one has no form: {page}");
        let page_of_other = other.get("/devices").await;
        assert!(!page_of_other.contains("iPhone"), "{page_of_other}");

        let led_to = (StatusCode::SEE_OTHER, "/devices".to_owned());
        assert_eq!(desk.send("/devices/end", &form_in(&page)).await, led_to);
        assert!(desk.is_logged_in().await && other.is_logged_in().await && !phone.is_logged_in().await);
        assert_eq!(desk.send("/devices/end", &form_in(&page)).await.0, StatusCode::NOT_FOUND, "it is gone");
    }

    #[tokio::test]
    async fn a_device_of_another_account_does_not_exist() {
        let (shop, _) = shop().await;
        let mut alice = Browser::logged_in(&shop, FIREFOX, ALICE).await;
        let mut phone = Browser::logged_in(&shop, SAFARI, ALICE).await;
        let mut bruno = Browser::logged_in(&shop, FIREFOX, BRUNO).await;
        let form = form_in(&alice.get("/devices").await);
        let mut stranger = Browser::new(&shop, FIREFOX);
        for form in [&*form, "device=", "device=AAAAAAAAAAAAAAAAAAAAAA", "device=%00", ""] {
            for who in [&mut bruno, &mut stranger] {
                assert_eq!(who.send("/devices/end", form).await.0, StatusCode::NOT_FOUND, "{form}");
            }
        }
        let elsewhere = Request::post("/devices/end").header("Sec-Fetch-Site", "cross-site");
        assert_eq!(alice.exchange(elsewhere, &form).await.0, StatusCode::FORBIDDEN);
        assert!(alice.is_logged_in().await && phone.is_logged_in().await);
    }

    #[tokio::test]
    async fn all_others_are_ended_only_when_the_password_was_given_recently() {
        let (shop, clock) = shop().await;
        let mut desk = Browser::logged_in(&shop, FIREFOX, ALICE).await;
        let mut phone = Browser::logged_in(&shop, SAFARI, ALICE).await;
        let to = |path: &str| (StatusCode::SEE_OTHER, path.to_owned());
        clock.0.store(RECENTLY.as_secs() + 1, Ordering::Relaxed);
        let again = "/confirm?next=/devices";
        assert_eq!(desk.send("/devices/end-others", "").await, to(again));
        assert!(phone.is_logged_in().await);
        assert!(desk.get(again).await.contains("value=\"/devices\""));

        let before = desk.cookie.clone();
        assert_eq!(desk.send("/confirm", "next=/devices&password=gingerbread").await, to(again));
        assert_eq!(desk.send("/devices/end-others", "").await, to(again));
        assert_eq!(desk.send("/confirm", "next=/devices&password=shortbread").await, to("/devices"));
        assert_ne!(desk.cookie, before, "the old ID is dead");
        assert_eq!(desk.send("/devices/end-others", "").await, to("/devices"));
        assert!(desk.get("/devices").await.contains("1 device logged out"));
        assert!(desk.is_logged_in().await && !phone.is_logged_in().await);
    }

    #[tokio::test]
    async fn who_is_not_logged_in_is_asked_to() {
        let (shop, _) = shop().await;
        let mut stranger = Browser::new(&shop, FIREFOX);
        let asked = (StatusCode::SEE_OTHER, "/login?next=/devices".to_owned());
        assert_eq!(stranger.exchange(Request::get("/devices"), "").await, asked);
        assert_eq!(stranger.exchange(Request::get("/confirm?next=/devices"), "").await, asked);
        let first = (StatusCode::SEE_OTHER, "/confirm?next=/devices".to_owned());
        assert_eq!(stranger.send("/devices/end-others", "").await, first);
        assert_eq!(stranger.send("/confirm", "next=/devices&password=shortbread").await, asked);
    }

    #[tokio::test]
    async fn the_eleventh_device_logs_the_first_one_out() {
        let (shop, _) = shop().await;
        let mut first = Browser::logged_in(&shop, FIREFOX, ALICE).await;
        let mut last = Browser::logged_in(&shop, SAFARI, ALICE).await;
        for _ in 0..8 {
            Browser::logged_in(&shop, SAFARI, ALICE).await;
        }
        assert!(first.is_logged_in().await);
        Browser::logged_in(&shop, SAFARI, ALICE).await;
        assert!(!first.is_logged_in().await && last.is_logged_in().await);
    }
}
