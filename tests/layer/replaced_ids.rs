//! Requests with an ID that has just been replaced or ended: the client sent them before it got the new cookie.

use std::time::Duration;

use http::StatusCode;
use session_state::{ErrorKind, KeyRing, MemoryStore, Session, SessionLayer};

use crate::browser::{App, Browser, Visit};

/// How an ID dies at once.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    Login,
    FreshLogin,
    LoginAgain,
    Takeover,
    Reauthentication,
}

impl Death {
    const ALL: [Self; 5] = [Self::Login, Self::FreshLogin, Self::LoginAgain, Self::Takeover, Self::Reauthentication];

    /// The principal after it.
    fn principal(self) -> &'static str {
        if self == Self::Takeover { "bob" } else { "alice" }
    }

    fn act(self, session: &Session) {
        match self {
            Self::FreshLogin => session.login_fresh("alice"),
            Self::Reauthentication => session.mark_reauthenticated().unwrap(),
            _ => session.login(self.principal()),
        }
    }

    /// A visitor's browser before and after.
    async fn happen(self, app: &App) -> (Browser, Browser) {
        let mut browser = Browser::default();
        browser.set(app, "cart", 1).await;
        if !matches!(self, Self::Login | Self::FreshLogin) {
            browser.visit(app, |session| async move { session.login("alice") }).await.value();
            app.pass(Duration::from_secs(120));
            browser.set(app, "cart", 1).await;
        }
        let before = browser.clone();
        browser.visit(app, move |session| async move { self.act(&session) }).await.value();
        (before, browser)
    }
}

fn apps() -> [App; 2] {
    let [memory, at_rest, ..] = App::everywhere();
    [memory, at_rest]
}

fn assert_rejected<T>(visit: &Visit<T>) {
    assert_eq!(visit.status, StatusCode::CONFLICT);
    assert_eq!(visit.error.as_ref().map(session_state::Error::kind), Some(&ErrorKind::Ended));
    assert!(visit.set_cookies().is_empty(), "{:?}", visit.set_cookies());
}

async fn shown(app: &App, browser: &Browser) -> (Option<String>, Option<i32>) {
    let look = |session: Session| async move { (session.principal(), session.get("cart").unwrap()) };
    browser.send(app, look).await.value()
}

#[tokio::test]
async fn a_write_under_an_id_that_a_login_has_just_replaced_is_rejected_without_a_cookie() {
    for app in apps() {
        for death in Death::ALL {
            let (before, after) = death.happen(&app).await;
            let rejected = before.send(&app, |session| async move { session.insert("cart", 7).unwrap() }).await;
            assert_rejected(&rejected);
            let saved = before.send(&app, |session| async move {
                session.insert("cart", 7).unwrap();
                session.save().await.unwrap_err().kind().clone()
            });
            assert_eq!(saved.await.value(), ErrorKind::Ended, "{death:?}");
            app.pass(Duration::from_millis(59_999));
            assert_rejected(&before.send(&app, |session| async move { session.insert("cart", 7).unwrap() }).await);
            assert_eq!(shown(&app, &after).await.0.as_deref(), Some(death.principal()));
            app.pass(Duration::from_millis(1));
            let unknown = before.send(&app, |session| async move { session.insert("cart", 7).unwrap() }).await;
            assert_eq!(unknown.set_cookies().len(), 1, "{death:?}: a minute later the ID is unknown");
        }
    }
}

#[tokio::test]
async fn a_read_under_an_id_that_a_login_has_just_replaced_is_anonymous_and_sets_no_cookie() {
    for app in apps() {
        for death in Death::ALL {
            let (before, _) = death.happen(&app).await;
            let look = |session: Session| async move { (session.principal(), session.is_new(), session.len()) };
            let visit = before.send(&app, look).await;
            assert!(visit.set_cookies().is_empty());
            assert_eq!(visit.value(), (None, true, 0), "{death:?}");
            // It is not the ID's to end, and a logout that has not taken place must not look like a success.
            assert_rejected(&before.send(&app, |session| async move { session.logout() }).await);
            assert_rejected(&before.send(&app, |session| async move { session.remove("cart") }).await);
        }
    }
}

