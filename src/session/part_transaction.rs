//! [`PartTransaction`]: pending rows become record data.

use std::any::TypeId;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use sqlx::Database;

use super::{Main, Part};
use crate::error::Error;
use crate::part::{Mapped, RowDialect, SessionPart};
use crate::state::Taking;

/// A transaction in which the rows of a part become data of the application: a cart becomes an order.
///
/// [`Part::begin`] gives it. It can be used like a `&T`: the part as it stands in the tables now. The application makes
/// its own statements on the [`connection`](Self::connection), in the words of sqlx, and [`commit`](Self::commit) ends the
/// transaction together with the part's rows. All of it takes place, or nothing of it: also when the process is killed.
///
/// While it is open the session's row is locked: other requests of the session that write wait for it, and of two that
/// begin at once the second finds nothing pending. So keep it short, and do nothing with the session before it has ended;
/// in SQLite all other writers wait, this request too.
///
/// Dropping it undoes everything.
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
    taking: Taking<D>,
}

impl<T: SessionPart, M: 'static> Part<T, M> {
    /// Begins to turn the part's rows into data of the application: see [`PartTransaction`]. `None` if there are no rows,
    /// or no session any more.
    ///
    /// What the request has changed so far, in this part and in the session, is [saved](crate::Session::save) first.
    ///
    /// `D` is the engine of the tables: `Sqlite`, `Postgres` or `MySql` of sqlx.
    ///
    /// # Errors
    ///
    /// [`NoTables`](crate::ErrorKind::NoTables) when the part does not live in tables of this engine, otherwise as the
    /// store has it.
    #[expect(private_bounds, reason = "the engines are those that this crate knows")]
    pub async fn begin<D: RowDialect>(&mut self) -> Result<Option<PartTransaction<'_, T, D, M>>, Error> {
        self.write_back()?;
        let shared = Arc::clone(&self.held.shared);
        let place = shared.config().outside_place(TypeId::of::<T>());
        let mapped = place.and_then(|place| place.tables()).ok_or_else(|| Error::no_tables(T::NAME))?;
        let mapped: Option<&Mapped<D>> = mapped.as_any().downcast_ref();
        let mapped = mapped.ok_or_else(|| Error::no_tables(T::NAME))?;
        shared.commit().await?;
        let Some(id) = shared.session_id() else { return Ok(None) };
        let Some(taking) = Taking::begin(shared.config(), mapped, id).await? else { return Ok(None) };
        let value = super::from_json(T::NAME, taking.rows())?;
        Ok(Some(PartTransaction { part: self, value, taking }))
    }
}

impl<T: SessionPart, D: Database, M: 'static> PartTransaction<'_, T, D, M> {
    /// Returns the connection of the transaction, for statements of the application.
    pub fn connection(&mut self) -> &mut D::Connection {
        &mut self.taking.transaction
    }
}

#[expect(private_bounds, reason = "the engines are those that this crate knows")]
impl<T: SessionPart, D: RowDialect, M: 'static> PartTransaction<'_, T, D, M> {
    /// Removes the part's rows and commits the transaction. The part is empty then.
    ///
    /// # Errors
    ///
    /// [`Constraint`](crate::ErrorKind::Constraint) when something of the application refers to the rows, otherwise
    /// [`Unavailable`](crate::ErrorKind::Unavailable). Nothing has taken place then, unless the store failed and could not
    /// be asked afterwards either: another [`begin`](Part::begin) tells.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, all of it or nothing has taken place.
    pub async fn commit(self) -> Result<(), Error> {
        let Self { part, taking, .. } = self;
        let shared = Arc::clone(&part.held.shared);
        let (id, record) = taking.finish(shared.config()).await?;
        shared.note_taken(T::NAME, id, record).await;
        part.reset();
        Ok(())
    }
}

impl<T: SessionPart, D: Database, M> Deref for PartTransaction<'_, T, D, M> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Shows no value.
impl<T: SessionPart, D: Database, M> fmt::Debug for PartTransaction<'_, T, D, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartTransaction({:?})", T::NAME)
    }
}
