//! The shop's database: SQLite, PostgreSQL, or MySQL and MariaDB.
//!
//! The shop writes each statement once, in SQL common to all engines, with `?` as the placeholder. This folder has the
//! differences: how to connect, the placeholders, and the lock for nodes that start at once.

mod open;
mod schema;

use session_state::{AnyStore, MySqlStore, PostgresStore, SqliteStore};
use sqlx::mysql::MySqlRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Error, MySqlConnection, MySqlPool, PgConnection, PgPool, SqliteConnection, SqlitePool};

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub(crate) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
    MySql(MySqlPool),
}

/// One connection, which may be in the middle of a transaction.
pub(crate) enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
    MySql(&'c mut MySqlConnection),
}

/// A value that goes into a statement.
#[derive(Clone, Copy)]
pub(crate) enum Value<'v> {
    Text(&'v str),
    Number(i64),
}

/// A row of an answer.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
    MySql(MySqlRow),
}

/// Expands the same code for the pool, connection or row of each engine.
macro_rules! each_engine {
    ($kind:ident, $value:expr, $own:ident => $what:expr) => {
        match $value {
            $kind::Sqlite($own) => $what,
            $kind::Postgres($own) => $what,
            $kind::MySql($own) => $what,
        }
    };
}

use each_engine;

/// Makes a query from a statement of the shop, which contains no user input, and its values.
macro_rules! query {
    ($sql:expr, $values:expr) => {{
        let mut query = sqlx::query(AssertSqlSafe($sql));
        for value in $values {
            query = match *value {
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
            };
        }
        query
    }};
}

impl Database {
    /// Returns the store of the sessions.
    pub(crate) fn sessions(&self) -> AnyStore {
        match self {
            Self::Sqlite(pool) => AnyStore::new(SqliteStore::new(pool.clone())),
            Self::Postgres(pool) => AnyStore::new(PostgresStore::new(pool.clone())),
            Self::MySql(pool) => AnyStore::new(MySqlStore::new(pool.clone())),
        }
    }

    /// Fetches rows.
    pub(crate) async fn fetch(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        each_engine!(Database, self, pool => Connection::from(&mut *pool.acquire().await?).fetch(sql, values).await)
    }

    /// Closes all connections gracefully.
    pub(crate) async fn close(&self) {
        each_engine!(Database, self, pool => pool.close().await);
    }
}

impl Connection<'_> {
    /// Executes a statement and returns the number of changed rows.
    pub(crate) async fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, Error> {
        let sql = self.spell(sql);
        each_engine!(Connection, self, own => Ok(query!(sql, values).execute(&mut **own).await?.rows_affected()))
    }

    /// Fetches rows.
    pub(crate) async fn fetch(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        let sql = self.spell(sql);
        each_engine!(Connection, self, own => {
            let rows = query!(sql, values).fetch_all(&mut **own).await?;
            Ok(rows.into_iter().map(Row::from).collect())
        })
    }

    /// Writes a statement the way the engine wants it.
    fn spell(&self, sql: &str) -> String {
        if matches!(self, Self::Postgres(_)) { numbered(sql) } else { sql.to_owned() }
    }
}

/// Writes `$1`, `$2` and so on where the values of a statement go.
fn numbered(sql: &str) -> String {
    let mut pieces = sql.split('?');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.zip(1..).fold(first, |sql, (piece, number)| format!("{sql}${number}{piece}"))
}

impl Row {
    pub(crate) fn text(&self, column: &str) -> Result<String, Error> {
        each_engine!(Row, self, row => sqlx::Row::try_get(row, column))
    }

    pub(crate) fn number<N: TryFrom<i64>>(&self, column: &str) -> Result<N, Error> {
        let number: i64 = each_engine!(Row, self, row => sqlx::Row::try_get(row, column))?;
        N::try_from(number).map_err(|_| Error::Decode(format!("{column} is {number}, which cannot be").into()))
    }
}

macro_rules! from_engine {
    ($engine:ident: $connection:ty, $row:ty) => {
        impl<'c> From<&'c mut $connection> for Connection<'c> {
            fn from(connection: &'c mut $connection) -> Self {
                Self::$engine(connection)
            }
        }

        impl From<$row> for Row {
            fn from(row: $row) -> Self {
                Self::$engine(row)
            }
        }
    };
}

from_engine!(Sqlite: SqliteConnection, SqliteRow);
from_engine!(Postgres: PgConnection, PgRow);
from_engine!(MySql: MySqlConnection, MySqlRow);

#[cfg(test)]
mod tests;
