//! MySQL and MariaDB.

use std::borrow::Cow;

use sqlx::mysql::MySqlPoolOptions;
use sqlx::{MySql, MySqlPool};

use super::SqlStore;
use super::dialect::{Dialect, renew_by_upsert};
use super::table::Table;
use crate::store::StoreError;

/// Keeps sessions in a table of MySQL or MariaDB. The rest is said at [`SqlStore`].
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
/// Tested on MariaDB 10.11. It needs MariaDB 10.6 or MySQL 8.0, with InnoDB. Each call is one statement, a renewal too,
/// and thereby atomic; when it changes nothing, a second one asks why. The login of another principal than the one who is
/// logged in is a transaction, which takes four round trips more. To end sessions of a principal takes a transaction too,
/// and five round trips for each hundred of them.
///
/// # The pool
///
/// - [`connect`](Self::connect) and a pool with `test_before_acquire(false)` save a ping before each statement. When a
///   connection turns out to be dead, those that lie idle are pinged too, and the layer makes the call once more, so
///   that a server that is back again costs requests nothing (tried with servers that were killed).
/// - `max_allowed_packet` of the server bounds a session: 16 MiB in MariaDB, 64 MiB in MySQL.
/// - The TLS of sqlx is a feature of sqlx (`tls-rustls`, `tls-native-tls`) that your own `Cargo.toml` turns on. MySQL
///   asks for it, or for sqlx's `mysql-rsa`, when it checks a password (`caching_sha2_password`).
pub type MySqlStore = SqlStore<MySql>;

impl SqlStore<MySql> {
    /// Keeps sessions in the database of `pool`, which is used as it is.
    #[must_use]
    pub fn new(pool: MySqlPool) -> Self {
        Self::of(pool)
    }

    /// Connects to the database at `url`, such as `mysql://app@localhost/shop`, with up to ten connections.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the URL is not one of MySQL, or the server cannot be reached.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let pool = MySqlPoolOptions::new().test_before_acquire(false).connect(url).await;
        pool.map(Self::new).map_err(Self::failed)
    }
}

impl Dialect for MySql {
    const STORE: &'static str = "mysql";
    const QUOTE: char = '`';
    const GREATEST: &'static str = "GREATEST";
    const BEGIN: &'static str = "START TRANSACTION";
    /// The default isolation would lock the gaps between the rows as well, into which others want to insert.
    const BEGIN_CALL: &'static str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION";
    const SWEEP_BATCH: usize = 200;
    const SWEEP_IN_TRANSACTION: bool = true;
    /// A deadlock. InnoDB finds some also between statements that each lock a single row.
    const UNDONE: &'static [&'static str] = &["40001"];
    /// Two texts that differ in the spaces at their ends are the same text to it.
    const IS_PRINCIPAL: &'static str =
        "principal = :principal AND CAST(principal AS BINARY) = CAST(:principal AS BINARY)";
    const IS_BEHIND: &'static str = "principal = :principal AND handle > :after \
                                     AND CAST(principal AS BINARY) = CAST(:principal AS BINARY)";
    /// MariaDB has such a `DELETE`, but MySQL has not.
    const DELETE_RETURNS_ROWS: bool = false;

    fn placeholder(_number: usize) -> Cow<'static, str> {
        "?".into()
    }

    /// What would be a warning is an error in the strict mode, and keeps its SQLSTATE.
    fn is_refusal(code: &str) -> bool {
        ["01", "22", "23"].iter().any(|class| code.starts_with(class))
    }

    fn by_principal(table: &Table) -> String {
        format!("{} FORCE INDEX ({})", table.quoted(Self::QUOTE), table.bare(Self::QUOTE, "_principal"))
    }

    /// Rows are locked in the order in which other calls lock them: the row itself before what leads to it.
    fn by_key(table: &Table) -> String {
        format!("{} FORCE INDEX (PRIMARY)", table.quoted(Self::QUOTE))
    }

    /// The rows are locked as they are read, or two renewals at once would each wait for the other.
    fn renew(table: &Table) -> String {
        renew_by_upsert(&table.quoted(Self::QUOTE), typed, "FOR UPDATE ON DUPLICATE KEY UPDATE")
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

/// Gives a value the type of its column: in the list of a `SELECT` a placeholder has none.
fn typed(column: &str, value: String) -> String {
    let type_name = match column {
        "id_hash" | "successor" => "BINARY(32)",
        "handle" => "BINARY(16)",
        "principal" | "label" | "data" => "CHAR CHARACTER SET utf8mb4",
        _ => "SIGNED",
    };
    format!("CAST({value} AS {type_name})")
}
