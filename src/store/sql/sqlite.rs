//! SQLite.

use std::borrow::Cow;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool};

use super::columns::{renew_by_upsert, retire_by_replace};
use super::dialect::Dialect;
use super::statement::Syntax;
use super::store::SqlStore;
use super::table::Table;
use crate::store::StoreError;

/// Store in a table of an SQLite database; see [`SqlStore`].
///
/// For one machine: every process that uses the file must run on it.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use session_state::{SessionLayer, SqliteStore};
///
/// let store = SqliteStore::connect("sqlite:sessions.db").await?;
/// store.migrate().await?;
/// let sessions = SessionLayer::server(store);
/// # let _ = sessions;
/// # Ok(())
/// # }
/// ```
///
/// Tested with the SQLite that sqlx bundles (3.51); it needs 3.37. Each call is one atomic statement, including a
/// renewal and a logout; only a login that replaces another principal and a revocation take a transaction. Foreign keys
/// of your own tables need `PRAGMA foreign_keys`, which sqlx turns on by default.
///
/// # The pool
///
/// [`connect`](Self::connect) opens or creates the file with a write-ahead log, so readers and the writer do not block
/// each other; a writer waits up to five seconds for another one. A write is on disk when the call returns
/// (`synchronous = FULL`), so a logout survives a power failure. `NORMAL` does not wait for the disk, and a power
/// failure may undo the last writes, including a logout.
///
/// [`new`](Self::new) uses a pool unchanged. A database in memory (`sqlite::memory:`) is separate for each connection,
/// so its pool needs `max_connections(1)`, and neither `idle_timeout` nor `max_lifetime`.
///
/// # Locks
///
/// A statement that waits for the lock of another writer is not cancelled when its call is dropped, and may take effect
/// after the response was a 503: a renewal, for example, whose new ID the client never learns.
/// [`connect`](Self::connect) waits for at most 2 seconds, so that with the default
/// [store timeout](crate::SessionLayer::with_store_timeout) each call ends by itself. In your own pool, and with a
/// shorter store timeout, set `busy_timeout` to less than half of the store timeout.
///
/// # Rights
///
/// The process needs write access to the file and to its directory, where SQLite creates the `-wal` and `-shm` files.
pub type SqliteStore = SqlStore<Sqlite>;

/// Less than half of the default store timeout: the layer retries a failed call once.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

impl SqlStore<Sqlite> {
    /// Creates a store in the database of `pool`, which is used unchanged.
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        Self::with_pool(pool)
    }

    /// Opens the database at `url`, such as `sqlite:sessions.db`, or creates it. With `sqlite::memory:` it is in
    /// memory, for tests: on one connection, and lost with the store.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the URL is not an SQLite URL, if it names no file, or if the file cannot be opened.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str(url).map_err(Self::failed)?;
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        // SQLite would open a private, temporary database on each connection.
        if options.get_filename().as_os_str().is_empty() {
            let remedy = "the URL of a database names its file, such as `sqlite:sessions.db`, or is `sqlite::memory:`";
            return Err(StoreError::failed(Sqlite::STORE, remedy));
        }
        let mut pool = SqlitePoolOptions::new().test_before_acquire(false);
        if url.contains(":memory:") || url.contains("mode=memory") {
            pool = pool.max_connections(1).idle_timeout(None).max_lifetime(None);
        }
        let pool = pool.connect_with(options).await;
        pool.map(Self::new).map_err(Self::failed)
    }
}

impl Syntax for Sqlite {
    fn placeholder(_number: usize) -> Cow<'static, str> {
        "?".into()
    }
}

impl Dialect for Sqlite {
    const STORE: &'static str = "sqlite";
    const QUOTE: char = '"';
    const GREATEST: &'static str = "MAX";
    // Takes the write lock at the start, so that concurrent migrations wait for each other.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const FOR_UPDATE: &'static str = "";
    const OR_IGNORE: &'static str = "ON CONFLICT DO NOTHING";
    const SWEEP_BATCH: usize = 100;

    /// `SQLITE_TOOBIG`, `SQLITE_CONSTRAINT` and `SQLITE_MISMATCH`, with any extended code.
    fn is_constraint_violation(code: &str) -> bool {
        code.parse().is_ok_and(|code: u32| matches!(code & 0xff, 18..=20))
    }

    fn renew(table: &Table) -> String {
        renew_by_upsert(&table.quoted(Self::QUOTE), |_, value| value, "ON CONFLICT (id_hash) DO UPDATE SET")
    }

    fn retire_all(table: &Table, condition: &str) -> String {
        let name = table.quoted(Self::QUOTE);
        retire_by_replace(&name, |_, value| value, &format!("FROM {name} WHERE {condition}"))
    }

    fn sweep(table: &Table) -> String {
        let name = table.quoted(Self::QUOTE);
        format!(
            "DELETE FROM {name} WHERE rowid IN \
             (SELECT rowid FROM {name} WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit)"
        )
    }

    fn schema_versions(table: &Table) -> String {
        let versions = table.with_suffix(Self::QUOTE, "_schema");
        format!("CREATE TABLE IF NOT EXISTS {versions} (version INTEGER NOT NULL PRIMARY KEY) STRICT;\n")
    }

    fn schema_steps(table: &Table) -> Vec<String> {
        let (name, bare) = (table.quoted(Self::QUOTE), table.bare(Self::QUOTE, ""));
        let index = |suffix| table.with_suffix(Self::QUOTE, suffix);
        let versions = table.with_suffix(Self::QUOTE, "_schema");
        vec![format!(
            "CREATE TABLE IF NOT EXISTS {name} (
    id_hash BLOB NOT NULL PRIMARY KEY,
    handle BLOB,
    version INTEGER,
    generation INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER,
    renewed_at INTEGER,
    last_seen_at INTEGER,
    expires_at INTEGER NOT NULL,
    idle_timeout INTEGER,
    absolute_timeout INTEGER,
    principal TEXT,
    authenticated_at INTEGER,
    label TEXT,
    data TEXT,
    successor BLOB,
    grace_until INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS {expires_at} ON {bare} (expires_at);
CREATE UNIQUE INDEX IF NOT EXISTS {handle} ON {bare} (handle);
CREATE INDEX IF NOT EXISTS {principal} ON {bare} (principal, handle) WHERE principal IS NOT NULL;
INSERT INTO {versions} (version) VALUES (1) ON CONFLICT DO NOTHING;
",
            expires_at = index("_expires_at"),
            handle = index("_handle"),
            principal = index("_principal"),
        )]
    }
}
