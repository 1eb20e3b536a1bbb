//! Parts in separate records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_state::store::{Entry, Forward, Outcome, Record, Renewal, Store, StoreError, StoreKey, Touch, Version};
use session_state::test_kit::{Call, Fault, Faults, FaultyStore};
use session_state::{
    Clock as _, ConflictPolicy, CookieState, ErrorKind, Handle, InStore, KeyRing, MemoryStore, Part, Session,
    SessionLayer, SessionPart, Timestamp,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::Barrier;

use crate::browser::{App, Browser, Visit};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Heavy state that few requests need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Draft {
    pages: Vec<String>,
    #[serde(default)]
    count: u32,
}

impl SessionPart for Draft {
    const NAME: &'static str = "draft";
}

#[tokio::test]
async fn a_cookie_from_before_the_login_reads_nothing_written_after_it() {
    let parted = Parted::in_cookie();
    let app = &parted.app;
    let mut planted = Browser::default();
    assert_eq!(note(&mut planted, app, "planted").await.status, StatusCode::OK);
    let mut victim = planted.clone();
    victim.visit(app, |session| async move { session.login("alice") }).await;
    assert_eq!(pages(&mut victim, app).await, ["planted"], "a part of an anonymous session stays");
    assert_eq!(note(&mut victim, app, "secret").await.status, StatusCode::OK);
    assert_eq!(pages(&mut planted, app).await, [""; 0]);
    assert_eq!(note(&mut planted, app, "forged").await.status, StatusCode::CONFLICT);
    planted.visit(app, |session| async move { session.logout() }).await;
    assert_eq!(pages(&mut victim, app).await, ["planted", "secret"]);
    victim.visit(app, |session| async move { session.logout() }).await;
    assert_eq!(parted.kept().await, 0);
}

async fn note(browser: &mut Browser, app: &App, page: &'static str) -> Visit<()> {
    let visit = browser.send_raw(app, move |extensions| async move {
        Part::<Draft>::from_extensions(&extensions).await?.pages.push(page.to_owned());
        Ok((StatusCode::OK, ()))
    });
    let visit = visit.await;
    browser.receive(&visit);
    visit
}

async fn pages(browser: &mut Browser, app: &App) -> Vec<String> {
    let visit = browser.send_raw(app, |extensions| async move {
        Ok((StatusCode::OK, Part::<Draft>::from_extensions(&extensions).await?.pages.clone()))
    });
    visit.await.value()
}

/// An application with the part in a separate store, and the faults of that store.
struct Parted {
    app: App,
    sessions: Faults,
    parts: Faults,
    store: MemoryStore,
}

impl Parted {
    fn new() -> Self {
        let (sessions, parts) = (FaultyStore::new(MemoryStore::new()), FaultyStore::new(MemoryStore::new()));
        let (of_sessions, of_parts, store) = (sessions.faults(), parts.faults(), parts.inner().clone());
        let app = App::new(SessionLayer::server(sessions).with_part::<Draft>(InStore::new(parts)).unwrap());
        Self { app, sessions: of_sessions, parts: of_parts, store }
    }

    fn in_cookie() -> Self {
        let parts = FaultyStore::new(MemoryStore::new());
        let (of_parts, store) = (parts.faults(), parts.inner().clone());
        let state = CookieState::encrypted(KeyRing::generate().unwrap());
        let app = App::new(SessionLayer::client(state).with_part::<Draft>(InStore::new(parts)).unwrap());
        Self { app, sessions: FaultyStore::new(MemoryStore::new()).faults(), parts: of_parts, store }
    }

    /// Returns how many records are left once those that only mark a former session have expired.
    async fn kept(&self) -> usize {
        self.app.pass(Duration::from_secs(60));
        self.store.sweep(self.app.clock.now(), usize::MAX).await.unwrap();
        self.store.len()
    }
}

async fn write(browser: &mut Browser, app: &App, page: &'static str) -> Visit<()> {
    let visit = send_write(browser, app, page).await;
    browser.receive(&visit);
    visit
}

async fn send_write(browser: &Browser, app: &App, page: &'static str) -> Visit<()> {
    browser
        .send_raw(app, move |extensions| async move {
            let mut draft = Part::<Draft>::from_extensions(&extensions).await?;
            draft.update(move |draft| draft.pages.push(page.to_owned()));
            Ok((StatusCode::OK, ()))
        })
        .await
}

#[tokio::test]
async fn only_handlers_that_take_the_part_load_it_and_only_those_that_change_it_write_it() {
    let Parted { app, parts, sessions, .. } = Parted::new();
    let mut browser = Browser::default();
    write(&mut browser, &app, "one").await.value();
    assert_eq!((parts.calls(Call::Create), parts.all_calls()), (1, 1), "a new session has nothing to load");
    parts.reset_calls();
    browser.set(&app, "n", 1).await.value();
    assert_eq!(parts.all_calls(), 0);
    sessions.reset_calls();
    assert_eq!(pages(&mut browser, &app).await, ["one"]);
    assert_eq!((parts.calls(Call::Load), parts.all_calls(), sessions.all_calls()), (1, 1, 1));
    parts.reset_calls();
    sessions.reset_calls();
    write(&mut browser, &app, "two").await.value();
    assert_eq!((parts.calls(Call::Update), parts.all_calls()), (1, 2));
    assert_eq!((sessions.calls(Call::Load), sessions.all_calls()), (1, 1), "the session's record is not written");
}

#[tokio::test]
async fn a_part_ends_with_its_session() {
    for parted in [Parted::new(), Parted::in_cookie()] {
        let (app, mut browser) = (&parted.app, Browser::default());
        write(&mut browser, app, "one").await.value();
        browser.visit(app, |session| async move { session.login("alice") }).await.value();
        assert_eq!(pages(&mut browser, app).await, ["one"], "an anonymous session's part survives a login");
        let copy = browser.clone();
        browser.visit(app, |session| async move { session.login("bob") }).await.value();
        assert_eq!(pages(&mut browser, app).await, [] as [&str; 0], "another principal gets an empty part");
        assert_eq!(parted.kept().await, 0);
        assert_eq!(pages(&mut copy.clone(), app).await, [] as [&str; 0], "not even with an older cookie");
        write(&mut browser, app, "two").await.value();
        assert_eq!(parted.kept().await, 1);
        browser.visit(app, |session| async move { session.logout() }).await.value();
        assert_eq!(parted.kept().await, 0);
    }
}

#[tokio::test]
async fn writes_after_a_logout_begin_another_session() {
    let Parted { app, store, .. } = Parted::new();
    let mut browser = Browser::default();
    write(&mut browser, &app, "old").await.value();
    let visit = browser
        .send_raw(&app, |extensions| async move {
            let mut draft = Part::<Draft>::from_extensions(&extensions).await?;
            draft.pages.push("lost with the session".to_owned());
            drop(draft);
            Session::from_extensions(&extensions)?.load().await?.logout();
            let mut draft = Part::<Draft>::from_extensions(&extensions).await?;
            draft.update(|draft| draft.pages.push("new".to_owned()));
            Ok((StatusCode::OK, ()))
        })
        .await;
    browser.receive(&visit);
    visit.value();
    assert_eq!(pages(&mut browser, &app).await, ["new"]);
    assert_eq!(store.len(), 1);
}

#[tokio::test]
async fn concurrent_changes_of_a_part_are_all_kept() {
    for parted in [Parted::new(), Parted::in_cookie()] {
        let app = &parted.app;
        let mut browser = Browser::default();
        write(&mut browser, app, "first").await.value();
        let barrier = Arc::new(Barrier::new(20));
        let writers = (0..20).map(|_| {
            let (browser, barrier) = (browser.clone(), Arc::clone(&barrier));
            async move {
                let visit = browser.send_raw(app, |extensions| async move {
                    let mut draft = Part::<Draft>::from_extensions(&extensions).await?;
                    barrier.wait().await;
                    draft.update(|draft| draft.count += 1);
                    Ok((StatusCode::OK, ()))
                });
                visit.await.value();
            }
        });
        join_all(writers).await;
        let counted = browser.send_raw(app, |extensions| async move {
            let draft = Part::<Draft>::from_extensions(&extensions).await?;
            Ok((StatusCode::OK, (draft.count, draft.pages.len())))
        });
        assert_eq!(counted.await.value(), (20, 1));
    }
}

#[tokio::test]
async fn a_conflict_can_be_reported_instead() {
    let parted = Parted::new();
    let app = parted.app.clone().with(|layer| layer.with_conflict_policy(ConflictPolicy::Fail));
    let mut browser = Browser::default();
    write(&mut browser, &app, "one").await.value();
    let (slow, fast) = (browser.clone(), browser.clone());
    let inner = app.clone();
    let visit = slow
        .send_raw(&app, |extensions| async move {
            let mut draft = Part::<Draft>::from_extensions(&extensions).await?;
            send_write(&fast, &inner, "two").await.value();
            draft.pages.push("three".to_owned());
            Ok((StatusCode::OK, ()))
        })
        .await;
    assert_eq!(visit.status, StatusCode::CONFLICT);
    assert_eq!(app.events(), ["Created", "Conflict", "RequestFailed"]);
    assert_eq!(pages(&mut browser, &app).await, ["one", "two"]);
}

#[tokio::test]
async fn a_store_that_fails_once_is_retried_and_nothing_counts_twice() {
    for fault in [Fault::Refuse, Fault::LoseReply] {
        for call in [Call::Load, Call::Create, Call::Update] {
            let Parted { app, parts, .. } = Parted::new();
            let mut browser = Browser::default();
            if call != Call::Create {
                write(&mut browser, &app, "one").await.value();
            }
            parts.next_of(call, 1, fault);
            write(&mut browser, &app, "two").await.value();
            let expected: &[&str] = if call == Call::Create { &["two"] } else { &["one", "two"] };
            assert_eq!(pages(&mut browser, &app).await, expected, "{call:?} {fault:?}");
        }
    }
}

/// A store whose reply to an update is lost, and that another request writes to before the retry.
#[derive(Debug)]
struct Meddled {
    inner: MemoryStore,
    is_armed: Arc<AtomicBool>,
}

impl Store for Meddled {
    fn name(&self) -> &'static str {
        "meddled"
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        self.inner.load(key, now).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.inner.put(key, expected, entry, now).await
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        self.inner.create(key, record, now).await
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let outcome = self.inner.update(key, expected, Arc::clone(&record), now).await?;
        if !self.is_armed.swap(false, Ordering::Relaxed) {
            return Ok(outcome);
        }
        let mut other = Record::clone(&record);
        other.version = Version::from_u64(other.version.as_u64() + 1);
        self.inner.update(key, record.version, Arc::new(other), now).await?;
        Err(StoreError::failed("meddled", "the reply is lost"))
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        self.inner.touch(key, touch, now).await
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        self.inner.renew(renewal, now).await
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        self.inner.delete(key, forward, now).await
    }
}

