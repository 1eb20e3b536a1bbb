//! The few things that need a concrete engine of sqlx: binding, running and reading. All the rest is written once.

use sqlx::{AssertSqlSafe, Connection as _, Database, Error, Pool};

use super::lent::Lent;
use super::statement::{Statement, Value};

/// What sqlx can do for each of its engines, but only says in bounds that every caller would have to repeat.
pub(crate) trait Engine: Database {
    /// Whether a connection on which a call was dropped can serve another. sqlx knows not always what is still to come on
    /// one of MySQL, nor that it is in a transaction: the next call would take place in it and never be committed.
    const OUTLIVES_DROPPED_CALLS: bool;

    fn bind(arguments: &mut Self::Arguments, value: Value<'_>) -> Result<(), Error>;

    /// Runs a statement and returns how many rows it affected.
    fn run(
        pool: &Pool<Self>,
        statement: &Statement,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Runs statements in a transaction that begins in this way, up to the first that affects no row. Returns how many the
    /// last one affected; unless it affected some, nothing has changed.
    fn run_all(
        pool: &Pool<Self>,
        begin: &'static str,
        statements: Vec<(&Statement, Self::Arguments)>,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Runs a statement and returns its first row.
    fn fetch(
        pool: &Pool<Self>,
        statement: &Statement,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<Option<Self::Row>, Error>> + Send;

    /// Runs a statement and returns all of its rows.
    fn fetch_all(
        pool: &Pool<Self>,
        statement: &Statement,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<Vec<Self::Row>, Error>> + Send;

    /// Does on one connection what [`fetch_all`](Self::fetch_all) does.
    fn fetch_all_on(
        connection: &mut Self::Connection,
        statement: &Statement,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<Vec<Self::Row>, Error>> + Send;

    /// Does on one connection what [`run`](Self::run) does.
    fn run_on(
        connection: &mut Self::Connection,
        statement: &Statement,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Does on one connection what [`fetch`](Self::fetch) does.
    fn fetch_on(
        connection: &mut Self::Connection,
        statement: &Statement,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<Option<Self::Row>, Error>> + Send;

    fn integer(row: &Self::Row, column: usize) -> Result<Option<i64>, Error>;
    fn bytes(row: &Self::Row, column: usize) -> Result<Option<&[u8]>, Error>;
    fn text(row: &Self::Row, column: usize) -> Result<Option<&str>, Error>;

    /// Brings the schema up to date: `prepare` makes sure that there is a number to ask `version` for, and locks it
    /// where that is needed; behind it, each of the `steps` leads from the version of its index to the next. `begin` is
    /// how a transaction begins.
    ///
    /// Returns the version that was found.
    fn migrate(
        pool: &Pool<Self>,
        begin: &'static str,
        prepare: String,
        version: String,
        steps: Vec<String>,
    ) -> impl Future<Output = Result<usize, Error>> + Send;
}

macro_rules! impl_engine {
    ($engine:ty, $outlives:literal) => {
        impl Engine for $engine {
            const OUTLIVES_DROPPED_CALLS: bool = $outlives;

            fn bind(arguments: &mut Self::Arguments, value: Value<'_>) -> Result<(), Error> {
                use sqlx::Arguments as _;
                let bound = match value {
                    Value::Integer(value) => arguments.add(value),
                    Value::Bytes(value) => arguments.add(value),
                    Value::Text(value) => arguments.add(value.as_deref()),
                };
                bound.map_err(Error::Encode)
            }

            async fn run(pool: &Pool<Self>, statement: &Statement, arguments: Self::Arguments) -> Result<u64, Error> {
                let query = sqlx::query_with(AssertSqlSafe(statement.text()), arguments);
                let done = Lent::run(pool, async |connection| query.execute(connection).await).await?;
                Ok(done.rows_affected())
            }

            async fn run_all(
                pool: &Pool<Self>,
                begin: &'static str,
                statements: Vec<(&Statement, Self::Arguments)>,
            ) -> Result<u64, Error> {
                let query = |(statement, arguments): (&Statement, _)| {
                    sqlx::query_with::<Self, _>(AssertSqlSafe(statement.text()), arguments)
                };
                let queries: Vec<_> = statements.into_iter().map(query).collect();
                let done = Lent::run(pool, async |connection| {
                    let (mut transaction, mut affected) = (connection.begin_with(begin).await?, 0);
                    for query in queries {
                        affected = query.execute(&mut *transaction).await?.rows_affected();
                        if affected == 0 {
                            transaction.rollback().await?;
                            return Ok(0);
                        }
                    }
                    transaction.commit().await?;
                    Ok(affected)
                });
                done.await
            }

            async fn fetch(
                pool: &Pool<Self>,
                statement: &Statement,
                arguments: Self::Arguments,
            ) -> Result<Option<Self::Row>, Error> {
                let query = sqlx::query_with(AssertSqlSafe(statement.text()), arguments);
                Lent::run(pool, async |connection| query.fetch_optional(connection).await).await
            }

            async fn fetch_all(
                pool: &Pool<Self>,
                statement: &Statement,
                arguments: Self::Arguments,
            ) -> Result<Vec<Self::Row>, Error> {
                let query = sqlx::query_with(AssertSqlSafe(statement.text()), arguments);
                Lent::run(pool, async |connection| query.fetch_all(connection).await).await
            }

            async fn fetch_all_on(
                connection: &mut Self::Connection,
                statement: &Statement,
                arguments: Self::Arguments,
            ) -> Result<Vec<Self::Row>, Error> {
                let query = sqlx::query_with::<Self, _>(AssertSqlSafe(statement.text()), arguments);
                query.fetch_all(connection).await
            }

            async fn run_on(
                connection: &mut Self::Connection,
                statement: &Statement,
                arguments: Self::Arguments,
            ) -> Result<u64, Error> {
                let query = sqlx::query_with::<Self, _>(AssertSqlSafe(statement.text()), arguments);
                Ok(query.execute(connection).await?.rows_affected())
            }

            async fn fetch_on(
                connection: &mut Self::Connection,
                statement: &Statement,
                arguments: Self::Arguments,
            ) -> Result<Option<Self::Row>, Error> {
                let query = sqlx::query_with::<Self, _>(AssertSqlSafe(statement.text()), arguments);
                query.fetch_optional(connection).await
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
                let mut transaction = pool.begin_with(begin).await?;
                sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *transaction).await?;
                let found: Option<i64> =
                    sqlx::query_scalar(AssertSqlSafe(version)).persistent(false).fetch_one(&mut *transaction).await?;
                let found = found.map_or(0, |found| usize::try_from(found).unwrap_or(usize::MAX));
                for step in steps.into_iter().skip(found) {
                    sqlx::raw_sql(AssertSqlSafe(step)).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
                Ok(found)
            }
        }
    };
}

#[cfg(feature = "sqlite")]
impl_engine!(sqlx::Sqlite, true);
#[cfg(feature = "postgres")]
impl_engine!(sqlx::Postgres, true);
#[cfg(feature = "mysql")]
impl_engine!(sqlx::MySql, false);
