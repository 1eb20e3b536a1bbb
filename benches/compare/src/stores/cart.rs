//! A page with a cart of twenty lines: a part in tables, beside a handler that asks for the session and the lines with
//! statements of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use session_state::{InTables, Part, PostgresStore, SessionLayer, SessionPart, SqliteStore};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use tower::ServiceExt as _;

use crate::Error;

const SESSIONS: usize = 200;
const LINES: i64 = 20;
const CONNECTIONS: u32 = 8;
const CALLERS: usize = 16;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 9;

#[derive(Default, Serialize, Deserialize)]
struct Cart {
    lines: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    sku: String,
    qty: i64,
    unit_price_cents: i64,
}

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

impl Cart {
    fn full() -> Self {
        let line = |n| Line { sku: format!("biscuit-{n:02}"), qty: n % 5 + 1, unit_price_cents: 100 * n + 99 };
        Self { lines: (0..LINES).map(line).collect() }
    }

    /// The page, which is the same for all.
    fn page(&self) -> String {
        let line = |line: &Line| format!("{} x {} = {}\n", line.qty, line.sku, line.qty * line.unit_price_cents);
        self.lines.iter().map(line).collect()
    }
}

async fn fill(mut cart: Part<Cart>) {
    *cart = Cart::full();
}

async fn show(cart: Part<Cart>) -> String {
    cart.page()
}

/// A router and the cookies of its visitors.
#[derive(Clone)]
struct Contender {
    name: &'static str,
    router: Router,
    cookies: Arc<Vec<HeaderValue>>,
}

impl Contender {
    async fn new(name: &'static str, router: Router) -> Result<Self, Error> {
        let mut cookies = Vec::new();
        for n in 0..SESSIONS {
            let filled = router.clone().oneshot(Request::get(format!("/fill/{n}")).body(Body::empty())?).await?;
            cookies.push(filled.headers()[SET_COOKIE].to_str()?.split(';').next().unwrap_or_default().parse()?);
        }
        let contender = Self { name, router, cookies: cookies.into() };
        contender.read(0).await?;
        Ok(contender)
    }

    async fn read(&self, n: usize) -> Result<(), Error> {
        let cookie = self.cookies[n % SESSIONS].clone();
        let request = Request::get("/cart").header(COOKIE, cookie).body(Body::empty())?;
        let answer = self.router.clone().oneshot(request).await?;
        let (status, page) = (answer.status(), to_bytes(answer.into_body(), 10_000).await?);
        if status == StatusCode::OK && page == Cart::full().page() { Ok(()) } else { Err(self.name.into()) }
    }

    /// Returns how many pages a second it serves.
    async fn rate(&self) -> Result<f64, Error> {
        let (begun, served) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (contender, served) = (self.clone(), Arc::clone(&served));
                tokio::spawn(async move {
                    let mut n = caller * 31;
                    while begun.elapsed() < ROUND {
                        contender.read(n).await?;
                        n += 7;
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<_, Error>(())
                })
            })
            .collect();
        for caller in callers {
            caller.await??;
        }
        Ok(served.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
    }
}

