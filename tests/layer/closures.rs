//! Closures of the application that use the session: they may use it like a handler.
//!
//! A closure of `update` reads the session, writes to it, or holds a part of it. It runs in the handler and again after
//! a conflict, and it is dropped in many places. Each scene runs in its own thread, which a deadlock would block
//! forever.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Extensions, StatusCode};
use serde::{Deserialize, Serialize};
use session_state::test_kit::Call;
use session_state::{
    ConflictPolicy, InCookie, InStore, KeyRing, MemoryStore, Part, ServerErrorPolicy, Session, SessionLayer,
    SessionPart,
};

use crate::browser::{App, Browser};
use crate::paused::{Gates, Paused, Side};

/// Longer than any scene takes without a deadlock.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cart {
    lines: Vec<u32>,
}

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

/// Another part, which a closure can hold while it changes the first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Seen {
    count: u32,
}

impl SessionPart for Seen {
    const NAME: &'static str = "seen";
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Record,
    Cookie,
    Store,
}

/// The value that the closure changes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Of {
    Value,
    Part(Place),
}

const ALL_OF: [Of; 4] = [Of::Value, Of::Part(Place::Record), Of::Part(Place::Cookie), Of::Part(Place::Store)];

/// The action of the closure on the session.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Reads,
    Writes,
    /// Makes an update of another value, whose closure reads the session too.
    Updates,
    /// Reads the metadata of the session.
    Asks,
    Renews,
    /// Holds another part.
    HoldsPart,
    /// Holds another part, which is written back when the closure is dropped.
    HoldsChangedPart,
}

const ALL_DOES: [Does; 7] =
    [Does::Reads, Does::Writes, Does::Updates, Does::Asks, Does::Renews, Does::HoldsPart, Does::HoldsChangedPart];

/// The fate of the closure's request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Commits,
    Saves,
    /// A conflict with another request, after which the closure runs again.
    Conflicts,
    ConflictsUnderFail,
    LogsOut,
    Clears,
    LogsInFresh,
    TakesOver,
    /// A server error, under the policy that discards changes.
    IsDiscarded,
    /// The store fails in the commit.
    Fails,
    /// A save fails, and its restored changes are dropped.
    FailsToSave,
    Panics,
    /// The client disconnects during the commit.
    IsGone,
}

const ALL_THEN: [Then; 13] = [
    Then::Commits,
    Then::Saves,
    Then::Conflicts,
    Then::ConflictsUnderFail,
    Then::LogsOut,
    Then::Clears,
    Then::LogsInFresh,
    Then::TakesOver,
    Then::IsDiscarded,
    Then::Fails,
    Then::FailsToSave,
    Then::Panics,
    Then::IsGone,
];

#[derive(Clone, Copy, Debug)]
struct Story {
    of: Of,
    does: Does,
    then: Then,
}

/// State of a closure: the session, and a marker that shows whether the closure was dropped.
#[derive(Clone)]
struct Holding {
    session: Session,
    seen: Option<Arc<Part<Seen>>>,
    _alive: Arc<()>,
}

impl Holding {
    fn act(&self, does: Does) {
        let session = &self.session;
        match does {
            Does::Reads => drop(session.get::<u32>("n").unwrap()),
            Does::Writes => session.insert("written", 1).unwrap(),
            Does::Updates => {
                let inner = session.clone();
                let add = move |n: &mut u32| *n += inner.get::<u32>("n").unwrap().unwrap_or(0);
                session.update("inner", add).unwrap();
            }
            Does::Asks => drop((session.keys(), session.principal(), session.expires_at(), session.size())),
            Does::Renews => session.renew(),
            Does::HoldsPart => assert_eq!(self.seen.as_ref().map(|seen| seen.count), Some(0)),
            Does::HoldsChangedPart => assert_eq!(self.seen.as_ref().map(|seen| seen.count), Some(1)),
        }
    }
}

/// Makes the change of the story. Returns a marker that is dropped with the closure.
async fn change(story: Story, session: &Session, extensions: &Extensions) -> Weak<()> {
    let alive = Arc::new(());
    let gone = Arc::downgrade(&alive);
    let mut seen = match story.does {
        Does::HoldsPart | Does::HoldsChangedPart => Some(Part::<Seen>::from_extensions(extensions).await.unwrap()),
        _ => None,
    };
    if let Some(seen) = seen.as_mut().filter(|_| story.does == Does::HoldsChangedPart) {
        seen.count += 1;
    }
    let seen = seen.map(Arc::new);
    let holding = Holding { session: session.clone(), seen, _alive: alive };
    match story.of {
        Of::Value => {
            let add = move |n: &mut u32| {
                holding.act(story.does);
                *n += 1;
            };
            session.update("n", add).unwrap();
        }
        Of::Part(_) => {
            let mut cart = Part::<Cart>::from_extensions(extensions).await.unwrap();
            cart.update(move |cart| {
                holding.act(story.does);
                cart.lines.push(1);
            });
        }
    }
    gone
}

