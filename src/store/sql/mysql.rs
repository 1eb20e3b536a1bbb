//! MySQL and MariaDB.

use std::borrow::Cow;

use sqlx::mysql::MySqlPoolOptions;
use sqlx::{MySql, MySqlPool};

use super::columns::{renew_by_upsert, retire_by_replace};
use super::dialect::Dialect;
use super::statement::Syntax;
use super::store::SqlStore;
use super::table::Table;
use crate::store::StoreError;

/// Store in a MySQL or MariaDB table; see [`SqlStore`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use session_state::{MySqlStore, SessionLayer};
///
/// let store = MySqlStore::connect("mysql://app@localhost/shop").await?;
/// store.migrate().await?;
/// let sessions = SessionLayer::server(store);
/// # let _ = sessions;
/// # Ok(())
/// # }
/// ```
///
/// Tested on MariaDB 10.11. It needs MariaDB 10.6 or MySQL 8.0, with InnoDB. Each call is one atomic statement,
/// including a renewal and a logout; a call that changes nothing loads the reason with a second statement. A login that
/// replaces another principal takes a transaction, with four more round trips. Revoking sessions of a principal takes a
/// transaction too, with five round trips for each hundred sessions.
///
/// # The pool
///
/// - [`connect`](Self::connect) disables `test_before_acquire`, which doubles the round trips; do the same in your own
///   pool. After a connection error the store pings all idle connections and the layer retries the call, so requests
///   survive a restart of the server (tested by killing it).
/// - The server's `max_allowed_packet` limits the size of a session: 16 MiB in MariaDB, 64 MiB in MySQL.
/// - For TLS, enable the sqlx feature `tls-rustls` or `tls-native-tls` in your own `Cargo.toml`. MySQL passwords
///   (`caching_sha2_password`) need TLS, or the sqlx feature `mysql-rsa`.
///
/// # Rights
///
/// The user that calls [`migrate`](Self::migrate) first creates the tables, with `CREATE` on the database. Other users
/// need no such right. For a user `app` and tables in the database `shop`:
///
/// ```sql
/// GRANT SELECT, INSERT, UPDATE, DELETE ON shop.session_state TO 'app'@'%';
/// GRANT SELECT ON shop.session_state_schema TO 'app'@'%';
/// ```
///
/// The last line is for `migrate`. MariaDB hides foreign keys from users whose rights are on tables only, so
/// [`InTables::check`](crate::InTables::check) also needs a right on the database:
///
/// ```sql
/// GRANT SHOW VIEW ON shop.* TO 'app'@'%';
/// ```
pub type MySqlStore = SqlStore<MySql>;

impl SqlStore<MySql> {
    /// Creates a store in the database of `pool`, which is used unchanged.
    #[must_use]
    pub fn new(pool: MySqlPool) -> Self {
        Self::with_pool(pool)
    }

    /// Connects to the database at `url`, such as `mysql://app@localhost/shop`, with up to ten connections.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the URL is not a MySQL URL, or the server cannot be reached.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let pool = MySqlPoolOptions::new().test_before_acquire(false).connect(url).await;
        pool.map(Self::new).map_err(Self::failed)
    }
}

impl Syntax for MySql {
    fn placeholder(_number: usize) -> Cow<'static, str> {
        "?".into()
    }
}

