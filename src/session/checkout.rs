//! [`PartTransaction`]: turns the rows of a part into data of the application.

use std::any::TypeId;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use sqlx::Database;

use super::{Main, Part, Shared};
use crate::error::Error;
use crate::part::{Mapped, MappedPart, RowDialect, SessionPart};
use crate::record::external::Medium;
use crate::record::id::SessionId;
use crate::state::{Checkout, LockStatement, SharedWork as _};

/// A transaction in which the rows of a part become data of the application: a cart becomes an order.
///
/// Returned by [`Part::begin`]. It derefs to `T`: the part as it is in the tables now. The application runs its own
/// sqlx statements on the [`connection`](Self::connection), and [`commit`](Self::commit) removes the part's rows and
/// commits. The transaction is atomic, even if the process is killed.
///
/// An open transaction locks the session's row: other requests of the session that write wait for it, and of two
/// concurrent transactions the second finds no rows. Keep it short, and do not use the session before it has ended. In
/// SQLite all other writers wait, including this request.
///
/// Dropping it rolls it back.
///
/// # Examples
///
/// ```no_run
/// use session_state::{Part, SessionPart};
/// use sqlx::{Sqlite, query, query_scalar};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Cart { lines: Vec<CartLine> }
/// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// # struct CartLine { sku: String, quantity: i64 }
/// # impl SessionPart for Cart { const NAME: &'static str = "cart"; }
///
/// /// Returns the number of the order, or `None` if the cart is empty: it has been ordered already.
/// async fn check_out(mut cart: Part<Cart>) -> Result<Option<i64>, Box<dyn std::error::Error>> {
///     let Some(mut checkout) = cart.begin::<Sqlite>().await? else { return Ok(None) };
///     let insert = "INSERT INTO orders (lines) VALUES (?) RETURNING id";
///     let count = checkout.lines.len() as i64;
///     let order: i64 = query_scalar(insert).bind(count).fetch_one(checkout.connection()).await?;
///     for line in checkout.lines.clone() {
///         let take = query("UPDATE stock SET left = left - ? WHERE sku = ?").bind(line.quantity).bind(line.sku);
///         take.execute(checkout.connection()).await?;
///     }
///     checkout.commit().await?;
///     Ok(Some(order))
/// }
/// ```
pub struct PartTransaction<'p, T: SessionPart, D: Database, M = Main> {
    part: &'p mut Part<T, M>,
    value: T,
    checkout: Checkout<D>,
}

