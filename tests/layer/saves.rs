//! A `save()` that fails, is dropped or times out during concurrent writes of the same request and of other tabs.
//!
//! The save is stopped inside a store call, before the call takes effect or before its reply arrives. It has or has not
//! replayed its changes on another tab's write by then, and the request writes before, during and after that.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_state::test_kit::Call;
use session_state::{
    CookieState, Error, ErrorKind, InCookie, KeyRing, MemoryStore, Part, ServerErrorPolicy, Session, SessionLayer,
    SessionPart,
};

use crate::browser::{App, Browser, Visit};
use crate::paused::{Gates, Paused, Side};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// One session in two applications: one behind gates, and one without gates for another tab.
struct Tabs {
    app: App,
    other: App,
    gates: Gates,
    browser: Browser,
}

impl Tabs {
    async fn new(set: impl Fn(SessionLayer) -> SessionLayer) -> Self {
        let (store, gates) = (MemoryStore::new(), Gates::default());
        let app = App::new(set(SessionLayer::server(Paused::new(store.clone(), gates.clone()))));
        let other = App::new(set(SessionLayer::server(store)));
        let mut browser = Browser::default();
        let begin = |session: Session| async move {
            session.login("alice");
            session.insert("a", 1).unwrap();
        };
        browser.visit(&other, begin).await.value();
        Self { app, other, gates, browser }
    }

    /// Returns the session as another tab sees it: its principal, and its keys in order.
    async fn shown(&self, browser: &Browser) -> (Option<String>, Vec<String>) {
        let look = |session: Session| async move {
            let mut keys = session.keys();
            keys.sort();
            (session.principal(), keys)
        };
        browser.send(&self.other, look).await.value()
    }
}

/// How a save fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    /// The task that saves is aborted.
    Aborted,
    TimedOut,
    Failed,
}

/// The time of an action relative to a save.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    Before,
    /// While the save is stopped.
    During,
    After,
}

/// A failed save, and the concurrent actions.
#[derive(Clone, Copy, Debug)]
struct Story {
    ending: Ending,
    stopped: Side,
    /// When another tab writes. If that is before the save, the save has replayed its changes on it when it is stopped.
    other: When,
    /// When the request itself writes something else.
    more: When,
    saves_again: bool,
    policy: ServerErrorPolicy,
    status: StatusCode,
}

impl Story {
    fn all(policy: ServerErrorPolicy, status: StatusCode) -> Vec<Self> {
        let mut all = Vec::new();
        for ending in [Ending::Aborted, Ending::TimedOut, Ending::Failed] {
            for stopped in Side::BOTH {
                for other in [When::Before, When::During, When::After] {
                    for more in [When::Before, When::During, When::After] {
                        let story = |saves_again| Self { ending, stopped, other, more, saves_again, policy, status };
                        all.extend([false, true].map(story));
                    }
                }
            }
        }
        all
    }

