//! Requests with the cookie of a session that has ended: for a minute they write nothing, so that one that was under
//! way cannot take the place of a login that followed.

use std::time::Duration;

use http::StatusCode;
use session_state::store::Store as _;
use session_state::{
    Clock as _, CookieState, ErrorKind, InCookie, InStore, KeyRing, MemoryStore, Part, Session, SessionLayer,
};

use super::support::{SECOND, is_live, log_out, logged_in, nodes, principal};
use crate::browser::{App, Browser};
use crate::part_kit::{Having, Notes, Prefs, Second, write};

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Logout,
    Handle,
    All,
    LoginAgain,
}

impl End {
    /// Returns the number of records that are left for the part: a login leaves one without text.
    fn records(self) -> usize {
        usize::from(self == Self::LoginAgain)
    }
}

struct World {
    app: App,
    parts: MemoryStore,
}

impl World {
    fn new() -> Self {
        let (keys, parts) = (KeyRing::generate().unwrap(), MemoryStore::new());
        let state = CookieState::encrypted(keys.clone()).with_revocation(MemoryStore::new());
        let layer = SessionLayer::client(state)
            .having::<Notes>(InStore::new(parts.clone()))
            .having::<Second>(InCookie::encrypted(keys.clone()))
            .having::<Prefs>(InCookie::encrypted(keys).with_default_retention());
        Self { app: App::new(layer), parts }
    }

    /// Returns a copy of the cookie of a session that has ended.
    async fn ended(&self, end: End) -> Browser {
        let mut browser = logged_in(&self.app).await;
        let (copy, revocations) = (browser.clone(), self.app.layer.revocations().unwrap());
        let handle = browser.send(&self.app, |session| async move { session.handle().unwrap() }).await.value();
        match end {
            End::Logout => drop(log_out(&self.app, &mut browser).await),
            End::Handle => revocations.revoke_session(handle).await.unwrap(),
            End::All => revocations.revoke_all("alice").await.unwrap(),
            End::LoginAgain => browser.visit(&self.app, |session| async move { session.login("alice") }).await.value(),
        }
        copy
    }
}

#[tokio::test]
async fn for_a_minute_after_its_end_a_session_is_read_as_anonymous_and_not_written() {
    for end in [End::Logout, End::Handle, End::All, End::LoginAgain] {
        for passed in [Duration::ZERO, MINUTE - Duration::from_millis(1)] {
            let world = World::new();
            let copy = world.ended(end).await;
            world.app.pass(passed);
            let look = |session: Session| async move { (session.is_new(), session.principal()) };
            let visit = copy.send(&world.app, look).await;
            assert!(visit.set_cookies().is_empty(), "{end:?}");
            assert_eq!(visit.value(), (true, None), "{end:?}");
            let visit = copy.send(&world.app, |session| async move { session.logout() }).await;
            assert!(visit.set_cookies().is_empty(), "{end:?}");
            let visit = copy.send(&world.app, |session| async move { session.insert("n", 1).unwrap() }).await;
            assert_eq!(visit.error.as_ref().map(|error| error.kind()), Some(&ErrorKind::Ended), "{end:?}");
            assert_eq!((visit.status, visit.set_cookies().len()), (StatusCode::CONFLICT, 0), "{end:?}");
            let visits = [
                write::<Notes>(&mut copy.clone(), &world.app, "late").await,
                write::<Second>(&mut copy.clone(), &world.app, "late").await,
            ];
            for visit in visits {
                assert_eq!((visit.status, visit.set_cookies().len()), (StatusCode::CONFLICT, 0), "{end:?}");
            }
            assert_eq!(world.parts.len(), end.records(), "{end:?}");
            // This part needs no session.
            let visit = write::<Prefs>(&mut copy.clone(), &world.app, "dark").await;
            assert_eq!((visit.status, visit.set_cookies().len()), (StatusCode::OK, 1), "{end:?}");
        }
    }
}

