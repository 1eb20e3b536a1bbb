//! The sessions of a principal: listed, counted and ended.
//!
//! The row of a session keeps its handle wherever a renewal moves it. PostgreSQL and SQLite find it by that in the one
//! statement that removes it: a `DELETE` that has waited for a renewal looks at the row as it is then.
//!
//! MySQL has no `DELETE` that returns what it removed. A statement of its that locks rows as it finds them by their handles
//! does not find one that is renewed several times meanwhile, or it and the renewal each wait for the other. So rows are
//! looked for without locks, and then locked and removed by their keys; those that have moved are looked for again.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use sqlx::{Connection as _, Error as SqlxError, SqlStr};

use super::SqlStore;
use super::dialect::{COLUMNS, Dialect};
use super::lent::Lent;
use super::place::{Place, Tries, arguments};
use super::read;
use super::statement::{Call, MOST_AT_ONCE, Statement};
use super::table::Table;
use crate::clock::Timestamp;
use crate::record::{Handle, Record, StoreKey};
use crate::store::StoreError;

/// The statements about the sessions of a principal.
#[derive(Debug)]
pub(crate) struct OfPrincipal {
    list: Statement,
    count: Statement,
    revoke: Revoke,
}

/// How sessions are ended.
#[derive(Debug)]
enum Revoke {
    /// By one statement, which returns the handles of those that it removes.
    AtOnce(Statement),
    /// By their keys.
    ByKey {
        /// Returns the keys and handles of the sessions.
        find: Statement,
        /// Does so for those that are still where they were found, and locks them until the transaction ends.
        lock: Statement,
        remove: Statement,
    },
}

impl OfPrincipal {
    pub(crate) fn new<D: Dialect>(table: &Table) -> Self {
        let (name, by_principal) = (table.quoted(D::QUOTE), D::by_principal(table));
        // Values stay where they are.
        let columns = COLUMNS.map(|column| if column == "data" { "'{}'" } else { column }).join(", ");
        // The sign keeps the index of the deadlines out of this, by which an engine would find nearly the whole table.
        let (live, theirs, behind, order) = ("+expires_at > :now", D::IS_PRINCIPAL, D::IS_BEHIND, D::IN_ORDER);
        let asked = format!("handle IN (:sessions) AND {theirs} AND {live}");
        let statement = |template: String| Statement::new::<D>(&template);
        Self {
            list: statement(format!(
                "SELECT {columns} FROM {by_principal} WHERE {behind} AND {live} ORDER BY {order} LIMIT :limit"
            )),
            count: statement(format!("SELECT COUNT(*) FROM {by_principal} WHERE {theirs} AND {live}")),
            revoke: if D::DELETE_RETURNS_ROWS {
                Revoke::AtOnce(statement(format!("DELETE FROM {name} WHERE {asked} RETURNING handle")))
            } else {
                let by_key = D::by_key(table);
                Revoke::ByKey {
                    find: statement(format!("SELECT handle, id_hash FROM {name} WHERE {asked}")),
                    lock: statement(format!(
                        "SELECT handle, id_hash FROM {by_key} WHERE id_hash IN (:keys) AND {theirs} AND {live}{}",
                        D::FOR_UPDATE
                    )),
                    remove: statement(format!("DELETE FROM {name} WHERE id_hash IN (:keys)")),
                }
            },
        }
    }
}

/// A session, and where it is.
type Found = (Handle, StoreKey);

/// How often sessions are looked for that are somewhere else each time. Each time, somebody has just renewed one.
const MOST_SEARCHES: usize = 100;

#[expect(private_bounds, reason = "the engines are those that this crate knows")]
impl<D: Dialect> SqlStore<D> {
    pub(super) async fn list_of(
        &self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        let call = Call { principal: Some(principal), after, limit, now, ..Call::default() };
        let rows = self.fetch_all(&self.shared.statements.of_principal.list, &call).await.map_err(Self::failed)?;
        rows.iter().map(read::live::<D>).collect()
    }

    pub(super) async fn count_of(&self, principal: &str, now: Timestamp) -> Result<usize, StoreError> {
        let call = Call { principal: Some(principal), now, ..Call::default() };
        let place = &mut Place::<D>::Pool(&self.shared.pool);
        let row = place.fetch(&self.shared.statements.of_principal.count, &call).await.map_err(Self::failed)?;
        read::count::<D>(&row.ok_or_else(|| Self::failed(SqlxError::RowNotFound))?)
    }

