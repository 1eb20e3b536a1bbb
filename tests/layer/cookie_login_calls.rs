//! Faults and concurrent requests at each store call of a login with the session in the cookie.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use session_state::store::StoreError;
use session_state::test_kit::Call;
use session_state::{ConflictPolicy, CookieState, InStore, MemoryStore, Part, Session, SessionLayer};

use crate::browser::{App, Browser, Visit};
use crate::part_kit::{Having, Notes, keys, login, read, write};
use crate::paused::{Paused, Pauses, Side};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

type Action = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Counts the calls, and disturbs some.
#[derive(Clone, Default)]
struct Disturbed(Arc<Mutex<Plan>>);

#[derive(Default)]
struct Plan {
    calls: usize,
    disturbance: Disturbance,
}

#[derive(Default)]
enum Disturbance {
    #[default]
    None,
    /// This many calls from one on fail before they take effect, or after that.
    Faults { from: usize, count: usize, side: Side },
    /// A request that another client sends before a call.
    Request { before: usize, action: Action },
}

impl Disturbed {
    /// Plans a disturbance, counted from the next call.
    fn plan(&self, disturbance: Disturbance) {
        *self.0.lock().unwrap() = Plan { calls: 0, disturbance };
    }

    /// Ends the disturbance. Returns the number of calls since it was planned.
    fn heal(&self) -> usize {
        mem::take(&mut *self.0.lock().unwrap()).calls
    }

    /// Returns the request to be sent before this call, if there is one.
    fn begin(&self) -> Option<Action> {
        let mut plan = self.0.lock().unwrap();
        plan.calls += 1;
        match mem::take(&mut plan.disturbance) {
            Disturbance::Request { before, action } if before + 1 == plan.calls => Some(action),
            other => {
                plan.disturbance = other;
                None
            }
        }
    }
}

