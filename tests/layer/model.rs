//! Random requests of several browsers, and of attackers with copies of their cookies, compared one by one with a
//! simple model.
//!
//! The model is one list of sessions and one list of all cookie values ever sent. It has no versions, plans, drafts,
//! seals or stores.

mod act;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use http::StatusCode;
use session_state::{ErrorKind, Handle, ServerErrorPolicy, Session};

use act::{Act, KEYS, handover};

use crate::browser::{App, Browser, Visit};
use crate::random::Random;

const IDLE: u64 = 100;
const ABSOLUTE: u64 = 400;
const GRACE: u64 = 10;
/// How long after its death an ID is known to have just died.
const JUST_DIED: u64 = 60;
const NAME: &str = "__Host-Http-id";

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Answer,
    ServerError,
    Panic,
}

/// The session as a handler sees it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    values: BTreeMap<&'static str, u32>,
    principal: Option<String>,
    is_new: bool,
}

fn look(session: &Session) -> Seen {
    let values = KEYS.into_iter().filter_map(|key| Some((key, session.get(key).unwrap()?))).collect();
    Seen { values, principal: session.principal(), is_new: session.is_new() }
}

/// A session in the model. Times are in seconds.
#[derive(Clone, Debug)]
struct Known {
    /// The identity of the session, which changes with its principal.
    name: usize,
    values: BTreeMap<&'static str, u32>,
    principal: Option<&'static str>,
    idle: Option<u64>,
    created_at: u64,
    seen_at: u64,
}

impl Known {
    fn is_live(&self, now: u64) -> bool {
        now < self.seen_at + self.idle.unwrap_or(IDLE) && now < self.created_at + ABSOLUTE
    }

    /// Whether the browser keeps the cookie, which then moves with the deadline.
    fn is_remembered(&self) -> bool {
        self.idle.is_some_and(|idle| idle > IDLE)
    }
}

/// The target of a cookie.
#[derive(Clone, Debug)]
enum Good {
    /// A session.
    For(Known),
    /// The target of another cookie, until this time.
    Leads { to: usize, until: u64 },
    /// No session, since a login has put another cookie in its place. Until this time, a login of the same principal
    /// continues from that one's session.
    Replaced { by: usize, until: u64 },
    /// No session, since it was ended: until this time the cookie is known.
    Ended { until: u64 },
}

/// The state that a request comes to.
#[derive(Clone, Debug)]
enum Opened {
    /// A session, and the cookie it is stored under, which is another one after a renewal.
    Session(usize, Known),
    /// An ID that has just died: in a login that sent another one, after its grace, or with its session.
    Dead {
        replaced_by: Option<usize>,
        may_go_on: bool,
    },
    Nothing,
}

/// A request as the model sees it.
#[derive(Clone, Debug)]
struct Draft {
    known: Known,
    is_new: bool,
    ended: bool,
    renews: bool,
    logs_in: bool,
    set_idle: bool,
}

/// The expected effect of the response on the session cookie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cookie {
    Untouched,
    /// Untouched, and the client is told that nothing was kept.
    Rejected,
    Removed,
    Set(usize),
}

#[derive(Debug, Default)]
struct Model {
    is_server: bool,
    now: u64,
    sessions: usize,
    /// All cookie values ever sent.
    cookies: Vec<Good>,
}

impl Model {
    fn open(&self, cookie: usize) -> Opened {
        match &self.cookies[cookie] {
            Good::For(known) if known.is_live(self.now) => Opened::Session(cookie, known.clone()),
            Good::Leads { to, until } if self.now < *until => self.open(*to),
            Good::Leads { until, .. } if self.now < *until + JUST_DIED => {
                Opened::Dead { replaced_by: None, may_go_on: true }
            }
            Good::Ended { until } if self.now < *until => Opened::Dead { replaced_by: None, may_go_on: false },
            Good::Replaced { by, until } if self.now < *until => {
                Opened::Dead { replaced_by: Some(*by), may_go_on: true }
            }
            _ => Opened::Nothing,
        }
    }

