//! Each kind of request while the network to a real server fails in each way.
//!
//! A failure that has passed by the time of the retry stays invisible, and the request takes effect once. Otherwise the
//! response is a timely 503 without a cookie. The session is then either unchanged or fully changed, never in between,
//! and never looks missing.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use session_state::{ErrorKind, Session};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::adapters::Adapter;
use crate::browser::{App, Browser, Visit};
use crate::harness::process::Server;
use crate::harness::proxy::{Fault, Proxy};

/// How long a call of the store may take while the network fails.
const STORE_TIMEOUT: Duration = Duration::from_millis(300);
/// The limit for a whole request: a few calls, each retried once, on a busy machine.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// The layer's default.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// How long a store may take to notice that the network has recovered.
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

const FAULTS: [Fault; 5] = [Fault::BlackHole, Fault::Reset, Fault::Refuse, Fault::CutReplies(0), Fault::CutReplies(3)];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Read,
    Touch,
    Create,
    Increment,
    Renew,
    Login,
    Logout,
    /// Ends the session and starts another.
    Replace,
}

/// What a cookie gives access to: nothing, or the principal and the value.
type Seen = Option<(Option<String>, Option<u32>)>;

impl Kind {
    const ALL: [Self; 8] =
        [Self::Read, Self::Touch, Self::Create, Self::Increment, Self::Renew, Self::Login, Self::Logout, Self::Replace];

    fn change(self, session: &Session) {
        match self {
            Self::Read | Self::Touch => {}
            Self::Create => session.insert("n", 1).unwrap(),
            Self::Increment => drop(session.update("n", |n: &mut u32| *n += 1).unwrap()),
            Self::Renew => session.renew(),
            Self::Login => session.login("alice"),
            Self::Logout => session.logout(),
            Self::Replace => {
                session.logout();
                session.insert("n", 3).unwrap();
            }
        }
    }

    /// What a browser sees before the request.
    fn before(self) -> Seen {
        (self != Self::Create).then_some((None, Some(1)))
    }

    /// What a browser sees after the response.
    fn after(self) -> Seen {
        match self {
            Self::Read | Self::Touch | Self::Create | Self::Renew => Some((None, Some(1))),
            Self::Increment => Some((None, Some(2))),
            Self::Login => Some((Some("alice".into()), Some(1))),
            Self::Logout => None,
            Self::Replace => Some((None, Some(3))),
        }
    }

    /// What a browser sees when the request took effect, wholly or in part, and the response was lost.
    fn without_answer(self) -> Seen {
        match self {
            Self::Read | Self::Touch | Self::Create | Self::Renew => self.before(),
            Self::Increment => self.after(),
            // A login retires the old ID without grace, and a logout ends the session.
            Self::Login | Self::Logout | Self::Replace => None,
        }
    }

    /// What a browser sees after an error and a successful retry.
    fn after_both(self) -> [Seen; 3] {
        match self {
            Self::Increment => [self.after(), Some((None, Some(3))), self.after()],
            // The ID was already retired, so another session was started; or the second request retired it.
            Self::Login => [self.after(), Some((Some("alice".into()), None)), None],
            _ => [self.after(), self.after(), self.after()],
        }
    }
}

/// A network, an application behind it, and the same application with shorter time limits.
struct Scene {
    proxy: Arc<Proxy>,
    app: App,
    hasty: App,
}

impl Scene {
    async fn new(adapter: &Adapter) -> Option<Self> {
        Some(Self::before(adapter, adapter.engine.server()?).await)
    }

    async fn before(adapter: &Adapter, server: &Server) -> Self {
        let proxy = Arc::new(Proxy::start(server.address()).await);
        let app = App::new((adapter.open)(adapter.engine.url(proxy.address())).await);
        let hasty = app.clone().with(|layer| layer.with_store_timeout(STORE_TIMEOUT));
        Self { proxy, app, hasty }
    }

    /// Returns a browser that is ready for a request.
    async fn browser(&self, kind: Kind) -> Browser {
        let mut browser = Browser::default();
        if kind != Kind::Create {
            let ask = async || browser.send(&self.app, |session| async move { session.insert("n", 1).unwrap() }).await;
            let visit = self.answer("the beginning", ask).await;
            browser.receive(&visit);
        }
        if kind == Kind::Touch {
            self.app.pass(Duration::from_secs(61));
        }
        browser
    }

