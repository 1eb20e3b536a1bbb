//! Dropped requests on every engine: see `drops`.
//!
//! They are dropped between calls, so that no call is in flight: calls that a server applies after the client is gone
//! are tested elsewhere.

use session_state::store::Store;

use crate::drops::{Place, Plan, requests_that_are_dropped_keep_nobody_waiting};

async fn try_all<S: Store + Clone>(store: S) {
    requests_that_are_dropped_keep_nobody_waiting(store.clone(), Plan::BASIC, Place::Step).await;
    if store.principals().is_some() {
        requests_that_are_dropped_keep_nobody_waiting(store, Plan::OF_PRINCIPALS, Place::Step).await;
    }
}

#[cfg(feature = "memcached")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dropped_request_blocks_no_other_on_memcached() {
    let Some(url) = crate::harness::engines::MEMCACHED.shared() else { return };
    try_all(session_state::MemcachedStore::connect(&url).await.unwrap()).await;
}

#[cfg(feature = "mongodb")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dropped_request_blocks_no_other_on_mongodb() {
    let Some(url) = crate::harness::engines::MONGODB.shared() else { return };
    let store = session_state::MongodbStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    try_all(store).await;
}

#[cfg(feature = "mysql")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dropped_request_blocks_no_other_on_mysql() {
    let Some(url) = crate::harness::engines::MYSQL.shared() else { return };
    let store = session_state::MySqlStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    try_all(store).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dropped_request_blocks_no_other_on_postgres() {
    let Some(url) = crate::harness::engines::POSTGRES.shared() else { return };
    let store = session_state::PostgresStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    try_all(store).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dropped_request_blocks_no_other_on_redis() {
    let Some(url) = crate::harness::engines::REDIS.shared() else { return };
    try_all(session_state::RedisStore::connect(url).await.unwrap()).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dropped_request_blocks_no_other_on_sqlite() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("dropped");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    let url = format!("sqlite:{}", directory.join("sessions.db").display());
    let store = session_state::SqliteStore::connect(&url).await.unwrap();
    store.migrate().await.unwrap();
    try_all(store).await;
}
