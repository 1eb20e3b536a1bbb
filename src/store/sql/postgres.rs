//! PostgreSQL.

use std::borrow::Cow;
use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres};

use super::columns::{COLUMNS, IS_EXPECTED, forward_value, record_value, renewal_assignments};
use super::dialect::Dialect;
use super::statement::Syntax;
use super::store::SqlStore;
use super::table::Table;
use crate::store::StoreError;

/// Store in a PostgreSQL table; see [`SqlStore`].
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
/// Tested on PostgreSQL 15; it needs 12, in a database with the encoding `UTF8`. Every call is one round trip. A call
/// that changes nothing returns the reason in the same round trip, and a conflict includes the present record. There
/// are two exceptions: a writer that had to wait for another writer of the session loads the record, and a `create`
/// under a taken key checks in a transaction whether the key has expired.
///
/// # Touches
///
/// A touch moves the deadline of a row. The index for the sweep is on the hour of the deadline, so most touches change
/// no index: PostgreSQL writes the new row into the same page (a heap-only tuple), which needs less log and leaves
/// nothing for a vacuum. An expired row is swept when its hour is over.
///
/// # The pool
///
/// - [`connect`](Self::connect) disables `test_before_acquire`, which doubles the round trips; do the same in your own
///   pool. After a connection error the store pings all idle connections and the layer retries the call, so requests
///   survive a restart of the server (tested by killing it).
/// - `default_transaction_isolation` can be any level. Above `read committed` a concurrent call may fail to serialize;
///   it is retried in a transaction at `read committed`.
/// - PgBouncer in transaction mode works with any pool if it supports named statements: from 1.21 with
///   `max_prepared_statements` above 0, which is the default since 1.24. Otherwise, as in Debian 12, the pool needs
///   `statement_cache_capacity(0)`, or the URL `?statement-cache-capacity=0`. The store then runs each statement
///   unnamed and in a transaction of its own: four round trips instead of one. Do the same with your own statements
///   (`persistent(false)`, in a transaction): sqlx names them at capacity 0 too.
/// - PgBouncer rejects the parameter `extra_float_digits`. [`connect`](Self::connect) does not send it; set
///   `extra_float_digits(None)` in your own pool.
/// - For TLS, enable the sqlx feature `tls-rustls` or `tls-native-tls` in your own `Cargo.toml`.
///
/// # Rights
///
/// The role that calls [`migrate`](Self::migrate) first creates the tables, with `CREATE` on the schema. Other roles
/// need no such right. For a role `app` and tables in the schema `web`:
///
/// ```sql
/// GRANT USAGE ON SCHEMA web TO app;
/// GRANT SELECT, INSERT, UPDATE, DELETE ON web.session_state TO app;
/// GRANT SELECT ON web.session_state_schema TO app;
/// ```
///
/// The last line is for `migrate`. A table without a schema is looked up in the `search_path`.
pub type PostgresStore = SqlStore<Postgres>;

impl SqlStore<Postgres> {
    /// Creates a store in the database of `pool`, which is used unchanged.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self::with_pool(pool)
    }

    /// Connects to the database at `url`, such as `postgres://app@localhost/shop`, with up to ten connections.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the URL is not a PostgreSQL URL, or the server cannot be reached.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        // PgBouncer rejects this parameter. Since PostgreSQL 12, numbers are exact without it.
        let options = PgConnectOptions::from_str(url).map_err(Self::failed)?.extra_float_digits(None);
        let pool = PgPoolOptions::new().test_before_acquire(false).connect_with(options).await;
        pool.map(Self::new).map_err(Self::failed)
    }
}

/// Takes an advisory lock with a number of our own: "session" in ASCII.
const LOCK_SCHEMA: &str = "SELECT pg_advisory_xact_lock(32490740217540462);\n";

impl Syntax for Postgres {
    const NUMBERED: bool = true;

    fn placeholder(number: usize) -> Cow<'static, str> {
        format!("${number}").into()
    }

    /// A PostgreSQL text cannot hold the character NUL, which is stored as ESC 0. So ESC is stored as ESC ESC.
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

