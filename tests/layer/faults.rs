//! Every store call of every kind of request fails in every way.
//!
//! A call that fails once is retried transparently, and does not take effect twice if only its reply was lost. If the
//! retry fails too, the response is 503 without a cookie, and the session is either unchanged or fully changed, never
//! in between: changed only if the call took effect. The next request succeeds.

use std::error::Error as _;
use std::time::Duration;

use http::StatusCode;
use session_state::test_kit::{Call, Fault, Faults, FaultyStore};
use session_state::{ErrorKind, KeyRing, MemoryStore, Session, SessionLayer};

use crate::browser::{App, Browser, Visit};

const FAULTS: [Fault; 3] = [Fault::Refuse, Fault::Die, Fault::Hang];

/// Makes a call fail together with its retry.
fn fail_for_good(faults: &Faults, call: Call, fault: Fault) {
    faults.next_of(call, if fault == Fault::Refuse { 2 } else { 1 }, fault);
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Create,
    Update,
    /// Increments the value.
    Add,
    Renew,
    Login,
    Logout,
    /// Ends the session and begins another.
    Replace,
}

/// The state behind a cookie: nothing, or the principal and the value.
type Seen = Option<(Option<String>, Option<u32>)>;

const BEFORE: Seen = Some((None, Some(1)));

fn alice(n: u32) -> Seen {
    Some((Some("alice".into()), Some(n)))
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Create, Self::Update, Self::Add, Self::Renew, Self::Login, Self::Logout, Self::Replace];

    /// The calls that it makes, each kind once.
    fn calls(self) -> &'static [Call] {
        match self {
            Self::Create => &[Call::Create],
            Self::Update | Self::Add => &[Call::Load, Call::Update],
            Self::Renew | Self::Login => &[Call::Load, Call::Renew],
            Self::Logout => &[Call::Load, Call::Delete],
            Self::Replace => &[Call::Load, Call::Create, Call::Delete],
        }
    }

    async fn request(self, browser: &Browser, app: &App) -> Visit<()> {
        browser.send(app, move |session| async move { self.change(&session) }).await
    }

    fn change(self, session: &Session) {
        match self {
            Self::Create => session.insert("n", 1).unwrap(),
            Self::Update => session.insert("n", 2).unwrap(),
            Self::Add => assert!(session.update("n", |n: &mut u32| *n += 1).is_ok()),
            Self::Renew => session.renew(),
            Self::Login => session.login("alice"),
            Self::Logout => session.logout(),
            Self::Replace => {
                session.logout();
                session.insert("n", 3).unwrap();
            }
        }
    }

    fn has_session(self) -> bool {
        self != Self::Create
    }

    /// The state that the browser sees after the response.
    fn after(self) -> Seen {
        match self {
            Self::Create | Self::Renew => BEFORE,
            Self::Update | Self::Add => Some((None, Some(2))),
            Self::Login => alice(1),
            Self::Logout => None,
            Self::Replace => Some((None, Some(3))),
        }
    }

    /// The state that a browser without the response sees when one of the calls took effect and its reply was lost.
    fn without_answer(self, lost: Call) -> Seen {
        match (self, lost) {
            (_, Call::Update) => self.after(),
            (Self::Renew, Call::Renew) => self.after(),
            // A login kills the old ID at once, and a logout ends the session: both took effect.
            (_, Call::Renew | Call::Delete) => None,
            _ => self.before(),
        }
    }

    fn before(self) -> Seen {
        BEFORE.filter(|_| self.has_session())
    }
}

/// An application whose store fails on demand, and a browser before the request.
async fn begin(kind: Kind) -> (App, MemoryStore, Faults, Browser) {
    let memory = MemoryStore::new();
    let store = FaultyStore::new(memory.clone());
    let faults = store.faults();
    // Encrypted, so that every access to a record has to open it.
    let layer = SessionLayer::server(store).with_encryption_at_rest(KeyRing::generate().unwrap()).unwrap();
    let (app, mut browser) = (App::new(layer), Browser::default());
    if kind.has_session() {
        browser.set(&app, "n", 1).await;
    }
    let _ = app.events();
    faults.reset_calls();
    (app, memory, faults, browser)
}

/// Reads without keeping cookies.
async fn see(app: &App, browser: &Browser) -> Seen {
    let look = |session: Session| async move {
        let seen = (session.principal(), session.get("n").unwrap());
        Some(seen).filter(|_| !session.is_new())
    };
    browser.send(app, look).await.value()
}

fn assert_is_503<T>(visit: &Visit<T>, story: &str) {
    assert_eq!(visit.status, StatusCode::SERVICE_UNAVAILABLE, "{story}");
    assert_eq!(visit.error.as_ref().unwrap().kind(), &ErrorKind::Unavailable, "{story}");
    assert!(visit.set_cookies().is_empty(), "{story}: {:?}", visit.set_cookies());
    assert_eq!(visit.headers["vary"], "Cookie", "{story}");
}