impl<T: SessionPart, M: 'static> Part<T, M> {
    /// Begins a transaction that turns the part's rows into data of the application; see [`PartTransaction`]. `None` if
    /// there are no rows, or the session has ended.
    ///
    /// [Saves](crate::Session::save) the request's changes of the part and the session first.
    ///
    /// `D` is the engine of the tables: `Sqlite`, `Postgres` or `MySql` of sqlx.
    ///
    /// # Errors
    ///
    /// [`NoTables`](crate::ErrorKind::NoTables) when the part does not live in tables of this engine,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store fails, and the errors of
    /// [`save`](crate::Session::save).
    #[expect(private_bounds, reason = "only the engines of this crate implement it")]
    pub async fn begin<D: RowDialect>(&mut self) -> Result<Option<PartTransaction<'_, T, D, M>>, Error> {
        let shared = Arc::clone(&self.held.shared);
        shared.noting_late(self.open_transaction(&shared).await)
    }

    async fn open_transaction<D: RowDialect>(
        &mut self,
        shared: &Shared,
    ) -> Result<Option<PartTransaction<'_, T, D, M>>, Error> {
        let mapped: Option<&Mapped<D>> = tables::<T>(shared)?.as_any().downcast_ref();
        let mapped = mapped.ok_or_else(|| Error::no_tables(T::NAME))?;
        let Some(id) = self.save_rows(shared).await? else { return Ok(None) };
        let Some(checkout) = Checkout::begin(shared.config(), mapped, id).await? else { return Ok(None) };
        let value = super::from_json(T::NAME, checkout.rows())?;
        Ok(Some(PartTransaction { part: self, value, checkout }))
    }

    /// Returns the statement that begins such a transaction on a connection of the application, if that does not use
    /// sqlx; see [`LockStatement`]. `None` if there is no session.
    ///
    /// [Saves](crate::Session::save) the request's changes of the part and the session first.
    ///
    /// # Examples
    ///
    /// The [guide](crate::guide::tables#in-a-transaction-of-diesel) has one with Diesel, of which
    /// `examples/checkout_with_diesel.rs` is a whole application.
    ///
    /// # Errors
    ///
    /// [`NoTables`](crate::ErrorKind::NoTables) when the part does not live in tables,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store fails, and the errors of
    /// [`save`](crate::Session::save).
    pub async fn lock_statement(&mut self) -> Result<Option<LockStatement>, Error> {
        let shared = Arc::clone(&self.held.shared);
        shared.noting_late(self.prepare_lock(&shared).await)
    }

    async fn prepare_lock(&mut self, shared: &Shared) -> Result<Option<LockStatement>, Error> {
        let mapped = tables::<T>(shared)?;
        let Some(id) = self.save_rows(shared).await? else { return Ok(None) };
        LockStatement::prepare(shared.config(), mapped, id).await
    }

    /// Saves the changes of the request, and moves the part to its tables. Returns the ID of the session, if there is
    /// one.
    async fn save_rows(&mut self, shared: &Shared) -> Result<Option<SessionId>, Error> {
        self.write_back()?;
        if shared.with(|work| work.draft.is_unmoved(T::NAME, Medium::Tables)) {
            // Its rows are not in the tables yet.
            self.update(|_| ());
        }
        shared.save().await?;
        Ok(shared.with(|work| work.kept_session()).map(|session| session.id))
    }
}

fn tables<T: SessionPart>(shared: &Shared) -> Result<&dyn MappedPart, Error> {
    let placed = shared.placed_part(TypeId::of::<T>());
    placed.and_then(|placed| placed.tables()).map(|mapped| &**mapped).ok_or_else(|| Error::no_tables(T::NAME))
}

impl<T: SessionPart, D: Database, M: 'static> PartTransaction<'_, T, D, M> {
    /// Returns the connection of the transaction, for statements of the application.
    pub fn connection(&mut self) -> &mut D::Connection {
        self.checkout.transaction.connection()
    }
}

#[expect(private_bounds, reason = "only the engines of this crate implement it")]
impl<T: SessionPart, D: RowDialect, M: 'static> PartTransaction<'_, T, D, M> {
    /// Removes the part's rows and commits the transaction. The part is empty then.
    ///
    /// # Errors
    ///
    /// [`Constraint`](crate::ErrorKind::Constraint) when a row of the application refers to the rows, otherwise
    /// [`Unavailable`](crate::ErrorKind::Unavailable). The transaction is rolled back then, unless the store failed and
    /// the outcome could not be determined: another [`begin`](Part::begin) shows it.
    ///
    /// # Cancel safety
    ///
    /// After a dropped future, the transaction was either committed as a whole or rolled back.
    pub async fn commit(self) -> Result<(), Error> {
        let Self { part, checkout, .. } = self;
        let shared = Arc::clone(&part.held.shared);
        let (id, record) = shared.noting_late(checkout.finish(shared.config()).await)?;
        part.reset();
        shared.noting_late(shared.note_checkout(T::NAME, id, record).await)
    }
}

impl<T: SessionPart, D: Database, M> Deref for PartTransaction<'_, T, D, M> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Does not show the value.
impl<T: SessionPart, D: Database, M> fmt::Debug for PartTransaction<'_, T, D, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartTransaction({:?})", T::NAME)
    }
}