    /// Returns the session that was continued from a cookie, and its present cookie.
    fn latest(&self, cookie: usize) -> Option<(usize, Known)> {
        match &self.cookies[cookie] {
            Good::For(known) => known.is_live(self.now).then(|| (cookie, known.clone())),
            Good::Leads { to: next, .. } | Good::Replaced { by: next, .. } => self.latest(*next),
            Good::Ended { .. } => None,
        }
    }

    fn new_name(&mut self) -> usize {
        self.sessions += 1;
        self.sessions
    }

    fn new_session(&mut self) -> Known {
        let (values, now) = (BTreeMap::new(), self.now);
        Known { name: self.new_name(), values, principal: None, idle: None, created_at: now, seen_at: now }
    }

    fn begin(&mut self, loaded: Option<Known>) -> Draft {
        let is_new = loaded.is_none();
        let known = loaded.unwrap_or_else(|| self.new_session());
        Draft { known, is_new, ended: false, renews: false, logs_in: false, set_idle: false }
    }

    fn act(&mut self, draft: &mut Draft, act: Act) {
        let known = &mut draft.known;
        match act {
            Act::Set(key, value) => drop(known.values.insert(key, value)),
            Act::Add(key) => *known.values.entry(key).or_default() += 1,
            Act::Remove(key) => drop(known.values.remove(key)),
            Act::Clear => known.values.clear(),
            Act::Renew => draft.renews = true,
            Act::Login(name) | Act::LoginFresh(name) => {
                if matches!(act, Act::LoginFresh(_)) || known.principal.is_some_and(|former| former != name) {
                    known.values.clear();
                    known.idle = known.idle.filter(|_| draft.set_idle);
                    known.name = self.new_name();
                } else if !self.is_server {
                    known.name = self.new_name();
                }
                draft.logs_in = true;
                (known.principal, known.created_at) = (Some(name), self.now);
            }
            Act::Logout => {
                let ended = draft.ended || !draft.is_new;
                *draft = Draft { ended, ..self.begin(None) };
            }
            Act::IdleTimeout(idle) => {
                draft.set_idle = true;
                known.idle = Some(idle);
            }
        }
    }

    /// Applies the request to the session that was sent with `cookie` and found under `found`.
    fn commit(&mut self, cookie: Option<usize>, found: Option<usize>, mut draft: Draft) -> Cookie {
        draft.known.seen_at = self.now;
        let is_worth_it = {
            let Known { values, principal, idle, .. } = &draft.known;
            !values.is_empty() || principal.is_some() || idle.is_some()
        };
        if draft.is_new && !is_worth_it {
            self.forget(found.filter(|_| draft.ended));
            return if draft.ended { Cookie::Removed } else { Cookie::Untouched };
        }
        let is_remembered = draft.known.is_remembered();
        let was_led_here = found != cookie;
        let next = self.cookies.len();
        let here = found.filter(|_| !draft.is_new && !draft.logs_in && (!draft.renews || was_led_here));
        if self.is_server
            && let Some(here) = here
        {
            let was_remembered = matches!(&self.cookies[here], Good::For(known) if known.is_remembered());
            self.cookies[here] = Good::For(draft.known);
            let is_set = was_led_here || is_remembered || was_remembered;
            return if is_set { Cookie::Set(here) } else { Cookie::Untouched };
        }
        if draft.is_new && !draft.logs_in {
            self.forget(found);
        } else if draft.logs_in {
            if let Some(found) = found.filter(|_| self.is_server) {
                self.cookies[found] = Good::Replaced { by: next, until: self.now + JUST_DIED };
            }
        } else if self.is_server
            && let Some(found) = found
        {
            self.cookies[found] = Good::Leads { to: next, until: self.now + GRACE };
        }
        self.cookies.push(Good::For(draft.known));
        Cookie::Set(next)
    }

