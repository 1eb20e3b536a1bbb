//! Runs the statements of a call, on the pool or in a transaction.

use std::time::Duration;

use sqlx::{Error, Pool};

use super::dialect::Dialect;
use super::engine::Query;
use super::pooled_connection::rejects_writes;
use super::statement::{Call, Statement};
use crate::random;

/// Runs the statements of a call.
pub(crate) struct Executor<'e, D: Dialect> {
    place: Place<'e, D>,
    /// Whether statements are named. A named statement is prepared once per connection.
    ///
    /// An unnamed statement is prepared and run in two round trips, and a pooler in transaction mode may switch to
    /// another connection to the server in between, unless a transaction is open. So each runs in a transaction.
    names_statements: bool,
}

/// Where statements run.
enum Place<'e, D: Dialect> {
    /// Each on a connection of the pool, with retries after a deadlock or a serialization failure.
    Pool(&'e Pool<D>),
    /// In a transaction that the caller begins and ends.
    Transaction(&'e mut D::Connection),
}

impl<'e, D: Dialect> Executor<'e, D> {
    pub(super) fn on_pool(pool: &'e Pool<D>, names_statements: bool) -> Self {
        Self { place: Place::Pool(pool), names_statements }
    }

    pub(super) fn in_transaction(connection: &'e mut D::Connection, names_statements: bool) -> Self {
        Self { place: Place::Transaction(connection), names_statements }
    }

    /// Runs a statement and returns how many rows it affected.
    pub(super) async fn run(&mut self, statement: &Statement, call: &Call<'_>) -> Result<u64, Error> {
        let mut attempts = Attempts::default();
        loop {
            let (begin, query) = (self.begin(&attempts), self.query(statement, call)?);
            let ran = match &mut self.place {
                Place::Pool(pool) => D::run(pool, begin, query).await,
                Place::Transaction(connection) => return D::run_on(connection, query).await,
            };
            match ran {
                Err(error) if attempts.should_retry::<D>(&error).await => {}
                ended => return ended,
            }
        }
    }

    /// Runs statements in one transaction, up to the first that affects no row. Returns how many rows the last one
    /// affected: if none, the transaction is rolled back, or the caller must roll it back.
    pub(super) async fn run_all(&mut self, statements: &[&Statement], call: &Call<'_>) -> Result<u64, Error> {
        let mut attempts = Attempts::default();
        loop {
            let Place::Pool(pool) = self.place else { return self.run_each(statements, call).await };
            let queries = statements.iter().map(|statement| self.query(statement, call));
            let queries = queries.collect::<Result<_, Error>>()?;
            match D::run_all(pool, D::BEGIN_CALL, queries).await {
                Err(error) if attempts.should_retry::<D>(&error).await => {}
                ended => return ended,
            }
        }
    }

    async fn run_each(&mut self, statements: &[&Statement], call: &Call<'_>) -> Result<u64, Error> {
        let mut affected = 0;
        for statement in statements {
            affected = self.run(statement, call).await?;
            if affected == 0 {
                break;
            }
        }
        Ok(affected)
    }

    /// Runs a statement and returns all of its rows.
    pub(super) async fn fetch_all(&mut self, statement: &Statement, call: &Call<'_>) -> Result<Vec<D::Row>, Error> {
        let mut attempts = Attempts::default();
        loop {
            let (begin, query) = (self.begin(&attempts), self.query(statement, call)?);
            let fetched = match &mut self.place {
                Place::Pool(pool) => D::fetch_all(pool, begin, query).await,
                Place::Transaction(connection) => return D::fetch_all_on(connection, query).await,
            };
            match fetched {
                Err(error) if attempts.should_retry::<D>(&error).await => {}
                ended => return ended,
            }
        }
    }

    /// Runs a statement and returns its first row.
    pub(super) async fn fetch(&mut self, statement: &Statement, call: &Call<'_>) -> Result<Option<D::Row>, Error> {
        let mut attempts = Attempts::default();
        loop {
            let (begin, query) = (self.begin(&attempts), self.query(statement, call)?);
            let fetched = match &mut self.place {
                Place::Pool(pool) => D::fetch(pool, begin, query).await,
                Place::Transaction(connection) => return D::fetch_on(connection, query).await,
            };
            match fetched {
                Err(error) if attempts.should_retry::<D>(&error).await => {}
                ended => return ended,
            }
        }
    }

    /// Returns the statement that begins a transaction for a single statement, if it needs one: because it is unnamed,
    /// or because it has failed. The transaction sets an isolation level without serialization failures.
    fn begin(&self, attempts: &Attempts) -> Option<&'static str> {
        let needs_transaction = !self.names_statements || attempts.0 > 0;
        needs_transaction.then_some(D::BEGIN_CALL)
    }

    fn query(&self, statement: &Statement, call: &Call<'_>) -> Result<Query<D>, Error> {
        let mut arguments = D::Arguments::default();
        for parameter in statement.parameters() {
            D::bind(&mut arguments, call.value::<D>(*parameter))?;
        }
        Ok(D::query(statement, arguments, self.names_statements))
    }
}

/// How often a statement is run that fails with a retryable error each time.
const MAX_ATTEMPTS: u32 = 10;

/// How often a statement is run that a server rejects because it accepts no writes. The next connection may be an old
/// one that has only just returned to the pool.
const MAX_REJECTIONS: u32 = 3;

/// The longest pause between two attempts, as a power of two in milliseconds.
const LONGEST_PAUSE: u32 = 6;

/// Counts the attempts to run a statement.
#[derive(Default)]
pub(super) struct Attempts(u32);

impl Attempts {
    /// Counts a failed attempt, and returns whether to retry: immediately the first time, then after random pauses that
    /// grow up to 64 ms.
    pub(super) async fn should_retry<D: Dialect>(&mut self, error: &Error) -> bool {
        self.0 += 1;
        let max = if rejects_writes::<D>(error) { MAX_REJECTIONS } else { MAX_ATTEMPTS };
        let should_retry = self.0 < max && (is_retryable::<D>(error) || rejects_writes::<D>(error));
        if should_retry && self.0 > 1 {
            let [random] = random::nonce::<1>();
            let longest = Duration::from_millis(1 << self.0.min(LONGEST_PAUSE));
            Box::pin(tokio::time::sleep(longest * u32::from(random) / 255)).await;
        }
        should_retry
    }
}

/// Returns whether the engine rolled a statement back because of a deadlock or a serialization failure.
pub(super) fn is_retryable<D: Dialect>(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| D::RETRYABLE.contains(&&*code))
}