#[tokio::test]
async fn a_write_after_the_grace_of_a_renewal_is_rejected_for_a_minute() {
    for app in apps() {
        let mut browser = Browser::default();
        browser.set(&app, "cart", 1).await;
        let before = browser.clone();
        browser.visit(&app, |session| async move { session.renew() }).await.value();
        for (wait, is_rejected) in [(10_000, true), (59_999, true), (1, false)] {
            app.pass(Duration::from_millis(wait));
            let write = before.send(&app, |session| async move { session.insert("cart", 7).unwrap() }).await;
            if is_rejected { assert_rejected(&write) } else { assert_eq!(write.set_cookies().len(), 1) }
        }
        assert_eq!(shown(&app, &browser).await.1, Some(1));
    }
}

#[tokio::test]
async fn a_second_login_of_the_principal_continues_the_first_ones_session() {
    for app in apps() {
        for death in Death::ALL {
            let (before, mut first) = death.happen(&app).await;
            first.set(&app, "cart", 5).await;
            let mut second = before.clone();
            let login = move |session: Session| async move {
                session.insert("click", 2).unwrap();
                session.login(death.principal());
            };
            second.visit(&app, login).await.value();
            let expected = (Some(death.principal().to_owned()), Some(5));
            assert_eq!(shown(&app, &second).await, expected, "{death:?}");
            assert_eq!(shown(&app, &first).await, expected, "{death:?}: the first response may arrive last");
            assert_eq!(second.get(&app, "click").await, Some(2));
            let mut third = before.clone();
            third.visit(&app, login).await.value();
            assert_eq!(shown(&app, &third).await, expected, "{death:?}: a third click");
            app.pass(Duration::from_secs(120));
            assert_eq!(shown(&app, &second).await.0, None, "{death:?}: the grace is over");
            assert_eq!(shown(&app, &third).await, expected);
        }
    }
}

#[tokio::test]
async fn logins_at_once_continue_one_session() {
    for app in apps() {
        for death in Death::ALL {
            let mut browser = Browser::default();
            browser.set(&app, "cart", 1).await;
            if !matches!(death, Death::Login | Death::FreshLogin) {
                browser.visit(&app, |session| async move { session.login("alice") }).await.value();
            }
            let mut slow = browser.clone();
            let (first, app_of_first) = (browser, app.clone());
            let visit = slow.visit(&app, move |session| async move {
                session.insert("mine", 1).unwrap();
                session.login(death.principal());
                session.insert("click", 2).unwrap();
                let mut first = first;
                first.visit(&app_of_first, move |session| async move { death.act(&session) }).await.value();
                first.set(&app_of_first, "cart", 5).await;
                first
            });
            let first = visit.await.value();
            let expected = (Some(death.principal().to_owned()), Some(5));
            assert_eq!(shown(&app, &slow).await, expected, "{death:?}");
            assert_eq!(shown(&app, &first).await, expected, "{death:?}");
            assert_eq!(slow.get(&app, "click").await, Some(2), "{death:?}");
            let keeps = death != Death::Takeover;
            assert_eq!(slow.get(&app, "mine").await, keeps.then_some(1), "{death:?}: a value of the former principal");
        }
    }
}

#[tokio::test]
async fn a_login_of_another_principal_under_a_replaced_id_is_rejected() {
    for app in apps() {
        for death in Death::ALL {
            let (before, after) = death.happen(&app).await;
            for fresh in [false, true] {
                let login = move |session: Session| async move {
                    if fresh { session.login_fresh("mallory") } else { session.login("mallory") }
                };
                assert_rejected(&before.send(&app, login).await);
            }
            assert_eq!(shown(&app, &after).await.0.as_deref(), Some(death.principal()));
        }
    }
}

#[tokio::test]
async fn a_second_login_after_another_principals_takeover_is_rejected() {
    for app in apps() {
        let (before, mut after) = Death::Login.happen(&app).await;
        after.visit(&app, |session| async move { session.login("bob") }).await.value();
        assert_rejected(&before.send(&app, |session| async move { session.login("alice") }).await);
    }
}

