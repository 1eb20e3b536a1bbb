//! Concurrent requests of one session, with a store and a part's place that may fail: in every order of their calls,
//! and with a fault at every call.
//!
//! This tests the real layer. Each store call waits until the test decides its fate: it succeeds, it fails, its reply
//! is lost, it is made twice, it takes effect later, the request is dropped before or during it, or the node dies. A
//! run is one list of such turns; all lists are tried one after the other (stateless model checking, as in Godefroid,
//! *Model checking for programming languages using VeriSoft*, POPL 1997), with a bound on the preemptions of a request
//! (Musuvathi and Qadeer, *Iterative context bounding*, PLDI 2007) and on the faults.
//!
//! `SESSION_STATE_SWITCHES` and `SESSION_STATE_FAULTS` raise the bounds.
//!
//! Each of these faults was put back by hand and is found:
//!
//! - An unanswered update, or an unanswered create or renewal, is forgotten and made again.
//! - A write that has not taken place yet is not shut out before the next one.
//! - A new session whose key is taken counts as written, whichever attempt took the key.
//! - A renewal, or a write of a part, that a store's client has repeated by itself counts as refused.
//! - A request that gives up takes back parts that its unanswered write refers to.
//! - An end leaves nothing under the ID of the session, so that a create that takes place late brings it back.
//! - A planned write is made although a task of the request has logged in since, or has changed a part that was written
//!   ahead.

mod judge;
mod run;
mod script;
mod stepped;

use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use run::{Run, Scene, Turn};
use script::Act;

type Script = &'static [Act];

const READ: Script = &[Act::ReadPart];
const VALUE: Script = &[Act::Value];
const PART: Script = &[Act::Part];
const BOTH: Script = &[Act::Value, Act::Part];
const RENEW: Script = &[Act::Renew, Act::Part];
const LOGIN: Script = &[Act::Login("alice")];
const LOGIN_AND_WRITE: Script = &[Act::Login("alice"), Act::Value, Act::Part];
const TAKEOVER: Script = &[Act::Login("bob"), Act::Value, Act::Part];
const LOGOUT: Script = &[Act::Logout];
const LOGOUT_AND_WRITE: Script = &[Act::Logout, Act::Value, Act::Part];
const SAVE: Script = &[Act::Part, Act::Save, Act::Value, Act::Part];
const RENEW_AND_SAVE: Script = &[Act::Renew, Act::Part, Act::Save, Act::Value, Act::Part];
const LOGIN_AND_SAVE: Script = &[Act::Login("alice"), Act::Part, Act::Save, Act::Value, Act::Part];
const LOGOUT_AND_SAVE: Script = &[Act::Logout, Act::Part, Act::Save, Act::Value, Act::Part];
const LOGOUT_TWICE: Script = &[Act::Logout, Act::Value, Act::Part, Act::Save, Act::Logout];
const SAVE_AND_LOGIN: Script = &[Act::Value, Act::Part, Act::Save, Act::Login("alice"), Act::Part];
const SPAWN: Script = &[Act::Part, Act::Spawn(&[Act::Value, Act::Part]), Act::Save, Act::Value];
const SPAWN_BESIDE_BOTH: Script = &[Act::Value, Act::Part, Act::Spawn(&[Act::Part]), Act::Save, Act::Value];
const SPAWN_LOGIN: Script = &[Act::Value, Act::Part, Act::Spawn(&[Act::Login("alice")]), Act::Save, Act::Part];

/// Requests of an anonymous session, and of a principal.
const OF_VISITOR: &[Script] = &[
    READ,
    VALUE,
    PART,
    BOTH,
    RENEW,
    LOGIN,
    LOGIN_AND_WRITE,
    LOGOUT,
    LOGOUT_AND_WRITE,
    SAVE,
    SAVE_AND_LOGIN,
    SPAWN,
    SPAWN_BESIDE_BOTH,
    SPAWN_LOGIN,
];
const OF_PRINCIPAL: &[Script] = &[READ, PART, BOTH, RENEW, LOGIN_AND_WRITE, TAKEOVER, LOGOUT, SAVE];

/// The bounds of a search.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    switches: usize,
    faults: usize,
}

impl Bounds {
    /// Reads the bounds from the environment, if they are set.
    fn new(switches: usize, faults: usize) -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<usize>().ok();
        let switches = number("SESSION_STATE_SWITCHES").unwrap_or(switches);
        Self { switches, faults: if faults > 0 { number("SESSION_STATE_FAULTS").unwrap_or(faults) } else { 0 } }
    }
}

/// Returns the output of a future that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the future waits"),
    }
}

/// Returns the output of a future that waits only for time.
fn at_last<T>(runtime: &Runtime, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..100 {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(answer);
        }
        runtime.block_on(tokio::time::advance(Duration::from_millis(300)));
    }
    None
}

/// The failures, each with its first run and its number of runs.
#[derive(Debug, Default)]
struct Findings(BTreeMap<String, (String, usize)>);

