//! One run: an application, its session, and concurrent requests with the same cookie.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::StatusCode;
use session_state::store::Handle;
use session_state::{ErrorKind, InStore, MemoryStore, Part, Session, SessionLayer};
use tokio::runtime::Runtime;

use super::at_once;
use super::script::{self, Act, FIRST_MARK, Note, Notebook, Notes, Spawned, VALUE};
use super::stepped::{Fate, Gate, Stepped};
use crate::browser::{App, Browser, Visit};

/// Timeouts that never fire in a run: only the pauses between attempts pass.
const LONG: Duration = Duration::from_secs(1_000_000);

/// The initial session of the requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    pub(super) principal: Option<&'static str>,
    pub(super) has_part: bool,
}

/// One turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// A request makes its waiting call.
    Call(usize, Fate),
    /// Its call fails, its reply is lost, or it takes effect late, and its next call fails as well.
    Twice(usize, Fate),
    /// A request is dropped before its call.
    Drop(usize),
    /// A request is dropped during its call.
    DropDuring(usize),
    /// The node dies, with all requests.
    Crash,
    /// A call that reported a failure takes effect.
    Late,
    /// A task that a request has spawned runs, while the request waits with a call.
    Task(usize),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Ok,
    Error(ErrorKind),
    /// Without any response.
    None,
}

pub(super) struct Request {
    future: Option<Pin<Box<dyn Future<Output = Visit<()>>>>>,
    is_write: bool,
    must_fail: bool,
    spawned: Spawned,
    pub(super) notes: Notebook,
    pub(super) answer: Option<Answer>,
    /// A browser with only the cookies of this response; `None` if there are none.
    pub(super) cookie: Option<Browser>,
    /// The state behind its cookie when its response finished.
    pub(super) opened: Option<Open>,
}

/// The state behind a cookie.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Open {
    pub(super) session: Handle,
    pub(super) principal: Option<String>,
    pub(super) values: Vec<u32>,
    pub(super) part: Vec<u32>,
}

pub(super) struct Run<'r> {
    pub(super) runtime: &'r Runtime,
    gate: Gate,
    pub(super) sessions: Stepped,
    pub(super) parts: Stepped,
    pub(super) app: App,
    /// The same application, without waiting for turns.
    pub(super) outside: App,
    pub(super) scene: Scene,
    pub(super) first: Browser,
    pub(super) session: Handle,
    pub(super) requests: Vec<Request>,
    /// The requests in the order in which they finished.
    pub(super) finished: Vec<usize>,
    /// The sessions that were seen to be live, and whether they are gone.
    sessions_seen: BTreeMap<Handle, bool>,
    pub(super) has_fault: bool,
    pub(super) wrong: Vec<String>,
    last: Option<usize>,
}