    /// Applies a request that came with a dead ID.
    fn commit_dead(&mut self, replaced_by: Option<usize>, may_go_on: bool, acts: &[Act]) -> Cookie {
        // The end of a session that it does not have ends none.
        let begin = acts.iter().rposition(|act| matches!(act, Act::Logout)).map_or(0, |place| place + 1);
        let has_removal = acts[begin..].iter().any(|act| matches!(act, Act::Remove(_)));
        let (acts, seen): (Vec<_>, Vec<_>) = self.on_nothing(&acts[begin..]).into_iter().unzip();
        if acts.is_empty() && has_removal {
            return Cookie::Rejected;
        }
        if acts.is_empty() {
            // The session may go on under another ID.
            let is_logout_lost = may_go_on && begin > 0;
            return if is_logout_lost { Cookie::Rejected } else { Cookie::Untouched };
        }
        let Some(principal) = acts.iter().rev().find_map(|act| act.login()) else { return Cookie::Rejected };
        let Some((found, known)) = replaced_by.and_then(|by| self.latest(by)) else {
            let mut draft = self.begin(None);
            acts.iter().for_each(|act| self.act(&mut draft, *act));
            return self.commit(None, None, draft);
        };
        if known.principal != Some(principal) {
            return Cookie::Rejected;
        }
        let mut draft = self.begin(Some(known));
        let handover = handover(&acts);
        for (place, act) in acts.iter().enumerate() {
            match act.login() {
                _ if place < handover && (act.is_of_data() || act.login().is_some()) => {}
                // A removal is of the value that the request has seen.
                _ if matches!(act, Act::Remove(key) if draft.known.values.get(key) != seen[place].as_ref()) => {}
                Some(name) => self.act(&mut draft, Act::Login(name)),
                None => self.act(&mut draft, *act),
            }
        }
        draft.known.seen_at = self.now;
        let next = self.cookies.len();
        self.cookies[found] = Good::Leads { to: next, until: self.now + GRACE };
        self.cookies.push(Good::For(draft.known));
        Cookie::Set(next)
    }

    /// Returns what a request without a session does, and the values that its removals have seen. A removal of a value
    /// that is not there does nothing.
    fn on_nothing(&mut self, acts: &[Act]) -> Vec<(Act, Option<u32>)> {
        let mut draft = self.begin(None);
        let mut done = Vec::new();
        for act in acts {
            let seen = if let Act::Remove(key) = act { draft.known.values.get(key).copied() } else { None };
            self.act(&mut draft, *act);
            if seen.is_some() || !matches!(act, Act::Remove(_)) {
                done.push((*act, seen));
            }
        }
        done
    }

    /// A sent cookie keeps its target, unless the server can forget it.
    fn forget(&mut self, cookie: Option<usize>) {
        if let Some(cookie) = cookie.filter(|_| self.is_server) {
            self.cookies[cookie] = Good::Ended { until: self.now + JUST_DIED };
        }
    }
}

/// An application, its browsers, and its model.
struct World {
    app: App,
    discards: bool,
    model: Model,
    browsers: Vec<Browser>,
    /// The cookies that were sent, by their number in the model.
    texts: Vec<String>,
    /// The handle of each session.
    handles: BTreeMap<usize, Handle>,
    /// Cookies of requests that logged in or out, which a server must never accept again.
    spent: BTreeSet<String>,
}

impl World {
    fn new(app: App, discards: bool) -> Self {
        let policy = if discards { ServerErrorPolicy::Discard } else { ServerErrorPolicy::Keep };
        let app = app.with(|layer| {
            layer
                .with_idle_timeout(Duration::from_secs(IDLE))
                .with_absolute_timeout(Duration::from_secs(ABSOLUTE))
                .with_grace(Duration::from_secs(GRACE))
                .with_touch_interval(Duration::ZERO)
                .with_server_error_policy(policy)
        });
        let (model, browsers) = (Model::default(), vec![Browser::default(); 4]);
        let (texts, handles, spent) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        Self { app, discards, model, browsers, texts, handles, spent }
    }

