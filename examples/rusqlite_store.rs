//! Sessions in SQLite by hand, with rusqlite: a row has the key, the version, the deadline and the bytes of an entry.
//!
//! Run `cargo run --example rusqlite_store` and open <http://localhost:3000> a few times. The visits survive a restart.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, params};
use session_state::store::{Entry, Store, StoreError, StoreKey, Version};
use session_state::{Session, SessionLayer, Timestamp};

type Result<T, E = StoreError> = std::result::Result<T, E>;
const TABLE: &str = "CREATE TABLE IF NOT EXISTS sessions (key BLOB PRIMARY KEY, version INT, deadline INT, entry BLOB);
    CREATE INDEX IF NOT EXISTS sessions_by_deadline ON sessions (deadline)";
const LOAD: &str = "SELECT entry FROM sessions WHERE key = ?1 AND deadline > ?2";
const INSERT: &str = "INSERT INTO sessions VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET version = ?2, deadline = ?3, entry = ?4 WHERE deadline <= ?5";
const UPDATE: &str = "UPDATE sessions SET version = ?2, deadline = ?3, entry = ?4
    WHERE key = ?1 AND deadline > ?5 AND version = ?6";
const SWEEP: &str = "DELETE FROM sessions WHERE key IN (SELECT key FROM sessions WHERE deadline <= ?1 LIMIT ?2)";

/// The calls of rusqlite block their thread, so each call of the store is ready at its first poll; see `redb_store.rs`.
#[derive(Debug)]
pub(crate) struct RusqliteStore(Mutex<Connection>);

impl RusqliteStore {
    pub(crate) fn new(connection: Connection) -> rusqlite::Result<Self> {
        connection.execute_batch(TABLE)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for RusqliteStore {
    const NEVER_WAITS: bool = true;

    fn name(&self) -> &'static str {
        "rusqlite"
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>> {
        let entry = self.connection().query_row(LOAD, params![key.as_bytes(), millis(now)], |row| row.get(0));
        let entry: Option<Vec<u8>> = entry.optional().map_err(failed)?;
        entry.map(|bytes| Entry::decode(&bytes)).transpose().map_err(|error| StoreError::undecodable("rusqlite", error))
    }

    async fn put(&self, key: &StoreKey, expected: Option<Version>, entry: Entry, now: Timestamp) -> Result<bool> {
        let [version, expected] = [entry.version(), expected].map(|version| version.map(|v| v.as_u64() as i64));
        let (key, deadline, bytes, now) = (key.as_bytes(), millis(entry.expires_at()), entry.encode(), millis(now));
        let changed = match expected {
            None => self.connection().execute(INSERT, params![key, version, deadline, bytes, now]),
            Some(_) => self.connection().execute(UPDATE, params![key, version, deadline, bytes, now, expected]),
        };
        Ok(changed.map_err(failed)? == 1)
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize> {
        self.connection().execute(SWEEP, params![millis(now), limit as i64]).map_err(failed)
    }
}

/// SQLite's integers are signed, so a later time becomes the latest one. A version always fits.
fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::failed("rusqlite", error)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sessions = SessionLayer::server(RusqliteStore::new(Connection::open(std::env::temp_dir().join("visits.db"))?)?);
    tokio::spawn(sessions.sweeper(std::time::Duration::from_secs(60)));
    let visits = async |session: Session| session.update("visits", |n: &mut u32| *n += 1).map(|n| n.to_string());
    let app = axum::Router::new().route("/", axum::routing::get(visits)).layer(sessions);
    Ok(axum::serve(tokio::net::TcpListener::bind("localhost:3000").await?, app).await?)
}
