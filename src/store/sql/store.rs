//! The store: its pool, its table and its statements.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use sqlx::{Database, Pool};

use super::dialect::Dialect;
use super::executor::{Executor, is_retryable};
use super::statement::{Call, Statement};
use super::statements::Statements;
use super::table::Table;
use crate::error::ConfigError;
use crate::store::StoreError;

/// Store in a table of an SQL database, over your own pool of [`sqlx`].
///
/// Use it by the name of an engine: `SqliteStore`, `PostgresStore` or `MySqlStore` (each a feature). Clones are cheap
/// and share the pool.
///
/// The table is `session_state`, or [the one you name](Self::with_table). [`migrate`](Self::migrate) creates it, and
/// [`schema`](Self::schema) prints the SQL. Each session is one row; a renewal changes its `id_hash` and keeps the row.
/// The ID of a session that was renewed or has ended has a row of its own until its forward expires:
///
/// | column | holds |
/// | --- | --- |
/// | `id_hash` | the primary key: 32 bytes, SHA-256 of the ID |
/// | `handle` | the public name of the session, 16 bytes; unique, and indexed |
/// | `version` | another number after each write, except touches |
/// | `generation` | another number after each login, takeover and re-authentication; 0 before the first |
/// | `created_at`, `renewed_at`, `last_seen_at`, `authenticated_at` | times |
/// | `expires_at` | when the row expires; indexed, in PostgreSQL by its hour, `expires_hour` |
/// | `idle_timeout`, `absolute_timeout` | the session's own timeouts, in milliseconds |
/// | `principal` | the principal; indexed, together with the `handle` |
/// | `label` | the name of the session in lists |
/// | `data` | the values, as the text of one JSON object |
/// | `successor`, `grace_until` | the forward of a renewed or ended ID, whose row has no values in the columns of a session |
///
/// Times are whole milliseconds since 1970 in UTC, as integers, so no time zone of a server or a connection affects
/// them. Only the clock of the caller decides whether a row has expired. A deadline that is later than the integer can
/// hold becomes the latest that it can.
///
/// `data` comes back byte for byte, including numbers, escapes and the order of keys. That is why the column is text
/// and not the engine's JSON type; JSON functions can read it, such as `data::json` in PostgreSQL.
///
/// A table of your own can reference a session, by a column with the bytes of
/// [`Session::handle`](crate::Session::handle), an index that begins with it, and `FOREIGN KEY (session) REFERENCES
/// session_state (handle) ON DELETE CASCADE`. Its rows stay when the session is renewed, and are deleted when the
/// session is deleted, swept, or taken over by the login of another principal.
///
/// Lists of a principal's sessions come from the index, in whole pages ordered by handle and without `data`. In MySQL
/// and PostgreSQL an index entry holds only the beginning of a principal. In PostgreSQL a statement of your own uses
/// the index with `left(principal, 500) = left('alice', 500) AND principal = 'alice'`. Trailing spaces distinguish
/// principals, in MySQL too.
///
/// Expired rows are never returned, but take space until they are swept: run
/// [`SessionLayer::sweeper`](crate::SessionLayer::sweeper), on any number of nodes.
///
/// # Security
///
/// All values are bound, so no statement contains one, and sqlx logs only the text of statements. The database holds
/// values, principals and labels, but no ID. Write access to the table is access to every account.
pub struct SqlStore<D: Database> {
    pub(super) inner: Arc<Inner<D>>,
}

pub(super) struct Inner<D: Database> {
    pub(super) pool: Pool<D>,
    names_statements: bool,
    pub(super) table: Table,
    pub(super) statements: Statements,
}

impl<D: Database> Clone for SqlStore<D> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

#[expect(private_bounds, reason = "only the engines of this crate implement it")]
impl<D: Dialect> SqlStore<D> {
    pub(super) fn with_pool(pool: Pool<D>) -> Self {
        Self::in_table(pool, Table::default())
    }

    fn in_table(pool: Pool<D>, table: Table) -> Self {
        let (names_statements, statements) = (D::names_statements(&pool), Statements::new::<D>(&table));
        Self { inner: Arc::new(Inner { pool, names_statements, table, statements }) }
    }

    /// Names the table. The default is `session_state`.
    ///
    /// The name of an existing schema (in MySQL a database) may stand before it, followed by a full stop. Names are
    /// case-sensitive.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a name is longer than 40 bytes, contains characters other than ASCII letters, digits and
    /// underscores, or begins with a digit.
    pub fn with_table(self, table: &str) -> Result<Self, ConfigError> {
        Ok(Self::in_table(self.inner.pool.clone(), Table::parse(table)?))
    }

    /// Returns the pool, for statements of the application.
    #[must_use]
    pub fn pool(&self) -> &Pool<D> {
        &self.inner.pool
    }

    /// Creates the table, or migrates it to the schema of this release.
    ///
    /// Any number of nodes may do this at once, and at every start. A second table, `session_state_schema`, holds the
    /// version of the schema. If the schema is up to date, the call only reads that version, and needs no right to
    /// change a schema.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the database fails or rejects the migration, or if a later release has migrated the table.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let Inner { pool, table, .. } = &*self.inner;
        let prepare = format!("{}{}", D::lock_schema(), D::schema_versions(table));
        let version = format!("SELECT MAX(version) FROM {}", table.with_suffix(D::QUOTE, "_schema"));
        let steps = D::schema_steps(table);
        let known = steps.len();
        let found = match self.schema_version(&version).await {
            Some(found) if found >= known => found,
            _ => D::migrate(pool, D::BEGIN, prepare, version, steps).await.map_err(Self::failed)?,
        };
        if found > known {
            return Err(StoreError::failed(D::STORE, SchemaIsNewer { found, known }));
        }
        Ok(())
    }

    /// Returns the version of the schema; `None` if it cannot be read.
    async fn schema_version(&self, version: &str) -> Option<usize> {
        let version = Statement::new::<D>(version);
        let row = self.executor().fetch(&version, &Call::default()).await.ok()??;
        usize::try_from(D::integer(&row, 0).ok()??).ok()
    }

    /// Returns the SQL that [`migrate`](Self::migrate) runs on an empty database, for migrations of your own. It is
    /// idempotent.
    #[must_use]
    pub fn schema(&self) -> String {
        let table = &self.inner.table;
        format!("{}{}", D::schema_versions(table), D::schema_steps(table).concat())
    }

    /// Runs statements on connections of the pool.
    pub(super) fn executor(&self) -> Executor<'_, D> {
        Executor::on_pool(&self.inner.pool, self.inner.names_statements)
    }

    /// Runs statements in the caller's transaction.
    pub(super) fn executor_on<'e>(&self, connection: &'e mut D::Connection) -> Executor<'e, D> {
        Executor::in_transaction(connection, self.inner.names_statements)
    }

    pub(crate) fn failed(error: sqlx::Error) -> StoreError {
        if is_retryable::<D>(&error) {
            return StoreError::contended(D::STORE, error);
        }
        StoreError::failed(D::STORE, error)
    }
}

/// Omits the pool, whose options hold a password.
impl<D: Database> fmt::Debug for SqlStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("engine", &D::NAME).field("table", &self.inner.table).finish_non_exhaustive()
    }
}

/// The schema was migrated by a later release.
#[derive(Debug)]
struct SchemaIsNewer {
    found: usize,
    known: usize,
}

impl fmt::Display for SchemaIsNewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the table has schema version {}, and this release knows up to {}", self.found, self.known)
    }
}

impl StdError for SchemaIsNewer {}