    async fn step(&mut self, random: &mut Random) {
        // Mostly a second, so that requests fall into the grace period; seldom long enough to expire everything.
        let seconds = if random.below(8) == 0 { random.pick(&[9, 10, 19, 50, 99]) } else { random.next() % 2 };
        self.app.pass(Duration::from_secs(seconds));
        self.model.now += seconds;
        let who = random.below(self.browsers.len());
        if !self.texts.is_empty() && random.below(4) == 0 {
            // A recent cookie: most old ones have long expired.
            let age = random.below(self.texts.len().min(8));
            let stolen = self.texts[self.texts.len() - 1 - age].clone();
            self.browsers[who].jar.insert(NAME.into(), stolen);
        }
        let acts: Vec<_> = (0..random.below(4)).map(|_| Act::random(random)).collect();
        let end = random.pick(&[End::Answer, End::Answer, End::Answer, End::Answer, End::ServerError, End::Panic]);
        self.request(who, &acts, end).await;
    }

    /// Sends a request and compares everything observable.
    async fn request(&mut self, who: usize, acts: &[Act], end: End) {
        let sent = self.browsers[who].id().map(str::to_owned);
        let cookie = sent.as_ref().and_then(|sent| self.texts.iter().position(|text| text == sent));
        let opened = cookie.map_or(Opened::Nothing, |cookie| self.model.open(cookie));
        let story = format!("browser {who} with cookie {cookie:?} for {opened:?} did {acts:?}, then {end:?}");
        let (found, loaded, dead) = match opened {
            Opened::Session(found, known) => (Some(found), Some(known), None),
            Opened::Dead { replaced_by, may_go_on } => (None, None, Some((replaced_by, may_go_on))),
            Opened::Nothing => (None, None, None),
        };
        let name = loaded.as_ref().map(|known| known.name);

        let mut draft = self.model.begin(loaded.clone());
        let mut expected = vec![draft.seen()];
        for act in acts {
            self.model.act(&mut draft, *act);
            expected.push(draft.seen());
        }
        let visit = handle(&self.browsers[who], &self.app, acts, end).await;
        self.check_headers(&visit, &story);
        let (seen, handle) = visit.output.as_ref().expect("the handler has returned");
        assert_eq!(*seen, expected, "{story}");
        assert_eq!(handle.is_some(), name.is_some(), "{story}");
        assert!(!self.spent.contains(sent.as_deref().unwrap_or_default()) || handle.is_none(), "back again: {story}");
        if let (Some(name), Some(handle)) = (name, handle) {
            assert_eq!(self.handles.entry(name).or_insert(*handle), handle, "{story}");
            assert_eq!(self.handles.values().filter(|other| *other == handle).count(), 1, "{story}");
        }
        let discards = self.discards && end == End::ServerError;
        let kept: Vec<_> = acts.iter().copied().filter(|act| !discards || !act.is_of_data()).collect();
        let change = match dead {
            _ if end == End::Panic => Cookie::Untouched,
            Some((replaced_by, may_go_on)) => self.model.commit_dead(replaced_by, may_go_on, &kept),
            None => {
                let mut draft = self.model.begin(loaded);
                kept.iter().for_each(|act| self.model.act(&mut draft, *act));
                self.model.commit(cookie, found, draft)
            }
        };
        let is_rejected = visit.error.as_ref().is_some_and(|error| *error.kind() == ErrorKind::Ended);
        assert_eq!(is_rejected, change == Cookie::Rejected, "{story}");
        assert!(!is_rejected || visit.status == StatusCode::CONFLICT, "{story}");
        self.check_cookie(&visit, change, &story);
        let ends = |act: &Act| matches!(act, Act::Login(_) | Act::LoginFresh(_) | Act::Logout);
        if self.model.is_server && name.is_some() && end != End::Panic && acts.iter().any(ends) {
            self.spent.extend(sent);
        }
        self.browsers[who].receive(&visit);
    }