#[tokio::test]
async fn a_part_change_with_an_unknown_outcome_is_not_repeated() {
    let is_armed = Arc::new(AtomicBool::new(false));
    let parts = InStore::new(Meddled { inner: MemoryStore::new(), is_armed: Arc::clone(&is_armed) });
    let app = App::new(SessionLayer::server(MemoryStore::new()).with_part::<Draft>(parts).unwrap());
    let mut browser = Browser::default();
    write(&mut browser, &app, "one").await.value();
    is_armed.store(true, Ordering::Relaxed);
    assert_eq!(write(&mut browser, &app, "two").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(pages(&mut browser, &app).await, ["one", "two"]);
}

#[tokio::test]
async fn a_failed_store_of_a_part_affects_only_handlers_that_take_the_part() {
    let Parted { app, parts, .. } = Parted::new();
    let mut browser = Browser::default();
    write(&mut browser, &app, "one").await.value();
    parts.next(2, Fault::Refuse);
    let visit = write(&mut browser, &app, "two").await;
    assert_eq!(visit.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(visit.error.unwrap().kind(), &ErrorKind::Unavailable);
    parts.next(1000, Fault::Refuse);
    browser.set(&app, "n", 1).await.value();
    parts.heal();
    assert_eq!(pages(&mut browser, &app).await, ["one"]);
}

#[tokio::test]
async fn a_login_that_cannot_carry_its_parts_fails() {
    let Parted { app, parts, .. } = Parted::new();
    let mut browser = Browser::default();
    write(&mut browser, &app, "one").await.value();
    parts.next(1000, Fault::Refuse);
    let visit = browser.visit(&app, |session| async move { session.login("alice") }).await;
    assert_eq!(visit.status, StatusCode::SERVICE_UNAVAILABLE, "requests from before it could still write the part");
    parts.heal();
    assert_eq!(pages(&mut browser, &app).await, ["one"]);
    browser.visit(&app, |session| async move { session.login("alice") }).await.value();
    assert_eq!(pages(&mut browser, &app).await, ["one"]);
}

#[tokio::test]
async fn a_logout_takes_place_even_if_the_part_cannot_be_removed() {
    let Parted { app, parts, store, .. } = Parted::new();
    let mut browser = Browser::default();
    write(&mut browser, &app, "one").await.value();
    let copy = browser.clone();
    parts.next(1000, Fault::Refuse);
    browser.visit(&app, |session| async move { session.logout() }).await.value();
    assert!(app.events().contains(&"StoreFailed".to_owned()));
    parts.heal();
    assert_eq!(pages(&mut copy.clone(), &app).await, [] as [&str; 0], "the part is unreachable");
    assert_eq!(store.len(), 1, "it expires");
}

#[tokio::test]
async fn a_part_lives_as_long_as_its_session_may() {
    for parted in [Parted::new(), Parted::in_cookie()] {
        let app = parted.app.clone().with(|layer| layer.with_idle_timeout(None));
        let mut browser = Browser::default();
        write(&mut browser, &app, "one").await.value();
        app.pass(11 * HOUR);
        browser.visit(&app, |session| async move { session.login("alice") }).await.value();
        app.pass(11 * HOUR);
        assert_eq!(pages(&mut browser, &app).await, ["one"], "the login began the absolute timeout anew");
        app.pass(HOUR);
        assert_eq!(pages(&mut browser, &app).await, [] as [&str; 0]);
    }
}

#[tokio::test]
async fn a_part_of_a_session_without_an_absolute_timeout_lasts() {
    let parted = Parted::new();
    let app = parted.app.clone().with(|layer| layer.with_idle_timeout(300 * 24 * HOUR).with_absolute_timeout(None));
    let mut browser = Browser::default();
    write(&mut browser, &app, "one").await.value();
    for _ in 0..5 {
        app.pass(250 * 24 * HOUR);
        assert_eq!(pages(&mut browser, &app).await, ["one"]);
    }
}

#[tokio::test]
async fn a_part_that_needs_a_session_after_the_response_is_too_late_and_leaves_no_trace() {
    let Parted { app, store, .. } = Parted::new();
    let browser = Browser::default();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    browser
        .send_raw(&app, |extensions| async move {
            sender.send(extensions).unwrap();
            Ok((StatusCode::OK, ()))
        })
        .await
        .value();
    let extensions = receiver.await.unwrap();
    let mut draft = Part::<Draft>::from_extensions(&extensions).await.unwrap();
    draft.update(|draft| draft.count += 1);
    let session = Session::from_extensions(&extensions).unwrap().load().await.unwrap();
    assert_eq!(session.save().await.unwrap_err().kind(), &ErrorKind::TooLate);
    assert_eq!(store.len(), 0);
}

#[tokio::test]
async fn a_part_that_is_too_large_is_named() {
    let parted = Parted::new();
    let app = parted.app.clone().with(|layer| layer.with_max_record_size(10));
    let visit = write(&mut Browser::default(), &app, "more than fits").await;
    assert!(matches!(visit.error.unwrap().kind(), ErrorKind::TooLarge { what, limit: 10, .. } if what == "draft"));
    assert_eq!(parted.kept().await, 0);
}

#[tokio::test]
async fn a_session_and_its_part_can_share_a_store() {
    let store = MemoryStore::new();
    let app = App::new(SessionLayer::server(store.clone()).with_part::<Draft>(InStore::new(store.clone())).unwrap());
    let mut browser = Browser::default();
    write(&mut browser, &app, "one").await.value();
    browser.set(&app, "n", 1).await.value();
    assert_eq!(store.len(), 2);
    assert_eq!(pages(&mut browser, &app).await, ["one"]);
    browser.visit(&app, |session| async move { session.logout() }).await.value();
    assert_eq!(store.len(), 0);
}

/// The key of a part, computed as documented.
fn part_key(session: Handle, part: &str) -> StoreKey {
    let message = Sha256::new().chain_update("session-state prt v1").chain_update(session.as_bytes());
    StoreKey::from_bytes(message.chain_update(part).finalize().into())
}

#[tokio::test]
async fn the_store_of_an_encrypted_part_sees_no_plaintext() {
    let keys = || KeyRing::generate().unwrap();
    let by_layer = |store: MemoryStore| {
        let layer = SessionLayer::server(MemoryStore::new()).with_encryption_at_rest(keys()).unwrap();
        layer.with_part::<Draft>(InStore::new(store)).unwrap()
    };
    let by_part = |store: MemoryStore| {
        let layer = SessionLayer::client(CookieState::encrypted(keys()));
        layer.with_part::<Draft>(InStore::new(store).with_encryption_at_rest(keys())).unwrap()
    };
    let not =
        |store: MemoryStore| SessionLayer::server(MemoryStore::new()).with_part::<Draft>(InStore::new(store)).unwrap();
    type Make<'m> = &'m dyn Fn(MemoryStore) -> SessionLayer;
    for (make, is_seen) in [(&by_layer as Make<'_>, false), (&by_part, false), (&not, true)] {
        let store = MemoryStore::new();
        let (app, mut browser) = (App::new(make(store.clone())), Browser::default());
        write(&mut browser, &app, "4111 1111").await.value();
        let handle = browser.visit(&app, |session| async move { session.handle() }).await.value().unwrap();
        let found = store.load(&part_key(handle, "draft"), app.clock.now()).await.unwrap();
        let Some(Entry::Live(record)) = found else { panic!("the part is not under the documented key") };
        assert_eq!(String::from_utf8_lossy(record.values.as_frames()).contains("4111"), is_seen);
        assert!(record.handle != handle && record.principal.is_none(), "the record is not listed as a session");
        assert_eq!(pages(&mut browser, &app).await, ["4111 1111"]);
    }
}

#[tokio::test]
async fn a_part_of_a_taken_over_session_is_found_after_a_conflict() {
    let Parted { app, .. } = Parted::new();
    let mut browser = Browser::default();
    browser.visit(&app, |session| async move { session.login("alice") }).await.value();
    let (fast, inner) = (browser.clone(), app.clone());
    let visit = browser
        .send_raw(&app, |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            fast.clone().set(&inner, "n", 1).await.value();
            session.login("bob");
            Part::<Draft>::from_extensions(&extensions).await?.pages.push("of bob".to_owned());
            Ok((StatusCode::OK, ()))
        })
        .await;
    browser.receive(&visit);
    visit.value();
    assert_eq!(pages(&mut browser, &app).await, ["of bob"]);
}
