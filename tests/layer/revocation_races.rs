//! Concurrent revocations, logins and logouts of one principal, in every order of their store calls: each call waits
//! once before it takes effect, and a run is one list of turns.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use session_state::store::{Entry, Forward, Outcome, Record, Renewal, Store, StoreError, StoreKey, Touch, Version};
use session_state::{CookieState, ErrorKind, KeyRing, MemoryStore, Revocations, Session, SessionLayer, Timestamp};

use crate::browser::{App, Browser, Visit};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The number of turns that a run decides. After them the first request runs to its end, then the other.
const TURNS: u32 = 9;

/// A store whose calls each yield once.
#[derive(Clone, Debug, Default)]
struct Slow(MemoryStore);

async fn turn() {
    let mut has_waited = false;
    std::future::poll_fn(|_| match std::mem::replace(&mut has_waited, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

impl Store for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        turn().await;
        self.0.load(key, now).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        turn().await;
        self.0.put(key, expected, entry, now).await
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        turn().await;
        self.0.create(key, record, now).await
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        turn().await;
        self.0.update(key, expected, record, now).await
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        turn().await;
        self.0.touch(key, touch, now).await
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        self.0.renew(renewal, now).await
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        self.0.delete(key, forward, now).await
    }
}

/// The same application twice: with a store that takes turns, and without turns, for setup and checks.
struct World {
    slow: App,
    app: App,
}

impl World {
    fn new() -> Self {
        let (keys, store) = (KeyRing::generate().unwrap(), MemoryStore::new());
        let state = CookieState::encrypted(keys);
        Self {
            slow: App::new(SessionLayer::client(state.clone().with_revocation(Slow(store.clone())))),
            app: App::new(SessionLayer::client(state.with_revocation(store))),
        }
    }

    fn revocations(&self) -> Revocations {
        self.slow.layer.revocations().unwrap()
    }

    async fn log_in(&self) -> Browser {
        let mut browser = Browser::default();
        browser.visit(&self.app, |session| async move { session.login("alice") }).await;
        browser
    }

    async fn is_live(&self, browser: &Browser) -> bool {
        browser.send(&self.app, |session| async move { !session.is_new() }).await.value()
    }

    /// Sends a request that acts on the session. Returns whether there was one.
    fn request(&self, browser: &Browser, change: fn(&Session)) -> Running<Visit<bool>> {
        let (browser, app) = (browser.clone(), self.slow.clone());
        let handler = move |session: Session| async move {
            let has_come = !session.is_new();
            change(&session);
            has_come
        };
        Box::pin(async move { browser.send(&app, handler).await })
    }
}

type Running<T> = Pin<Box<dyn Future<Output = T>>>;

/// Takes turns by the bits of a number, until both are done.
fn run<A, B>(mut turns: u32, (mut one, mut other): (Running<A>, Running<B>)) -> (A, B) {
    let (mut first, mut second) = (None, None);
    let mut context = Context::from_waker(Waker::noop());
    for step in 0.. {
        assert!(step < 1000, "the run does not end");
        let is_first = turns & 1 == 0;
        turns >>= 1;
        match (&first, &second) {
            (Some(_), Some(_)) => break,
            (None, _) if is_first || second.is_some() => {
                if let Poll::Ready(output) = one.as_mut().poll(&mut context) {
                    first = Some(output);
                }
            }
            _ => {
                if let Poll::Ready(output) = other.as_mut().poll(&mut context) {
                    second = Some(output);
                }
            }
        }
    }
    first.zip(second).unwrap()
}

/// Returns the browser with the cookies of the response applied.
fn after(browser: &Browser, visit: &Visit<bool>) -> Browser {
    let mut browser = browser.clone();
    browser.receive(visit);
    browser
}

#[tokio::test(start_paused = true)]
async fn a_logout_ends_each_copy_for_good_despite_concurrent_requests() {
    let others: [fn(&Session); 4] = [
        |session| {
            session.set_idle_timeout(90 * DAY);
            session.set_absolute_timeout(90 * DAY);
        },
        |session| {
            session.login("alice");
            session.set_idle_timeout(90 * DAY);
            session.set_absolute_timeout(90 * DAY);
        },
        |session| session.login("alice"),
        |session| session.insert("n", 1).unwrap(),
    ];
    for other in others {
        let mut met = 0;
        for turns in 0..1 << TURNS {
            let world = World::new();
            let browser = world.log_in().await;
            let logout = world.request(&browser, Session::logout);
            let (gone, visit) = run(turns, (logout, world.request(&browser, other)));
            let thief = after(&browser, &visit);
            if gone.output == Some(false) {
                // It came with the cookie from before the login, which has ended.
                assert!(gone.set_cookies().is_empty() && world.is_live(&thief).await, "{turns:b}");
                continue;
            }
            assert!(gone.set_cookies()[0].contains("Max-Age=0"), "{turns:b}");
            if visit.error.as_ref().is_some_and(|error| *error.kind() == ErrorKind::Ended) {
                // It gets the error that it is too late.
                assert!(visit.set_cookies().is_empty(), "{turns:b}");
            } else if !visit.value() {
                // It came after the logout, and begins a new session.
                continue;
            }
            met += 1;
            for days in [0, 1, 88] {
                world.app.pass(days * DAY);
                assert!(!world.is_live(&thief).await, "{turns:b}");
            }
        }
        assert!(met > 1 << (TURNS - 2), "many runs interleave: {met}");
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_revocations_all_succeed() {
    for is_there in [false, true] {
        for turns in 0..1 << TURNS {
            let world = World::new();
            if is_there {
                world.app.layer.revocations().unwrap().revoke_all("alice").await.unwrap();
            }
            let (own, phone) = (world.log_in().await, world.log_in().await);
            let [one, other] = [(); 2].map(|()| world.revocations());
            let (app, with) = (world.slow.clone(), own.clone());
            let others: Running<()> = Box::pin(async move {
                let revoke = |session: Session| async move { one.revoke_others(&session).await.unwrap() };
                with.send(&app, revoke).await.value();
            });
            let all: Running<()> = Box::pin(async move { other.revoke_all("alice").await.unwrap() });
            run(turns, (others, all));
            for dead in [&own, &phone] {
                assert!(!world.is_live(dead).await, "{turns:b}");
            }
            assert!(world.is_live(&world.log_in().await).await, "{turns:b}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_exception_of_two_equal_revocations_is_kept() {
    for turns in 0..1 << TURNS {
        let world = World::new();
        let (own, phone) = (world.log_in().await, world.log_in().await);
        let [one, other] = [(); 2].map(|()| {
            let (revocations, app, own) = (world.revocations(), world.slow.clone(), own.clone());
            let revoke = |session: Session| async move { revocations.revoke_others(&session).await.unwrap() };
            let running: Running<()> = Box::pin(async move { own.send(&app, revoke).await.value() });
            running
        });
        run(turns, (one, other));
        assert!(world.is_live(&own).await, "{turns:b}");
        assert!(!world.is_live(&phone).await, "{turns:b}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_ends_earlier_logins_and_not_later_ones() {
    for turns in 0..1 << TURNS {
        let world = World::new();
        let before = world.log_in().await;
        let revocations = world.revocations();
        let all: Running<()> = Box::pin(async move { revocations.revoke_all("alice").await.unwrap() });
        let (visit, ()) = run(turns, (world.request(&Browser::default(), |session| session.login("alice")), all));
        // A concurrent login may or may not end, and keeps that state.
        let during = after(&Browser::default(), &visit);
        let was_live = world.is_live(&during).await;
        let later = world.log_in().await;
        assert!(!world.is_live(&before).await, "{turns:b}");
        assert!(world.is_live(&later).await, "{turns:b}");
        assert_eq!(world.is_live(&during).await, was_live, "{turns:b}");
    }
}
