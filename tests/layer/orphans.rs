//! Parts in stores whose session was not written, or is gone: they stay invisible and expire.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_state::store::{Store as _, StoreError};
use session_state::test_kit::{Call, Fault, Faults, FaultyStore};
use session_state::{
    Clock as _, ConflictPolicy, CookieState, Error, ErrorKind, InStore, KeyRing, MemoryStore, Part, Session,
    SessionLayer, SessionLimitPolicy, SessionPart,
};

use crate::browser::{App, Browser, Visit};
use crate::paused::{Paused, Pauses, Side, Yields};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The default idle timeout, and the touch interval.
const IDLE: Duration = Duration::from_secs(30 * 60);
const TOUCH: Duration = MINUTE;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Notes {
    text: String,
}

impl SessionPart for Notes {
    const NAME: &'static str = "notes";
}

async fn write(browser: &mut Browser, app: &App, text: &'static str) -> Visit<()> {
    let visit = browser.send_raw(app, move |extensions| async move {
        Part::<Notes>::from_extensions(&extensions).await?.text = text.to_owned();
        Ok((StatusCode::OK, ()))
    });
    let visit = visit.await;
    browser.receive(&visit);
    visit
}

/// Returns the principal and the content of the part, without keeping cookies.
async fn shown(browser: &Browser, app: &App) -> (Option<String>, String) {
    let look = |extensions| async move {
        let principal = Session::from_extensions(&extensions)?.load().await?.principal();
        Ok((StatusCode::OK, (principal, Part::<Notes>::from_extensions(&extensions).await?.text.clone())))
    };
    browser.send_raw(app, look).await.value()
}

/// Why the session of a request is rejected.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Refusal {
    TooManySessions,
    Conflict,
    TooLarge,
    Revoked,
    LoggedOut,
    Unavailable,
}

impl Refusal {
    const ALL: [Self; 6] =
        [Self::TooManySessions, Self::Conflict, Self::TooLarge, Self::Revoked, Self::LoggedOut, Self::Unavailable];

    fn layer(self, layer: SessionLayer) -> SessionLayer {
        match self {
            Self::TooManySessions => layer.with_max_sessions(1, SessionLimitPolicy::RefuseLogin).unwrap(),
            Self::Conflict => layer.with_conflict_policy(ConflictPolicy::Fail),
            Self::TooLarge => layer.with_max_record_size(1000),
            _ => layer,
        }
    }

    /// Causes the rejection.
    async fn provoke(self, app: &App, mut tab: Browser, faults: &Faults, session: &Session) -> Result<(), Error> {
        session.insert("n", 2)?;
        match self {
            Self::TooManySessions => session.login("bob"),
            Self::Conflict => drop(tab.set(app, "other", 1).await),
            Self::TooLarge => session.insert("large", "x".repeat(2000))?,
            Self::Revoked => drop(app.layer.sessions().unwrap().revoke_all("alice").await?),
            Self::LoggedOut => drop(tab.visit(app, |session| async move { session.logout() }).await),
            Self::Unavailable => faults.next_of(Call::Update, 2, Fault::Refuse),
        }
        Ok(())
    }

    fn is_answer(self, error: &ErrorKind) -> bool {
        match self {
            Self::TooManySessions => matches!(error, ErrorKind::TooManySessions { .. }),
            Self::Conflict => *error == ErrorKind::Conflict,
            Self::TooLarge => matches!(error, ErrorKind::TooLarge { .. }),
            Self::Revoked | Self::LoggedOut => *error == ErrorKind::Ended,
            Self::Unavailable => *error == ErrorKind::Unavailable,
        }
    }

    /// Whether the session exists afterwards.
    fn leaves_session(self) -> bool {
        !matches!(self, Self::Revoked | Self::LoggedOut)
    }
}

