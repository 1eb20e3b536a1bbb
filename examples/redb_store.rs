//! Sessions in redb, an embedded key-value engine: one table, from the key of a session to the bytes of its entry.
//!
//! Run `cargo run --example redb_store` and open <http://localhost:3000> a few times. The visits survive a restart.

use redb::{AccessGuard, Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};
use session_state::store::{Entry, Store, StoreError, StoreKey, Version};
use session_state::{Session, SessionLayer, Timestamp};

type Result<T, E = StoreError> = std::result::Result<T, E>;

const SESSIONS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("sessions");

/// The calls of redb block their thread, so each call of the store is ready at its first poll. A `put` waits for the
/// disk and for the writes before it, some milliseconds in which the thread serves no other request, and the layer's
/// store timeout does not end it. Under load, call redb in `tokio::task::spawn_blocking`, without `NEVER_WAITS`.
#[derive(Debug)]
pub(crate) struct RedbStore(pub(crate) Database);

impl Store for RedbStore {
    const NEVER_WAITS: bool = true;

    fn name(&self) -> &'static str {
        "redb"
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>> {
        let table = match self.0.begin_read().map_err(failed)?.open_table(SESSIONS) {
            // The first write creates it.
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            table => table.map_err(failed)?,
        };
        live(table.get(key.as_bytes()).map_err(failed)?, now)
    }

    async fn put(&self, key: &StoreKey, expected: Option<Version>, entry: Entry, now: Timestamp) -> Result<bool> {
        // One write transaction runs at a time. One that is dropped changes nothing.
        let transaction = self.0.begin_write().map_err(failed)?;
        let mut table = transaction.open_table(SESSIONS).map_err(failed)?;
        let current = live(table.get(key.as_bytes()).map_err(failed)?, now)?;
        if current.map(|current| current.version()) != expected.map(Some) {
            return Ok(false);
        }
        table.insert(key.as_bytes(), &*entry.encode()).map_err(failed)?;
        drop(table);
        transaction.commit().map_err(failed)?;
        Ok(true)
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize> {
        let transaction = self.0.begin_write().map_err(failed)?;
        let mut table = transaction.open_table(SESSIONS).map_err(failed)?;
        // Reads the table up to `limit` expired entries. One of a later release stays: its deadline is unknown.
        let is_expired = |_: &[u8; 32], bytes: &[u8]| Entry::decode(bytes).is_ok_and(|entry| entry.is_expired(now));
        let expired = table.extract_if(is_expired).map_err(failed)?.take(limit);
        let removed = expired.map(|removed| removed.map(drop)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
        drop(table);
        transaction.commit().map_err(failed)?;
        Ok(removed.len())
    }
}

fn live(bytes: Option<AccessGuard<'_, &'static [u8]>>, now: Timestamp) -> Result<Option<Entry>> {
    let entry = bytes.map(|bytes| Entry::decode(bytes.value())).transpose();
    Ok(entry.map_err(|error| StoreError::undecodable("redb", error))?.filter(|entry| !entry.is_expired(now)))
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::failed("redb", error.into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sessions = SessionLayer::server(RedbStore(Database::create(std::env::temp_dir().join("visits.redb"))?));
    tokio::spawn(sessions.sweeper(std::time::Duration::from_secs(60)));
    let visits = async |session: Session| session.update("visits", |n: &mut u32| *n += 1).map(|n| n.to_string());
    let app = axum::Router::new().route("/", axum::routing::get(visits)).layer(sessions);
    Ok(axum::serve(tokio::net::TcpListener::bind("localhost:3000").await?, app).await?)
}
