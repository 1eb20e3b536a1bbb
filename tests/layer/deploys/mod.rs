//! A release with other settings, and the visitors of the release before it: the rows of the table in the guide.
//!
//! Each test is a row. `types` has the types of values and parts.

mod places;
mod settings;
mod state;
mod types;

use std::time::Duration;

use http::StatusCode;
use session_state::{CookieState, KeyRing, MemoryStore, Session, SessionLayer};

use crate::browser::{App, Browser};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Two releases of one application.
struct Deploy {
    former: App,
    present: App,
}

impl Deploy {
    fn new(former: SessionLayer, present: SessionLayer) -> Self {
        Self { former: App::new(former), present: App::new(present) }
    }

    /// Returns a deploy that changes settings, with the state in a store and with the state in a cookie.
    fn of(
        former: impl Fn(SessionLayer) -> SessionLayer,
        present: impl Fn(SessionLayer) -> SessionLayer,
    ) -> impl Iterator<Item = Self> {
        let (store, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
        let server = || SessionLayer::server(store.clone());
        let client = || SessionLayer::client(CookieState::encrypted(keys.clone()));
        [Self::new(former(server()), present(server())), Self::new(former(client()), present(client()))].into_iter()
    }

    fn pass(&self, time: Duration) {
        self.former.pass(time);
        self.present.pass(time);
    }

    /// Returns a visitor whom the former release has logged in.
    async fn visitor(&self) -> Browser {
        let mut browser = Browser::default();
        log_in(&mut browser, &self.former).await;
        browser
    }

    /// The visitor stays logged in, can write, and can go back to the former release.
    async fn assert_keeps(&self, browser: &mut Browser) {
        assert_logged_in(browser, &self.present).await;
        assert_eq!(browser.set(&self.present, "m", 2).await.status, StatusCode::OK);
        assert_eq!(browser.get(&self.present, "m").await, Some(2));
        assert_logged_in(browser, &self.present).await;
    }

    /// The visitor is anonymous, and the next login takes.
    async fn assert_begins_anew(&self, browser: &mut Browser) {
        assert_eq!(seen(browser, &self.present).await, (None, None));
        log_in(browser, &self.present).await;
        for _ in 0..3 {
            assert_logged_in(browser, &self.present).await;
        }
        browser.visit(&self.present, |session| async move { session.logout() }).await.value();
        assert_eq!(seen(browser, &self.present).await, (None, None));
        assert!(browser.jar.is_empty(), "{browser:?}");
    }
}

async fn log_in(browser: &mut Browser, app: &App) {
    let handler = |session: Session| async move {
        session.login("alice");
        session.insert("n", 1).unwrap();
    };
    browser.visit(app, handler).await.value();
}

/// Returns the principal and the value that a visitor sees.
async fn seen(browser: &mut Browser, app: &App) -> (Option<String>, Option<u32>) {
    let handler = |session: Session| async move {
        (session.principal().map(|principal| principal.to_string()), session.get("n").unwrap())
    };
    browser.visit(app, handler).await.value()
}

async fn assert_logged_in(browser: &mut Browser, app: &App) {
    assert_eq!(seen(browser, app).await, (Some("alice".to_owned()), Some(1)));
}
