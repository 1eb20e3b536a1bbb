//! Concurrent requests of one session, in every order of their store calls.
//!
//! Each store call waits once before it takes effect, and the test decides whose turn it is. A run is one list of
//! turns; all of them are tried, one after the other (stateless model checking, as in Godefroid, *Model checking for
//! programming languages using VeriSoft*, POPL 1997).
//!
//! Guarantees for the browser that sent the requests:
//!
//! - A cookie is live when its response finishes. So a browser that receives the responses in the order in which the
//!   server finished them never replaces a live ID by a dead one.
//! - Renewals, which happen unrequested, guarantee more: the browser keeps its session in any order of the responses.
//! - Logins of one principal, as from two clicks, continue one session, and the cookies of all of them open it.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::StatusCode;
use session_state::store::Handle;
use session_state::{CookieConfig, CookieLifetime, ErrorKind, Session, SessionLayer};
use tokio::runtime::{Builder, Runtime};

use crate::browser::{App, Browser, Visit};
use crate::gated::{Gated, at_once};

/// The action of a request on the shared session.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Read,
    /// Increments the value.
    Add,
    /// Sets a separate value.
    Set,
    Renew,
    Login,
    Logout,
    /// Ends the session and sets a message, which makes a new one.
    LogoutAndWrite,
}

const KINDS: [Kind; 7] =
    [Kind::Read, Kind::Add, Kind::Set, Kind::Renew, Kind::Login, Kind::Logout, Kind::LogoutAndWrite];

/// The keys that [`Kind::Set`] sets, one for each request.
const OWN_KEYS: [&str; 4] = ["first", "second", "third", "fourth"];

/// Timeouts that never fire in a run: only the pauses between attempts pass.
const LONG: Duration = Duration::from_secs(1_000_000);

/// One request: running, or answered.
struct Running {
    kind: Kind,
    future: Pin<Box<dyn Future<Output = Visit<bool>>>>,
    answer: Option<Answer>,
    /// Whether its changes were discarded because the session had ended.
    discarded: bool,
    /// Whether its ID was dead from the beginning, but not forgotten.
    has_dead_id: bool,
}

/// The outcome of a request.
struct Answer {
    /// Whether it loaded the shared session, not a new one.
    came_to_session: bool,
    /// A browser with only the cookies of this response; `None` if there are none.
    cookie: Option<Browser>,
}

/// The state behind a cookie.
#[derive(Debug, PartialEq)]
struct Open {
    session: Handle,
    principal: Option<String>,
    n: Option<u32>,
    own: Vec<&'static str>,
}

/// The final state behind each live cookie, by its value.
type AtEnd<'r> = BTreeMap<&'r str, Open>;

/// One run: an application, its session, and concurrent requests with the same cookie.
struct Run<'r> {
    runtime: &'r Runtime,
    store: Gated,
    app: App,
    /// The same application as `app`, without waiting for turns.
    outside: App,
    first: Browser,
    session: Handle,
    requests: Vec<Running>,
    /// The events in their order, with the number of the request that caused each.
    events: Vec<(usize, String)>,
    /// The requests in the order in which they finished.
    finished: Vec<usize>,
}

impl<'r> Run<'r> {
    fn new(runtime: &'r Runtime, kinds: &[Kind], settle: fn(SessionLayer) -> SessionLayer) -> Self {
        let store = Gated::default();
        let outside = App::new(SessionLayer::server(store.store.clone()));
        let app = App::new(settle(SessionLayer::server(store.clone()).with_store_timeout(LONG)));
        let mut first = Browser::default();
        store.let_pass();
        at_once(first.set(&app, "n", 0)).value();
        let session = open(&outside, &first).expect("a session").session;
        let _ = app.events();
        let requests =
            kinds.iter().enumerate().map(|(number, kind)| Running::new(*kind, number, &app, &first)).collect();
        let (events, finished) = (Vec::new(), Vec::new());
        let mut run = Self { runtime, store, app, outside, first, session, requests, events, finished };
        // Runs each up to its first call. Nothing has taken effect yet.
        (0..kinds.len()).for_each(|number| run.poll(number));
        run
    }

