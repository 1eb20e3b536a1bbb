//! Requests with an ID whose session has just ended: they were sent before the client got the response of the logout,
//! or by a device whose session was revoked.

use std::time::Duration;

use http::StatusCode;
use session_state::{ErrorKind, Session, SessionLimitPolicy};

use crate::browser::{App, Browser, Visit};

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Logout,
    /// Which begins another session at once.
    LogoutAndWrite,
    Revocation,
    Eviction,
}

impl End {
    const ALL: [Self; 4] = [Self::Logout, Self::LogoutAndWrite, Self::Revocation, Self::Eviction];

    /// A browser with the ID of a session that has ended.
    async fn happen(self, app: &App) -> Browser {
        let mut browser = Browser::default();
        browser.visit(app, |session| async move { session.login("alice") }).await.value();
        browser.set(app, "cart", 1).await;
        let before = browser.clone();
        match self {
            Self::Logout => browser.visit(app, |session| async move { session.logout() }).await.value(),
            Self::LogoutAndWrite => {
                let logout = |session: Session| async move {
                    session.logout();
                    session.insert("cart", 9).unwrap();
                };
                browser.visit(app, logout).await.value();
            }
            Self::Revocation => {
                let handle = app.layer.sessions().unwrap().list("alice").await.unwrap()[0].handle;
                assert!(app.layer.sessions().unwrap().revoke("alice", handle).await.unwrap());
            }
            Self::Eviction => {
                app.pass(Duration::from_millis(1));
                let other = Browser::default();
                other.send(app, |session| async move { session.login("alice") }).await.value();
            }
        }
        before
    }
}

fn apps() -> [App; 2] {
    let limited = |app: App| App::new(app.layer.with_max_sessions(1, SessionLimitPolicy::EvictOldest).unwrap());
    let [memory, at_rest, ..] = App::everywhere();
    [memory, at_rest].map(limited)
}

fn assert_rejected<T>(visit: &Visit<T>, story: &str) {
    assert_eq!(visit.status, StatusCode::CONFLICT, "{story}");
    assert_eq!(visit.error.as_ref().map(session_state::Error::kind), Some(&ErrorKind::Ended), "{story}");
    assert!(visit.set_cookies().is_empty(), "{story}: {:?}", visit.set_cookies());
}

#[tokio::test]
async fn a_write_with_an_id_whose_session_has_just_ended_is_rejected_without_a_cookie() {
    for app in apps() {
        for end in End::ALL {
            let (before, story) = (end.happen(&app).await, format!("{end:?}"));
            let write = |session: Session| async move { session.insert("cart", 7).unwrap() };
            assert_rejected(&before.send(&app, write).await, &story);
            let save = |session: Session| async move {
                session.insert("cart", 7).unwrap();
                session.save().await.unwrap_err().kind().clone()
            };
            assert_eq!(before.send(&app, save).await.value(), ErrorKind::Ended, "{story}");
            app.pass(Duration::from_millis(59_998));
            assert_rejected(&before.send(&app, write).await, &story);
            app.pass(Duration::from_millis(2));
            let unknown = before.send(&app, write).await;
            assert_eq!(unknown.set_cookies().len(), 1, "{story}: a minute later the ID is unknown");
        }
    }
}

#[tokio::test]
async fn a_read_or_logout_with_an_id_whose_session_has_just_ended_is_anonymous_and_sets_no_cookie() {
    for app in apps() {
        for end in End::ALL {
            let before = end.happen(&app).await;
            let look = |session: Session| async move {
                (session.principal(), session.is_new(), session.take::<u32>("notice").unwrap())
            };
            let visit = before.send(&app, look).await;
            assert!(visit.set_cookies().is_empty(), "{end:?}");
            assert_eq!(visit.value(), (None, true, None), "{end:?}");
            let logout = before.send(&app, |session| async move { session.logout() }).await;
            assert!(logout.set_cookies().is_empty(), "{end:?}");
            logout.value();
        }
    }
}

#[tokio::test]
async fn a_login_with_an_id_whose_session_has_just_ended_begins_a_new_session() {
    for app in apps() {
        for end in End::ALL {
            for (principal, is_saved) in [("alice", false), ("bob", true)] {
                let mut browser = end.happen(&app).await;
                let before = browser.clone();
                let login = move |session: Session| async move {
                    session.login(principal);
                    if is_saved {
                        session.save().await.unwrap();
                    }
                    session.len()
                };
                assert_eq!(browser.visit(&app, login).await.value(), 0, "{end:?}");
                assert_ne!(browser.id(), before.id());
                let look = |session: Session| async move { session.principal() };
                assert_eq!(browser.send(&app, look).await.value().as_deref(), Some(principal), "{end:?}");
                assert_eq!(before.send(&app, look).await.value(), None, "{end:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_second_login_after_one_that_replaced_an_ended_session_continues_it() {
    for app in apps() {
        let mut browser = Browser::default();
        browser.set(&app, "cart", 1).await;
        let mut before = browser.clone();
        let login = |session: Session| async move {
            session.logout();
            session.login("alice");
            session.insert("cart", 5).unwrap();
        };
        browser.visit(&app, login).await.value();
        before.visit(&app, |session| async move { session.login("alice") }).await.value();
        assert_eq!((before.get(&app, "cart").await, browser.get(&app, "cart").await), (Some(5), Some(5)));
    }
}
