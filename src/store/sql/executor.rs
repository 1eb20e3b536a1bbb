//! Runs the statements of a call, on the pool or in a transaction.

use sqlx::{Error, Pool};

use super::dialect::Dialect;
use super::statement::{Call, Statement};

/// Runs the statements of a call.
pub(crate) enum Executor<'p, D: Dialect> {
    /// Each on a connection of the pool, with a retry after a deadlock or a serialization failure.
    Pool(&'p Pool<D>),
    /// In a transaction that the caller begins and ends.
    Transaction(&'p mut D::Connection),
}

impl<D: Dialect> Executor<'_, D> {
    /// Runs a statement and returns how many rows it affected.
    pub(super) async fn run(&mut self, statement: &Statement, call: &Call<'_>) -> Result<u64, Error> {
        let mut attempts = Attempts::default();
        loop {
            let arguments = arguments::<D>(statement, call)?;
            let ran = match self {
                Self::Pool(pool) => D::run(pool, statement, arguments).await,
                Self::Transaction(connection) => return D::run_on(connection, statement, arguments).await,
            };
            match ran {
                Err(error) if attempts.should_retry::<D>(&error) => {}
                ended => return ended,
            }
        }
    }

    /// Runs statements in one transaction, up to the first that affects no row. Returns how many rows the last one
    /// affected: if none, the transaction is rolled back, or the caller must roll it back.
    pub(super) async fn run_all(&mut self, statements: &[&Statement], call: &Call<'_>) -> Result<u64, Error> {
        let mut attempts = Attempts::default();
        loop {
            let Self::Pool(pool) = self else { return self.run_each(statements, call).await };
            let bound = statements.iter().map(|statement| Ok((*statement, arguments::<D>(statement, call)?)));
            let bound = bound.collect::<Result<_, Error>>()?;
            match D::run_all(pool, D::BEGIN_CALL, bound).await {
                Err(error) if attempts.should_retry::<D>(&error) => {}
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
            let arguments = arguments::<D>(statement, call)?;
            let fetched = match self {
                Self::Pool(pool) => D::fetch_all(pool, statement, arguments).await,
                Self::Transaction(connection) => return D::fetch_all_on(connection, statement, arguments).await,
            };
            match fetched {
                Err(error) if attempts.should_retry::<D>(&error) => {}
                ended => return ended,
            }
        }
    }

    /// Runs a statement and returns its first row.
    pub(super) async fn fetch(&mut self, statement: &Statement, call: &Call<'_>) -> Result<Option<D::Row>, Error> {
        let mut attempts = Attempts::default();
        loop {
            let arguments = arguments::<D>(statement, call)?;
            let fetched = match self {
                Self::Pool(pool) => D::fetch(pool, statement, arguments).await,
                Self::Transaction(connection) => return D::fetch_on(connection, statement, arguments).await,
            };
            match fetched {
                Err(error) if attempts.should_retry::<D>(&error) => {}
                ended => return ended,
            }
        }
    }
}

/// How often a statement is run that fails with a retryable error each time.
const MAX_ATTEMPTS: usize = 10;

/// Counts the attempts to run a statement.
#[derive(Default)]
pub(super) struct Attempts(usize);

impl Attempts {
    /// Counts a failed attempt, and returns whether to run the statement again.
    pub(super) fn should_retry<D: Dialect>(&mut self, error: &Error) -> bool {
        self.0 += 1;
        self.0 < MAX_ATTEMPTS && is_retryable::<D>(error)
    }
}

/// Returns whether the engine rolled a statement back because of a deadlock or a serialization failure.
pub(super) fn is_retryable<D: Dialect>(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| D::RETRYABLE.contains(&&*code))
}

pub(super) fn arguments<D: Dialect>(statement: &Statement, call: &Call<'_>) -> Result<D::Arguments, Error> {
    let mut arguments = D::Arguments::default();
    for parameter in statement.parameters() {
        D::bind(&mut arguments, call.value::<D>(*parameter))?;
    }
    Ok(arguments)
}
