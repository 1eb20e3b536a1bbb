//! Random requests of several browsers, and of attackers with copies of their cookies, compared one by one with a
//! simple model.
//!
//! The model is one list of sessions and one list of all cookie values ever sent. It has no versions, plans, drafts,
//! seals or stores.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use http::StatusCode;
use session_state::{Handle, ServerErrorPolicy, Session};

use crate::browser::{App, Browser, Visit};
use crate::random::Random;

const KEYS: [&str; 3] = ["a", "b", "c"];
const IDLE: u64 = 100;
const ABSOLUTE: u64 = 400;
const GRACE: u64 = 10;
const NAME: &str = "__Host-Http-id";

#[derive(Clone, Copy, Debug)]
enum Act {
    Set(&'static str, u32),
    Add(&'static str),
    Remove(&'static str),
    Clear,
    Renew,
    Login(&'static str),
    LoginFresh(&'static str),
    Logout,
    IdleTimeout(u64),
}

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

impl Act {
    fn random(random: &mut Random) -> Self {
        let key = random.pick(&KEYS);
        match random.below(20) {
            0..4 => Self::Set(key, u32::try_from(random.below(100)).unwrap()),
            4..8 => Self::Add(key),
            8..10 => Self::Remove(key),
            10 => Self::Clear,
            11..15 => Self::Renew,
            15..17 => Self::Login(random.pick(&["alice", "bob"])),
            17 => Self::LoginFresh(random.pick(&["alice", "bob"])),
            18 => Self::Logout,
            _ => Self::IdleTimeout(random.pick(&[20, 300])),
        }
    }

    fn is_of_data(self) -> bool {
        matches!(self, Self::Set(..) | Self::Add(_) | Self::Remove(_) | Self::Clear)
    }

    fn run(self, session: &Session) {
        match self {
            Self::Set(key, value) => session.insert(key, value).unwrap(),
            Self::Add(key) => drop(session.update(key, |n: &mut u32| *n += 1).unwrap()),
            Self::Remove(key) => drop(session.remove(key)),
            Self::Clear => session.clear(),
            Self::Renew => session.renew(),
            Self::Login(name) => session.login(name),
            Self::LoginFresh(name) => session.login_fresh(name),
            Self::Logout => session.logout(),
            Self::IdleTimeout(idle) => session.set_idle_timeout(Duration::from_secs(idle)),
        }
    }
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
}

/// The target of a cookie.
#[derive(Clone, Debug)]
enum Good {
    /// A session.
    For(Known),
    /// The target of another cookie, until this time.
    Leads {
        to: usize,
        until: u64,
    },
    ForNothing,
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
    /// Returns the session of a cookie, and the cookie it is stored under, which is another one after a renewal.
    fn open(&self, cookie: usize) -> Option<(usize, Known)> {
        match &self.cookies[cookie] {
            Good::For(known) => known.is_live(self.now).then(|| (cookie, known.clone())),
            Good::Leads { to, until } => (self.now < *until).then(|| self.open(*to)).flatten(),
            Good::ForNothing => None,
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
        let is_remembered = draft.known.idle.is_some();
        let was_led_here = found != cookie;
        let next = self.cookies.len();
        let here = found.filter(|_| !draft.is_new && !draft.logs_in && (!draft.renews || was_led_here));
        if self.is_server
            && let Some(here) = here
        {
            self.cookies[here] = Good::For(draft.known);
            return if was_led_here || is_remembered { Cookie::Set(here) } else { Cookie::Untouched };
        }
        if draft.is_new || draft.logs_in {
            self.forget(found);
        } else if self.is_server
            && let Some(found) = found
        {
            self.cookies[found] = Good::Leads { to: next, until: self.now + GRACE };
        }
        self.cookies.push(Good::For(draft.known));
        Cookie::Set(next)
    }

    /// A sent cookie keeps its target, unless the server can forget it.
    fn forget(&mut self, cookie: Option<usize>) {
        if let Some(cookie) = cookie.filter(|_| self.is_server) {
            self.cookies[cookie] = Good::ForNothing;
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
        let opened = cookie.and_then(|cookie| self.model.open(cookie));
        let (found, loaded) = opened.unzip();
        let story = format!("browser {who} with cookie {cookie:?} for {loaded:?} did {acts:?}, then {end:?}");
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
        let change = match end {
            End::Panic => Cookie::Untouched,
            End::ServerError if self.discards => {
                let mut kept = self.model.begin(loaded);
                acts.iter().filter(|act| !act.is_of_data()).for_each(|act| self.model.act(&mut kept, *act));
                self.model.commit(cookie, found, kept)
            }
            End::Answer | End::ServerError => self.model.commit(cookie, found, draft),
        };
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
        assert_eq!(is_private, !visit.set_cookies().is_empty(), "{story}");
    }

    fn check_cookie<T>(&mut self, visit: &Visit<T>, expected: Cookie, story: &str) {
        let mut browser = Browser::default();
        browser.receive(visit);
        match (expected, visit.set_cookies().as_slice(), browser.id()) {
            (Cookie::Untouched, [], None) => {}
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