impl<'r> Run<'r> {
    pub(super) fn new(runtime: &'r Runtime, scene: Scene, scripts: &[&'static [Act]]) -> Self {
        let (session_store, part_store, gate) = (MemoryStore::new(), MemoryStore::new(), Gate::default());
        let (sessions, parts) = (Stepped::new(session_store.clone(), &gate), Stepped::new(part_store.clone(), &gate));
        let outside = SessionLayer::server(session_store).with_part::<Notes>(InStore::new(part_store)).unwrap();
        let outside = App::unobserved(outside);
        let layer = SessionLayer::server(sessions.clone()).with_part::<Notes>(InStore::new(parts.clone())).unwrap();
        let app = App::unobserved(layer.with_store_timeout(LONG));
        let mut first = Browser::default();
        let begun = first.send_raw(&outside, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            session.insert(VALUE, [FIRST_MARK])?;
            if scene.has_part {
                Part::<Notes>::from_extensions(&extensions).await?.marks.push(FIRST_MARK);
            }
            scene.principal.into_iter().for_each(|principal| session.login(principal));
            Ok((StatusCode::OK, ()))
        });
        let begun = at_once(begun);
        first.receive(&begun);
        begun.value();
        let session = open(&outside, &first).expect("a session").session;
        let requests = scripts.iter().zip(0..).map(|(script, number)| Request::new(script, number, &app, &first));
        let requests: Vec<_> = requests.collect();
        let mut run = Self {
            runtime,
            gate,
            sessions,
            parts,
            app,
            outside,
            scene,
            first,
            session,
            requests,
            finished: Vec::new(),
            sessions_seen: BTreeMap::from([(session, false)]),
            has_fault: false,
            wrong: Vec::new(),
            last: None,
        };
        // Runs each up to its first call. Nothing has taken effect yet.
        (0..scripts.len()).for_each(|number| run.poll(number));
        run
    }

    /// Returns the possible turns with their costs: a switch to another request, or a fault.
    pub(super) fn turns(&self, switches: usize, faults: usize) -> Vec<(Turn, usize, usize)> {
        let is_waiting = |number: &usize| self.requests[*number].answer.is_none();
        let waiting: Vec<_> = (0..self.requests.len()).filter(is_waiting).collect();
        let last = self.last.filter(is_waiting);
        let mut turns = Vec::new();
        for number in &waiting {
            let request = &self.requests[*number];
            let switch = usize::from(last.is_some_and(|last| last != *number));
            if request.spawned.lock().unwrap().is_some() {
                turns.push((Turn::Task(*number), 1, 0));
            }
            if request.must_fail {
                turns.push((Turn::Call(*number, Fate::Failed), switch, 0));
                continue;
            }
            turns.push((Turn::Call(*number, Fate::Answered), switch, 0));
            turns.push((Turn::Call(*number, Fate::Failed), switch, 1));
            turns.push((Turn::Twice(*number, Fate::Failed), switch, 1));
            turns.push((Turn::Drop(*number), switch, 1));
            if request.is_write {
                turns.push((Turn::Call(*number, Fate::Repeated), switch, 1));
                turns.push((Turn::Call(*number, Fate::Lost), switch, 1));
                turns.push((Turn::Twice(*number, Fate::Lost), switch, 1));
                turns.push((Turn::DropDuring(*number), switch, 1));
                turns.push((Turn::Call(*number, Fate::Late), switch, 1));
                turns.push((Turn::Twice(*number, Fate::Late), switch, 1));
            }
        }
        if waiting.len() > 1 {
            turns.push((Turn::Crash, 0, 1));
        }
        if self.gate.has_late_call() {
            turns.push((Turn::Late, 0, 0));
        }
        turns.retain(|(_, switch, fault)| *switch <= switches && *fault <= faults);
        turns
    }

    pub(super) fn take(&mut self, turn: Turn) {
        self.has_fault |= !matches!(turn, Turn::Call(_, Fate::Answered) | Turn::Task(_));
        match turn {
            Turn::Call(number, fate) => self.call(number, fate),
            Turn::Twice(number, fate) => {
                self.call(number, fate);
                self.requests[number].must_fail = true;
            }
            Turn::Drop(number) => self.requests[number].go_away(),
            Turn::DropDuring(number) => {
                self.gate.open(Fate::Unheard);
                self.requests[number].poll_once();
                self.requests[number].go_away();
            }
            Turn::Crash => {
                self.requests.iter_mut().filter(|request| request.answer.is_none()).for_each(Request::go_away)
            }
            Turn::Late => self.gate.run_late_call(),
            Turn::Task(number) => self.requests[number].run_task(),
        }
        self.watch();
    }

    fn call(&mut self, number: usize, fate: Fate) {
        self.requests[number].must_fail = false;
        self.last = Some(number);
        self.gate.open(fate);
        self.poll(number);
    }

    /// A session that was seen to be gone must not be revived.
    fn watch(&mut self) {
        let live: Vec<_> = self.sessions.records().iter().map(|record| record.handle).collect();
        if live.iter().any(|handle| self.is_gone(handle)) {
            self.wrong.push("4: an ended session was revived".into());
        }
        for handle in &live {
            self.sessions_seen.entry(*handle).or_default();
        }
        for (handle, is_gone) in &mut self.sessions_seen {
            *is_gone |= !live.contains(handle);
        }
    }

    fn is_gone(&self, session: &Handle) -> bool {
        self.sessions_seen.get(session).is_some_and(|is_gone| *is_gone)
    }

    /// Whether the shared session was seen to be gone.
    pub(super) fn has_ended(&self) -> bool {
        self.is_gone(&self.session)
    }

    fn poll(&mut self, number: usize) {
        let begun = self.gate.begun();
        let visit = loop {
            match self.requests[number].poll_once() {
                Some(visit) => break Some(visit),
                None if self.gate.begun() > begun => break None,
                // The request pauses before a retry.
                None => self.runtime.block_on(tokio::time::advance(Duration::from_millis(300))),
            }
        };
        self.requests[number].is_write = self.gate.is_write();
        if let Some(visit) = visit {
            self.finish(number, &visit);
        }
    }

    fn finish(&mut self, number: usize, visit: &Visit<()>) {
        let cookie = (!visit.set_cookies().is_empty()).then(|| {
            let mut browser = self.first.clone();
            browser.receive(visit);
            browser
        });
        let opened = cookie.as_ref().and_then(|browser| open(&self.outside, browser));
        // Its own session, saved before, has ended without an answer.
        let may_be_dead = visit.error.is_some() && self.requests[number].ends_own_session();
        if let Some(browser) = &cookie
            && browser.id().is_some()
            && opened.is_none()
            && !may_be_dead
        {
            self.wrong.push("7: a dead id was sent".into());
        }
        if cookie.is_some() && visit.error.as_ref().is_some_and(|error| *error.kind() == ErrorKind::Ended) {
            self.wrong.push("7: a rejected request has sent a cookie".into());
        }
        let answer = match &visit.error {
            Some(error) => Answer::Error(error.kind().clone()),
            None => Answer::Ok,
        };
        let is_right = match &answer {
            Answer::Ok => visit.status == StatusCode::OK,
            Answer::Error(ErrorKind::Ended) => visit.status == StatusCode::CONFLICT,
            Answer::Error(ErrorKind::Unavailable | ErrorKind::Conflict) => self.has_fault,
            _ => false,
        };
        if !is_right {
            self.wrong.push(format!("0: {} {answer:?}", visit.status));
        }
        let request = &mut self.requests[number];
        (request.future, request.answer, request.cookie, request.opened) = (None, Some(answer), cookie, opened);
        self.finished.push(number);
    }
}