impl Dialect for MySql {
    const STORE: &'static str = "mysql";
    const QUOTE: char = '`';
    const GREATEST: &'static str = "GREATEST";
    const BEGIN: &'static str = "START TRANSACTION";
    /// The default isolation also locks the gaps between rows, which blocks other inserts.
    const BEGIN_CALL: &'static str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION";
    const SWEEP_BATCH: usize = 200;
    const SWEEP_IN_TRANSACTION: bool = true;
    /// A deadlock. InnoDB reports some even between statements that each lock a single row.
    const RETRYABLE: &'static [&'static str] = &["40001"];
    /// The collation ignores trailing spaces.
    const IS_PRINCIPAL: &'static str =
        "principal = :principal AND CAST(principal AS BINARY) = CAST(:principal AS BINARY)";
    const IS_AFTER: &'static str = "principal = :principal AND handle > :after \
                                     AND CAST(principal AS BINARY) = CAST(:principal AS BINARY)";

    /// Strict mode turns warnings into errors, which keep their SQLSTATE.
    fn is_constraint_violation(code: &str) -> bool {
        ["01", "22", "23"].iter().any(|class| code.starts_with(class))
    }

    fn by_principal(table: &Table) -> String {
        format!("{} FORCE INDEX ({})", table.quoted(Self::QUOTE), table.bare(Self::QUOTE, "_principal"))
    }

    /// Locks rows in the same order as other calls do: the primary key before the secondary indexes.
    fn by_key(table: &Table) -> String {
        format!("{} FORCE INDEX (PRIMARY)", table.quoted(Self::QUOTE))
    }

    /// Locks the row while it is read. Otherwise two concurrent renewals deadlock.
    fn renew(table: &Table) -> String {
        renew_by_upsert(&table.quoted(Self::QUOTE), typed, "FOR UPDATE ON DUPLICATE KEY UPDATE")
    }

    /// Locks the rows while they are read, as [`renew`](Dialect::renew) does.
    fn retire_all(table: &Table, condition: &str) -> String {
        let from = format!("FROM {} WHERE {condition} FOR UPDATE", Self::by_key(table));
        retire_by_replace(&table.quoted(Self::QUOTE), typed, &from)
    }

    fn sweep(table: &Table) -> String {
        let name = table.quoted(Self::QUOTE);
        format!(
            "DELETE swept FROM {name} AS swept JOIN (SELECT id_hash FROM {name} WHERE expires_at <= :now \
             ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED) AS expired ON swept.id_hash = expired.id_hash"
        )
    }

    fn schema_versions(table: &Table) -> String {
        let versions = table.with_suffix(Self::QUOTE, "_schema");
        format!("CREATE TABLE IF NOT EXISTS {versions} (version BIGINT NOT NULL PRIMARY KEY) ENGINE = InnoDB;\n")
    }

    fn schema_steps(table: &Table) -> Vec<String> {
        let name = table.quoted(Self::QUOTE);
        let index = |suffix| table.bare(Self::QUOTE, suffix);
        let versions = table.with_suffix(Self::QUOTE, "_schema");
        let text = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
        vec![format!(
            "CREATE TABLE IF NOT EXISTS {name} (
    id_hash BINARY(32) NOT NULL PRIMARY KEY,
    handle BINARY(16),
    version BIGINT,
    generation BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT,
    renewed_at BIGINT,
    last_seen_at BIGINT,
    expires_at BIGINT NOT NULL,
    idle_timeout BIGINT,
    absolute_timeout BIGINT,
    principal LONGTEXT {text},
    authenticated_at BIGINT,
    label LONGTEXT {text},
    data LONGTEXT {text},
    successor BINARY(32),
    grace_until BIGINT,
    KEY {expires_at} (expires_at),
    UNIQUE KEY {handle} (handle),
    KEY {principal} (principal(190), handle)
) ENGINE = InnoDB;
INSERT IGNORE INTO {versions} (version) VALUES (1);
",
            expires_at = index("_expires_at"),
            handle = index("_handle"),
            principal = index("_principal"),
        )]
    }
}

/// Casts a value to the type of its column: a placeholder in a `SELECT` list has none.
fn typed(column: &str, value: String) -> String {
    let type_name = match column {
        "id_hash" | "successor" => "BINARY(32)",
        "handle" => "BINARY(16)",
        "principal" | "label" | "data" => "CHAR CHARACTER SET utf8mb4",
        _ => "SIGNED",
    };
    format!("CAST({value} AS {type_name})")
}