    fn check_headers<T>(&self, visit: &Visit<T>, story: &str) {
        assert_eq!(visit.headers["vary"], "Cookie", "{story}");
        assert!(visit.set_cookies().len() <= 1, "{:?}: {story}", visit.set_cookies());
        let is_private = visit.headers.get("cache-control").is_some_and(|value| value == "no-store");
        assert_eq!(is_private, !visit.set_cookies().is_empty() || visit.error.is_some(), "{story}");
    }

    fn check_cookie<T>(&mut self, visit: &Visit<T>, expected: Cookie, story: &str) {
        let mut browser = Browser::default();
        browser.receive(visit);
        match (expected, visit.set_cookies().as_slice(), browser.id()) {
            (Cookie::Untouched | Cookie::Rejected, [], None) => {}
            (Cookie::Removed, [cookie], None) => assert!(cookie.contains("; Max-Age=0"), "{story}"),
            (Cookie::Set(number), [_], Some(text)) if number < self.texts.len() => {
                assert_eq!(self.texts[number], text, "{story}");
            }
            (Cookie::Set(number), [_], Some(text)) => {
                assert_eq!(number, self.texts.len(), "{story}");
                let known = self.texts.iter().position(|other| other == text);
                // A seal without a random nonce is the same text for the same content.
                assert!(known.is_none() || !self.model.is_server, "cookie {known:?} was sent again: {story}");
                self.texts.push(text.to_owned());
            }
            (expected, found, _) => panic!("{found:?} instead of {expected:?}: {story}"),
        }
    }

    /// Tries every cookie ever sent, dead or live.
    async fn try_all_cookies(&mut self) {
        for cookie in 0..self.texts.len() {
            self.browsers[0].jar.insert(NAME.into(), self.texts[cookie].clone());
            self.request(0, &[], End::Answer).await;
        }
    }
}

impl Draft {
    fn seen(&self) -> Seen {
        let Known { values, principal, .. } = &self.known;
        Seen { values: values.clone(), principal: principal.map(str::to_owned), is_new: self.is_new }
    }
}

type Told = (Vec<Seen>, Option<Handle>);

/// A handler that performs the given actions and records what it sees.
async fn handle(browser: &Browser, app: &App, acts: &[Act], end: End) -> Visit<Told> {
    let acts = acts.to_vec();
    browser
        .send_raw(app, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            let (handle, mut seen) = (session.handle(), vec![look(&session)]);
            for act in acts {
                act.run(&session);
                seen.push(look(&session));
            }
            if end == End::Panic {
                // Unlike `panic!` it prints nothing.
                let unwound = catch_unwind(AssertUnwindSafe(move || {
                    let _held = session;
                    resume_unwind(Box::new("the handler panics"))
                }));
                assert!(unwound.is_err());
            }
            let status = if end == End::Answer { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
            Ok((status, (seen, handle)))
        })
        .await
}

async fn compare(app: App, is_server: bool) {
    for seed in 0..8 {
        let mut random = Random::new(seed);
        let mut world = World::new(app.clone(), seed % 2 == 1);
        world.model.is_server = is_server;
        for _ in 0..400 {
            world.step(&mut random).await;
        }
        world.try_all_cookies().await;
    }
}

#[tokio::test]
async fn sessions_in_a_store_are_what_the_model_says() {
    compare(App::memory(), true).await;
}

#[tokio::test]
async fn encrypted_sessions_are_what_the_model_says() {
    compare(App::encrypted(), false).await;
}

#[tokio::test]
async fn signed_sessions_are_what_the_model_says() {
    compare(App::signed(), false).await;
}