#[tokio::test]
async fn a_login_with_the_cookie_of_an_ended_session_begins_another_one() {
    for end in [End::Logout, End::Handle, End::All, End::LoginAgain] {
        for saves in [false, true] {
            let world = World::new();
            let mut copy = world.ended(end).await;
            let former = copy.clone();
            let visit = copy.send_raw(&world.app, move |extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                session.login("bob");
                if saves {
                    session.save().await?;
                }
                Part::<Notes>::from_extensions(&extensions).await?.a = "of bob".to_owned();
                Ok((StatusCode::OK, ()))
            });
            let visit = visit.await;
            copy.receive(&visit);
            visit.value();
            assert_eq!(principal(&world.app, &copy).await.as_deref(), Some("bob"), "{end:?}");
            assert_eq!(world.parts.len(), end.records() + 1);
            assert!(!is_live(&world.app, &former).await);
        }
    }
}

#[tokio::test]
async fn after_a_minute_a_write_begins_another_session() {
    for end in [End::Logout, End::Handle, End::All, End::LoginAgain] {
        let world = World::new();
        let mut copy = world.ended(end).await;
        world.app.pass(MINUTE);
        copy.set(&world.app, "n", 1).await.value();
        assert_eq!(copy.get(&world.app, "n").await, Some(1), "{end:?}");
        assert_eq!(principal(&world.app, &copy).await, None, "{end:?}");
    }
}

#[tokio::test]
async fn a_write_during_the_logout_is_rejected_and_sets_no_cookie() {
    type Change = fn(&Session);
    let changes: [Change; 3] =
        [|session| session.insert("n", 1).unwrap(), |session| session.renew(), |session| session.clear()];
    for (change, passed) in changes.into_iter().flat_map(|change| [(change, Duration::ZERO), (change, SECOND * 2)]) {
        let [one, other] = nodes();
        let mut browser = logged_in(&one.app).await;
        browser.set(&one.app, "k", 1).await.value();
        let (app, slow, mut tab) = (one.app.clone(), other.app.clone(), browser.clone());
        let visit = browser.send(&other.app, move |session: Session| async move {
            log_out(&app, &mut tab).await;
            slow.pass(passed);
            change(&session);
        });
        let visit = visit.await;
        assert_eq!((visit.status, visit.set_cookies().len()), (StatusCode::CONFLICT, 0));
        assert_eq!(visit.error.unwrap().kind(), &ErrorKind::Ended);
    }
}

/// The logout has loaded the session before the login, so it ends what the login has made of it.
#[tokio::test]
async fn a_logout_that_began_before_a_second_login_ends_the_session_with_its_parts() {
    let world = World::new();
    let mut browser = logged_in(&world.app).await;
    write::<Notes>(&mut browser, &world.app, "early").await.value();
    let (app, mut tab) = (world.app.clone(), browser.clone());
    let logout = browser.visit(&world.app, move |session: Session| async move {
        for _ in 0..2 {
            tab.visit(&app, |session| async move { session.login("alice") }).await.value();
        }
        session.logout();
        tab
    });
    let tab = logout.await.value();
    assert!(browser.id().is_none());
    assert!(!is_live(&world.app, &tab).await);
    world.app.pass(MINUTE);
    world.parts.sweep(world.app.clock.now(), 10).await.unwrap();
    assert_eq!(world.parts.len(), 0);
}

#[tokio::test]
async fn a_handle_from_before_a_second_login_still_ends_the_session() {
    let [node] = nodes();
    let mut browser = logged_in(&node.app).await;
    let handle = browser.send(&node.app, |session| async move { session.handle().unwrap() }).await.value();
    browser.visit(&node.app, |session| async move { session.mark_reauthenticated().unwrap() }).await.value();
    assert!(is_live(&node.app, &browser).await);
    node.revocations().revoke_session(handle).await.unwrap();
    assert!(!is_live(&node.app, &browser).await);
}

#[tokio::test]
async fn a_session_that_was_spared_stays_after_a_reauthentication() {
    let [node] = nodes();
    let (mut own, mut phone) = (logged_in(&node.app).await, logged_in(&node.app).await);
    let revocations = node.revocations();
    own.visit(&node.app, |session| async move { revocations.revoke_others(&session).await.unwrap() }).await.value();
    node.app.pass(SECOND);
    own.visit(&node.app, |session| async move { session.mark_reauthenticated().unwrap() }).await.value();
    assert!(is_live(&node.app, &own).await);
    let visit = phone.visit(&node.app, |session| async move { session.login("alice") }).await;
    visit.value();
    assert!(is_live(&node.app, &phone).await, "a login after the revocation");
}
