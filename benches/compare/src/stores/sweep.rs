//! A million sessions, of which a tenth has expired: how long each batch of a sweep takes, which is the longest that it
//! can lock anything, and how long writers wait meanwhile. With SQLite, where a lock is on the whole file, a writer
//! asks for the lock again and again, and so sees how long it is held: `sqlite`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use session_state::store::{Outcome, Store, StoreKey, Touch, Version};
use session_state::{PostgresStore, Timestamp};
use sqlx::AssertSqlSafe;

use crate::Error;

/// Where a statement of the engine makes a session of the number `n`. The expired ones lie between the others.
pub(crate) const COLUMNS: &str =
    "id_hash, handle, version, created_at, renewed_at, last_seen_at, expires_at, principal, data";
pub(crate) const VALUES: &str = "1, 1, 1, 1, CASE WHEN n % 10 = 0 THEN 1000 + n ELSE 1000000000000 + n END, 'user ' || n, \
                      '{\"name\":\"visitor\",\"visits\":12345,\"cart\":[{\"sku\":\"shortbread\",\"qty\":2}]}'";

/// When the tenth has expired, and the others have not.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(10_000_000);

pub async fn postgres(url: &str) -> Result<(), Error> {
    let store = PostgresStore::connect(url).await?.with_table("sweep_bench")?;
    let pool = sqlx::PgPool::connect(url).await?;
    sqlx::raw_sql("DROP TABLE IF EXISTS sweep_bench, sweep_bench_schema").execute(&pool).await?;
    store.migrate().await?;
    let fill = format!(
        "INSERT INTO sweep_bench ({COLUMNS}) SELECT sha256(int8send(n)), substring(sha256(int8send(-n)) FOR 16), {VALUES} \
         FROM generate_series(1::bigint, 1000000) AS n"
    );
    sqlx::raw_sql(AssertSqlSafe(fill)).execute(&pool).await?;
    sqlx::raw_sql("VACUUM ANALYZE sweep_bench").execute(&pool).await?;
    let live = "SELECT id_hash FROM sweep_bench WHERE expires_at > 20000000 LIMIT 1000";
    let keys: Vec<Vec<u8>> = sqlx::query_scalar(live).fetch_all(&pool).await?;
    measure(store, keys, 200).await
}

/// `batch` is how many the store removes at once.
async fn measure<S: Store + Clone>(store: S, keys: Vec<Vec<u8>>, batch: usize) -> Result<(), Error> {
    let keys = to_keys(keys)?;
    let (alone, _) = touch(&store, &keys, Arc::new(AtomicBool::new(true)), 2_000).await?;
    report("a touch before the sweep", alone);

    let is_over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, keys, is_over) = (store.clone(), keys.clone(), Arc::clone(&is_over));
        async move { touch(&store, &keys, is_over, 0).await }
    });
    let (begun, mut batches, mut removed) = (Instant::now(), Vec::new(), 0);
    loop {
        let batch_begun = Instant::now();
        let swept = store.sweep(NOW, batch).await?;
        batches.push(batch_begun.elapsed());
        removed += swept;
        if swept < batch {
            break;
        }
    }
    let took = begun.elapsed();
    is_over.store(true, Ordering::Relaxed);
    let (beside, outcomes) = writer.await??;
    println!("{removed} swept in {took:.1?}, {} batches of {batch}", batches.len());
    report("a batch", batches);
    report("a touch beside the sweep", beside);
    assert!(outcomes, "a live session was not there");
    Ok(())
}

pub(crate) fn to_keys(keys: Vec<Vec<u8>>) -> Result<Vec<StoreKey>, Error> {
    let key = |key: Vec<u8>| Ok(StoreKey::from_bytes(key.try_into().map_err(|_| "a key of 32 bytes")?));
    keys.into_iter().map(key).collect()
}

/// Touches one session after the other, at least `count` and until it is over. Returns how long each took.
pub(crate) async fn touch<S: Store>(
    store: &S,
    keys: &[StoreKey],
    is_over: Arc<AtomicBool>,
    count: usize,
) -> Result<(Vec<Duration>, bool), Error> {
    let (mut times, mut are_live) = (Vec::new(), true);
    while times.len() < count || !is_over.load(Ordering::Relaxed) {
        let seen = Timestamp::from_millis(20_000_000 + times.len() as u64);
        let end = Timestamp::from_millis(2_000_000_000_000 + times.len() as u64);
        let begun = Instant::now();
        are_live &= store
            .touch(
                &keys[times.len() % keys.len()],
                Touch { expected: Version::FIRST, last_seen_at: seen, expires_at: end },
                NOW,
            )
            .await?
            == Outcome::Done;
        times.push(begun.elapsed());
    }
    Ok((times, are_live))
}

pub(crate) fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what}: median {:.2?}, 99 % {:.2?}, longest {:.2?} (of {})", at(0.5), at(0.99), at(1.0), times.len());
}