impl Request {
    fn new(script: &'static [Act], number: u32, app: &App, browser: &Browser) -> Self {
        let (app, browser, notes, spawned) = (app.clone(), browser.clone(), Notebook::default(), Spawned::default());
        let (noted, tasks) = (Arc::clone(&notes), Arc::clone(&spawned));
        let future = Box::pin(async move {
            browser.send_raw(&app, move |extensions| script::run(script, number, extensions, noted, tasks)).await
        });
        let (answer, cookie, opened) = (None, None, None);
        Self { future: Some(future), is_write: false, must_fail: false, spawned, notes, answer, cookie, opened }
    }

    fn poll_once(&mut self) -> Option<Visit<()>> {
        let future = self.future.as_mut().expect("the request is running");
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(visit) => Some(visit),
            Poll::Pending => None,
        }
    }

    fn run_task(&mut self) {
        let task = self.spawned.lock().unwrap().take();
        task.expect("it was spawned")();
    }

    fn go_away(&mut self) {
        (self.future, self.answer) = (None, Some(Answer::None));
    }

    fn ends_own_session(&self) -> bool {
        self.notes.lock().unwrap().iter().any(|note| matches!(note, Note::EndedOwn))
    }

    pub(super) fn has_come(&self) -> bool {
        self.notes.lock().unwrap().iter().any(|note| matches!(note, Note::Came(true)))
    }
}

/// Returns the state behind the browser's cookie, read from outside.
pub(super) fn open(app: &App, browser: &Browser) -> Option<Open> {
    let look = |extensions| async move {
        let session = Session::from_extensions(&extensions)?.load().await?;
        let part = Part::<Notes>::from_extensions(&extensions).await?.marks.clone();
        let (principal, values) = (session.principal(), session.get(VALUE)?.unwrap_or_default());
        let open = session.handle().map(|session| Open { session, principal, values, part });
        Ok((StatusCode::OK, open))
    };
    at_once(browser.send_raw(app, look)).value()
}
