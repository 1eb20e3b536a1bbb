//! Drives a router the way a server would, and measures it.

use std::any::Any;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Barrier;
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::Response;
use axum::http::header::{COOKIE, HeaderValue, SET_COOKIE};
use tokio::runtime::{Builder, Runtime};
use tower_service::Service;

use crate::allocations;
use crate::client::Jar;
use crate::scenario::{SEED, Scenario, replacement, value};

/// Requests before the measured ones: tables have grown, lazy statics are there.
const WARM_UP: u64 = 300;

/// What can be asked for answers.
pub trait App {
    type Request;
    type Response;

    fn request(path: &str, cookies: Option<HeaderValue>) -> Self::Request;

    /// What is measured.
    async fn call(&mut self, request: Self::Request) -> Self::Response;

    async fn answer(response: Self::Response) -> Answer;
}

/// An answer, as a client sees it, and what is left of it to drop.
pub struct Answer {
    pub ok: bool,
    pub cookies: Vec<String>,
    pub body: Vec<u8>,
    pub head: Box<dyn Any>,
}

impl App for Router {
    type Request = Request<Body>;
    type Response = Response<Body>;

    fn request(path: &str, cookies: Option<HeaderValue>) -> Request<Body> {
        let mut request = Request::get(path);
        if let Some(cookies) = cookies {
            request = request.header(COOKIE, cookies);
        }
        request.body(Body::empty()).expect("a request")
    }

    async fn call(&mut self, request: Request<Body>) -> Response<Body> {
        Service::call(self, request).await.expect("infallible")
    }

    async fn answer(response: Response<Body>) -> Answer {
        let (head, body) = response.into_parts();
        let cookies = head.headers.get_all(SET_COOKIE).iter().map(|cookie| cookie.to_str().expect("ASCII").to_owned());
        let (ok, cookies) = (head.status.is_success(), cookies.collect());
        let body = to_bytes(body, usize::MAX).await.expect("a body").to_vec();
        Answer { ok, cookies, body, head: Box::new(head) }
    }
}

pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

/// Measures a number of requests and gives back their allocations.
pub async fn measure(mut app: impl App, scenario: Scenario, requests: u64) -> u64 {
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
pub async fn check(mut app: impl App) {
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
        drop(App::call(&mut app, Router::request("/seed-100", None)).await);
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
            drop(App::call(&mut app, Router::request("/increment", Some(cookie.clone()))).await);
        }
        begin.elapsed()
    })
}

/// One request of a client, its answer's body.
async fn get(app: &mut impl App, jar: &mut Jar, path: &str) -> String {
    serve(app, jar, path, false).await
}

async fn serve<A: App>(app: &mut A, jar: &mut Jar, path: &str, measured: bool) -> String {
    let request = A::request(path, jar.header());
    let mut response = None;
    {
        let future = async { response = Some(app.call(request).await) };
        let mut future: Pin<&mut dyn Future<Output = ()>> = pin!(future);
        if measured {
            std::future::poll_fn(|context| measured_poll(future.as_mut(), context)).await;
        } else {
            future.await;
        }
    }
    let Answer { ok, cookies, body, head } = A::answer(response.expect("a response")).await;
    let body = String::from_utf8(body).expect("text");
    assert!(ok, "{path}: {body}");
    jar.take(&cookies);
    if measured {
        measured_drop(head)
    } else {
        drop(head)
    }
    body
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
fn measured_drop(head: Box<dyn Any>) {
    allocations::count(true);
    drop(head);
    allocations::count(false);
}
