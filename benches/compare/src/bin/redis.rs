//! Reads a session on a real Redis, beside a handler that does the same `GET` by hand, and beside tower-sessions.
//!
//!     cargo run --release --features redis --bin redis -- \
//!         redis://localhost:6379/ [seconds a round] [rounds] [tasks] [one]
//!
//! Requests are made in this process, by many tasks at once. The contenders take turns, so that a machine that has
//! other things to do is slow for all of them, and what counts is the ratio within a round.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::routing::get;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use session_state::{RedisStore, Session, SessionLayer};
use tower::ServiceExt as _;
use tower_sessions_redis_store::fred::prelude::{ClientLike as _, Config, Pool};

const NUMBER: &str = "n";
const SEED: u64 = 1_000_000;

#[derive(Clone)]
struct Contender {
    name: &'static str,
    router: Router,
    cookie: HeaderValue,
}

impl Contender {
    /// Makes its session.
    async fn new(name: &'static str, router: Router) -> Self {
        let seeded = router.clone().oneshot(Request::get("/seed").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(seeded.status(), StatusCode::OK, "{name}");
        let cookie = seeded.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().parse().unwrap();
        let contender = Self { name, router, cookie };
        assert!(contender.read().await, "{name}");
        contender
    }

    async fn read(&self) -> bool {
        let request = Request::get("/read").header(COOKIE, self.cookie.clone()).body(Body::empty()).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        answer.status() == StatusCode::OK
            && axum::body::to_bytes(answer.into_body(), 100).await.unwrap() == SEED.to_string()
    }

    /// Returns how many requests a second are answered, and how many in a second of this process's time on a processor.
    async fn throughput(&self, tasks: usize, length: Duration) -> [f64; 2] {
        let (done, begun, busy) = (Arc::new(AtomicU64::new(0)), Instant::now(), busy_seconds());
        let work = (0..tasks).map(|_| {
            let (contender, done) = (self.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                while begun.elapsed() < length {
                    assert!(contender.read().await, "{}", contender.name);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for task in work.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        [begun.elapsed().as_secs_f64(), busy_seconds() - busy].map(|time| done.load(Ordering::Relaxed) as f64 / time)
    }
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("usage: redis <url> [seconds a round] [rounds] [tasks]");
    let mut number = |default: f64| arguments.next().map_or(default, |argument| argument.parse().expect("a number"));
    let (length, rounds, tasks) = (Duration::from_secs_f64(number(1.0)), number(15.0) as usize, number(64.0) as usize);
    let contenders = [
        Contender::new("hand-written GET", hand_written(&url).await.with_state(())).await,
        Contender::new("session-state", ours(&url).await.with_state(())).await,
        Contender::new("tower-sessions", tower_sessions(&url).await.with_state(())).await,
    ];
    // Only one of them, for a profiler.
    let contenders = match arguments.next() {
        Some(one) => contenders.into_iter().filter(|contender| contender.name == one).collect(),
        None => Vec::from(contenders),
    };
    let mut measured = vec![Vec::new(); contenders.len()];
    for round in 0..=rounds {
        for (contender, measured) in contenders.iter().zip(&mut measured) {
            let throughput = contender.throughput(tasks, length).await;
            // The first round is for warming up.
            if round > 0 {
                measured.push(throughput);
            }
        }
    }
    for (contender, throughputs) in contenders.iter().zip(&measured) {
        let ratio = |of: usize| median(throughputs.iter().zip(&measured[0]).map(|(one, hand)| one[of] / hand[of]));
        let throughput = median(throughputs.iter().map(|one| one[0]));
        let (name, wall, busy) = (contender.name, ratio(0), ratio(1));
        println!("{name:>17}: {throughput:>8.0} a second, ratio {wall:.3}; by processor time {busy:.3}");
    }
}

/// How long this process has been on a processor, from Linux.
fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("a Linux");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name in brackets").1.split(' ').collect();
    let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("a number")).sum();
    ticks / 100.0
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

async fn ours(url: &str) -> Router {
    let store = RedisStore::connect(url).await.unwrap();
    Router::new()
        .route("/seed", get(|session: Session| async move { session.insert(NUMBER, SEED).unwrap() }))
        .route("/read", get(|session: Session| async move { session.get::<u64>(NUMBER).unwrap().unwrap().to_string() }))
        .layer(SessionLayer::server(store))
}

/// The least code that reads a number by the value of a cookie: no expiry, no hash, no events.
async fn hand_written(url: &str) -> Router {
    async fn seed(State(mut redis): State<MultiplexedConnection>) -> [(&'static str, &'static str); 1] {
        let () =
            redis.set_ex(key("0123456789012345678901234567890123456789012"), SEED.to_string(), 3600).await.unwrap();
        [("set-cookie", "id=0123456789012345678901234567890123456789012")]
    }

    async fn read(State(mut redis): State<MultiplexedConnection>, headers: HeaderMap) -> Result<String, StatusCode> {
        let cookie = headers.get(COOKIE).and_then(|cookie| cookie.to_str().ok()).ok_or(StatusCode::UNAUTHORIZED)?;
        let id = cookie.strip_prefix("id=").filter(|id| id.len() == 43).ok_or(StatusCode::UNAUTHORIZED)?;
        let value: Option<Vec<u8>> = redis.get(key(id)).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        let number: u64 = serde_json::from_slice(&value.ok_or(StatusCode::UNAUTHORIZED)?).unwrap();
        Ok(number.to_string())
    }

    fn key(id: &str) -> String {
        format!("hand-written:{id}")
    }

    // With the settings that ours has.
    let settings = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    let info = redis::IntoConnectionInfo::into_connection_info(url).unwrap().set_tcp_settings(settings);
    let connection = redis::Client::open(info).unwrap().get_multiplexed_async_connection().await.unwrap();
    Router::new().route("/seed", get(seed)).route("/read", get(read)).with_state(connection)
}

async fn tower_sessions(url: &str) -> Router {
    use tower_sessions_014::{Session, SessionManagerLayer};

    // One connection, as the others have.
    let pool = Pool::new(Config::from_url(url).unwrap(), None, None, None, 1).unwrap();
    pool.connect();
    pool.wait_for_connect().await.unwrap();
    let store = tower_sessions_redis_store::RedisStore::new(pool);
    Router::new()
        .route("/seed", get(|session: Session| async move { session.insert(NUMBER, SEED).await.unwrap() }))
        .route(
            "/read",
            get(|session: Session| async move { session.get::<u64>(NUMBER).await.unwrap().unwrap().to_string() }),
        )
        .layer(SessionManagerLayer::new(store))
}
