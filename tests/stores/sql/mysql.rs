//! MySQL and MariaDB.

use session_state::MySqlStore;
use sqlx::mysql::MySqlPoolOptions;

use super::table_name;

async fn open(url: &str) -> MySqlStore {
    let pool = MySqlPoolOptions::new().max_connections(8).test_before_acquire(false).connect(url).await.unwrap();
    let store = MySqlStore::new(pool).with_table(&table_name()).unwrap();
    store.migrate().await.unwrap();
    store
}

mod conformance {
    conformance_on_server!(crate::harness::engines::MYSQL, super::open);
}