impl Pauses for Disturbed {
    async fn at(&self, _: Call, side: Side) -> Result<(), StoreError> {
        if side == Side::Before
            && let Some(action) = self.begin()
        {
            action.await;
        }
        let plan = self.0.lock().unwrap();
        match plan.disturbance {
            Disturbance::Faults { from, count, side: fails } if fails == side => {
                match (from..from + count).contains(&(plan.calls - 1)) {
                    true => Err(StoreError::failed("disturbed", "a planned fault")),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Disturbed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disturbed")
    }
}

/// The same application twice: with disturbed stores, and for other requests.
struct World {
    app: App,
    other: App,
    calls: Disturbed,
}

impl World {
    fn new(is_revocable: bool, policy: ConflictPolicy) -> Self {
        let (keys, parts, marks, calls) = (keys(), MemoryStore::new(), MemoryStore::new(), Disturbed::default());
        let app = |parts: InStore, state: CookieState| {
            App::new(SessionLayer::client(state).with_conflict_policy(policy).having::<Notes>(parts))
        };
        let (state, disturbed) = (CookieState::encrypted(keys), |store| Paused::new(store, calls.clone()));
        let [own, others] = [true, false].map(|is_disturbed| match (is_revocable, is_disturbed) {
            (false, _) => state.clone(),
            (true, true) => state.clone().with_revocation(disturbed(marks.clone())),
            (true, false) => state.clone().with_revocation(marks.clone()),
        });
        let app_of_others = app(InStore::new(parts.clone()), others);
        Self { app: app(InStore::new(disturbed(parts)), own), other: app_of_others, calls }
    }
}

async fn principal(browser: &Browser, app: &App) -> Option<String> {
    browser.send(app, |session| async move { session.principal() }).await.value()
}

async fn notes(browser: &Browser, app: &App) -> (String, String) {
    let visit = browser.send_raw(app, |extensions| async move {
        let notes = Part::<Notes>::from_extensions(&extensions).await?;
        Ok((StatusCode::OK, (notes.a.clone(), notes.b.clone())))
    });
    visit.await.value()
}

/// Sends a request that logs in, and saves that once or twice if asked to.
async fn authenticate(browser: &Browser, app: &App, change: fn(&Session), saves: bool) -> Visit<()> {
    browser
        .send_raw(app, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            change(&session);
            if saves && session.save().await.is_err() {
                session.save().await?;
            }
            Ok((StatusCode::OK, ()))
        })
        .await
}

/// A session whose cookie some copies have with a longer timeout than this one, unless it is anonymous.
async fn begin(app: &App, is_anonymous: bool) -> Browser {
    let mut browser = Browser::default();
    if !is_anonymous {
        let remember = |session: Session| async move {
            session.login("alice");
            session.set_absolute_timeout(90 * DAY);
        };
        browser.visit(app, remember).await.value();
        browser.visit(app, |session| async move { session.reset_timeouts() }).await.value();
    }
    write::<Notes>(&mut browser, app, "early").await.value();
    browser.set(app, "n", 1).await.value();
    browser
}

#[tokio::test(start_paused = true)]
async fn a_login_with_a_fault_at_any_call_keeps_the_old_session_or_begins_the_new_one_with_its_parts() {
    const LOGIN: fn(&Session) = |session| session.login("alice");
    const REAUTHENTICATION: fn(&Session) = |session| session.mark_reauthenticated().unwrap();
    let mut faults = 0;
    for (is_anonymous, change) in [(true, LOGIN), (false, LOGIN), (false, REAUTHENTICATION)] {
        for (side, saves) in [Side::Before, Side::After].into_iter().flat_map(|side| [(side, false), (side, true)]) {
            for count in 1..=3 {
                for from in 0.. {
                    let world = World::new(true, ConflictPolicy::Merge);
                    let mut browser = begin(&world.app, is_anonymous).await;
                    world.calls.plan(Disturbance::Faults { from, count, side });
                    let visit = authenticate(&browser, &world.app, change, saves).await;
                    browser.receive(&visit);
                    if world.calls.heal() <= from {
                        break;
                    }
                    faults += 1;
                    let story = format!("{count} faults {side:?} call {from}, {saves}: {:?}", visit.error);
                    let is_logged_in = visit.status == StatusCode::OK || !is_anonymous;
                    assert_eq!(principal(&browser, &world.app).await.is_some(), is_logged_in, "{story}");
                    assert_eq!(browser.get(&world.app, "n").await, Some(1), "{story}");
                    assert_eq!(read::<Notes>(&browser, &world.app).await.unwrap(), "early", "{story}");
                }
            }
        }
    }
    assert!(faults > 100, "{faults}");
}

/// Sends a request that logs in, and changes the part if `text` is given.
async fn log_in(browser: &Browser, app: &App, text: Option<&'static str>) -> Visit<()> {
    browser
        .send_raw(app, move |extensions| async move {
            if let Some(text) = text {
                Part::<Notes>::from_extensions(&extensions).await?.a = text.to_owned();
            }
            Session::from_extensions(&extensions)?.load().await?.login("alice");
            Ok((StatusCode::OK, ()))
        })
        .await
}

async fn write_other(browser: &Browser, app: &App) -> Visit<()> {
    let handler = |extensions| async move {
        Part::<Notes>::from_extensions(&extensions).await?.b = "other".to_owned();
        Ok((StatusCode::OK, ()))
    };
    browser.send_raw(app, handler).await
}

/// The other request creates the part or changes it.
#[tokio::test(start_paused = true)]
async fn a_part_written_by_another_request_at_any_call_of_a_login_is_kept() {
    for policy in [ConflictPolicy::Merge, ConflictPolicy::Fail] {
        for (is_created, text) in [(true, None), (true, Some("changed")), (false, None), (false, Some("changed"))] {
            for before in 0.. {
                let world = World::new(false, policy);
                let mut browser = Browser::default();
                browser.set(&world.app, "n", 1).await.value();
                if !is_created {
                    write::<Notes>(&mut browser, &world.app, "early").await.value();
                }
                let (former, status) = (browser.clone(), Arc::new(Mutex::new(None)));
                let (tab, app, noted) = (former.clone(), world.other.clone(), Arc::clone(&status));
                let action =
                    Box::pin(async move { *noted.lock().unwrap() = Some(write_other(&tab, &app).await.status) });
                let _ = world.app.events();
                world.calls.plan(Disturbance::Request { before, action });
                let visit = log_in(&browser, &world.app, text).await;
                browser.receive(&visit);
                world.calls.heal();
                let Some(status) = *status.lock().unwrap() else {
                    assert_eq!(write_other(&former, &world.other).await.status, StatusCode::CONFLICT);
                    assert!(before >= 2, "the login reads the part and writes it");
                    break;
                };
                let story = format!("{policy:?}, {is_created}, {text:?}, call {before}: {status}, {:?}", visit.error);
                let has_logged_in = visit.status == StatusCode::OK;
                assert_eq!(principal(&browser, &world.app).await.is_some(), has_logged_in, "{story}");
                assert!(has_logged_in || policy == ConflictPolicy::Fail && text.is_some(), "{story}");
                assert!(!world.app.events().contains(&"StoreFailed".to_owned()), "{story}");
                let a = if is_created { "" } else { "early" };
                let a = text.filter(|_| has_logged_in).unwrap_or(a);
                let b = if status == StatusCode::OK { "other" } else { "" };
                assert_eq!(notes(&browser, &world.app).await, (a.to_owned(), b.to_owned()), "{story}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_is_kept_by_each_of_two_logins_that_have_read_it() {
    for before in 0..3 {
        let world = World::new(false, ConflictPolicy::Merge);
        let mut browser = Browser::default();
        write::<Notes>(&mut browser, &world.app, "early").await.value();
        let (mut tab, app, after) = (browser.clone(), world.other.clone(), Arc::new(Mutex::new(None)));
        let kept = Arc::clone(&after);
        let action = Box::pin(async move {
            login(&mut tab, &app, "alice").await.value();
            *kept.lock().unwrap() = Some(tab);
        });
        let _ = world.app.events();
        world.calls.plan(Disturbance::Request { before, action });
        login(&mut browser, &world.app, "alice").await.value();
        world.calls.heal();
        let tab = after.lock().unwrap().take().unwrap();
        assert_eq!(read::<Notes>(&tab, &world.app).await.unwrap(), "early", "call {before}");
        let own = if before == 0 { "" } else { "early" };
        assert_eq!(read::<Notes>(&browser, &world.app).await.unwrap(), own, "call {before}");
        assert!(!world.app.events().contains(&"StoreFailed".to_owned()), "call {before}");
    }
}
