//! A million touches of ten thousand sessions in PostgreSQL, each session once in a simulated minute: how many leave
//! the indexes alone (HOT), how much log they write, and how the table and its indexes grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use session_state::store::{Handle, Outcome, Record, Store as _, StoreKey, Touch, Values, Version};
use session_state::{PostgresStore, Timestamp};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row as _};

use crate::Error;

const SESSIONS: u64 = 10_000;
const TOUCHES: u64 = 1_000_000;
const CALLERS: u32 = 16;
const IDLE: Duration = Duration::from_secs(30 * 60);
const MINUTE: Duration = Duration::from_secs(60);
/// When the first touch takes place.
const BEGIN: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const DATA: &str = r#"{"visits":7,"name":"visitor","cart":[{"sku":"shortbread","qty":2},{"sku":"macaron","qty":6}]}"#;

pub async fn postgres(url: &str) -> Result<(), Error> {
    let pool = PgPoolOptions::new().max_connections(CALLERS).test_before_acquire(false).connect(url).await?;
    sqlx::raw_sql("DROP TABLE IF EXISTS touches, touches_schema").execute(&pool).await?;
    let store = PostgresStore::new(pool.clone()).with_table("touches")?;
    store.migrate().await?;
    for n in 0..SESSIONS {
        let mut record = Record::new(Handle::from_bytes(u128::from(n).to_be_bytes()), BEGIN, BEGIN.after(IDLE));
        record.values = Values::from_json(DATA)?;
        store.create(&key(n), Arc::new(record), BEGIN).await?;
    }
    for statement in ["VACUUM ANALYZE touches", "CHECKPOINT"] {
        sqlx::query(statement).execute(&pool).await?;
    }
    let (before, log_before, begun) = (sizes(&pool).await?, log_position(&pool).await?, Instant::now());
    let next = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (store, next) = (store.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= TOUCHES {
                        return Ok::<_, Error>(());
                    }
                    let now = BEGIN.after(MINUTE.mul_f64((n + SESSIONS) as f64 / SESSIONS as f64));
                    let touch = Touch { expected: Version::FIRST, last_seen_at: now, expires_at: now.after(IDLE) };
                    if store.touch(&key(n % SESSIONS), touch, now).await? != Outcome::Done {
                        return Err("a touch had no effect".into());
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await??;
    }
    let (took, log) = (begun.elapsed(), log_position(&pool).await? - log_before);
    // A backend reports its counts when it is idle for a moment, or ends.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let counts = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'touches'";
    let counts = sqlx::query(counts).fetch_one(&pool).await?;
    let (all, hot): (i64, i64) = (counts.get(0), counts.get(1));
    let after = sizes(&pool).await?;
    println!("{TOUCHES} touches in {:.0} s: {:.1} % HOT", took.as_secs_f64(), 100.0 * hot as f64 / all as f64);
    println!("log: {} MB, {} bytes a touch", log / 1_000_000, log / TOUCHES as i64);
    println!("table: {} kB before, {} kB after", before.0 / 1000, after.0 / 1000);
    println!("indexes: {} kB before, {} kB after", before.1 / 1000, after.1 / 1000);
    Ok(())
}

/// Returns the bytes of the table and of its indexes.
async fn sizes(pool: &PgPool) -> Result<(i64, i64), Error> {
    let row = sqlx::query("SELECT pg_table_size('touches'), pg_indexes_size('touches')").fetch_one(pool).await?;
    Ok((row.get(0), row.get(1)))
}

/// Returns how many bytes of log the server has written.
async fn log_position(pool: &PgPool) -> Result<i64, Error> {
    Ok(sqlx::query_scalar("SELECT (pg_current_wal_lsn() - '0/0')::bigint").fetch_one(pool).await?)
}

fn key(n: u64) -> StoreKey {
    let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    StoreKey::from_bytes(std::array::from_fn(|i| mixed[i % 8] ^ i as u8))
}