    /// Returns the requests that may have the next turn.
    fn waiting(&self) -> Vec<usize> {
        (0..self.requests.len()).filter(|number| self.requests[*number].answer.is_none()).collect()
    }

    /// Lets a request make its waiting call, and run to the next one or to its end.
    fn step(&mut self, number: usize) {
        self.store.let_pass();
        self.poll(number);
    }

    fn poll(&mut self, number: usize) {
        let begun = self.store.begun.load(Ordering::Relaxed);
        let request = &mut self.requests[number];
        let visit = loop {
            match request.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(visit) => break Some(visit),
                Poll::Pending if self.store.begun.load(Ordering::Relaxed) > begun => break None,
                // The request pauses before a retry.
                Poll::Pending => self.runtime.block_on(tokio::time::advance(Duration::from_millis(100))),
            }
        };
        for event in self.app.events() {
            request.discarded |= event == "ChangesDiscarded";
            request.has_dead_id |= event == "RetiredIdUsed";
            self.events.push((number, event));
        }
        if let Some(visit) = visit {
            let has_lost = visit.error.as_ref().is_some_and(|error| *error.kind() == ErrorKind::Ended);
            assert_eq!(visit.status, if has_lost { StatusCode::CONFLICT } else { StatusCode::OK }, "{:?}", visit.error);
            let came_to_session = visit.output.expect("the handler has returned");
            assert!(has_lost || !request.discarded, "discarded changes are not answered as success");
            let is_logout = request.kind == Kind::Logout;
            assert!(request.discarded || !has_lost || !came_to_session || is_logout, "lost changes are reported");
            // A logout is lost if the session goes on under the ID of a login.
            if !came_to_session && !is_logout && request.kind != Kind::Login {
                assert_eq!(has_lost, request.has_dead_id && request.kind != Kind::Read, "{:?}", visit.error);
            }
            let may_set_cookie = !has_lost && (!request.has_dead_id || request.kind == Kind::Login);
            assert!(visit.set_cookies().len() <= usize::from(may_set_cookie));
            let mut browser = self.first.clone();
            browser.receive(&visit);
            let cookie = (!visit.set_cookies().is_empty()).then_some(browser);
            self.check_fresh(cookie.as_ref());
            self.requests[number].answer = Some(Answer { came_to_session, cookie });
            self.finished.push(number);
        }
    }

    /// A cookie is live when its response finishes.
    fn check_fresh(&self, cookie: Option<&Browser>) {
        if let Some(browser) = cookie.filter(|browser| browser.id().is_some()) {
            assert!(open(&self.outside, browser).is_some(), "a dead id was sent");
        }
    }

    fn count(&self, event: &str) -> usize {
        self.events.iter().filter(|(_, other)| other == event).count()
    }

    fn check(&self) {
        let at_end: AtEnd<'_> =
            self.cookies().filter_map(|browser| Some((browser.id()?, open(&self.outside, browser)?))).collect();
        let ours = at_end.values().find(|open| open.session == self.session);
        let (ended, logged_in) = (self.count("Destroyed") > 0, self.count("LoggedIn") > 0);

        // Nothing is revived, and nothing exists twice.
        assert!(!ended || ours.is_none(), "the session has ended and is open: {ours:?}");
        let live = self.store.live(session_state::Clock::now(&self.app.clock));
        assert!(live.values().all(|records| *records == 1), "{live:?}");
        assert_eq!(live.contains_key(&format!("{:?}", self.session)), !ended, "{live:?}");
        if ended || logged_in {
            assert_eq!(at_end.get(self.first.id().unwrap()), None, "an old id is live after a login or the end");
        }
        // The requests agree on one new ID. Each login takes another.
        assert!(self.count("Renewed") <= 1 + self.count("LoggedIn"), "{:?}", self.events);
        assert!(self.count("Destroyed") <= 1, "{:?}", self.events);
        // An answered logout has ended the session, unless it was anonymous and a login came first.
        assert!(ended || logged_in || !self.requests.iter().any(|request| request.has_ended_session()));

        // A browser that receives the responses in the order in which they finished has a live session, or none.
        let id = self.browser_after(&self.finished).id();
        assert!(id.map_or(ended, |id| at_end.contains_key(id)), "the browser is left with a dead id");

        let Some(ours) = ours else { return assert!(ended, "the session was lost") };
        assert_eq!(ours.principal.is_some(), logged_in);
        self.check_writes(ours);
        self.check_logins(&at_end);
        if !ended && !logged_in {
            self.check_every_arrival(&at_end);
        }
    }

    /// All logins are of one principal, so each continues the session of the one before, and all their cookies open it.
    fn check_logins(&self, at_end: &AtEnd<'_>) {
        for request in self.requests.iter().filter(|request| request.kind == Kind::Login) {
            let cookie = request.answer.as_ref().and_then(|answer| answer.cookie.as_ref());
            let opened = cookie.and_then(|cookie| at_end.get(cookie.id()?)).map(|open| open.session);
            assert_eq!(opened, Some(self.session), "a login is lost, or its cookie is dead");
        }
    }

    /// Returns every cookie that the browser ever had.
    fn cookies(&self) -> impl Iterator<Item = &Browser> {
        let sent = self.requests.iter().filter_map(|request| request.answer.as_ref()?.cookie.as_ref());
        std::iter::once(&self.first).chain(sent)
    }

    /// Answered changes are kept, unless a login or the end of the session discarded them, which is reported.
    fn check_writes(&self, ours: &Open) {
        let kept = |kind: Kind| self.requests.iter().enumerate().filter(move |(_, request)| request.has_written(kind));
        assert_eq!(ours.n, u32::try_from(kept(Kind::Add).count()).ok());
        let own: Vec<_> = kept(Kind::Set).map(|(number, _)| OWN_KEYS[number]).collect();
        assert_eq!(ours.own, own);
        let is_end = |(_, event): &(usize, String)| event == "LoggedIn" || event == "Destroyed";
        let first_end = self.events.iter().position(is_end).unwrap_or(usize::MAX);
        let first_loss = self.events.iter().position(|(_, event)| event == "ChangesDiscarded");
        assert!(first_loss.is_none_or(|loss| first_end < loss), "{:?}", self.events);
    }

    /// Checks that the browser keeps its session, in whatever order the responses arrive.
    fn check_every_arrival(&self, at_end: &AtEnd<'_>) {
        for order in orders(self.requests.len()) {
            let opened = self.browser_after(&order).id().and_then(|id| at_end.get(id));
            assert_eq!(opened.map(|open| open.session), Some(self.session), "logged out by a renewal: {order:?}");
        }
    }

    fn browser_after(&self, order: &[usize]) -> &Browser {
        let mut cookies = order.iter().filter_map(|number| self.requests[*number].answer.as_ref()?.cookie.as_ref());
        cookies.next_back().unwrap_or(&self.first)
    }
}

