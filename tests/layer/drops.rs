//! Requests whose client disconnects, on any store.
//!
//! The response future is dropped at every poll, or at every step of its store calls: before a call takes effect, and
//! before its reply arrives. Its changes then either took effect or not, and the next requests of the same browser and
//! principal are served at once: the dropped request holds no lock or lease. If the request has replaced the ID, the
//! browser's next write is rejected, and a second login continues the session.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_state::store::{Store, StoreError};
use session_state::test_kit::Call;
use session_state::{ErrorKind, InStore, Part, Session, SessionLayer, SessionLimitPolicy, SessionPart};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::browser::{App, Browser, Visit};
use crate::paused::{Paused, Pauses, Side};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest wait of a request after another one was dropped. A lease lasts for twenty seconds.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The limit of sessions per principal. It leaves room for one orphaned session.
const LIMIT: usize = 2;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Notes {
    count: u32,
}

impl SessionPart for Notes {
    const NAME: &'static str = "notes";
}

/// The kind of the dropped request. Each takes another plan or code path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    Create,
    Update,
    Touch,
    Renew,
    /// A login of a principal without sessions.
    Login,
    /// A login at the limit, which evicts the oldest session.
    LoginThatEvicts,
    /// A login at the limit, which is rejected.
    LoginThatIsRefused,
    Takeover,
    Reauthenticate,
    Logout,
    /// Ends the session and begins another one.
    LogoutAndWrite,
    Revoke,
    RevokeOthers,
    Part,
    PartAndValue,
    PartAndLogin,
}

impl Plan {
    /// The kinds for a store that does not find principals.
    pub(crate) const BASIC: &'static [Self] = &[
        Self::Create,
        Self::Update,
        Self::Touch,
        Self::Renew,
        Self::Takeover,
        Self::Reauthenticate,
        Self::Logout,
        Self::LogoutAndWrite,
        Self::Part,
        Self::PartAndValue,
        Self::PartAndLogin,
    ];

    /// The kinds that need a store which finds principals.
    pub(crate) const OF_PRINCIPALS: &'static [Self] =
        &[Self::Login, Self::LoginThatEvicts, Self::LoginThatIsRefused, Self::Revoke, Self::RevokeOthers];

    fn when_full(self) -> SessionLimitPolicy {
        if self == Self::LoginThatIsRefused { SessionLimitPolicy::RefuseLogin } else { SessionLimitPolicy::EvictOldest }
    }

    fn is_logged_in(self) -> bool {
        matches!(self, Self::Takeover | Self::Reauthenticate | Self::Logout | Self::Revoke | Self::RevokeOthers)
    }

    fn logs_in(self) -> bool {
        matches!(self, Self::Login | Self::LoginThatEvicts | Self::LoginThatIsRefused | Self::PartAndLogin)
    }

    /// Returns whether it replaces the ID, which dies at once.
    fn authenticates(self) -> bool {
        self.logs_in() || matches!(self, Self::Takeover | Self::Reauthenticate)
    }

    async fn send(self, scene: &Scene) -> Visit<()> {
        let (alice, sessions) = (scene.alice.clone(), scene.app.layer.sessions().ok());
        let other = scene.principal_after(self);
        let visit = scene.browser.send_raw(&scene.app, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            match self {
                Self::Create | Self::Update | Self::PartAndValue => {
                    session.update("n", |n: &mut u32| *n += 1)?;
                }
                Self::Touch | Self::Part => {}
                Self::Renew => session.renew(),
                Self::Login | Self::LoginThatEvicts | Self::LoginThatIsRefused | Self::PartAndLogin => {
                    session.login(alice);
                }
                Self::Takeover => session.login(other),
                Self::Reauthenticate => session.mark_reauthenticated()?,
                Self::Logout => session.logout(),
                Self::LogoutAndWrite => {
                    session.logout();
                    session.insert("n", 100)?;
                }
                Self::Revoke => {
                    sessions.unwrap().revoke_all(&alice).await?;
                }
                Self::RevokeOthers => {
                    sessions.unwrap().revoke_others(&session).await?;
                }
            }
            if matches!(self, Self::Part | Self::PartAndValue | Self::PartAndLogin) {
                Part::<Notes>::from_extensions(&extensions).await?.update(|notes| notes.count += 1);
            }
            Ok((StatusCode::OK, ()))
        });
        visit.await
    }
}

