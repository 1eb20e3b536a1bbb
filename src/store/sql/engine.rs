//! The few functions that need a concrete engine of sqlx: binding, running and reading. The rest is generic.

use sqlx::error::DatabaseError;
use sqlx::{AssertSqlSafe, Database, Error, Pool};

use super::pooled_connection::{PooledConnection, PooledEngine};
use super::pooled_transaction::PooledTransaction;
use super::statement::{Statement, Value};

/// A statement with its arguments.
pub(crate) type Query<D> = sqlx::query::Query<'static, D, <D as Database>::Arguments>;

/// The functions of sqlx that need bounds on the concrete engine, which every caller would have to repeat.
///
/// The functions with an optional `begin` run the statement in a transaction of its own if it is given. It is the
/// statement that begins the transaction.
pub(crate) trait Engine: PooledEngine {
    fn bind(arguments: &mut Self::Arguments, value: Value<'_>) -> Result<(), Error>;

    /// Makes a query. A named statement is prepared once per connection.
    fn query(statement: &Statement, arguments: Self::Arguments, is_named: bool) -> Query<Self>;

    /// Runs a statement and returns how many rows it affected.
    fn run(
        pool: &Pool<Self>,
        begin: Option<&'static str>,
        query: Query<Self>,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Runs statements in a transaction, up to the first that affects no row. Returns how many rows the last one
    /// affected: if none, the transaction is rolled back.
    fn run_all(
        pool: &Pool<Self>,
        begin: &'static str,
        queries: Vec<Query<Self>>,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Runs a statement and returns its first row.
    fn fetch(
        pool: &Pool<Self>,
        begin: Option<&'static str>,
        query: Query<Self>,
    ) -> impl Future<Output = Result<Option<Self::Row>, Error>> + Send;

    /// Runs a statement and returns all of its rows.
    fn fetch_all(
        pool: &Pool<Self>,
        begin: Option<&'static str>,
        query: Query<Self>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, Error>> + Send;

    /// Runs [`run`](Self::run) on a given connection.
    fn run_on(connection: &mut Self::Connection, query: Query<Self>)
    -> impl Future<Output = Result<u64, Error>> + Send;

    /// Runs [`fetch`](Self::fetch) on a given connection.
    fn fetch_on(
        connection: &mut Self::Connection,
        query: Query<Self>,
    ) -> impl Future<Output = Result<Option<Self::Row>, Error>> + Send;

    /// Runs [`fetch_all`](Self::fetch_all) on a given connection.
    fn fetch_all_on(
        connection: &mut Self::Connection,
        query: Query<Self>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, Error>> + Send;

    fn integer(row: &Self::Row, column: usize) -> Result<Option<i64>, Error>;
    fn bytes(row: &Self::Row, column: usize) -> Result<Option<&[u8]>, Error>;
    fn text(row: &Self::Row, column: usize) -> Result<Option<&str>, Error>;

    /// Brings the schema up to date, and returns the version that was found.
    ///
    /// `begin` begins the transaction, `prepare` makes the table of schema versions and locks it where needed,
    /// `version` reads the highest version, and each of the `steps` leads from the version of its index to the next.
    fn migrate(
        pool: &Pool<Self>,
        begin: &'static str,
        prepare: String,
        version: String,
        steps: Vec<String>,
    ) -> impl Future<Output = Result<usize, Error>> + Send;
}

/// Runs a statement on a connection of the pool, in a transaction of its own if `begin` is given.
async fn on_pool<D: PooledEngine, T>(
    pool: &Pool<D>,
    begin: Option<&'static str>,
    statement: impl AsyncFnOnce(&mut D::Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    match begin {
        None => PooledConnection::run(pool, statement).await,
        Some(begin) => {
            PooledTransaction::run(pool, begin, async |connection| Ok((statement(connection).await?, true))).await
        }
    }
}

macro_rules! impl_engine {
    ($engine:ty, $survives:literal, $survives_begin:literal, $rejects_writes:expr) => {
        impl PooledEngine for $engine {
            const SURVIVES_CANCELLATION: bool = $survives;
            const SURVIVES_CANCELLED_BEGIN: bool = $survives_begin;

            fn rejects_writes(error: &dyn DatabaseError) -> bool {
                let rejects: fn(&dyn DatabaseError) -> bool = $rejects_writes;
                rejects(error)
            }
        }

        impl Engine for $engine {
            fn bind(arguments: &mut Self::Arguments, value: Value<'_>) -> Result<(), Error> {
                use sqlx::Arguments as _;
                let bound = match value {
                    Value::Integer(value) => arguments.add(value),
                    Value::Bytes(value) => arguments.add(value),
                    Value::Text(value) => arguments.add(value.as_deref()),
                };
                bound.map_err(Error::Encode)
            }

            fn query(statement: &Statement, arguments: Self::Arguments, is_named: bool) -> Query<Self> {
                sqlx::query_with(AssertSqlSafe(statement.text()), arguments).persistent(is_named)
            }

            async fn run(pool: &Pool<Self>, begin: Option<&'static str>, query: Query<Self>) -> Result<u64, Error> {
                on_pool(pool, begin, async |connection| Self::run_on(connection, query).await).await
            }

            async fn run_all(pool: &Pool<Self>, begin: &'static str, queries: Vec<Query<Self>>) -> Result<u64, Error> {
                PooledTransaction::run(pool, begin, async |connection| {
                    let mut affected = 0;
                    for query in queries {
                        affected = Self::run_on(connection, query).await?;
                        if affected == 0 {
                            break;
                        }
                    }
                    Ok((affected, affected > 0))
                })
                .await
            }

            async fn fetch(
                pool: &Pool<Self>,
                begin: Option<&'static str>,
                query: Query<Self>,
            ) -> Result<Option<Self::Row>, Error> {
                on_pool(pool, begin, async |connection| Self::fetch_on(connection, query).await).await
            }

            async fn fetch_all(
                pool: &Pool<Self>,
                begin: Option<&'static str>,
                query: Query<Self>,
            ) -> Result<Vec<Self::Row>, Error> {
                on_pool(pool, begin, async |connection| Self::fetch_all_on(connection, query).await).await
            }

            async fn run_on(connection: &mut Self::Connection, query: Query<Self>) -> Result<u64, Error> {
                Ok(query.execute(connection).await?.rows_affected())
            }

            async fn fetch_on(
                connection: &mut Self::Connection,
                query: Query<Self>,
            ) -> Result<Option<Self::Row>, Error> {
                query.fetch_optional(connection).await
            }

            async fn fetch_all_on(
                connection: &mut Self::Connection,
                query: Query<Self>,
            ) -> Result<Vec<Self::Row>, Error> {
                query.fetch_all(connection).await
            }

            fn integer(row: &Self::Row, column: usize) -> Result<Option<i64>, Error> {
                sqlx::Row::try_get(row, column)
            }

            fn bytes(row: &Self::Row, column: usize) -> Result<Option<&[u8]>, Error> {
                sqlx::Row::try_get(row, column)
            }

            fn text(row: &Self::Row, column: usize) -> Result<Option<&str>, Error> {
                sqlx::Row::try_get(row, column)
            }

            async fn migrate(
                pool: &Pool<Self>,
                begin: &'static str,
                prepare: String,
                version: String,
                steps: Vec<String>,
            ) -> Result<usize, Error> {
                PooledTransaction::run(pool, begin, async |connection| {
                    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *connection).await?;
                    let found: Option<i64> = sqlx::query_scalar(AssertSqlSafe(version))
                        .persistent(false)
                        .fetch_one(&mut *connection)
                        .await?;
                    let found = found.map_or(0, |found| usize::try_from(found).unwrap_or(usize::MAX));
                    for step in steps.into_iter().skip(found) {
                        sqlx::raw_sql(AssertSqlSafe(step)).execute(&mut *connection).await?;
                    }
                    Ok((found, true))
                })
                .await
            }
        }
    };
}

#[cfg(feature = "sqlite")]
impl_engine!(sqlx::Sqlite, true, true, |_| false);
#[cfg(feature = "postgres")]
impl_engine!(sqlx::Postgres, true, false, |error| error.code().as_deref() == Some("25006"));
#[cfg(feature = "mysql")]
impl_engine!(sqlx::MySql, false, false, |error| {
    // The server is `read_only`, the transaction is read-only, or the server is starting as a replica.
    let error = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>();
    error.is_some_and(|error| matches!(error.number(), 1290 | 1792 | 1836))
});