impl Running {
    fn new(kind: Kind, number: usize, app: &App, browser: &Browser) -> Self {
        let (app, browser) = (app.clone(), browser.clone());
        let future = Box::pin(async move { browser.send(&app, move |session| kind.run(session, number)).await });
        Self { kind, future, answer: None, discarded: false, has_dead_id: false }
    }

    fn came_to_session(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.came_to_session)
    }

    fn has_ended_session(&self) -> bool {
        matches!(self.kind, Kind::Logout | Kind::LogoutAndWrite) && self.came_to_session()
    }

    fn has_written(&self, kind: Kind) -> bool {
        self.kind == kind && self.came_to_session() && !self.discarded
    }
}

impl Kind {
    /// Returns whether it loaded a session.
    async fn run(self, session: Session, number: usize) -> bool {
        let came_to_session = !session.is_new();
        match self {
            Self::Read => {}
            Self::Add => drop(session.update("n", |n: &mut u32| *n += 1).unwrap()),
            Self::Set => session.insert(OWN_KEYS[number], 1).unwrap(),
            Self::Renew => session.renew(),
            Self::Login => session.login("alice"),
            Self::Logout => session.logout(),
            Self::LogoutAndWrite => {
                session.logout();
                session.insert("message", 1).unwrap();
            }
        }
        came_to_session
    }
}