    /// Sends a request whose handler changes the state of the network.
    async fn request(&self, kind: Kind, browser: &Browser, happen: impl FnOnce(&Proxy) + Send + 'static) -> Visit<()> {
        let begun = Instant::now();
        let visit = self.send(&self.hasty, kind, browser, happen).await;
        assert!(begun.elapsed() < REQUEST_LIMIT, "{kind:?} took {:?}", begun.elapsed());
        visit
    }

    async fn send(
        &self,
        app: &App,
        kind: Kind,
        browser: &Browser,
        happen: impl FnOnce(&Proxy) + Send + 'static,
    ) -> Visit<()> {
        let proxy = Arc::clone(&self.proxy);
        let handler = move |session| async move {
            happen(&proxy);
            kind.change(&session);
        };
        browser.send(app, handler).await
    }

    /// Checks that a request took effect exactly once, with the cookies it sent and with those it received.
    async fn took_place_once(&self, story: &str, kind: Kind, old: &Browser, visit: &Visit<()>) {
        assert_eq!(self.app.events(), told(kind), "{story}");

        let mut browser = old.clone();
        browser.receive(visit);
        let has_new_id = matches!(kind, Kind::Create | Kind::Renew | Kind::Login | Kind::Replace);
        assert_eq!(visit.set_cookies().len(), usize::from(has_new_id || kind == Kind::Logout), "{story}");
        assert_eq!(browser.id() != old.id(), has_new_id || kind == Kind::Logout, "{story}");
        if kind == Kind::Touch {
            // After the time at which the session would have ended without the request.
            self.app.pass(IDLE_TIMEOUT - Duration::from_secs(30));
        }
        assert_eq!(self.see(story, &browser).await, kind.after(), "{story}");
        assert_eq!(self.see(story, old).await, kind.without_answer(), "{story}: with its old cookie");
    }

