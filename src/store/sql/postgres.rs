//! PostgreSQL.

use std::borrow::Cow;

use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Postgres};

use super::SqlStore;
use super::dialect::{COLUMNS, Dialect, IS_EXPECTED, forward_value, moved, record_value};
use super::table::Table;
use crate::store::StoreError;

/// Keeps sessions in a table of PostgreSQL. The rest is said at [`SqlStore`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use session_state::{PostgresStore, SessionLayer};
///
/// let store = PostgresStore::connect("postgres://app@localhost/shop").await?;
/// store.migrate().await?;
/// let sessions = SessionLayer::server(store);
/// # let _ = sessions;
/// # Ok(())
/// # }
/// ```
///
/// Tested on PostgreSQL 15; it needs 12, in a database whose encoding is `UTF8`. Every call is one round trip, also when
/// it changes nothing: the answer says why, and a conflict comes with the present record. Only when two writers of one
/// session meet in the same moment does the one that waited ask again, and a session that is to begin under a key that is
/// taken takes a transaction, which looks whether the key has expired.
///
/// # The pool
///
/// - [`connect`](Self::connect) and a pool with `test_before_acquire(false)` save a ping before each statement. When a
///   connection turns out to be dead, those that lie idle are pinged too, and the layer makes the call once more, so
///   that a server that is back again costs requests nothing (tried with servers that were killed).
/// - The isolation is best `READ COMMITTED`, which is the default. With a stricter one, calls that meet each other are
///   undone and made again.
/// - Behind PgBouncer in transaction mode, prepared statements need its `max_prepared_statements` (1.21 or later), or
///   `statement_cache_capacity(0)` in the options of the pool.
/// - The TLS of sqlx is a feature of sqlx (`tls-rustls`, `tls-native-tls`) that your own `Cargo.toml` turns on.
pub type PostgresStore = SqlStore<Postgres>;

impl SqlStore<Postgres> {
    /// Keeps sessions in the database of `pool`, which is used as it is.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self::of(pool)
    }

    /// Connects to the database at `url`, such as `postgres://app@localhost/shop`, with up to ten connections.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the URL is not one of PostgreSQL, or the server cannot be reached.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new().test_before_acquire(false).connect(url).await;
        pool.map(Self::new).map_err(Self::failed)
    }
}

/// A number of our own, for the advisory lock: "session" in ASCII.
const LOCK_SCHEMA: &str = "SELECT pg_advisory_xact_lock(32490740217540462);\n";

