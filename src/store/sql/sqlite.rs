//! SQLite.

use std::borrow::Cow;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool};

use super::SqlStore;
use super::dialect::{Dialect, renew_by_upsert};
use super::table::Table;
use crate::store::StoreError;

/// Keeps sessions in a table of a SQLite database.
///
/// For one machine: every process that uses the file must run on it. The rest is said at [`SqlStore`].
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
/// Tested with the SQLite that sqlx brings along (3.51); it needs 3.37. Each call is one statement, a renewal too, and
/// thereby atomic. The login of another principal than the one who is logged in is a transaction. What your own tables
/// refer to is looked after where `PRAGMA foreign_keys` is on, as it is in sqlx unless you turn it off.
///
/// # The pool
///
/// [`connect`](Self::connect) opens the file, or makes it, with a write-ahead log, so that readers and the one writer do
/// not wait for each other; a writer waits up to five seconds for another. What a call has written is on the disk when it
/// returns (`synchronous = FULL`): a session that was ended stays ended even if the machine loses its power. With
/// `NORMAL` a write costs no wait for the disk, and those of the last moments may be undone by a power failure, a logout
/// among them.
///
/// [`new`](Self::new) takes a pool as it is. A database in memory (`sqlite::memory:`) is another one for each connection
/// of a pool: it needs `max_connections(1)`, and neither `idle_timeout` nor `max_lifetime`.
pub type SqliteStore = SqlStore<Sqlite>;

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

impl SqlStore<Sqlite> {
    /// Keeps sessions in the database of `pool`, which is used as it is.
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        Self::of(pool)
    }

    /// Opens the database at `url`, such as `sqlite:sessions.db`, or makes it when it is not there.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the URL is not one of SQLite, or the file cannot be opened.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::from_str(url).map_err(Self::failed)?;
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().test_before_acquire(false).connect_with(options).await;
        pool.map(Self::new).map_err(Self::failed)
    }
}

impl Dialect for Sqlite {
    const STORE: &'static str = "sqlite";
    const QUOTE: char = '"';
    const GREATEST: &'static str = "MAX";
    // The lock of a writer from the beginning: of several nodes that migrate at once the others wait.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const FOR_UPDATE: &'static str = "";
    const IF_FREE: &'static str = "ON CONFLICT DO NOTHING";
    const SWEEP_BATCH: usize = 100;

    fn placeholder(_number: usize) -> Cow<'static, str> {
        "?".into()
    }

    /// `SQLITE_TOOBIG`, `SQLITE_CONSTRAINT` and `SQLITE_MISMATCH`, whatever their extensions.
    fn is_refusal(code: &str) -> bool {
        code.parse().is_ok_and(|code: u32| matches!(code & 0xff, 18..=20))
    }

    fn renew(table: &Table) -> String {
        renew_by_upsert(&table.quoted(Self::QUOTE), |_, value| value, "ON CONFLICT (id_hash) DO UPDATE SET")
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