/// Returns the state behind the browser's cookie, read from outside.
fn open(app: &App, browser: &Browser) -> Option<Open> {
    let look = |session: Session| async move {
        let own = OWN_KEYS.into_iter().filter(|key| session.contains(key)).collect();
        let (principal, n) = (session.principal(), session.get("n").unwrap());
        session.handle().map(|session| Open { session, principal, n, own })
    };
    at_once(browser.send(app, look)).value()
}

/// Returns all orders of the numbers below `n`.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let put = |order: Vec<usize>| {
        (0..n).map(move |place| {
            let mut longer = order.clone();
            longer.insert(place, n - 1);
            longer
        })
    };
    orders(n - 1).into_iter().flat_map(put).collect()
}

/// Tries every order of the calls of these requests, and returns the number of orders.
fn try_all(runtime: &Runtime, kinds: &[Kind], settle: fn(SessionLayer) -> SessionLayer) -> usize {
    // For each turn of the current run: the chosen request, and the number of waiting ones.
    let mut turns: Vec<(usize, usize)> = Vec::new();
    for runs in 1.. {
        let mut run = Run::new(runtime, kinds, settle);
        let mut schedule = Vec::new();
        for turn in 0.. {
            let waiting = run.waiting();
            if waiting.is_empty() {
                break;
            }
            if turn == turns.len() {
                turns.push((0, waiting.len()));
            }
            assert_eq!(turns[turn].1, waiting.len(), "runs are deterministic");
            schedule.push(waiting[turns[turn].0]);
            let _told = Told { kinds, schedule: &schedule };
            run.step(schedule[turn]);
        }
        let _told = Told { kinds, schedule: &schedule };
        run.check();
        // Advance to the next list of turns, the last turn first.
        while turns.last().is_some_and(|(chosen, of)| chosen + 1 == *of) {
            turns.pop();
        }
        let Some((chosen, _)) = turns.last_mut() else { return runs };
        *chosen += 1;
    }
    unreachable!("the loop ends by returning")
}

/// Prints the failing run.
struct Told<'t> {
    kinds: &'t [Kind],
    schedule: &'t [usize],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?} in the order {:?}", self.kinds, self.schedule);
        }
    }
}

/// Timers need a runtime. Its time is paused.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Returns every choice of `n` requests, in any order.
fn choices(n: usize) -> Vec<Vec<Kind>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let add = |kinds: Vec<Kind>| {
        let from = kinds.last().map_or(0, |last| KINDS.iter().position(|kind| kind == last).unwrap());
        KINDS[from..].iter().map(move |kind| [kinds.as_slice(), &[*kind]].concat())
    };
    choices(n - 1).into_iter().flat_map(add).collect()
}

#[test]
fn three_requests_at_once_end_well_in_every_order() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let runs: usize = choices(3).iter().map(|kinds| try_all(&runtime, kinds, |layer| layer)).sum();
    assert!(runs > 5_000, "only {runs} orders were tried");
}

/// Every response carries a cookie, and every reader touches the session.
#[test]
fn two_requests_at_once_end_well_in_every_order_when_cookies_are_kept() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let settle = |layer: SessionLayer| {
        let cookie = CookieConfig::new().with_lifetime(CookieLifetime::Persistent);
        layer.with_touch_interval(Duration::ZERO).with_cookie(cookie).unwrap()
    };
    let runs: usize = choices(2).iter().map(|kinds| try_all(&runtime, kinds, settle)).sum();
    assert!(runs > 100, "only {runs} orders were tried");
}