#[tokio::test]
async fn a_rejected_request_leaves_nothing_in_the_store_of_a_part_unless_its_write_may_still_take_effect() {
    let mut wrong = Vec::new();
    for refusal in Refusal::ALL {
        for (is_written, is_saved) in [(false, false), (false, true), (true, false), (true, true)] {
            let (sessions, parts) = (FaultyStore::new(MemoryStore::new()), MemoryStore::new());
            let faults = sessions.faults();
            let layer =
                refusal.layer(SessionLayer::server(sessions)).with_part::<Notes>(InStore::new(parts.clone())).unwrap();
            let (app, mut browser) = (App::new(layer), Browser::default());
            // Takes up the session limit of the layer.
            Browser::default().visit(&app, |session| async move { session.login("bob") }).await.value();
            browser.set(&app, "n", 1).await.value();
            if refusal != Refusal::TooManySessions {
                browser.visit(&app, |session| async move { session.login("alice") }).await.value();
            }
            if is_written {
                write(&mut browser, &app, "early").await.value();
            }
            let before = (shown(&browser, &app).await, parts.len());
            let (inner, tab) = (app.clone(), browser.clone());
            let visit = browser.send_raw(&app, move |extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                let mut part = Part::<Notes>::from_extensions(&extensions).await?;
                refusal.provoke(&inner, tab, &faults, &session).await?;
                part.text = "late".to_owned();
                drop(part);
                if is_saved {
                    session.save().await?;
                }
                Ok((StatusCode::OK, ()))
            });
            let visit = visit.await;
            let story = format!("{refusal:?}, written before: {is_written}, saved: {is_saved}");
            if !visit.error.as_ref().is_some_and(|error| refusal.is_answer(error.kind())) {
                wrong.push(format!("{story}: {} {:?}", visit.status, visit.error));
            }
            let after = (shown(&browser, &app).await, parts.len());
            let expected = if refusal.leaves_session() { before } else { ((None, String::new()), 0) };
            // After a failed save, the final commit of the request has written everything.
            let is_whole = after.0.1 == "late" && browser.get(&app, "n").await == Some(2);
            // A store that has failed may yet write the session that refers to the part.
            let is_as_before = after.0 == expected.0 && after.1 == 1;
            if after != expected && !(refusal == Refusal::Unavailable && (is_as_before || is_saved && is_whole)) {
                wrong.push(format!("{story}: {after:?} instead of {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Requests that write both the session and a part.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Create,
    Write,
    PartAlone,
    Login,
    Takeover,
    FreshLogin,
    Logout,
    LogoutAndWrite,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Create,
        Self::Write,
        Self::PartAlone,
        Self::Login,
        Self::Takeover,
        Self::FreshLogin,
        Self::Logout,
        Self::LogoutAndWrite,
    ];

    async fn begin(self, app: &App) -> Browser {
        let mut browser = Browser::default();
        if self == Self::Create {
            return browser;
        }
        write(&mut browser, app, "early").await.value();
        if self != Self::Login {
            browser.visit(app, |session| async move { session.login("alice") }).await.value();
        }
        browser
    }

    async fn send(self, browser: &Browser, app: &App) -> Visit<()> {
        let visit = browser.send_raw(app, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            match self {
                Self::Create | Self::Write => session.insert("n", 1)?,
                Self::PartAlone => {}
                Self::Login => session.login("alice"),
                Self::Takeover => session.login("bob"),
                Self::FreshLogin => session.login_fresh("bob"),
                Self::Logout | Self::LogoutAndWrite => session.logout(),
            }
            if self != Self::Logout {
                Part::<Notes>::from_extensions(&extensions).await?.update(|notes| notes.text.push_str("late"));
            }
            Ok((StatusCode::OK, ()))
        });
        visit.await
    }

    /// The states that the browser without a response may see: before, or after.
    fn may_be_shown(self, (principal, text): (Option<&str>, &str)) -> bool {
        match self {
            Self::Create => (principal, text) == (None, ""),
            Self::Write | Self::PartAlone => principal == Some("alice") && (text == "early" || text == "earlylate"),
            // With its old ID it sees the anonymous part, or nothing: the principal's part belongs to the new ID.
            Self::Login => principal.is_none() && (text == "early" || text.is_empty()),
            _ => (principal, text) == (Some("alice"), "early") || (principal, text) == (None, ""),
        }
    }
}

/// Lets a number of call steps pass, and fails all later ones.
#[derive(Clone, Debug)]
struct Budget(Arc<AtomicUsize>);

impl Pauses for Budget {
    async fn at(&self, _: Call, _: Side) -> Result<(), StoreError> {
        let spend = |left: usize| left.checked_sub(1);
        let spent = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        spent.map(drop).map_err(|_| StoreError::failed("budget", "the store is gone"))
    }
}

/// The two stores of a layer whose node has died.
struct Remains {
    app: App,
    parts: MemoryStore,
    browser: Browser,
}

impl Remains {
    /// Returns an error in the visible state, or in the entries left after the session has expired.
    async fn wrong(&self, kind: Kind) -> Option<String> {
        let (principal, text) = shown(&self.browser, &self.app).await;
        if !kind.may_be_shown((principal.as_deref(), &text)) {
            return Some(format!("it shows {principal:?} {text:?}"));
        }
        self.app.pass(IDLE + TOUCH);
        self.parts.sweep(self.app.clock.now(), usize::MAX).await.unwrap();
        (!self.parts.is_empty()).then(|| format!("{} parts are left", self.parts.len()))
    }
}

/// Kills the stores after a number of call steps. Returns the remains, and whether the request was answered.
async fn die_after(steps: usize, kind: Kind) -> (Remains, bool) {
    let budget = Budget(Arc::new(AtomicUsize::new(usize::MAX)));
    let (sessions, parts) = (MemoryStore::new(), MemoryStore::new());
    let layer = |sessions: Paused<MemoryStore, Budget>, parts| {
        SessionLayer::server(sessions).with_part::<Notes>(InStore::new(parts)).unwrap()
    };
    let paused = |store: &MemoryStore| Paused::new(store.clone(), budget.clone());
    let app = App::new(layer(paused(&sessions), paused(&parts)));
    let browser = kind.begin(&app).await;
    budget.0.store(steps, Ordering::Relaxed);
    let visit = kind.send(&browser, &app).await;
    budget.0.store(usize::MAX, Ordering::Relaxed);
    (Remains { app, parts, browser }, visit.status == StatusCode::OK)
}

/// Drops the request at a poll. Returns the remains, and whether the request was answered before.
async fn drop_at(poll: usize, kind: Kind) -> (Remains, bool) {
    let (sessions, parts) = (MemoryStore::new(), MemoryStore::new());
    let layer = SessionLayer::server(Paused::new(sessions, Yields));
    let app = App::new(layer.with_part::<Notes>(InStore::new(Paused::new(parts.clone(), Yields))).unwrap());
    let browser = kind.begin(&app).await;
    let mut request = Box::pin(kind.send(&browser, &app));
    let mut polls = 0;
    let is_answered = std::future::poll_fn(|context| {
        polls += 1;
        match request.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if polls == poll => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    });
    let is_answered = is_answered.await;
    drop(request);
    (Remains { app, parts, browser }, is_answered)
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_in_a_commit_leaks_no_part_and_leaves_none_beyond_the_idle_timeout() {
    let mut wrong = Vec::new();
    for kind in Kind::ALL {
        for steps in 0.. {
            let (remains, is_answered) = die_after(steps, kind).await;
            if is_answered {
                assert!(steps > 3, "the request makes store calls");
                break;
            }
            wrong.extend(remains.wrong(kind).await.map(|wrong| format!("{kind:?}, dead after {steps} steps: {wrong}")));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_in_a_commit_leaks_no_part_and_leaves_none_beyond_the_idle_timeout() {
    let mut wrong = Vec::new();
    for kind in Kind::ALL {
        for poll in 1.. {
            let (remains, is_answered) = drop_at(poll, kind).await;
            if is_answered {
                assert!(poll > 3, "the request makes store calls");
                break;
            }
            wrong.extend(remains.wrong(kind).await.map(|wrong| format!("{kind:?}, dropped at poll {poll}: {wrong}")));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// State in a store and in the cookie, with a part in a separate store.
fn layers(parts: &MemoryStore) -> [SessionLayer; 2] {
    let state = CookieState::encrypted(KeyRing::generate().unwrap());
    [SessionLayer::server(MemoryStore::new()), SessionLayer::client(state)]
        .map(|layer| layer.with_part::<Notes>(InStore::new(parts.clone())).unwrap())
}

#[tokio::test]
async fn a_part_expires_with_its_unused_session() {
    for at in 0..2 {
        for idle in [None, Some(2 * HOUR)] {
            let parts = MemoryStore::new();
            let (app, mut browser) = (App::new(layers(&parts)[at].clone()), Browser::default());
            write(&mut browser, &app, "early").await.value();
            if let Some(idle) = idle {
                browser.visit(&app, move |session| async move { session.set_idle_timeout(idle) }).await.value();
                assert_eq!(shown(&browser, &app).await.1, "early");
            }
            app.pass(idle.unwrap_or(IDLE) + TOUCH);
            parts.sweep(app.clock.now(), usize::MAX).await.unwrap();
            assert!(parts.is_empty(), "layer {at}, idle timeout {idle:?}");
        }
    }
}

/// With any timeouts, and without handlers that take the part: they read the session, or another value of it.
#[tokio::test]
async fn a_session_in_use_keeps_its_part_for_as_long_as_it_lives() {
    for at in 0..2 {
        for absolute in [Some(12 * HOUR), None] {
            for (idle, is_own) in [(IDLE, false), (24 * 14 * HOUR, true)] {
                for writes in [false, true] {
                    let parts = MemoryStore::new();
                    let app = App::new(layers(&parts)[at].clone().with_absolute_timeout(absolute));
                    let mut browser = Browser::default();
                    write(&mut browser, &app, "early").await.value();
                    if is_own {
                        let remember = move |session: Session| async move {
                            session.set_idle_timeout(idle);
                            session.set_absolute_timeout(365 * 24 * HOUR);
                        };
                        browser.visit(&app, remember).await.value();
                    }
                    let story = format!("layer {at}, {absolute:?}, {idle:?}, writes: {writes}");
                    for _ in 0..10 {
                        app.pass(idle - TOUCH - MINUTE);
                        parts.sweep(app.clock.now(), usize::MAX).await.unwrap();
                        if writes {
                            browser.set(&app, "n", 1).await.value();
                        } else {
                            browser.visit(&app, |session| async move { assert!(!session.is_new()) }).await.value();
                        }
                    }
                    assert_eq!(shown(&browser, &app).await.1, "early", "{story}");
                }
            }
        }
    }
}