    /// Runs the story, and returns the error of the layer, if any.
    async fn play(self) -> Option<String> {
        let tabs = Tabs::new(|layer| layer.with_server_error_policy(self.policy)).await;
        let (mut browser, tab) = (tabs.browser.clone(), tabs.browser.clone());
        let (gates, other) = (tabs.gates.clone(), tabs.other.clone());
        let visit = browser
            .send_raw(&tabs.app, move |extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                session.insert("c", 3)?;
                session.set_idle_timeout(DAY);
                let beside = |when| {
                    let (session, other, mut tab) = (session.clone(), other.clone(), tab.clone());
                    async move {
                        if self.other == when {
                            tab.set(&other, "b", 2).await.value();
                        }
                        if self.more == when {
                            session.insert("d", 4).unwrap();
                        }
                    }
                };
                beside(When::Before).await;
                let nth = if self.other == When::Before { 2 } else { 1 };
                let stop = gates.stop_nth(Call::Update, self.stopped, nth);
                let saving = session.clone();
                let save = tokio::spawn(async move { saving.save().await });
                stop.reached().await;
                beside(When::During).await;
                match self.ending {
                    Ending::Aborted => save.abort(),
                    Ending::TimedOut => {}
                    Ending::Failed => {
                        gates.take_down();
                        stop.open();
                    }
                }
                let _ = save.await;
                gates.bring_up();
                beside(When::After).await;
                let again = if self.saves_again { Some(save_again(&session).await) } else { None };
                Ok((self.status, again))
            })
            .await;
        browser.receive(&visit);
        let shown = tabs.shown(&browser).await;
        self.wrong(&visit, &shown).map(|wrong| format!("{wrong}, {} shows {shown:?} after {self:?}", visit.status))
    }

    fn wrong(self, visit: &Visit<Option<Result<(), Error>>>, shown: &(Option<String>, Vec<String>)) -> Option<String> {
        let (principal, keys) = shown;
        let has = |expected: &[&str]| expected.iter().all(|key| keys.iter().any(|other| other == key));
        if principal.as_deref() != Some("alice") {
            return Some("the principal is lost".to_owned());
        }
        if !has(&["a", "b"]) {
            return Some("a commit of another tab is lost".to_owned());
        }
        if let Some(Some(Err(error))) = &visit.output {
            return Some(format!("the changes cannot be saved again: {error}"));
        }
        // The outcome is unknown only for a write that may have taken effect and that another tab has overwritten.
        let may_doubt = self.other != When::Before && !self.saves_again;
        if visit.status != self.status {
            return (!may_doubt || visit.status != StatusCode::SERVICE_UNAVAILABLE)
                .then(|| "no such answer".to_owned());
        }
        let is_kept = self.policy == ServerErrorPolicy::Keep || self.saves_again || self.status == StatusCode::OK;
        (is_kept && !has(&["c", "d"])).then(|| "an answered change is lost".to_owned())
    }
}

/// Saves after an error. The first save may report an unknown outcome, and the second succeeds.
async fn save_again(session: &Session) -> Result<(), Error> {
    match session.save().await {
        Err(error) if error.kind() == &ErrorKind::Unavailable => session.save().await,
        saved => saved,
    }
}