    /// Retries until there is a response, now that the network has recovered.
    async fn answer<T>(&self, story: &str, mut ask: impl AsyncFnMut() -> Visit<T>) -> Visit<T> {
        let begun = Instant::now();
        loop {
            let visit = ask().await;
            if visit.status == StatusCode::OK {
                return visit;
            }
            assert!(begun.elapsed() < RECOVERY_LIMIT, "{story}: the store does not recover: {:?}", visit.error);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Reads the session without accepting a cookie.
    async fn see(&self, story: &str, browser: &Browser) -> Seen {
        let look = |session: Session| async move {
            let seen = (session.principal(), session.get("n").unwrap());
            Some(seen).filter(|_| !session.is_new())
        };
        self.answer(story, async || browser.send(&self.app, look).await).await.value()
    }

    /// Repeats the request, which now succeeds.
    async fn again(&self, story: &str, kind: Kind, mut browser: Browser) {
        if kind == Kind::Replace && self.see(story, &browser).await.is_none() {
            let rejected = self.send(&self.app, kind, &browser, |_| {}).await;
            assert_eq!(rejected.status, StatusCode::CONFLICT, "{story}: the ID has just died");
            self.app.pass(Duration::from_secs(60));
        }
        let ask = async || browser.send(&self.app, move |session| async move { kind.change(&session) }).await;
        let visit = self.answer(story, ask).await;
        browser.receive(&visit);
        let seen = self.see(story, &browser).await;
        assert!(kind.after_both().contains(&seen), "again after {story}: {seen:?}");
    }
}

fn assert_is_503<T>(visit: &Visit<T>, story: &str) {
    assert_eq!(visit.status, StatusCode::SERVICE_UNAVAILABLE, "{story}: {:?}", visit.error);
    assert_eq!(visit.error.as_ref().unwrap().kind(), &ErrorKind::Unavailable, "{story}");
    assert!(visit.set_cookies().is_empty(), "{story}: {:?}", visit.set_cookies());
}

pub(crate) async fn a_server_that_cannot_be_reached_is_503_and_never_an_empty_session(adapter: &Adapter) {
    let Some(scene) = Scene::new(adapter).await else { return };
    for (kind, fault) in Kind::ALL.iter().flat_map(|kind| FAULTS.map(|fault| (*kind, fault))) {
        let story = format!("{}: {kind:?} with {fault:?}", adapter.engine.name);
        let browser = scene.browser(kind).await;
        scene.proxy.set(fault);
        let visit = scene.request(kind, &browser, |_| {}).await;
        assert_is_503(&visit, &story);
        assert_eq!(visit.output.is_some(), kind == Kind::Create, "{story}: a handler saw a session");
        scene.proxy.heal();
        assert_eq!(scene.see(&story, &browser).await, kind.before(), "{story}");
        scene.again(&story, kind, browser).await;
    }
}

pub(crate) async fn a_network_failure_during_a_write_leaves_the_session_unchanged_or_fully_changed(adapter: &Adapter) {
    let Some(scene) = Scene::new(adapter).await else { return };
    for (kind, fault) in Kind::ALL[1..].iter().flat_map(|kind| FAULTS.map(|fault| (*kind, fault))) {
        let story = format!("{}: {kind:?} with {fault:?} of what it writes", adapter.engine.name);
        let browser = scene.browser(kind).await;
        let visit = scene.request(kind, &browser, move |proxy| proxy.set(fault)).await;
        if kind == Kind::Touch {
            assert_eq!((visit.status, visit.set_cookies().len()), (StatusCode::OK, 0), "{story}");
            assert!(scene.app.events().contains(&"StoreFailed".to_owned()), "{story}");
        } else {
            assert_is_503(&visit, &story);
        }
        scene.proxy.heal();
        let seen = scene.see(&story, &browser).await;
        let cannot_arrive = matches!(fault, Fault::Reset | Fault::Refuse);
        let is_as_before = seen == kind.before();
        assert!(is_as_before || (!cannot_arrive && seen == kind.without_answer()), "{story}: {seen:?}");
        scene.again(&story, kind, browser).await;
    }
}

/// Entries on the server that a request adds: a session or a forward.
fn added(kind: Kind) -> u64 {
    u64::from(matches!(kind, Kind::Create | Kind::Renew | Kind::Login | Kind::Replace))
}

/// The events that a request sends to observers, in this order.
fn told(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Read | Kind::Touch | Kind::Increment => &[],
        Kind::Create => &["Created"],
        Kind::Renew => &["Renewed"],
        Kind::Login => &["Renewed", "LoggedIn"],
        Kind::Logout => &["Destroyed"],
        Kind::Replace => &["Destroyed", "Created"],
    }
}

pub(crate) async fn a_request_that_loses_a_reply_is_answered_and_takes_effect_once(adapter: &Adapter) {
    let Some(server) = adapter.engine.start() else { return };
    let scene = Scene::before(adapter, &server).await;
    let count = || (adapter.count)(adapter.engine.url(server.address()));
    for (kind, kept) in Kind::ALL.iter().flat_map(|kind| [(*kind, 0), (*kind, 5)]) {
        let mut lost = 0;
        for passing in 0.. {
            let story =
                format!("{}: {kind:?} without reply {passing}, of which {kept} bytes came", adapter.engine.name);
            let old = scene.browser(kind).await;
            let before = count().await;
            scene.app.events();
            let happen = move |proxy: &Proxy| proxy.cut_reply(passing, kept);
            // A request that only reads makes no call but the load.
            let visit = if kind == Kind::Read {
                happen(&scene.proxy);
                old.send(&scene.app, |_| async {}).await
            } else {
                scene.send(&scene.app, kind, &old, happen).await
            };
            let has_cut = scene.proxy.has_cut();
            scene.proxy.heal();
            assert_eq!(visit.status, StatusCode::OK, "{story}: {:?}", visit.error);
            scene.took_place_once(&story, kind, &old, &visit).await;
            assert_eq!(count().await, before + added(kind), "{story}");
            if !has_cut {
                break;
            }
            lost += 1;
        }
        assert!(lost > 0, "{}: {kind:?} has lost no reply", adapter.engine.name);
    }
}

/// The most replies that pass before one is lost: the reply to a write may be the third, after those to a prepared
/// statement or to a script that is not loaded yet.
const MOST_PASSING: usize = 2;

pub(crate) async fn a_network_that_fails_after_a_lost_reply_is_503_and_nothing_is_written_twice(adapter: &Adapter) {
    let Some(scene) = Scene::new(adapter).await else { return };
    for kind in &Kind::ALL[2..] {
        let mut has_taken_place = false;
        for (fault, passing) in FAULTS.iter().flat_map(|fault| (0..=MOST_PASSING).map(|passing| (*fault, passing))) {
            has_taken_place |= fails_for_good(&scene, adapter, *kind, fault, passing).await;
        }
        // Without the response, the browser cannot see a session that was created or renewed with grace.
        let is_seen = kind.before() != kind.without_answer();
        assert_eq!(has_taken_place, is_seen, "{}: {kind:?} has never lost the reply to its write", adapter.engine.name);
    }
}

/// Sends a request that loses a reply and whose retry fails too. Returns whether it has changed anything.
async fn fails_for_good(scene: &Scene, adapter: &Adapter, kind: Kind, fault: Fault, passing: usize) -> bool {
    let story = format!("{}: {kind:?} without reply {passing}, then {fault:?}", adapter.engine.name);
    let browser = scene.browser(kind).await;
    let visit = scene.request(kind, &browser, move |proxy| proxy.cut_reply_then(passing, 0, fault)).await;
    let has_cut = scene.proxy.has_cut();
    scene.proxy.heal();
    if !has_cut {
        assert_eq!(visit.status, StatusCode::OK, "{story}: {:?}", visit.error);
        return false;
    }
    assert_is_503(&visit, &story);
    let seen = scene.see(&story, &browser).await;
    assert!([kind.before(), kind.without_answer()].contains(&seen), "{story}: {seen:?}");
    scene.again(&story, kind, browser.clone()).await;
    if kind == Kind::Increment {
        let number = |seen: &Seen| seen.as_ref().and_then(|seen| seen.1);
        let then = scene.see(&story, &browser).await;
        assert_eq!(number(&then), number(&seen).map(|number| number + 1), "again after {story}");
    }
    seen != kind.before()
}

/// How many requests run at once, each possibly on its own connection.
const VISITORS: usize = 8;

/// Sends many requests at once to open many pooled connections, and kills these before more requests follow.
async fn visit_before_and_after(adapter: &Adapter, server: &Server, die: impl AsyncFn(&Proxy)) {
    let scene = Scene::before(adapter, server).await;
    let name = adapter.engine.name;
    let increment = |session: Session| async move { session.update("n", |n: &mut u32| *n += 1).unwrap() };
    let all_at_once = async |mut browsers: Vec<Browser>| {
        let visits: JoinSet<_> = browsers
            .drain(..)
            .map(|mut browser| {
                let app = scene.app.clone();
                async move {
                    let visit = browser.visit(&app, increment).await;
                    (browser, visit)
                }
            })
            .collect();
        visits.join_all().await
    };
    for is_at_once in [true, false] {
        scene.proxy.set(Fault::Delay(Duration::from_millis(50)));
        let began = all_at_once(vec![Browser::default(); VISITORS]).await;
        let browsers: Vec<Browser> = began.into_iter().map(|(browser, _)| browser).collect();
        all_at_once(browsers.clone()).await;
        scene.proxy.heal();
        let connections = scene.proxy.connections();
        assert!(connections >= VISITORS || name == "redis", "{name}: only {connections} connections");
        die(&scene.proxy).await;
        scene.app.events();
        let visits = if is_at_once {
            all_at_once(browsers).await
        } else {
            let mut visits = Vec::new();
            for browser in browsers {
                visits.extend(all_at_once(vec![browser]).await);
            }
            visits
        };
        for (number, (_, visit)) in visits.into_iter().enumerate() {
            let story = format!("{name}: request {number}, all at once: {is_at_once}");
            assert_eq!(visit.status, StatusCode::OK, "{story}: {:?}", visit.error);
        }
        assert!(!scene.app.events().contains(&"StoreFailed".to_owned()), "{name}");
    }
}

pub(crate) async fn dead_idle_connections_fail_no_request(adapter: &Adapter) {
    let Some(server) = adapter.engine.server() else { return };
    visit_before_and_after(adapter, server, Proxy::reset_connections).await;
}

pub(crate) async fn a_restart_between_two_requests_is_transparent(adapter: &Adapter) {
    let Some(server) = adapter.engine.start() else { return };
    visit_before_and_after(adapter, &server, async |_| tokio::task::block_in_place(|| server.restart())).await;
}