fn layer(story: Story, store: Paused<MemoryStore, Gates>) -> SessionLayer {
    let layer = match story.of {
        Of::Value | Of::Part(Place::Record) => SessionLayer::server(store),
        Of::Part(Place::Cookie) => {
            SessionLayer::server(store).with_part::<Cart>(InCookie::encrypted(KeyRing::generate().unwrap())).unwrap()
        }
        Of::Part(Place::Store) => SessionLayer::server(store.clone()).with_part::<Cart>(InStore::new(store)).unwrap(),
    };
    match story.then {
        Then::IsDiscarded => layer.with_server_error_policy(ServerErrorPolicy::Discard),
        Then::ConflictsUnderFail => layer.with_conflict_policy(ConflictPolicy::Fail),
        _ => layer,
    }
}

/// Runs the rest of the request, and returns the status of the response.
async fn go_on(story: Story, app: &App, mut tab: Browser, gates: &Gates, session: Session) -> StatusCode {
    match story.then {
        Then::Commits | Then::IsGone => {}
        Then::Saves => session.save().await.unwrap(),
        Then::Conflicts | Then::ConflictsUnderFail => {
            let visit = tab.send_raw(app, |extensions| async move {
                Part::<Cart>::from_extensions(&extensions).await?.lines.push(7);
                Session::from_extensions(&extensions)?.load().await?.insert("other", 1)?;
                Ok((StatusCode::OK, ()))
            });
            tab.receive(&visit.await);
        }
        Then::LogsOut => session.logout(),
        Then::Clears => session.clear(),
        Then::LogsInFresh => session.login_fresh("alice"),
        Then::TakesOver => session.login("bob"),
        Then::IsDiscarded => return StatusCode::INTERNAL_SERVER_ERROR,
        Then::Fails => gates.take_down(),
        Then::FailsToSave => {
            gates.take_down();
            let _ = session.save().await;
            gates.bring_up();
        }
        Then::Panics => {
            let handler = async move {
                let _session = session;
                panic!("the test panics here");
            };
            assert!(AssertUnwindSafe(handler).catch_unwind().await.is_err());
        }
    }
    StatusCode::OK
}

/// Runs the story, and returns whether the closure was dropped by the time of the response.
async fn play(story: Story) -> bool {
    let gates = Gates::default();
    let app = App::new(layer(story, Paused::new(MemoryStore::new(), gates.clone())));
    let mut browser = Browser::default();
    let begin = browser.send_raw(&app, |extensions| async move {
        let session = Session::from_extensions(&extensions)?.load().await?;
        session.login("alice");
        session.insert("n", 1)?;
        Part::<Cart>::from_extensions(&extensions).await?.lines.push(0);
        Ok((StatusCode::OK, ()))
    });
    let begun = begin.await;
    browser.receive(&begun);
    begun.value();
    let (inner, tab, stops) = (app.clone(), browser.clone(), gates.clone());
    let gone = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&gone);
    let visit = browser.send_raw(&app, move |extensions| async move {
        let session = Session::from_extensions(&extensions)?.load().await?;
        *kept.lock().unwrap() = Some(change(story, &session, &extensions).await);
        Ok((go_on(story, &inner, tab, &stops, session).await, ()))
    });
    if story.then == Then::IsGone {
        let stops = [Call::Update, Call::Renew, Call::Touch].map(|call| gates.stop(call, Side::Before));
        let reached = stops.iter().map(|stop| Box::pin(stop.reached()));
        // A part in a cookie may need no call, and then the response arrives.
        let mut reached = futures_util::future::select_all(reached);
        tokio::select! {
            _ = &mut reached => {}
            _ = visit => {}
        }
    } else {
        let _ = visit.await;
    }
    let gone = gone.lock().unwrap().take().expect("the handler has made its change");
    gone.strong_count() == 0
}

/// Runs stories, each in its own thread. Returns those that are stuck and those that leak their closure.
fn play_all(stories: impl Iterator<Item = Story>) -> (Vec<Story>, Vec<Story>) {
    let (mut stuck, mut left) = (Vec::new(), Vec::new());
    for story in stories {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
            sender.send(runtime.unwrap().block_on(play(story))).unwrap();
        });
        match receiver.recv_timeout(PATIENCE) {
            Ok(is_gone) if is_gone => {}
            Ok(_) => left.push(story),
            Err(RecvTimeoutError::Timeout) => stuck.push(story),
            Err(RecvTimeoutError::Disconnected) => panic!("{story:?} panics"),
        }
        // One stuck thread is enough.
        if stuck.len() == 3 {
            break;
        }
    }
    (stuck, left)
}

fn stories(of: Of) -> impl Iterator<Item = Story> {
    ALL_THEN.into_iter().flat_map(move |then| ALL_DOES.into_iter().map(move |does| Story { of, does, then }))
}

#[test]
fn an_update_of_a_value_may_use_the_session_and_is_freed_after_the_response() {
    assert_eq!(format!("{:?}", play_all(stories(Of::Value))), "([], [])");
}

#[test]
fn an_update_of_a_part_in_the_record_may_use_the_session_and_is_freed_after_the_response() {
    assert_eq!(format!("{:?}", play_all(stories(ALL_OF[1]))), "([], [])");
}

#[test]
fn an_update_of_a_part_in_a_cookie_may_use_the_session_and_is_freed_after_the_response() {
    assert_eq!(format!("{:?}", play_all(stories(ALL_OF[2]))), "([], [])");
}

#[test]
fn an_update_of_a_part_in_a_store_may_use_the_session_and_is_freed_after_the_response() {
    assert_eq!(format!("{:?}", play_all(stories(ALL_OF[3]))), "([], [])");
}
