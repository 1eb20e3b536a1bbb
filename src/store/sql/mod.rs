//! Sessions in a table of a SQL database. One implementation, over what the engines differ in.
//!
//! - `statement`: templates with named parameters, and what is bound to them.
//! - `dialect`: the statements all engines share, and what each has to add; `sqlite`, `postgres` and `mysql` add it.
//! - `engine`: what needs a concrete engine of sqlx; `lent`: a connection of the pool.
//! - `read`: rows as entries. `table`: the name of the table. `calls`: the calls of a [`Store`](super::Store).
//! - `principals`: the calls that are about all sessions of a principal.
//! - `place`: where the statements of a call are run. `rows`: rows of the application's tables beside the sessions.

mod calls;
mod dialect;
mod engine;
mod lent;
#[cfg(feature = "mysql")]
mod mysql;
mod place;
#[cfg(feature = "postgres")]
mod postgres;
mod principals;
mod read;
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement;
mod table;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use sqlx::{Database, Pool};

use self::dialect::Statements;
use super::StoreError;
use crate::error::ConfigError;

pub(crate) use self::dialect::Dialect;
#[cfg(feature = "mysql")]
pub use self::mysql::MySqlStore;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
pub(crate) use self::rows::Batch;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
pub(crate) use self::statement::Statement;
pub(crate) use self::table::Table;

/// Keeps sessions in a table of a SQL database, over your own pool of [`sqlx`].
///
/// Use it by the name of an engine, such as `SqliteStore`, `PostgresStore` or `MySqlStore` (each a feature). Clones are
/// cheap and share the pool.
///
/// The table is `session_state`, or [the one you name](Self::with_table). [`migrate`](Self::migrate) makes it, and
/// [`schema`](Self::schema) prints what it would do. Each session is one row, which stays the same through renewals and
/// changes its `id_hash`. Each ID that was renewed is another one until its forward expires:
///
/// | column | holds |
/// | --- | --- |
/// | `id_hash` | the primary key: 32 bytes, SHA-256 of the ID |
/// | `handle` | the public name of the session, 16 bytes; unique, and indexed |
/// | `version` | a stamp that is another one after each write, except touches |
/// | `created_at`, `renewed_at`, `last_seen_at`, `authenticated_at` | times |
/// | `expires_at` | when the row is no longer there; indexed |
/// | `idle_timeout`, `absolute_timeout` | timeouts of the session's own, in milliseconds |
/// | `principal` | who is logged in; indexed, with the `handle` behind it |
/// | `label` | what the application calls the session in lists |
/// | `data` | the values, as the text of one JSON object |
/// | `successor`, `grace_until` | of a renewed ID; there the columns of a session are `NULL` |
///
/// Times are whole milliseconds since 1970 in UTC, as numbers: no time zone of a server or a connection has a say in
/// them, and whether a row has expired is judged by the clock of the caller alone. A deadline that is later than such a
/// number can say becomes the latest that it can.
///
/// `data` comes back byte for byte, numbers, escapes and the order of keys included. That is why the column is one of
/// text, not of the engine's JSON; its functions read it all the same, such as `data::json` in PostgreSQL.
///
/// A table of your own can refer to a session, by a column with the bytes of [`Session::handle`](crate::Session::handle),
/// an index that begins with it, and `FOREIGN KEY (session) REFERENCES session_state (handle) ON DELETE CASCADE`. Its rows
/// stay when the session is renewed, and go when it is deleted or swept, or taken over by the login of another principal.
///
/// The sessions of a principal are found in the index, by whole pages in the order of their handles, without their `data`.
/// In MySQL and PostgreSQL an entry of that index holds only the beginning of a principal. A statement of your own uses it
/// in PostgreSQL with `left(principal, 500) = left('alice', 500) AND principal = 'alice'`. Spaces at the end of a principal,
/// which MySQL does not see, make it another one here too.
///
/// Expired rows are never returned, but they take room until they are swept: let
/// [`SessionLayer::sweeper`](crate::SessionLayer::sweeper) run, on any number of nodes.
///
/// # Security
///
/// No statement holds a value: all of them are bound. What sqlx logs of a statement is its text, never what is bound. The
/// database holds the values, the names of principals, labels and no ID. Whoever may write the table can log in as anybody.
pub struct SqlStore<D: Database> {
    shared: Arc<Shared<D>>,
}

struct Shared<D: Database> {
    pool: Pool<D>,
    table: Table,
    statements: Statements,
}

impl<D: Database> Clone for SqlStore<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

#[expect(private_bounds, reason = "the engines are those that this crate knows")]
impl<D: Dialect> SqlStore<D> {
    fn of(pool: Pool<D>) -> Self {
        Self::in_table(pool, Table::default())
    }

    fn in_table(pool: Pool<D>, table: Table) -> Self {
        let statements = Statements::new::<D>(&table);
        Self { shared: Arc::new(Shared { pool, table, statements }) }
    }

    /// Names the table. The default is `session_state`.
    ///
    /// A schema (in MySQL a database) may stand before it, with a full stop between. It must be there already. Names are
    /// taken as they are written, capitals too.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when a name is longer than 40 bytes, has anything but ASCII letters, digits and underscores, or
    /// begins with a digit.
    pub fn with_table(self, table: &str) -> Result<Self, ConfigError> {
        Ok(Self::in_table(self.shared.pool.clone(), Table::parse(table)?))
    }

    /// Returns the pool, for statements of the application.
    #[must_use]
    pub fn pool(&self) -> &Pool<D> {
        &self.shared.pool
    }

    /// Makes the table, or brings it to the form that this release needs.
    ///
    /// Any number of nodes may do this at once, and each time they start. Beside the table there is a second one with the
    /// version of the schema, `session_state_schema`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database fails or refuses, or when a later release has changed the table in a way that
    /// this one knows nothing of.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let Shared { pool, table, .. } = &*self.shared;
        let prepare = format!("{}{}", D::lock_schema(), D::schema_versions(table));
        let version = format!("SELECT MAX(version) FROM {}", table.with_suffix(D::QUOTE, "_schema"));
        let steps = D::schema_steps(table);
        let known = steps.len();
        let found = D::migrate(pool, D::BEGIN, prepare, version, steps).await.map_err(Self::failed)?;
        if found > known {
            return Err(StoreError::failed(D::STORE, SchemaIsNewer { found, known }));
        }
        Ok(())
    }

    /// Returns the SQL that [`migrate`](Self::migrate) runs on an empty database, for those who would rather do it by
    /// hand. It may be run again.
    #[must_use]
    pub fn schema(&self) -> String {
        let table = &self.shared.table;
        format!("{}{}", D::schema_versions(table), D::schema_steps(table).concat())
    }

    pub(crate) fn failed(error: sqlx::Error) -> StoreError {
        StoreError::failed(D::STORE, error)
    }
}

/// Shows nothing of the pool, whose options hold a password.
impl<D: Database> fmt::Debug for SqlStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("engine", &D::NAME).field("table", &self.shared.table).finish_non_exhaustive()
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