/// The point at which a request is dropped, counted from one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Poll(usize),
    /// A point before or after a store call: no call is in flight.
    Step(usize),
}

/// Yields before and after each store call, and stops the call at which to drop the request.
#[derive(Clone, Debug)]
struct Steps {
    left: Arc<AtomicUsize>,
    reached: Arc<Notify>,
}

impl Steps {
    fn new() -> Self {
        Self { left: Arc::new(AtomicUsize::new(usize::MAX)), reached: Arc::default() }
    }

    /// Runs a request up to a point, and drops it there. Returns its status if it was answered before.
    async fn drop_at(&self, place: Place, request: impl Future<Output = Visit<()>>) -> Option<StatusCode> {
        let (mut request, mut polls) = (Box::pin(request), 0);
        if let Place::Step(step) = place {
            self.left.store(step, Ordering::SeqCst);
        }
        let by_poll = std::future::poll_fn(|context| {
            polls += 1;
            match request.as_mut().poll(context) {
                Poll::Ready(visit) => Poll::Ready(Some(visit.status)),
                Poll::Pending if matches!(place, Place::Poll(poll) if poll == polls) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        let status = tokio::select! {
            status = by_poll => status,
            () = self.reached.notified() => None,
        };
        self.left.store(usize::MAX, Ordering::SeqCst);
        status
    }
}

impl Pauses for Steps {
    async fn at(&self, _: Call, _: Side) -> Result<(), StoreError> {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
        Ok(())
    }
}

/// The state behind a cookie: the principal, a value and a part.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    is_new: bool,
    principal: Option<String>,
    n: Option<u32>,
    count: u32,
}

/// An application, and a browser before the request.
struct Scene {
    app: App,
    steps: Steps,
    browser: Browser,
    /// The principal, unique for this scene, since the store may be shared.
    alice: String,
    /// Other devices of the principal.
    devices: Vec<Browser>,
}

impl Scene {
    async fn new<S: Store + Clone>(store: &S, plan: Plan) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let alice = format!("alice {}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let steps = Steps::new();
        let paused = || Paused::new(store.clone(), steps.clone());
        let layer = SessionLayer::server(paused()).with_part::<Notes>(InStore::new(paused())).unwrap();
        let layer = if store.principals().is_some() {
            layer.with_max_sessions(LIMIT, plan.when_full()).unwrap()
        } else {
            layer
        };
        let layer = layer.with_touch_interval(Duration::from_secs(60)).with_idle_timeout(DAY);
        // The system clock, which the server uses to expire entries.
        let app = App::on_system_time(layer);
        let (browser, devices) = (Browser::default(), Vec::new());
        let mut scene = Self { app, steps, browser, alice, devices };
        let has_devices = matches!(plan, Plan::LoginThatEvicts | Plan::LoginThatIsRefused);
        for _ in 0..if has_devices { LIMIT } else { usize::from(plan == Plan::RevokeOthers) } {
            let device = scene.log_in(Browser::default()).await.1;
            scene.devices.push(device);
        }
        if plan != Plan::Create {
            let visit = scene.browser.send_raw(&scene.app, |extensions| async move {
                Session::from_extensions(&extensions)?.load().await?.insert("n", 1)?;
                Part::<Notes>::from_extensions(&extensions).await?.count = 1;
                Ok((StatusCode::OK, ()))
            });
            let visit = visit.await;
            scene.browser.receive(&visit);
            visit.value();
        }
        if plan.is_logged_in() {
            scene.browser = scene.log_in(scene.browser.clone()).await.1;
        }
        if plan == Plan::Touch {
            scene.app.pass(Duration::from_secs(61));
        }
        scene
    }

    async fn log_in(&self, mut browser: Browser) -> (StatusCode, Browser) {
        let alice = self.alice.clone();
        let visit = browser.visit(&self.app, |session| async move { session.login(alice) }).await;
        (visit.status, browser)
    }

    async fn see(&self, browser: &Browser) -> Seen {
        let look = |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            let count = Part::<Notes>::from_extensions(&extensions).await?.count;
            let (is_new, principal, n) = (session.is_new(), session.principal(), session.get("n")?);
            Ok((StatusCode::OK, Seen { is_new, principal, n, count }))
        };
        browser.send_raw(&self.app, look).await.value()
    }

    /// The states that the browser may see: before the request, and after it took full effect.
    fn before_and_after(&self, plan: Plan) -> [Seen; 2] {
        let seen =
            |principal: Option<&String>, n, count| Seen { is_new: false, principal: principal.cloned(), n, count };
        let nothing = Seen { is_new: true, principal: None, n: None, count: 0 };
        let alice = plan.is_logged_in().then_some(&self.alice);
        let before = if plan == Plan::Create { nothing.clone() } else { seen(alice, Some(1), 1) };
        let after = match plan {
            Plan::Update => seen(alice, Some(2), 1),
            Plan::Part => seen(alice, Some(1), 2),
            Plan::PartAndValue => seen(alice, Some(2), 2),
            Plan::Create | Plan::Touch | Plan::Renew | Plan::RevokeOthers | Plan::LoginThatIsRefused => before.clone(),
            // The browser's ID is dead.
            _ => nothing,
        };
        [before, after]
    }

    /// The principal after a request that authenticates.
    fn principal_after(&self, plan: Plan) -> String {
        if plan == Plan::Takeover { format!("{} too", self.alice) } else { self.alice.clone() }
    }

    /// The state that the browser sees after it has logged in the principal, with an ID that the request has replaced.
    fn after_second_login(&self, plan: Plan) -> Seen {
        let (n, count) = match plan {
            Plan::Takeover => (None, 0),
            Plan::PartAndLogin => (Some(1), 2),
            _ => (Some(1), 1),
        };
        Seen { is_new: false, principal: Some(self.principal_after(plan)), n, count }
    }
}

impl App {
    fn on_system_time(layer: SessionLayer) -> Self {
        let app = Self::unobserved(layer);
        app.clock.set(session_state::Clock::now(&session_state::SystemClock));
        app
    }
}

/// Collects failures after a request was dropped.
struct Judge<'s> {
    scene: &'s Scene,
    plan: Plan,
    wrong: Vec<String>,
    begun: Instant,
}

