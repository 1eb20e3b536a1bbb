//! SQLite.

use session_state::SqliteStore;

use super::table_name;

/// One file for all tests of this process, in a directory that the operating system empties.
async fn open() -> SqliteStore {
    let file = std::env::temp_dir().join(format!("session-state-{}.sqlite", std::process::id()));
    let store = SqliteStore::connect(&format!("sqlite:{}", file.display())).await.unwrap();
    let store = store.with_table(&table_name()).unwrap();
    store.migrate().await.unwrap();
    store
}

mod conformance {
    session_state::store_conformance_tests!(super::open());
}