impl Dialect for Postgres {
    const STORE: &'static str = "postgres";
    const QUOTE: char = '"';
    const GREATEST: &'static str = "GREATEST";
    const BEGIN: &'static str = "BEGIN";
    const NUMBERED: bool = true;
    const IF_FREE: &'static str = "ON CONFLICT DO NOTHING";
    const SWEEP_BATCH: usize = 200;
    /// A failure to serialize, which only a stricter isolation than the default knows, and a deadlock.
    const UNDONE: &'static [&'static str] = &["40001", "40P01"];
    const ANSWERS_WITH_ROW: bool = true;
    const IS_PRINCIPAL: &'static str = "left(principal, 500) = left(:principal, 500) AND principal = :principal";
    /// The planner knows nothing of the index by which to tell how many rows a principal has. Of a condition in which the
    /// beginning is equal it believes that there are few rows, and may read and sort the many that there are for each page
    /// of them. Of this one it believes that there are many.
    const IS_BEHIND: &'static str = "(left(principal, 500), handle) > (left(:principal, 500), :after) \
                                     AND left(principal, 500) <= left(:principal, 500) \
                                     AND COALESCE(principal = :principal, FALSE)";
    const IN_ORDER: &'static str = "left(principal, 500), handle";

    fn placeholder(number: usize) -> Cow<'static, str> {
        format!("${number}").into()
    }

    fn changing(table: &Table, change: &str) -> String {
        answering(table, &format!("done AS ({change} RETURNING 1)"))
    }

    fn renew(table: &Table) -> String {
        let name = table.quoted(Self::QUOTE);
        let into = format!("INSERT INTO {name} (id_hash, {})", COLUMNS.join(", "));
        let (record, forward) = (COLUMNS.map(record_value).join(", "), COLUMNS.map(forward_value).join(", "));
        let moved = moved();
        let change = format!(
            "moved AS (UPDATE {name} SET {moved} WHERE {IS_EXPECTED} AND handle = :handle RETURNING 1), \
             gone AS (DELETE FROM {name} WHERE {IS_EXPECTED} AND handle <> :handle RETURNING 1), \
             made AS ({into} SELECT :new_key, {record} FROM gone), \
             done AS ({into} SELECT :key, {forward} FROM (SELECT FROM moved UNION ALL SELECT FROM gone) AS retired \
             RETURNING 1)"
        );
        answering(table, &change)
    }

    fn sweep(table: &Table) -> String {
        let name = table.quoted(Self::QUOTE);
        format!(
            "DELETE FROM {name} WHERE id_hash = ANY(ARRAY(SELECT id_hash FROM {name} WHERE expires_at <= :now \
             ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED))"
        )
    }

    fn lock_schema() -> &'static str {
        LOCK_SCHEMA
    }

    fn schema_versions(table: &Table) -> String {
        let versions = table.with_suffix(Self::QUOTE, "_schema");
        format!("CREATE TABLE IF NOT EXISTS {versions} (version BIGINT NOT NULL PRIMARY KEY);\n")
    }

    fn schema_steps(table: &Table) -> Vec<String> {
        let name = table.quoted(Self::QUOTE);
        // An index is in the schema of its table. An entry of one has room for less than the longest principal.
        let index = |suffix| table.bare(Self::QUOTE, suffix);
        let versions = table.with_suffix(Self::QUOTE, "_schema");
        vec![format!(
            "CREATE TABLE IF NOT EXISTS {name} (
    id_hash BYTEA NOT NULL PRIMARY KEY,
    handle BYTEA,
    version BIGINT,
    created_at BIGINT,
    renewed_at BIGINT,
    last_seen_at BIGINT,
    expires_at BIGINT NOT NULL,
    idle_timeout BIGINT,
    absolute_timeout BIGINT,
    principal TEXT COLLATE \"C\",
    authenticated_at BIGINT,
    label TEXT,
    data TEXT,
    successor BYTEA,
    grace_until BIGINT
);
CREATE INDEX IF NOT EXISTS {expires_at} ON {name} (expires_at);
CREATE UNIQUE INDEX IF NOT EXISTS {handle} ON {name} (handle);
CREATE INDEX IF NOT EXISTS {principal} ON {name} (left(principal, 500), handle) WHERE principal IS NOT NULL;
INSERT INTO {versions} (version) VALUES (1) ON CONFLICT DO NOTHING;
",
            expires_at = index("_expires_at"),
            handle = index("_handle"),
            principal = index("_principal"),
        )]
    }

    /// A text of PostgreSQL cannot hold the character NUL. It becomes ESC 0, and so that this can be told apart, ESC
    /// becomes ESC ESC.
    fn name_to_sql(name: &str) -> Cow<'_, str> {
        if !name.contains(['\0', ESCAPE]) {
            return name.into();
        }
        name.replace(ESCAPE, "\u{1b}\u{1b}").replace('\0', "\u{1b}0").into()
    }

    fn name_from_sql(name: &str) -> Cow<'_, str> {
        if !name.contains(ESCAPE) {
            return name.into();
        }
        let mut characters = name.chars();
        let unescape = || match characters.next()? {
            ESCAPE if characters.next()? == '0' => Some('\0'),
            character => Some(character),
        };
        std::iter::from_fn(unescape).collect::<String>().into()
    }
}

const ESCAPE: char = '\u{1b}';

/// Returns a statement that makes a change, the rows of which are called `done`, and answers in the same round trip with
/// what is there if there was none. That is as it was when the statement began.
fn answering(table: &Table, change: &str) -> String {
    let name = table.quoted(Postgres::QUOTE);
    let columns = COLUMNS.map(|column| format!("kept.{column}")).join(", ");
    format!(
        "WITH {change} SELECT {columns}, asked.changed FROM (SELECT count(*) AS changed FROM done) AS asked \
         LEFT JOIN {name} AS kept ON asked.changed = 0 AND kept.id_hash = :key AND kept.expires_at > :now"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_or_label_comes_back_whatever_characters_it_has() {
        for (name, stored) in [
            ("alice", "alice"),
            ("DOMAIN\\zoë", "DOMAIN\\zoë"),
            ("", ""),
            ("\0", "\u{1b}0"),
            ("\u{1b}", "\u{1b}\u{1b}"),
            ("\u{1b}0", "\u{1b}\u{1b}0"),
            ("a\0\0\u{1b}b", "a\u{1b}0\u{1b}0\u{1b}\u{1b}b"),
        ] {
            assert_eq!(Postgres::name_to_sql(name), stored);
            assert_eq!(Postgres::name_from_sql(stored), name);
        }
    }
}
