//! PostgreSQL.

use session_state::PostgresStore;
use sqlx::postgres::PgPoolOptions;

use super::table_name;

async fn open(url: &str) -> PostgresStore {
    let pool = PgPoolOptions::new().max_connections(8).test_before_acquire(false).connect(url).await.unwrap();
    let store = PostgresStore::new(pool).with_table(&table_name()).unwrap();
    store.migrate().await.unwrap();
    store
}

mod conformance {
    conformance_on_server!(crate::harness::engines::POSTGRES, super::open);
}
