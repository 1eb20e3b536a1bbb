//! Drives a router the way a server would, and measures it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Barrier;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::COOKIE;
use axum::http::response::{Parts, Response};
use tokio::runtime::{Builder, Runtime};
use tower_service::Service;

use crate::allocations;
use crate::client::Jar;
use crate::scenario::{SEED, Scenario, replacement, value};

/// Requests before the measured ones: tables have grown, lazy statics are there.
const WARM_UP: u64 = 300;

pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

/// Measures a number of requests and gives back their allocations.
pub async fn measure(mut app: Router, scenario: Scenario, requests: u64) -> u64 {
    let mut jar = Jar::default();
    if let Some(seed) = scenario.seed() {
        get(&mut app, &mut jar, seed).await;
    }
    for _ in 0..WARM_UP {
        serve(&mut app, &mut jar, scenario.path(), false).await;
    }
    let before = allocations::counted();
    for _ in 0..requests {
        serve(&mut app, &mut jar, scenario.path(), true).await;
        // Tokio's budget for one task is meant for work of one request.
        tokio::task::yield_now().await;
    }
    allocations::counted() - before
}

/// Shows that every route does what the scenarios say.
pub async fn check(mut app: Router) {
    let mut visitor = Jar::default();
    assert_eq!(get(&mut app, &mut visitor, "/unused").await, "unused");
    let mut jar = Jar::default();
    get(&mut app, &mut jar, "/seed-number").await;
    assert!(jar.header().is_some(), "seeding gave the client no cookie");
    assert_eq!(get(&mut app, &mut jar, "/unused").await, "unused");
    for n in 0..3 {
        assert_eq!(get(&mut app, &mut jar, "/read").await, (SEED + n).to_string());
        assert_eq!(get(&mut app, &mut jar, "/increment").await, (SEED + n + 1).to_string());
    }
    let mut jar = Jar::default();
    get(&mut app, &mut jar, "/seed-small").await;
    assert_eq!(get(&mut app, &mut jar, "/read-one").await, value("value-07", crate::scenario::SMALL));
    let mut jar = Jar::default();
    get(&mut app, &mut jar, "/seed-large").await;
    assert_eq!(get(&mut app, &mut jar, "/read-one").await, value("value-07", crate::scenario::LARGE));
    let one = get(&mut app, &mut jar, "/change-one").await;
    assert_eq!(get(&mut app, &mut jar, "/read-one").await, one);
    let other = get(&mut app, &mut jar, "/change-one").await;
    assert_eq!(get(&mut app, &mut jar, "/read-one").await, other);
    assert!(one != other && [replacement(0), replacement(1)].contains(&&*one), "the change was none");
    assert_eq!(get(&mut app, &mut Jar::default(), "/read").await, "0", "a stranger saw a session");
}

/// Makes that many sessions of 100 bytes and gives back the bytes they live in: as asked of the allocator, and as
/// resident in memory.
pub async fn bytes(mut app: Router, sessions: u64) -> (u64, u64) {
    get(&mut app, &mut Jar::default(), "/seed-100").await;
    let resident = allocations::resident();
    allocations::count(true);
    for _ in 0..sessions {
        drop(app.call(Request::get("/seed-100").body(Body::empty()).expect("a request")).await);
    }
    allocations::count(false);
    let after = allocations::resident();
    drop(app);
    (allocations::live(), after - resident)
}

/// How many times as many increments two threads do as one in the same time; the median of several trials.
pub fn speedup(app: &Router, requests: u64) -> f64 {
    let mut trials: Vec<f64> = (0..7)
        .map(|_| {
            let one = increments(app, 1, requests);
            let two = increments(app, 2, requests);
            2.0 * one.as_secs_f64() / two.as_secs_f64()
        })
        .collect();
    trials.sort_by(f64::total_cmp);
    trials[trials.len() / 2]
}

fn increments(app: &Router, threads: usize, requests: u64) -> Duration {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| increments_of_one(app.clone(), &barrier, requests))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no panic")).max().expect("a thread")
    })
}

fn increments_of_one(mut app: Router, barrier: &Barrier, requests: u64) -> Duration {
    runtime().block_on(async {
        let mut jar = Jar::default();
        get(&mut app, &mut jar, "/seed-number").await;
        let cookie = jar.header().expect("a session");
        barrier.wait();
        let begin = Instant::now();
        for _ in 0..requests {
            let request = Request::get("/increment").header(COOKIE, cookie.clone());
            drop(app.call(request.body(Body::empty()).expect("a request")).await);
        }
        begin.elapsed()
    })
}

/// One request of a client, its answer's body.
async fn get(app: &mut Router, jar: &mut Jar, path: &str) -> String {
    serve(app, jar, path, false).await
}

async fn serve(app: &mut Router, jar: &mut Jar, path: &str, measured: bool) -> String {
    let mut request = Request::get(path);
    if let Some(cookies) = jar.header() {
        request = request.header(COOKIE, cookies);
    }
    let request = request.body(Body::empty()).expect("a request");
    let mut response: Option<Response<Body>> = None;
    {
        let future = async { response = Some(app.call(request).await.expect("infallible")) };
        let mut future: Pin<&mut dyn Future<Output = ()>> = pin!(future);
        if measured {
            std::future::poll_fn(|context| measured_poll(future.as_mut(), context)).await;
        } else {
            future.await;
        }
    }
    let (head, body) = response.expect("an answer").into_parts();
    assert!(head.status.is_success(), "{path}: {}", head.status);
    jar.take(&head.headers);
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    if measured {
        measured_drop(head)
    } else {
        drop(head)
    }
    String::from_utf8(body.into()).expect("text")
}

/// What callgrind counts, with everything below it.
#[inline(never)]
fn measured_poll(future: Pin<&mut dyn Future<Output = ()>>, context: &mut Context<'_>) -> Poll<()> {
    allocations::count(true);
    let poll = future.poll(context);
    allocations::count(false);
    poll
}

/// What callgrind counts as well: the end of a request.
#[inline(never)]
fn measured_drop(head: Parts) {
    allocations::count(true);
    drop(head);
    allocations::count(false);
}