impl Findings {
    fn add(&mut self, wrong: &str, run: impl FnOnce() -> String) {
        // Details that differ between runs follow the colon. The mark does not distinguish kinds of failures.
        let kind: String =
            wrong.chars().take(2).chain(wrong.chars().skip(2).filter(|c| !c.is_ascii_digit())).take(34).collect();
        self.0.entry(kind).or_insert_with(|| (format!("{wrong}\n    {}", run()), 0)).1 += 1;
    }

    fn join(&mut self, other: Self) {
        for (kind, (run, times)) in other.0 {
            self.0.entry(kind).or_insert_with(|| (run, 0)).1 += times;
        }
    }
}

/// Tries every run of these requests, and returns the number of runs.
fn try_all(runtime: &Runtime, scene: Scene, scripts: &[Script], bounds: Bounds) -> (usize, Findings) {
    let mut findings = Findings::default();
    // For each turn of the current run: the chosen option, and the number of options.
    let mut choices: Vec<(usize, usize)> = Vec::new();
    for runs in 1.. {
        let mut taken = Vec::new();
        let wrong =
            catch_unwind(AssertUnwindSafe(|| run_once(runtime, scene, scripts, bounds, &mut choices, &mut taken)));
        let wrong = wrong.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            vec![format!("panic: {text:?}")]
        });
        for what in wrong {
            findings.add(&what, || format!("{scene:?} {scripts:?}\n    {taken:?}"));
        }
        // Advance to the next list of turns, the last turn first.
        while choices.last().is_some_and(|(chosen, of)| chosen + 1 == *of) {
            choices.pop();
        }
        let Some((chosen, _)) = choices.last_mut() else { return (runs, findings) };
        *chosen += 1;
    }
    unreachable!("the loop ends by returning")
}

fn run_once(
    runtime: &Runtime,
    scene: Scene,
    scripts: &[Script],
    bounds: Bounds,
    choices: &mut Vec<(usize, usize)>,
    taken: &mut Vec<Turn>,
) -> Vec<String> {
    let Bounds { mut switches, mut faults } = bounds;
    let mut run = Run::new(runtime, scene, scripts);
    for turn in 0.. {
        let turns = run.turns(switches, faults);
        if turns.is_empty() {
            break;
        }
        if turn == choices.len() {
            choices.push((0, turns.len()));
        }
        assert_eq!(choices[turn].1, turns.len(), "runs are deterministic");
        let (next, switch, fault) = turns[choices[turn].0];
        (switches, faults) = (switches - switch, faults - fault);
        taken.push(next);
        run.take(next);
    }
    judge::judge(&run)
}

/// Timers need a runtime. Its time is paused.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Tries every pair in every scene, on one thread per core.
fn try_pairs(scenes: &[(Scene, &[Script])], bounds: Bounds) -> usize {
    let mut pairs = Vec::new();
    for (scene, scripts) in scenes {
        for (place, first) in scripts.iter().enumerate() {
            pairs.extend(scripts[place..].iter().map(|second| (*scene, [*first, *second])));
        }
    }
    let (next, found) = (AtomicUsize::new(0), Mutex::new((0, Findings::default())));
    let work = || {
        let runtime = runtime();
        let _inside = runtime.enter();
        while let Some((scene, scripts)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (runs, findings) = try_all(&runtime, *scene, scripts, bounds);
            let mut found = found.lock().unwrap();
            found.0 += runs;
            found.1.join(findings);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    let (runs, findings) = found.into_inner().unwrap();
    report(runs, &findings);
    runs
}

fn report(runs: usize, findings: &Findings) {
    for (what, (run, times)) in &findings.0 {
        eprintln!("{what} ({times} times), as in\n    {run}");
    }
    eprintln!("{runs} runs");
    assert!(findings.0.is_empty(), "{} kinds of failures in {runs} runs", findings.0.len());
}

const fn scene(principal: Option<&'static str>, has_part: bool) -> Scene {
    Scene { principal, has_part }
}

const SCENES: &[(Scene, &[Script])] =
    &[(scene(None, true), OF_VISITOR), (scene(None, false), OF_VISITOR), (scene(Some("alice"), true), OF_PRINCIPAL)];

#[test]
fn two_requests_end_well_in_every_order() {
    let runs = try_pairs(SCENES, Bounds::new(2, 0));
    assert!(runs > 1_000, "only {runs} runs were tried");
}

/// Tries a fault at every call, for the scenes with the most failure modes.
const WITH_FAULTS: &[(Scene, &[Script])] = &[
    (
        scene(None, true),
        &[PART, BOTH, LOGIN_AND_WRITE, SAVE, RENEW_AND_SAVE, LOGIN_AND_SAVE, LOGOUT_AND_SAVE, LOGOUT_TWICE],
    ),
    (scene(None, false), &[BOTH, LOGIN_AND_WRITE]),
    (scene(Some("alice"), true), &[PART, TAKEOVER, LOGOUT]),
];

#[test]
fn two_requests_end_well_with_a_fault_at_every_call() {
    let runs = try_pairs(WITH_FAULTS, Bounds::new(0, 1));
    assert!(runs > 1_000, "only {runs} runs were tried");
}
