//! A server that is killed or paused while many clients use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use session_state::Session;
use tokio::task::JoinSet;

use crate::adapters::Adapter;
use crate::browser::{App, Browser};
use crate::harness::process::Server;

/// Clients with separate sessions.
const LONELY: usize = 8;
/// Clients that share one session.
const SHARING: usize = 4;
/// Clients that repeatedly log out.
const LEAVING: usize = 4;
/// How many requests are answered, or fail, before the test goes on.
const SOME: usize = 500;
const OUTAGES: usize = 2;
/// Short, so that clients often notice a paused server.
const STORE_TIMEOUT: Duration = Duration::from_millis(250);
/// Longer than any server takes to restart.
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts of all clients.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    answered: AtomicUsize,
    failed: AtomicUsize,
    /// Sessions that were lost.
    lost: AtomicUsize,
}

impl Load {
    fn is_on(&self) -> bool {
        !self.is_over.load(Ordering::SeqCst)
    }

    /// Counts the request and returns whether it was answered.
    fn count(&self, status: StatusCode) -> bool {
        let is_answered = status == StatusCode::OK;
        if is_answered { &self.answered } else { &self.failed }.fetch_add(1, Ordering::SeqCst);
        is_answered
    }

    async fn more(counter: &AtomicUsize, count: usize) {
        let begin = counter.load(Ordering::SeqCst);
        let wait = async {
            while counter.load(Ordering::SeqCst) < begin + count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("requests are answered, or fail, in time");
    }
}

/// Adds one, and returns whether the session is new and what the number is then.
fn increment(session: &Session, name: usize) -> (bool, u64) {
    let whose = session.get("name").unwrap().unwrap_or(name);
    assert_eq!(whose, name, "a client sees the session of another");
    session.insert("name", name).unwrap();
    (session.is_new(), session.update("n", |n: &mut u64| *n += 1).unwrap())
}

/// Counts in its own session, and always knows the range the number must be in.
async fn count_alone(app: App, load: Arc<Load>, name: usize, is_durable: bool) {
    // The acknowledged count, and that count plus every increment of unknown outcome.
    let (mut browser, mut least, mut most) = (Browser::default(), 0, 0);
    while load.is_on() {
        let visit = browser.visit(&app, move |session| async move { increment(&session, name) }).await;
        let is_answered = load.count(visit.status);
        // A request without its session has written nothing.
        let Some((is_new, number)) = visit.output else { continue };
        if is_new {
            if least > 0 {
                assert!(!is_durable, "an acknowledged session is gone");
                load.lost.fetch_add(1, Ordering::SeqCst);
            }
            (least, most) = (0, 0);
        }
        assert!(least < number && number <= most + 1, "{number}, but it was {least} to {most} before");
        most += 1;
        if is_answered {
            least = number;
        }
    }
}

/// Counts in a session shared with other clients. Returns how many increments succeeded and how many failed.
async fn count_together(app: App, load: Arc<Load>, mut browser: Browser) -> (u64, u64) {
    let (mut sure, mut unsure) = (0, 0);
    while load.is_on() {
        let handler = |session: Session| async move {
            if session.is_new() {
                return false;
            }
            session.update("n", |n: &mut u64| *n += 1).unwrap();
            true
        };
        let visit = browser.visit(&app, handler).await;
        if visit.output == Some(false) {
            load.lost.fetch_add(1, Ordering::SeqCst);
            break;
        }
        let counter = if load.count(visit.status) { &mut sure } else { &mut unsure };
        *counter += 1;
    }
    (sure, unsure)
}

/// Starts sessions and ends them. Returns browsers that still hold the cookies of the ended sessions.
async fn leave(app: App, load: Arc<Load>) -> Vec<Browser> {
    let mut over = Vec::new();
    while load.is_on() {
        let mut browser = Browser::default();
        if !load.count(browser.set(&app, "n", 1).await.status) {
            continue;
        }
        let visit = browser
            .send(&app, |session| async move {
                session.logout();
                session.is_new()
            })
            .await;
        if load.count(visit.status) {
            over.push(browser);
        }
    }
    over
}

/// Runs all clients until the outages are over.
async fn withstand(adapter: &Adapter, outage: impl AsyncFn(&Server, &Load)) {
    let Some(server) = adapter.engine.start() else { return };
    let layer = (adapter.open)(adapter.engine.url(server.address())).await;
    let app = App::new(layer.with_store_timeout(STORE_TIMEOUT));
    let load = Arc::new(Load::default());
    let mut shared = Browser::default();
    while shared.set(&app, "n", 0).await.status != StatusCode::OK {}

    let (mut lonely, mut sharing, mut leaving) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    for name in 0..LONELY {
        lonely.spawn(count_alone(app.clone(), Arc::clone(&load), name, adapter.is_durable));
    }
    for _ in 0..SHARING {
        sharing.spawn(count_together(app.clone(), Arc::clone(&load), shared.clone()));
    }
    for _ in 0..LEAVING {
        leaving.spawn(leave(app.clone(), Arc::clone(&load)));
    }
    for _ in 0..OUTAGES {
        Load::more(&load.answered, SOME).await;
        outage(&server, &load).await;
    }
    Load::more(&load.answered, SOME).await;
    load.is_over.store(true, Ordering::SeqCst);

    lonely.join_all().await;
    let counted = sharing.join_all().await;
    let over: Vec<Browser> = leaving.join_all().await.into_iter().flatten().collect();
    check_shared(adapter, &app, &mut shared, &counted).await;
    for browser in &over {
        assert!(is_new(&app, browser).await, "a session was revived after its logout");
    }
    let (answered, failed) = (load.answered.load(Ordering::SeqCst), load.failed.load(Ordering::SeqCst));
    let lost = load.lost.load(Ordering::SeqCst);
    println!(
        "{}: {answered} requests answered, {failed} failed; {} sessions ended, none came back; {lost} lost",
        adapter.engine.name,
        over.len()
    );
    assert!(!over.is_empty() && failed > 0, "there was no outage");
}

/// Whether the cookies lead to no session.
async fn is_new(app: &App, browser: &Browser) -> bool {
    loop {
        let visit = browser.send(app, |session| async move { session.is_new() }).await;
        if visit.status == StatusCode::OK {
            return visit.value();
        }
    }
}

async fn check_shared(adapter: &Adapter, app: &App, shared: &mut Browser, counted: &[(u64, u64)]) {
    if is_new(app, shared).await {
        assert!(!adapter.is_durable, "an acknowledged session is gone");
        return;
    }
    let number = u64::from(shared.get(app, "n").await.expect("the number is there"));
    let (sure, unsure) = counted.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("{}: the shared session counted to {number}; {sure} acknowledged, {unsure} not", adapter.engine.name);
    assert!((sure..=sure + unsure).contains(&number), "counted to {number}: {sure} were acknowledged, {unsure} not");
}

pub(crate) async fn a_killed_server_loses_no_acknowledged_write_and_revives_no_session(adapter: &Adapter) {
    withstand(adapter, async |server, load| {
        tokio::task::block_in_place(|| server.kill());
        Load::more(&load.failed, LONELY).await;
        tokio::task::block_in_place(|| server.restart());
    })
    .await;
}

pub(crate) async fn a_halted_server_loses_no_acknowledged_write_and_revives_no_session(adapter: &Adapter) {
    withstand(adapter, async |server, load| {
        tokio::task::block_in_place(|| server.stop());
        Load::more(&load.failed, 2 * LONELY).await;
        tokio::task::block_in_place(|| server.cont());
    })
    .await;
}
