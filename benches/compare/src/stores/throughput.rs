//! How many calls a second, with 32 connections and twice as many callers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use session_state::store::{Handle, Record, Store as _, StoreKey, Values, Version};
use session_state::{Clock as _, PostgresStore, SystemClock};
use sqlx::postgres::PgPoolOptions;
use sqlx_of_tower_sessions::postgres::PgPoolOptions as PgPoolOptionsOfTowerSessions;
use time::OffsetDateTime;
use tower_sessions_core_of_store::SessionStore as _;
use tower_sessions_core_of_store::session::{Id, Record as RecordOfTowerSessions};

use crate::Error;

const SESSIONS: u64 = 10_000;
const CONNECTIONS: u32 = 32;
const CALLERS: u64 = 64;
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 7;
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The value of `cart` in every session; the others are a number and a short text.
const CART: &str = r#"[{"sku":"shortbread","qty":2},{"sku":"macaron","qty":6},{"sku":"linzer","qty":1}]"#;

#[derive(Clone)]
enum Contender {
    SessionState(PostgresStore),
    TowerSessions(tower_sessions_sqlx_store::PostgresStore),
    /// One statement to read the values by their key, one to write them.
    Plain(sqlx::PgPool),
}

impl Contender {
    async fn fill(&self) -> Result<(), Error> {
        for n in 0..SESSIONS {
            match self {
                Self::SessionState(store) => drop(store.create(&key(n), Arc::new(record(n)), SystemClock.now()).await?),
                Self::TowerSessions(store) => store.save(&record_of_tower_sessions(n)).await?,
                Self::Plain(pool) => {
                    let insert = "INSERT INTO plain (id, data, expires_at) VALUES ($1, $2, $3)";
                    let statement = sqlx::query(insert).bind(key(n).as_bytes().to_vec()).bind(data(n));
                    statement.bind(i64::MAX).execute(pool).await?;
                }
            }
        }
        Ok(())
    }

    async fn read(&self, n: u64) -> Result<(), Error> {
        let is_there = match self {
            Self::SessionState(store) => store.load(&key(n), SystemClock.now()).await?.is_some(),
            Self::TowerSessions(store) => store.load(&id(n)).await?.is_some(),
            Self::Plain(pool) => {
                let select = "SELECT data FROM plain WHERE id = $1 AND expires_at > $2";
                let statement = sqlx::query_scalar(select).bind(key(n).as_bytes().to_vec()).bind(millis());
                let found: Option<String> = statement.fetch_optional(pool).await?;
                found.is_some()
            }
        };
        if is_there { Ok(()) } else { Err("a session is not there".into()) }
    }

    async fn write(&self, n: u64) -> Result<(), Error> {
        match self {
            // The version stays as it is, so that every write takes place.
            Self::SessionState(store) => {
                drop(store.update(&key(n), Version::FIRST, Arc::new(record(n)), SystemClock.now()).await?);
            }
            Self::TowerSessions(store) => store.save(&record_of_tower_sessions(n)).await?,
            Self::Plain(pool) => {
                let statement = sqlx::query("UPDATE plain SET data = $2, expires_at = $3 WHERE id = $1");
                let statement = statement.bind(key(n).as_bytes().to_vec()).bind(data(n)).bind(i64::MAX);
                statement.execute(pool).await?;
            }
        }
        Ok(())
    }