/// A handler by hand: one statement for the session, one for the lines.
macro_rules! by_hand {
    ($module:ident, $pool:ty, $blob:literal, $session:literal, $lines:literal, $insert:literal, $insert_line:literal) => {
        mod $module {
            use super::*;

            pub(super) async fn router(pool: $pool) -> Result<Router, Error> {
                let schema = format!(
                    "DROP TABLE IF EXISTS hand_items; DROP TABLE IF EXISTS hand_sessions;
                     CREATE TABLE hand_sessions (id TEXT PRIMARY KEY, handle {0} NOT NULL UNIQUE, data TEXT NOT NULL,
                        expires_at BIGINT NOT NULL);
                     CREATE TABLE hand_items (session {0} NOT NULL REFERENCES hand_sessions (handle) ON DELETE CASCADE,
                        sku TEXT NOT NULL, qty BIGINT NOT NULL, unit_price_cents BIGINT NOT NULL,
                        PRIMARY KEY (session, sku));",
                    $blob
                );
                sqlx::raw_sql(AssertSqlSafe(schema)).execute(&pool).await?;
                Ok(Router::new().route("/fill/{n}", get(fill)).route("/cart", get(show)).with_state(pool))
            }

            async fn fill(State(pool): State<$pool>, Path(n): Path<u64>) -> Result<[(&'static str, String); 1], StatusCode> {
                let (id, handle) = (format!("{n:043}"), u128::from(n).to_be_bytes().to_vec());
                let session = sqlx::query($insert).bind(&id).bind(&handle);
                session.execute(&pool).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
                for line in Cart::full().lines {
                    let line = sqlx::query($insert_line).bind(&handle).bind(line.sku).bind(line.qty).bind(line.unit_price_cents);
                    line.execute(&pool).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
                }
                Ok([("set-cookie", format!("id={id}; HttpOnly"))])
            }

            async fn show(State(pool): State<$pool>, headers: HeaderMap) -> Result<String, StatusCode> {
                let id = headers.get(COOKIE).and_then(|cookie| cookie.to_str().ok()?.strip_prefix("id="));
                let session = sqlx::query_as($session).bind(id).bind(millis()).fetch_optional(&pool).await;
                let session: Option<(Vec<u8>, String)> = session.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
                let Some((handle, _)) = session else { return Err(StatusCode::UNAUTHORIZED) };
                let lines = sqlx::query_as($lines).bind(handle).fetch_all(&pool).await;
                let lines: Vec<(String, i64, i64)> = lines.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
                let line = |(sku, qty, unit_price_cents)| Line { sku, qty, unit_price_cents };
                Ok(Cart { lines: lines.into_iter().map(line).collect() }.page())
            }
        }
    };
}

by_hand!(
    postgres_by_hand,
    PgPool,
    "BYTEA",
    "SELECT handle, data FROM hand_sessions WHERE id = $1 AND expires_at > $2",
    "SELECT sku, qty, unit_price_cents FROM hand_items WHERE session = $1 ORDER BY sku",
    "INSERT INTO hand_sessions VALUES ($1, $2, '{}', 9223372036854775807)",
    "INSERT INTO hand_items VALUES ($1, $2, $3, $4)"
);

by_hand!(
    sqlite_by_hand,
    SqlitePool,
    "BLOB",
    "SELECT handle, data FROM hand_sessions WHERE id = ? AND expires_at > ?",
    "SELECT sku, qty, unit_price_cents FROM hand_items WHERE session = ? ORDER BY sku",
    "INSERT INTO hand_sessions VALUES (?, ?, '{}', 9223372036854775807)",
    "INSERT INTO hand_items VALUES (?, ?, ?, ?)"
);

fn millis() -> i64 {
    session_state::Clock::now(&session_state::SystemClock).as_millis().cast_signed()
}

/// Makes the pages by hand and those of this crate.
macro_rules! contenders {
    ($pool:expr, $store:ident, $by_hand:ident) => {{
        let pool = $pool;
        let store = $store::new(pool.clone()).with_table("cart_bench")?;
        sqlx::raw_sql("DROP TABLE IF EXISTS cart_bench_items").execute(&pool).await?;
        store.migrate().await?;
        let tables = InTables::new(&store).add_collection("lines", "cart_bench_items", &["sku"]);
        sqlx::raw_sql(AssertSqlSafe(tables.schema::<Cart>()?)).execute(&pool).await?;
        let sessions = SessionLayer::server(store).with_part::<Cart>(tables.check::<Cart>().await?)?;
        let ours = Router::new().route("/fill/{n}", get(fill)).route("/cart", get(show)).layer(sessions).with_state(());
        let by_hand = Contender::new("by hand", $by_hand::router(pool).await?).await?;
        [by_hand, Contender::new("session-state", ours).await?]
    }};
}

async fn contenders(url: &str) -> Result<[Contender; 2], Error> {
    if url.starts_with("sqlite:") {
        let options: SqliteConnectOptions = url.parse()?;
        let options = options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false);
        return Ok(contenders!(pool.connect_with(options).await?, SqliteStore, sqlite_by_hand));
    }
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false);
    Ok(contenders!(pool.connect(url).await?, PostgresStore, postgres_by_hand))
}

/// Serves pages one after the other, to be counted by a profiler: twice with a different number of them.
pub async fn once(url: &str, whose: &str, pages: &str) -> Result<(), Error> {
    let [by_hand, ours] = contenders(url).await?;
    let contender = if whose == "hand" { by_hand } else { ours };
    for n in 0..pages.parse()? {
        contender.read(n).await?;
    }
    Ok(())
}

/// Puts the pages of this crate beside those by hand.
pub async fn compare(url: &str) -> Result<(), Error> {
    let contenders = contenders(url).await?;
    let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for round in 0..=ROUNDS {
        let mut of_round = [0.0; 2];
        for (place, contender) in contenders.iter().enumerate() {
            of_round[place] = contender.rate().await?;
        }
        // The first round opens connections.
        if round > 0 {
            (0..2).for_each(|place| rates[place].push(of_round[place]));
            ratios.push(of_round[1] / of_round[0]);
        }
    }
    println!("a page with a cart of {LINES} lines: pages a second, median of {ROUNDS} rounds (least to most)");
    for (contender, rates) in contenders.iter().zip(&mut rates) {
        let median = median(rates);
        println!("  {:16} {median:8.0} ({:.0} to {:.0})", contender.name, rates[0], rates[rates.len() - 1]);
    }
    println!("  ratio of a round: {:.2} ({:.2} to {:.2})", median(&mut ratios), ratios[0], ratios[ratios.len() - 1]);
    Ok(())
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
