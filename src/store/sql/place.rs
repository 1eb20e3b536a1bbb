//! Where statements are run.

use sqlx::{Error, Pool};

use super::dialect::Dialect;
use super::statement::{Call, Statement};

/// Where the statements of a call are run.
pub(crate) enum Place<'p, D: Dialect> {
    /// Each on a connection of the pool, and again when it was undone because others were in its way.
    Pool(&'p Pool<D>),
    /// In a transaction that somebody else has begun and ends.
    Transaction(&'p mut D::Connection),
}

impl<D: Dialect> Place<'_, D> {
    /// Runs a statement and returns how many rows it affected.
    pub(super) async fn run(&mut self, statement: &Statement, call: &Call<'_>) -> Result<u64, Error> {
        let mut tries = Tries::default();
        loop {
            let arguments = arguments::<D>(statement, call)?;
            let ran = match self {
                Self::Pool(pool) => D::run(pool, statement, arguments).await,
                Self::Transaction(connection) => return D::run_on(connection, statement, arguments).await,
            };
            match ran {
                Err(error) if tries.may_go_on::<D>(&error) => {}
                ended => return ended,
            }
        }
    }

    /// Runs statements in one transaction, up to the first that affects no row. Unless the last one affected some, nothing
    /// has changed, or nothing is to stay.
    pub(super) async fn run_all(&mut self, statements: &[&Statement], call: &Call<'_>) -> Result<u64, Error> {
        let mut tries = Tries::default();
        loop {
            let Self::Pool(pool) = self else { return self.run_each(statements, call).await };
            let bound = statements.iter().map(|statement| Ok((*statement, arguments::<D>(statement, call)?)));
            let bound = bound.collect::<Result<_, Error>>()?;
            match D::run_all(pool, D::BEGIN_CALL, bound).await {
                Err(error) if tries.may_go_on::<D>(&error) => {}
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
        let mut tries = Tries::default();
        loop {
            let arguments = arguments::<D>(statement, call)?;
            let fetched = match self {
                Self::Pool(pool) => D::fetch_all(pool, statement, arguments).await,
                Self::Transaction(connection) => return D::fetch_all_on(connection, statement, arguments).await,
            };
            match fetched {
                Err(error) if tries.may_go_on::<D>(&error) => {}
                ended => return ended,
            }
        }
    }

    /// Runs a statement and returns its first row.
    pub(super) async fn fetch(&mut self, statement: &Statement, call: &Call<'_>) -> Result<Option<D::Row>, Error> {
        let mut tries = Tries::default();
        loop {
            let arguments = arguments::<D>(statement, call)?;
            let fetched = match self {
                Self::Pool(pool) => D::fetch(pool, statement, arguments).await,
                Self::Transaction(connection) => return D::fetch_on(connection, statement, arguments).await,
            };
            match fetched {
                Err(error) if tries.may_go_on::<D>(&error) => {}
                ended => return ended,
            }
        }
    }
}

/// How often a statement is run that the engine undoes each time.
const MOST_TRIES: usize = 10;

/// Counts how often a statement was run that the engine has undone because others were in its way.
#[derive(Default)]
pub(super) struct Tries(usize);

impl Tries {
    /// Whether a statement that ended with this error is to be run again.
    pub(super) fn may_go_on<D: Dialect>(&mut self, error: &Error) -> bool {
        self.0 += 1;
        self.0 < MOST_TRIES && is_undone::<D>(error)
    }
}

/// Whether the engine has undone a statement because others were in its way.
pub(super) fn is_undone<D: Dialect>(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| D::UNDONE.contains(&&*code))
}

pub(super) fn arguments<D: Dialect>(statement: &Statement, call: &Call<'_>) -> Result<D::Arguments, Error> {
    let mut arguments = D::Arguments::default();
    for parameter in statement.parameters() {
        D::bind(&mut arguments, call.value::<D>(*parameter))?;
    }
    Ok(arguments)
}