async fn play_all(policy: ServerErrorPolicy, status: StatusCode) {
    let mut wrong = Vec::new();
    for story in Story::all(policy, status) {
        wrong.extend(story.play().await);
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_save_no_change_of_any_request_is_lost() {
    play_all(ServerErrorPolicy::Keep, StatusCode::OK).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_save_a_server_error_that_keeps_changes_loses_none() {
    play_all(ServerErrorPolicy::Keep, StatusCode::INTERNAL_SERVER_ERROR).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_save_a_server_error_that_discards_changes_keeps_other_requests() {
    play_all(ServerErrorPolicy::Discard, StatusCode::INTERNAL_SERVER_ERROR).await;
}

/// A save is running when the handler returns, and fails while the final commit waits for it.
#[tokio::test(start_paused = true)]
async fn a_final_commit_that_waits_for_a_failing_save_loses_no_change() {
    for (policy, status) in
        [(ServerErrorPolicy::Keep, StatusCode::OK), (ServerErrorPolicy::Discard, StatusCode::INTERNAL_SERVER_ERROR)]
    {
        for (nth, side) in [1, 2].into_iter().flat_map(|nth| Side::BOTH.map(|side| (nth, side))) {
            let tabs = Tabs::new(|layer| layer.with_server_error_policy(policy)).await;
            let (mut browser, mut tab) = (tabs.browser.clone(), tabs.browser.clone());
            let (gates, other) = (tabs.gates.clone(), tabs.other.clone());
            let visit = browser.send_raw(&tabs.app, move |extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                session.insert("c", 3)?;
                tab.set(&other, "b", 2).await.value();
                let stop = gates.stop_nth(Call::Update, side, nth);
                let saving = session.clone();
                tokio::spawn(async move { saving.save().await });
                stop.reached().await;
                session.insert("d", 4)?;
                session.set_idle_timeout(DAY);
                Ok((status, ()))
            });
            let visit = visit.await;
            browser.receive(&visit);
            let story = format!("call {nth} stopped {side:?} it takes effect, {policy:?}: {}", visit.status);
            let (principal, keys) = tabs.shown(&browser).await;
            assert_eq!(principal.as_deref(), Some("alice"), "{story}");
            assert!(["a", "b"].iter().all(|key| keys.contains(&(*key).to_owned())), "{story}: {keys:?}");
            if visit.status == StatusCode::OK {
                assert_eq!(keys, ["a", "b", "c", "d"], "{story}");
            }
        }
    }
}

/// Actions of a request during its save.
fn change_of_login(session: &Session, kind: &str) {
    match kind {
        "update" => session.insert("c", 3).unwrap(),
        "renewal" => session.renew(),
        "login" => session.login("alice"),
        _ => session.mark_reauthenticated().unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn ending_the_other_sessions_during_a_save_spares_the_current_one() {
    let kinds = [
        ("update", Call::Update),
        ("renewal", Call::Renew),
        ("login", Call::Renew),
        ("reauthentication", Call::Renew),
        ("first login", Call::Create),
    ];
    for (kind, call) in kinds {
        for (side, is_aborted) in Side::BOTH.into_iter().flat_map(|side| [(side, false), (side, true)]) {
            let tabs = Tabs::new(|layer| layer).await;
            let mut browser = if call == Call::Create { Browser::default() } else { tabs.browser.clone() };
            let (sessions, gates) = (tabs.other.layer.sessions().unwrap(), tabs.gates.clone());
            let mut another = Browser::default();
            another.visit(&tabs.other, |session| async move { session.login("alice") }).await.value();
            let visit = browser.visit(&tabs.app, move |session| async move {
                change_of_login(&session, if call == Call::Create { "login" } else { kind });
                let stop = gates.stop(call, side);
                let saving = session.clone();
                let save = tokio::spawn(async move { saving.save().await });
                stop.reached().await;
                sessions.revoke_others(&session).await.unwrap();
                if is_aborted {
                    save.abort();
                } else {
                    stop.open();
                }
                save.await.ok().map(|saved| saved.map_err(|error| error.to_string()))
            });
            let story = format!("{kind}, stopped {side:?} it takes effect, aborted: {is_aborted}");
            let saved = visit.await.value();
            assert!(saved.is_none_or(|saved| saved.is_ok()), "{story}");
            assert_eq!(tabs.shown(&another).await.0, None, "{story}");
            assert_eq!(tabs.shown(&browser).await.0.as_deref(), Some("alice"), "{story}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ending_the_other_cookie_sessions_during_a_save_spares_the_current_one() {
    for (side, is_aborted) in Side::BOTH.into_iter().flat_map(|side| [(side, false), (side, true)]) {
        let gates = Gates::default();
        let store = Paused::new(MemoryStore::new(), gates.clone());
        let state = CookieState::encrypted(KeyRing::generate().unwrap()).with_revocation(store);
        let app = App::new(SessionLayer::client(state));
        let (mut browser, mut another) = (Browser::default(), Browser::default());
        for browser in [&mut browser, &mut another] {
            browser.visit(&app, |session| async move { session.login("alice") }).await.value();
        }
        app.pass(Duration::from_secs(90));
        let revocations = app.layer.revocations().unwrap();
        let visit = browser.visit(&app, move |session| async move {
            // A session with a longer timeout is noted in the store.
            session.set_absolute_timeout(30 * DAY);
            let stop = gates.stop(Call::Create, side);
            let saving = session.clone();
            let save = tokio::spawn(async move { saving.save().await });
            stop.reached().await;
            revocations.revoke_others(&session).await.unwrap();
            if is_aborted {
                save.abort();
            } else {
                stop.open();
            }
            let _ = save.await;
        });
        visit.await.value();
        let principal = |browser: Browser| {
            let app = app.clone();
            async move { browser.send(&app, |session| async move { session.principal() }).await.value() }
        };
        let story = format!("stopped {side:?} it takes effect, aborted: {is_aborted}");
        assert_eq!(principal(another).await, None, "{story}");
        assert_eq!(principal(browser).await.as_deref(), Some("alice"), "{story}");
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task that is polled where it is woken, as some executors do.
struct Inline(Mutex<Option<Task>>);

impl Inline {
    fn start(task: impl Future<Output = ()> + Send + 'static) {
        Arc::new(Self(Mutex::new(Some(Box::pin(task))))).wake();
    }
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        // It may be woken from within its own poll.
        let Ok(mut task) = self.0.try_lock() else { return };
        let waker = Waker::from(Arc::clone(&self));
        if task.as_mut().is_some_and(|task| task.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(())) {
            *task = None;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_save_that_follows_the_final_commit_is_ok_only_if_its_id_was_sent() {
    for kind in ["renewal", "login", "reauthentication"] {
        let tabs = Tabs::new(|layer| layer).await;
        let mut browser = tabs.browser.clone();
        let (last_commit, late_save) =
            (tabs.gates.stop(Call::Update, Side::Before), tabs.gates.stop(Call::Renew, Side::Before));
        let (sender, mut sent) = tokio::sync::mpsc::unbounded_channel();
        let request = browser.visit(&tabs.app, move |session| async move {
            session.insert("b", 2).unwrap();
            sender.send(session).unwrap();
        });
        let saved = Arc::new(Mutex::new(None));
        let beside = async {
            last_commit.reached().await;
            let (session, saved) = (sent.recv().await.unwrap(), Arc::clone(&saved));
            change_of_login(&session, kind);
            Inline::start(async move {
                let answer = session.save().await;
                *saved.lock().unwrap() = Some(answer);
            });
            last_commit.open();
        };
        tokio::join!(request, beside).0.value();
        late_save.open();
        while saved.lock().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let saved = saved.lock().unwrap().take().unwrap();
        // After the grace period of a renewal.
        tabs.other.pass(Duration::from_secs(60));
        let shown = tabs.shown(&browser).await;
        assert_eq!(shown, (Some("alice".to_owned()), vec!["a".to_owned(), "b".to_owned()]), "{kind}: {saved:?}");
        assert!(saved.is_ok_and(|()| browser.id() != tabs.browser.id()) || browser.id() == tabs.browser.id(), "{kind}");
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Preferences {
    dark: bool,
}

impl SessionPart for Preferences {
    const NAME: &'static str = "preferences";
}

#[tokio::test]
async fn a_part_in_a_cookie_written_after_the_response_fails_as_too_late() {
    let keys = || KeyRing::generate().unwrap();
    for place in
        [InCookie::encrypted(keys()), InCookie::signed(keys()), InCookie::encrypted(keys()).with_default_retention()]
    {
        for has_session in [false, true] {
            let (place, story) = (place.clone(), format!("{place:?}, with a session: {has_session}"));
            let app = App::memory().with(|layer| layer.with_part::<Preferences>(place).unwrap());
            let mut browser = Browser::default();
            if has_session {
                browser.set(&app, "n", 1).await.value();
            }
            for is_saved in [true, false] {
                let (sender, receiver) = tokio::sync::oneshot::channel();
                let visit = browser.send_raw(&app, |extensions| async move {
                    let part = Part::<Preferences>::from_extensions(&extensions).await?;
                    let session = Session::from_extensions(&extensions)?.load().await?;
                    sender.send((part, session)).unwrap();
                    Ok((StatusCode::OK, ()))
                });
                visit.await.value();
                let _ = app.events();
                let (mut part, session) = receiver.await.unwrap();
                part.dark = true;
                drop(part);
                if is_saved {
                    assert_eq!(session.save().await.map_err(|error| error.kind().clone()), Err(ErrorKind::TooLate));
                }
                drop(session);
                let failed: &[&str] = if is_saved { &["RequestFailed"] } else { &[] };
                assert_eq!(app.events(), [failed, &["ChangesUnsaved"]].concat(), "{story}, saved: {is_saved}");
            }
        }
    }
}

#[tokio::test]
async fn a_logout_without_a_session_does_not_end_the_one_that_the_request_begins() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        let handler = |session: Session| async move {
            session.logout();
            session.insert("a", 1).unwrap();
            session.save().await.unwrap();
            let begun = session.handle();
            session.insert("b", 2).unwrap();
            session.save().await.unwrap();
            (begun, session.handle())
        };
        let (begun, then) = browser.visit(&app, handler).await.value();
        assert_eq!((begun, app.events()), (then, vec!["Created".to_owned()]));
        assert_eq!((browser.get(&app, "a").await, browser.get(&app, "b").await), (Some(1), Some(2)));
    }
}