impl Dialect for Postgres {
    const STORE: &'static str = "postgres";
    const QUOTE: char = '"';
    const GREATEST: &'static str = "GREATEST";
    const BEGIN: &'static str = "BEGIN";
    /// At a stricter default level, transactions would fail to serialize.
    const BEGIN_CALL: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED";
    const OR_IGNORE: &'static str = "ON CONFLICT DO NOTHING";
    const SWEEP_BATCH: usize = 200;
    /// A serialization failure, which occurs only above the default isolation, and a deadlock.
    const RETRYABLE: &'static [&'static str] = &["40001", "40P01"];
    const RETURNS_ROW: bool = true;
    const IS_PRINCIPAL: &'static str = "left(principal, 500) = left(:principal, 500) AND principal = :principal";
    /// The planner has no statistics on the rows of one principal. For an equality on the prefix it estimates few rows,
    /// and may read and sort all of them for each page. For this condition it estimates many rows and uses the order of
    /// the index.
    const IS_AFTER: &'static str = "(left(principal, 500), handle) > (left(:principal, 500), :after) \
                                     AND left(principal, 500) <= left(:principal, 500) \
                                     AND COALESCE(principal = :principal, FALSE)";
    const ORDER_BY: &'static str = "left(principal, 500), handle";
    const REVOKES_AT_ONCE: bool = true;

    /// A named statement exists on one connection to the server, and a pooler in transaction mode switches connections.
    /// `statement_cache_capacity(0)` disables names; only the debug output shows it. sqlx itself would still name each
    /// statement.
    fn names_statements(pool: &PgPool) -> bool {
        let options = pool.connect_options();
        let without_names = PgConnectOptions::clone(&options).statement_cache_capacity(0);
        format!("{options:?}") != format!("{without_names:?}")
    }

    fn returning(table: &Table, change: &str) -> String {
        with_current_row(table, &format!("done AS ({change} RETURNING 1)"))
    }

    fn renew(table: &Table) -> String {
        let name = table.quoted(Self::QUOTE);
        let into = format!("INSERT INTO {name} (id_hash, {})", COLUMNS.join(", "));
        let (record, forward) = (COLUMNS.map(record_value).join(", "), COLUMNS.map(forward_value).join(", "));
        let moved = renewal_assignments();
        let change = format!(
            "moved AS (UPDATE {name} SET {moved} WHERE {IS_EXPECTED} AND handle = :handle RETURNING 1), \
             gone AS (DELETE FROM {name} WHERE {IS_EXPECTED} AND handle <> :handle RETURNING 1), \
             made AS ({into} SELECT :new_key, {record} FROM gone), \
             done AS ({into} SELECT :key, {forward} FROM (SELECT FROM moved UNION ALL SELECT FROM gone) AS retired \
             RETURNING 1)"
        );
        with_current_row(table, &change)
    }

    fn retire(table: &Table, condition: &str) -> String {
        with_current_row(table, &retired(table, condition))
    }

    fn retire_all(table: &Table, condition: &str) -> String {
        format!("WITH {} SELECT handle FROM gone", retired(table, condition))
    }

    fn sweep(table: &Table) -> String {
        let name = table.quoted(Self::QUOTE);
        format!(
            "DELETE FROM {name} WHERE id_hash = ANY(ARRAY(SELECT id_hash FROM {name} \
             WHERE expires_hour < CAST(:now AS BIGINT) / 3600000 ORDER BY expires_hour LIMIT :limit \
             FOR UPDATE SKIP LOCKED))"
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
        // An index is in the schema of its table. An index entry is shorter than the longest principal.
        let index = |suffix| table.bare(Self::QUOTE, suffix);
        let versions = table.with_suffix(Self::QUOTE, "_schema");
        vec![format!(
            "CREATE TABLE IF NOT EXISTS {name} (
    id_hash BYTEA NOT NULL PRIMARY KEY,
    handle BYTEA,
    version BIGINT,
    generation BIGINT NOT NULL DEFAULT 0,
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
    grace_until BIGINT,
    expires_hour BIGINT GENERATED ALWAYS AS (expires_at / 3600000) STORED
);
CREATE INDEX IF NOT EXISTS {expires_hour} ON {name} (expires_hour);
CREATE UNIQUE INDEX IF NOT EXISTS {handle} ON {name} (handle);
CREATE INDEX IF NOT EXISTS {principal} ON {name} (left(principal, 500), handle) WHERE principal IS NOT NULL;
INSERT INTO {versions} (version) VALUES (1) ON CONFLICT DO NOTHING;
",
            expires_hour = index("_expires_hour"),
            handle = index("_handle"),
            principal = index("_principal"),
        )]
    }
}

const ESCAPE: char = '\u{1b}';

/// Returns the CTE `gone`, which deletes sessions, and the CTE `done`, which inserts a forward in place of each.
fn retired(table: &Table, condition: &str) -> String {
    let (name, columns) = (table.quoted(Postgres::QUOTE), COLUMNS.join(", "));
    let forward = COLUMNS.map(forward_value).join(", ");
    format!(
        "gone AS (DELETE FROM {name} WHERE {condition} RETURNING id_hash, handle), \
         done AS (INSERT INTO {name} (id_hash, {columns}) SELECT id_hash, {forward} FROM gone RETURNING 1)"
    )
}

/// Returns a statement that makes a change, whose rows are the CTE `done`, and returns the present row if the change
/// affected none. It sees that row as of the beginning of the statement.
fn with_current_row(table: &Table, change: &str) -> String {
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
    fn any_principal_or_label_survives_a_round_trip() {
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
