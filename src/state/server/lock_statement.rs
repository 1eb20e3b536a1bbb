//! [`LockStatement`]: a checkout in a transaction of the application.

use std::fmt;

use super::super::config::{Config, State};
use super::super::retry::is_store_failure;
use super::conflict::reload;
use super::records::Records;
use super::write::next_record;
use crate::error::Error;
use crate::part::MappedPart;
use crate::record::Handle;
use crate::record::id::SessionId;

/// The first statement of a transaction in which the rows of a part become data of the application, on a connection of
/// the application: of Diesel, or of any other client of the database.
///
/// Returned by [`Part::lock_statement`](crate::Part::lock_statement). Where the application uses sqlx,
/// [`Part::begin`](crate::Part::begin) is simpler.
///
/// The transaction
///
/// 1. runs [`sql`](Self::sql) with [`data`](Self::data) as its only parameter, before any other statement;
/// 2. rolls back unless that affects exactly one row: the session has changed or ended since. Ask for another statement
///    and begin again;
/// 3. reads the rows of the part whose session column is [`session`](Self::session), writes the data of the
///    application, and deletes those rows;
/// 4. commits.
///
/// The statement gives the session's record its next version, with the same values. It locks the session's row: other
/// requests of the session that write wait for the end of the transaction. After the commit their changes are replayed
/// on the rows that are left. It affects a row once at most, so a transaction that is repeated because the reply to its
/// commit was lost does not take place twice. If the transaction rolls back, or the statement never runs, nothing has
/// changed.
///
/// Do not use the session before the transaction has ended. The `Part` itself does not learn of the transaction: it
/// still shows the rows that the request has loaded.
///
/// # Security
///
/// `data` holds the values of the session, encrypted if the layer
/// [does so](crate::SessionLayer::with_encryption_at_rest). Do not log it.
#[derive(Clone)]
pub struct LockStatement {
    sql: String,
    data: String,
    session: Handle,
}

impl LockStatement {
    /// Prepares the statement for a session, whose renewals it follows. Returns `None` if the session has ended.
    /// Retries once if the store fails.
    pub(crate) async fn prepare(
        config: &Config,
        mapped: &dyn MappedPart,
        id: SessionId,
    ) -> Result<Option<Self>, Error> {
        match Self::prepare_once(config, mapped, id.clone()).await {
            Err(error) if is_store_failure(&error) => Self::prepare_once(config, mapped, id).await,
            prepared => prepared,
        }
    }

    async fn prepare_once(config: &Config, mapped: &dyn MappedPart, id: SessionId) -> Result<Option<Self>, Error> {
        let State::Server(server) = &config.state else { return Ok(None) };
        let records = Records { config, server };
        let Some((id, before)) = reload(records, id).await? else { return Ok(None) };
        let now = config.now();
        if config.timeouts.expiry(&before, now).is_some() {
            return Ok(None);
        }
        let after = records.sealed(&id, &next_record(records, &before, now));
        let sql = mapped.database().lock_sql(id.store_key(), before.version, after.version, now);
        // Its values were read from JSON.
        let data = after.values.to_json().ok_or_else(Error::conflict)?;
        Ok(Some(Self { sql, data, session: before.handle }))
    }

    /// Returns the text of the statement, an `UPDATE` in the SQL of the engine: `$1` (PostgreSQL) or `?` (SQLite,
    /// MySQL) stands for the parameter.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Returns the parameter of the statement, a text.
    #[must_use]
    pub fn data(&self) -> &str {
        &self.data
    }

    /// Returns the value of the [session column](crate::InTables::with_session_column) in the rows of the session.
    #[must_use]
    pub fn session(&self) -> Handle {
        self.session
    }
}

/// Does not show the values of the session.
impl fmt::Debug for LockStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockStatement").field("session", &self.session).finish_non_exhaustive()
    }
}