    /// Returns how many requests a second are served, of which one of `write_every` writes what it has read.
    async fn rate(&self, write_every: u64) -> Result<f64, Error> {
        let (begun, served) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (contender, served) = (self.clone(), Arc::clone(&served));
                tokio::spawn(async move {
                    let mut random = 0x9e37_79b9_7f4a_7c15 * (caller + 1);
                    while begun.elapsed() < ROUND {
                        random ^= random << 13;
                        random ^= random >> 7;
                        random ^= random << 17;
                        contender.read(random % SESSIONS).await?;
                        if (random >> 32) % write_every == 0 {
                            contender.write(random % SESSIONS).await?;
                        }
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

pub async fn compare(url: &str) -> Result<(), Error> {
    let contenders = contenders(url).await?;
    for (_, contender) in &contenders {
        contender.fill().await?;
    }
    sqlx::query("VACUUM ANALYZE").execute(&PgPoolOptions::new().connect(url).await?).await?;
    for (load, write_every) in [("reads", u64::MAX), ("19 of 20 reads", 20)] {
        let mut rates = vec![Vec::new(); contenders.len()];
        for round in 0..=ROUNDS {
            for (place, (_, contender)) in contenders.iter().enumerate() {
                let rate = contender.rate(write_every).await?;
                // The first round opens connections.
                if round > 0 {
                    rates[place].push(rate);
                }
            }
        }
        println!("{load}: requests a second, median of {ROUNDS} rounds (least to most), and beside the first");
        let first = median(&mut rates[0]);
        for ((name, _), rates) in contenders.iter().zip(&mut rates) {
            let median = median(rates);
            let (least, most) = (rates[0], rates[rates.len() - 1]);
            println!("  {name:48} {median:8.0} ({least:.0} to {most:.0}) {:5.2}", median / first);
        }
    }
    Ok(())
}

async fn contenders(url: &str) -> Result<Vec<(&'static str, Contender)>, Error> {
    let pool =
        async |ping| PgPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(ping).connect(url).await;
    let pool_of_tower_sessions = async |ping| {
        let options = PgPoolOptionsOfTowerSessions::new().max_connections(CONNECTIONS).test_before_acquire(ping);
        options.connect(url).await
    };
    let plain = pool(false).await?;
    for table in ["DROP SCHEMA IF EXISTS tower_sessions CASCADE", "DROP TABLE IF EXISTS plain, bench, bench_schema"] {
        sqlx::query(table).execute(&plain).await?;
    }
    let table = "CREATE TABLE plain (id BYTEA PRIMARY KEY, data TEXT NOT NULL, expires_at BIGINT NOT NULL)";
    sqlx::query(table).execute(&plain).await?;
    let ours = PostgresStore::new(pool(false).await?).with_table("bench")?;
    ours.migrate().await?;
    let theirs = tower_sessions_sqlx_store::PostgresStore::new(pool_of_tower_sessions(true).await?);
    theirs.migrate().await?;
    let theirs_tuned = tower_sessions_sqlx_store::PostgresStore::new(pool_of_tower_sessions(false).await?);
    theirs_tuned.clone().with_table_name("tuned")?.migrate().await?;
    Ok(vec![
        ("plain statements", Contender::Plain(plain)),
        ("session-state", Contender::SessionState(ours)),
        ("tower-sessions, a pool as it comes", Contender::TowerSessions(theirs)),
        (
            "tower-sessions, without pings before statements",
            Contender::TowerSessions(theirs_tuned.with_table_name("tuned")?),
        ),
    ])
}

fn key(n: u64) -> StoreKey {
    let mixed = |i: u64| (4 * n + i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let mut bytes = [0; 32];
    for (i, part) in bytes.chunks_mut(8).enumerate() {
        part.copy_from_slice(&mixed(i as u64));
    }
    StoreKey::from_bytes(bytes)
}

fn data(n: u64) -> String {
    format!(r#"{{"visits":{n},"name":"visitor {n}","cart":{CART}}}"#)
}

fn record(n: u64) -> Record {
    let now = SystemClock.now();
    let mut record = Record::new(Handle::from_bytes(u128::from(n).to_be_bytes()), now, now.after(HOUR));
    record.values = Values::from_json(&data(n)).expect("it is an object");
    record
}

fn id(n: u64) -> Id {
    Id(i128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | i128::from(n))
}

fn record_of_tower_sessions(n: u64) -> RecordOfTowerSessions {
    let data = serde_json::from_str(&data(n)).expect("it is an object");
    RecordOfTowerSessions { id: id(n), data, expiry_date: OffsetDateTime::now_utc() + HOUR }
}

fn millis() -> i64 {
    i64::try_from(SystemClock.now().as_millis()).unwrap_or(i64::MAX)
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
