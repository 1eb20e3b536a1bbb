//! Nodes, and actions of browsers.

use std::time::Duration;

use http::StatusCode;
use session_state::test_kit::{Faults, FaultyStore};
use session_state::{CookieState, ErrorKind, KeyRing, MemoryStore, Revocations, SessionLayer};

use crate::browser::{App, Browser, Visit};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The accepted clock skew.
pub(super) const SKEW: Duration = Duration::from_secs(60);

pub(super) struct Node {
    pub(super) app: App,
    pub(super) faults: Faults,
}

impl Node {
    pub(super) fn revocations(&self) -> Revocations {
        self.app.layer.revocations().unwrap()
    }

    pub(super) fn with(mut self, set: impl FnOnce(SessionLayer) -> SessionLayer) -> Self {
        self.app = self.app.with(set);
        self
    }
}

/// Nodes of one application, and the store they share.
pub(super) fn nodes_with<const N: usize>(set: impl Fn(CookieState) -> CookieState) -> ([Node; N], MemoryStore) {
    let (keys, shared) = (KeyRing::generate().unwrap(), MemoryStore::new());
    let node = |_| {
        let store = FaultyStore::new(shared.clone());
        let faults = store.faults();
        let state = set(CookieState::encrypted(keys.clone()).with_revocation(store));
        Node { app: App::new(SessionLayer::client(state)), faults }
    };
    (std::array::from_fn(node), shared)
}

pub(super) fn nodes<const N: usize>() -> [Node; N] {
    nodes_with(|state| state).0
}

pub(super) fn nodes_with_delay<const N: usize>(delay: Duration) -> [Node; N] {
    nodes_with(|state| state.with_revocation_delay(delay)).0
}

pub(super) async fn log_in(app: &App, browser: &mut Browser) {
    log_in_as(app, browser, "alice").await;
}

pub(super) async fn log_in_as(app: &App, browser: &mut Browser, principal: &'static str) {
    let visit = browser.visit(app, move |session| async move { session.login(principal) }).await;
    assert_eq!(visit.status, StatusCode::OK, "{:?}", visit.error);
}

pub(super) async fn logged_in(app: &App) -> Browser {
    let mut browser = Browser::default();
    log_in(app, &mut browser).await;
    browser
}

pub(super) async fn log_out(app: &App, browser: &mut Browser) -> Visit<()> {
    browser.visit(app, |session| async move { session.logout() }).await
}

/// Returns the principal, without keeping cookies.
pub(super) async fn principal(app: &App, browser: &Browser) -> Option<String> {
    browser.send(app, |session| async move { session.principal() }).await.value()
}

pub(super) async fn is_live(app: &App, browser: &Browser) -> bool {
    browser.send(app, |session| async move { !session.is_new() }).await.value()
}

pub(super) fn assert_is_503<T>(visit: &Visit<T>) {
    assert_eq!(visit.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(visit.error.as_ref().unwrap().kind(), &ErrorKind::Unavailable);
    assert!(visit.set_cookies().is_empty(), "{:?}", visit.set_cookies());
}