#[tokio::test]
async fn without_a_fault_each_kind_of_request_makes_the_expected_calls_and_succeeds() {
    for kind in Kind::ALL {
        let (app, _, faults, mut browser) = begin(kind).await;
        let visit = kind.request(&browser, &app).await;
        browser.receive(&visit);
        assert_eq!(visit.status, StatusCode::OK);
        assert_eq!(faults.all_calls(), kind.calls().len(), "{kind:?}");
        assert!(kind.calls().iter().all(|call| faults.calls(*call) == 1), "{kind:?}");
        assert_eq!(see(&app, &browser).await, kind.after(), "{kind:?}");
    }
}

#[tokio::test]
async fn a_call_that_fails_once_is_retried_transparently() {
    for kind in Kind::ALL {
        let (app, memory, _, mut browser) = begin(kind).await;
        browser.receive(&kind.request(&browser, &app).await);
        let (sessions, events) = (memory.len(), app.events());
        for (call, fault) in kind.calls().iter().flat_map(|call| [(*call, Fault::Refuse), (*call, Fault::LoseReply)]) {
            let story = format!("{kind:?} with {fault:?} of {call:?}");
            let (app, memory, faults, mut browser) = begin(kind).await;
            faults.next_of(call, 1, fault);
            let visit = kind.request(&browser, &app).await;
            browser.receive(&visit);
            assert_eq!(visit.status, StatusCode::OK, "{story}");
            assert_eq!((memory.len(), app.events()), (sessions, events.clone()), "{story}");
            assert_eq!(see(&app, &browser).await, kind.after(), "{story}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_keeps_failing_is_503_and_leaves_the_session_unchanged_or_fully_changed() {
    for kind in Kind::ALL {
        for (call, fault) in kind.calls().iter().flat_map(|call| FAULTS.map(|fault| (*call, fault))) {
            let story = format!("{kind:?} with {fault:?} of {call:?}");
            let (app, memory, faults, mut browser) = begin(kind).await;
            fail_for_good(&faults, call, fault);
            let visit = kind.request(&browser, &app).await;
            faults.heal();
            assert_is_503(&visit, &story);

            let took_place = fault == Fault::Die;
            let expected = if took_place { kind.without_answer(call) } else { kind.before() };
            assert_eq!(see(&app, &browser).await, expected, "{story}");
            // One orphaned record may be left, which no cookie opens and which expires.
            let made =
                kind.calls().contains(&Call::Create) && (took_place || call == Call::Delete) && call != Call::Load;
            let kept = kind.has_session() && !(took_place && call == Call::Delete);
            assert_eq!(memory.len(), usize::from(made) + usize::from(kept), "{story}");
            // Unanswered changes cause no events.
            assert!(!app.events().contains(&"LoggedIn".to_owned()), "{story}");

            if kind == Kind::Replace && took_place && call == Call::Delete {
                let rejected = kind.request(&browser, &app).await;
                assert_eq!(rejected.status, StatusCode::CONFLICT, "{story}: the ID has just died");
                app.pass(Duration::from_secs(60));
            }
            let again = kind.request(&browser, &app).await;
            browser.receive(&again);
            assert_eq!(again.status, StatusCode::OK, "{story}");
            let after = match kind {
                // The client sees an error, retries, and the increment counts twice.
                Kind::Add if took_place && call == Call::Update => Some((None, Some(3))),
                kind => kind.after(),
            };
            assert_eq!(see(&app, &browser).await, after, "again after {story}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_save_in_the_handler_can_be_retried() {
    for kind in Kind::ALL {
        let writing = kind.calls().iter().filter(|call| **call != Call::Load);
        for (call, fault) in writing.flat_map(|call| FAULTS.map(|fault| (*call, fault))) {
            let story = format!("{kind:?} with {fault:?} of {call:?}");
            let (app, _, faults, mut browser) = begin(kind).await;
            let visit = browser
                .visit(&app, move |session| async move {
                    fail_for_good(&faults, call, fault);
                    kind.change(&session);
                    let (error, changed) = (session.save().await.unwrap_err(), session.principal());
                    assert_eq!(error.kind(), &ErrorKind::Unavailable);
                    faults.heal();
                    session.save().await.unwrap();
                    (changed, session.principal())
                })
                .await;
            let seen = see(&app, &browser).await;
            let (before, after) = visit.value();
            assert_eq!((after, seen), (before, kind.after()), "{story}");
        }
    }
}

/// The actions of a handler after a save whose reply was lost, and the final state of the session.
type Afterwards = (fn(&Session), Seen, usize);

#[tokio::test]
async fn changes_after_a_save_with_a_lost_reply_are_based_on_that_save() {
    let logout: fn(&Session) = |session| session.logout();
    let more: fn(&Session) = |session| assert!(session.update("n", |n: &mut u32| *n += 10).is_ok());
    let renew: fn(&Session) = |session| session.renew();
    let nothing: fn(&Session) = |_| ();
    let begin_anew: fn(&Session) = |session| {
        session.logout();
        session.insert("n", 7).unwrap();
    };
    let cases: [(Kind, Afterwards); 15] = [
        (Kind::Create, (nothing, BEFORE, 1)),
        (Kind::Create, (logout, None, 0)),
        (Kind::Create, (more, Some((None, Some(11))), 1)),
        (Kind::Create, (begin_anew, Some((None, Some(7))), 1)),
        (Kind::Add, (logout, None, 0)),
        (Kind::Add, (more, Some((None, Some(12))), 1)),
        (Kind::Add, (renew, Some((None, Some(2))), 1)),
        (Kind::Login, (logout, None, 0)),
        (Kind::Login, (more, alice(11), 1)),
        (Kind::Renew, (logout, None, 0)),
        (Kind::Renew, (more, Some((None, Some(11))), 1)),
        (Kind::Replace, (logout, None, 0)),
        (Kind::Replace, (more, Some((None, Some(13))), 1)),
        (Kind::Replace, (begin_anew, Some((None, Some(7))), 1)),
        (Kind::Logout, (more, Some((None, Some(10))), 1)),
    ];
    for (kind, (afterwards, expected, sessions)) in cases {
        let story = format!("{kind:?}, then {expected:?}");
        let (app, memory, faults, mut browser) = begin(kind).await;
        let visit = browser
            .visit(&app, move |session| async move {
                let call = kind.calls().iter().find(|call| **call != Call::Load).unwrap();
                faults.next_of(*call, 1, Fault::Die);
                kind.change(&session);
                session.save().await.unwrap_err();
                faults.heal();
                afterwards(&session);
            })
            .await;
        assert_eq!(visit.status, StatusCode::OK, "{story}");
        assert_eq!((see(&app, &browser).await, memory.len()), (expected, sessions), "{story}");
    }
}

#[tokio::test]
async fn a_change_with_an_unknown_outcome_is_not_repeated() {
    let (app, _, faults, mut browser) = begin(Kind::Add).await;
    let (other, other_app) = (browser.clone(), app.clone());
    let visit = browser
        .visit(&app, move |session| async move {
            faults.next_of(Call::Update, 1, Fault::Die);
            Kind::Add.change(&session);
            session.save().await.unwrap_err();
            faults.heal();
            assert_eq!(Kind::Add.request(&other, &other_app).await.status, StatusCode::OK);
        })
        .await;
    assert_is_503(&visit, "the write of another request hides the outcome");
    assert!(visit.error.unwrap().source().unwrap().source().unwrap().to_string().contains("is not repeated"));
    assert_eq!(see(&app, &browser).await, Some((None, Some(3))), "both took effect, each once");
}

#[tokio::test(start_paused = true)]
async fn a_failed_touch_fails_no_request() {
    for fault in FAULTS {
        let (app, _, faults, mut browser) = begin(Kind::Update).await;
        app.pass(Duration::from_secs(60));
        fail_for_good(&faults, Call::Touch, fault);
        let visit = browser.visit(&app, |_| async {}).await;
        assert_eq!(visit.status, StatusCode::OK);
        assert!(visit.set_cookies().is_empty());
        assert_eq!(app.events(), ["StoreFailed"]);
        faults.heal();
        assert_eq!(see(&app, &browser).await, BEFORE);
    }
}

#[tokio::test]
async fn a_touch_that_fails_once_is_retried() {
    for fault in [Fault::Refuse, Fault::LoseReply] {
        let (app, _, faults, mut browser) = begin(Kind::Update).await;
        app.pass(Duration::from_secs(20 * 60));
        faults.next_of(Call::Touch, 1, fault);
        assert_eq!(browser.visit(&app, |_| async {}).await.status, StatusCode::OK);
        assert_eq!(app.events(), [""; 0]);
        app.pass(Duration::from_secs(20 * 60));
        assert_eq!(see(&app, &browser).await, BEFORE, "{fault:?}: without the touch it would have expired");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_named_in_the_error_after_the_time_limit() {
    let (app, _, faults, browser) = begin(Kind::Update).await;
    let app = app.with(|layer| layer.with_store_timeout(Duration::from_millis(250)));
    faults.next(1, Fault::Hang);
    let begun = tokio::time::Instant::now();
    let visit = Kind::Update.request(&browser, &app).await;
    assert_eq!(begun.elapsed().as_millis() / 10, 25);
    let error = visit.error.unwrap();
    assert_eq!(error.source().unwrap().to_string(), "the memory store took longer than its time limit");
}