#[tokio::test]
async fn a_second_login_after_the_sessions_end_begins_a_new_one() {
    for app in apps() {
        for principal in ["alice", "bob"] {
            let (mut before, mut after) = Death::Login.happen(&app).await;
            after.visit(&app, |session| async move { session.logout() }).await.value();
            before.visit(&app, move |session| async move { session.login(principal) }).await.value();
            assert_eq!(shown(&app, &before).await, (Some(principal.to_owned()), None));
            assert_eq!(shown(&app, &after).await, (None, None));
        }
    }
}

#[tokio::test]
async fn a_second_login_counts_as_the_same_session_of_the_principal() {
    let layer = SessionLayer::server(MemoryStore::new())
        .with_max_sessions(1, session_state::SessionLimitPolicy::RefuseLogin)
        .unwrap();
    let app = App::new(layer);
    let (mut before, _) = Death::Login.happen(&app).await;
    before.visit(&app, |session| async move { session.login("alice") }).await.value();
    assert_eq!(app.layer.sessions().unwrap().count("alice").await.unwrap(), 1);
}

#[tokio::test]
async fn values_that_a_second_login_writes_after_a_fresh_one_are_kept() {
    for app in apps() {
        let (mut before, mut first) = Death::Login.happen(&app).await;
        first.set(&app, "cart", 5).await;
        let login = |session: Session| async move {
            session.insert("former", 1).unwrap();
            session.login_fresh("alice");
            session.insert("click", 2).unwrap();
            session.login("alice");
        };
        before.visit(&app, login).await.value();
        assert_eq!(shown(&app, &first).await, (Some("alice".to_owned()), Some(5)), "the first login's values stay");
        assert_eq!((before.get(&app, "former").await, before.get(&app, "click").await), (None, Some(2)));
    }
}

#[tokio::test]
async fn a_second_login_after_a_logout_in_the_same_request_does_not_end_the_first_ones_session() {
    for app in apps() {
        let (mut before, mut first) = Death::Login.happen(&app).await;
        first.set(&app, "cart", 5).await;
        let login = |session: Session| async move {
            session.logout();
            session.login("alice");
        };
        before.visit(&app, login).await.value();
        let expected = (Some("alice".to_owned()), Some(5));
        assert_eq!(shown(&app, &first).await, expected);
        assert_eq!(shown(&app, &before).await, expected);
    }
}

/// Another node has encrypted the record of the first login at rest.
#[tokio::test]
async fn a_second_login_whose_predecessor_cannot_be_read_begins_a_new_session() {
    let store = MemoryStore::new();
    let app = App::new(SessionLayer::server(store.clone()));
    let sealing = SessionLayer::server(store).with_encryption_at_rest(KeyRing::generate().unwrap()).unwrap();
    let sealing = app.clone().with(|_| sealing.with_clock(app.clock.clone()));
    let mut sealed = Browser::default();
    sealed.set(&sealing, "cart", 1).await;
    let mut old = sealed.clone();
    sealed.visit(&sealing, |session| async move { session.login("alice") }).await.value();
    old.visit(&app, |session| async move { session.login("alice") }).await.value();
    assert_eq!(shown(&app, &old).await, (Some("alice".to_owned()), None));
    assert_eq!(shown(&sealing, &sealed).await, (Some("alice".to_owned()), Some(1)));
}

#[tokio::test]
async fn a_logout_is_rejected_with_an_id_whose_grace_is_over_while_its_session_goes_on() {
    let (app, mut browser) = (App::memory(), Browser::default());
    browser.visit(&app, async |session: Session| session.login("alice")).await.value();
    let mut older = browser.clone();
    browser.visit(&app, async |session: Session| session.renew()).await.value();
    app.pass(Duration::from_secs(11));
    let logout = older.visit(&app, async |session: Session| session.logout()).await;
    assert_eq!((logout.status, logout.set_cookies().len()), (StatusCode::CONFLICT, 0));
    let principal = async |session: Session| session.principal().map(|principal| principal.to_string());
    assert_eq!(browser.visit(&app, principal).await.value().as_deref(), Some("alice"));
}