impl Judge<'_> {
    fn expect(&mut self, is_right: bool, what: impl fmt::Display) {
        if !is_right {
            self.wrong.push(what.to_string());
        }
    }

    fn expect_at_once(&mut self, what: &str) {
        let took = self.begun.elapsed();
        self.expect(took < AT_ONCE, format!("{what} took {took:?}"));
        self.begun = Instant::now();
    }

    /// Checks that the state is that of before or after, and that the browser can continue.
    async fn judge_visitor(&mut self) {
        let seen = self.scene.see(&self.scene.browser).await;
        let allowed = self.scene.before_and_after(self.plan);
        let is_allowed = allowed.contains(&seen);
        self.expect(is_allowed, format!("the browser sees {seen:?}, which is none of {allowed:?}"));
        let (mut browser, mut seen) = (self.scene.browser.clone(), seen);
        if seen.is_new && self.plan.authenticates() {
            seen = self.judge_replaced(&mut browser).await;
        } else if seen.is_new && self.plan != Plan::Create {
            self.expect_rejected(&mut browser).await;
            browser = Browser::default();
        }
        let status = self.write(&mut browser).await.status;
        self.expect(status == StatusCode::OK, format!("the browser gets {status}"));
        let then = self.scene.see(&browser).await;
        let expected = Seen { is_new: false, n: Some(seen.n.unwrap_or(0) + 1), ..seen };
        self.expect(then == expected, format!("the browser sees {then:?} instead of {expected:?} afterwards"));
        self.expect_at_once("the browser's request");
    }

    /// Checks that the client, which still has the replaced ID, cannot write but can repeat its login. Returns what it
    /// sees then.
    async fn judge_replaced(&mut self, browser: &mut Browser) -> Seen {
        self.expect_rejected(browser).await;
        let principal = self.scene.principal_after(self.plan);
        let login = browser.visit(&self.scene.app, |session| async move { session.login(principal) });
        let status = login.await.status;
        self.expect(status == StatusCode::OK, format!("a second login gets {status}"));
        let (seen, expected) = (self.scene.see(browser).await, self.scene.after_second_login(self.plan));
        self.expect(seen == expected, format!("after a second login there is {seen:?} instead of {expected:?}"));
        seen
    }

    /// Checks that a write with an ID that has just died is rejected.
    async fn expect_rejected(&mut self, browser: &mut Browser) {
        let rejected = self.write(browser).await;
        let is_rejected = rejected.error.as_ref().is_some_and(|error| *error.kind() == ErrorKind::Ended);
        let is_right = is_rejected && rejected.status == StatusCode::CONFLICT && rejected.set_cookies().is_empty();
        self.expect(is_right, format!("a write with the dead ID gets {} {:?}", rejected.status, rejected.headers));
    }

    async fn write(&self, browser: &mut Browser) -> Visit<()> {
        let add = |session: Session| async move {
            session.update("n", |n: &mut u32| *n += 1).unwrap();
        };
        browser.visit(&self.scene.app, add).await
    }

    /// Checks that the principal can log in, up to the limit.
    async fn judge_principal(&mut self) {
        let Ok(sessions) = self.scene.app.layer.sessions() else { return };
        let alice = &self.scene.alice;
        let count = sessions.count(alice).await.unwrap();
        self.expect(count <= LIMIT, format!("the principal has {count} sessions"));
        if self.plan.logs_in() {
            // The login may or may not have taken effect, and may have evicted one session but not all.
            let live = self.live_devices().await;
            let was_full = !self.scene.devices.is_empty();
            let is_room_made = count >= LIMIT - 1 && live >= LIMIT - 1;
            self.expect(!was_full || is_room_made, format!("{live} devices of {count} sessions are left"));
            self.expect(was_full || count <= 1, format!("the principal has {count} sessions"));
        }
        let (status, browser) = self.scene.log_in(Browser::default()).await;
        let is_refused = count == LIMIT && self.plan.when_full() == SessionLimitPolicy::RefuseLogin;
        let expected = if is_refused { StatusCode::FORBIDDEN } else { StatusCode::OK };
        self.expect(status == expected, format!("a login is answered with {status} instead of {expected}"));
        let seen = self.scene.see(&browser).await.principal;
        self.expect(is_refused || seen.as_ref() == Some(alice), format!("after a login there is {seen:?}"));
        let count = sessions.count(alice).await.unwrap();
        self.expect(count <= LIMIT, format!("the principal has {count} sessions after a login"));
        self.expect_at_once("the principal's login");
    }

    async fn live_devices(&self) -> usize {
        let mut live = 0;
        for device in &self.scene.devices {
            live += usize::from(self.scene.see(device).await.principal.as_ref() == Some(&self.scene.alice));
        }
        live
    }
}

/// Drops requests of each kind at each of their polls or steps, and fails with all failures.
pub(crate) async fn requests_that_are_dropped_keep_nobody_waiting<S: Store + Clone>(
    store: S,
    plans: &[Plan],
    place: fn(usize) -> Place,
) {
    let mut wrong = Vec::new();
    for plan in plans {
        for n in 1.. {
            let (scene, place) = (Scene::new(&store, *plan).await, place(n));
            if let Some(status) = scene.steps.drop_at(place, plan.send(&scene)).await {
                let is_refused = *plan == Plan::LoginThatIsRefused;
                assert_eq!(status, if is_refused { StatusCode::FORBIDDEN } else { StatusCode::OK }, "{plan:?}");
                assert!(n > 2, "{plan:?} makes store calls");
                break;
            }
            let mut judge = Judge { scene: &scene, plan: *plan, wrong: Vec::new(), begun: Instant::now() };
            judge.judge_visitor().await;
            judge.judge_principal().await;
            wrong.extend(judge.wrong.iter().map(|wrong| format!("{plan:?}, dropped at {place:?}: {wrong}")));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