    pub(super) async fn revoke_of(
        &self,
        principal: &str,
        sessions: &[Handle],
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        let mut removed = Vec::new();
        for sessions in sessions.chunks(MOST_AT_ONCE) {
            let call = Call { principal: Some(principal), sessions, now, ..Call::default() };
            match &self.shared.statements.of_principal.revoke {
                Revoke::AtOnce(revoke) => {
                    let rows = self.fetch_all(revoke, &call).await.map_err(Self::failed)?;
                    removed.extend(rows.iter().map(read::handle::<D>).collect::<Result<Vec<_>, _>>()?);
                }
                Revoke::ByKey { find, lock, remove } => {
                    removed.extend(self.revoke_by_key(find, [lock, remove], &call).await?);
                }
            }
        }
        Ok(removed)
    }

    async fn revoke_by_key(
        &self,
        find: &Statement,
        remove: [&Statement; 2],
        call: &Call<'_>,
    ) -> Result<Vec<Handle>, StoreError> {
        let mut removed = Vec::new();
        for _ in 0..MOST_SEARCHES {
            let found = self.fetch_all(find, call).await.map_err(Self::failed)?;
            let found = found.iter().map(read::found::<D>).collect::<Result<Vec<_>, _>>()?;
            let there = found.len();
            let now_removed = if there == 0 { found } else { self.remove_found(remove, call, &found).await? };
            let are_all = now_removed.len() == there;
            removed.extend(now_removed.into_iter().map(|(handle, _)| handle));
            if are_all {
                return Ok(removed);
            }
        }
        Err(StoreError::failed(D::STORE, NeverStill))
    }

    /// Removes those of the sessions that are still where they were found, and returns them.
    async fn remove_found(
        &self,
        remove: [&Statement; 2],
        call: &Call<'_>,
        found: &[Found],
    ) -> Result<Vec<Found>, StoreError> {
        let mut tries = Tries::default();
        loop {
            let mut lent = Lent::of(&self.shared.pool).await.map_err(Self::failed)?;
            let removed = match lent.connection() {
                Ok(connection) => Self::remove_on(connection, remove, call, found).await,
                Err(error) => Err(error),
            };
            lent.give_back(&self.shared.pool, removed.as_ref().err());
            match removed {
                Err(error) if tries.may_go_on::<D>(&error) => {}
                ended => return ended.map_err(Self::failed),
            }
        }
    }

    async fn remove_on(
        connection: &mut D::Connection,
        [lock, remove]: [&Statement; 2],
        call: &Call<'_>,
        found: &[Found],
    ) -> Result<Vec<Found>, SqlxError> {
        let keys = |found: &[Found]| found.iter().map(|(_, key)| *key).collect::<Vec<_>>();
        // Of a plain `&'static str` the compiler forgets here that it is static, and that the future can be sent.
        let mut transaction = connection.begin_with(SqlStr::from_static(D::BEGIN_CALL)).await?;
        let of_keys = Call { keys: &keys(found), ..*call };
        let rows = D::fetch_all_on(&mut transaction, lock, arguments::<D>(lock, &of_keys)?).await?;
        let locked = rows.iter().map(read::found::<D>).collect::<Result<Vec<_>, _>>();
        let mut locked = locked.map_err(|error| SqlxError::Decode(error.into()))?;
        // Under the key of one that has gone there may be another session by now.
        locked.retain(|locked| found.contains(locked));
        if locked.is_empty() {
            transaction.rollback().await?;
            return Ok(locked);
        }
        let of_keys = Call { keys: &keys(&locked), ..*call };
        D::run_on(&mut transaction, remove, arguments::<D>(remove, &of_keys)?).await?;
        transaction.commit().await?;
        Ok(locked)
    }

    async fn fetch_all(&self, statement: &Statement, call: &Call<'_>) -> Result<Vec<D::Row>, SqlxError> {
        Place::<D>::Pool(&self.shared.pool).fetch_all(statement, call).await
    }
}

/// Sessions were renewed each time they were about to be removed.
#[derive(Debug)]
struct NeverStill;

impl fmt::Display for NeverStill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sessions were renewed each of the {MOST_SEARCHES} times that they were to be removed")
    }
}

impl StdError for NeverStill {}
