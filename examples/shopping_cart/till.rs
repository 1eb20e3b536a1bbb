//! Where a cart becomes an order, exactly once.
//!
//! One transaction deletes the rows of the cart and inserts those of the order. A form submitted twice, by an impatient
//! visitor or over a flaky connection, finds nothing to order the second time, on any node; and after a power failure
//! there is either the cart or the order.

use session_state::{Part, SqlEngine};
use sqlx::{MySql, Postgres, Sqlite};

use crate::cart::{Cart, Quote};
use crate::catalog::Product;
use crate::database::{Connection, Database};
use crate::handlers::Failure;
use crate::money::Currency;
use crate::orders::{self, Order, OrderNumber};
use crate::stock;

/// An order to be placed. Its lines are in the cart.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) number: OrderNumber,
    pub(crate) owner: String,
    pub(crate) recipient: Vec<String>,
    pub(crate) currency: Currency,
    /// The total that the visitor has seen.
    pub(crate) seen: String,
}

/// The outcome of a [`Wish`].
#[derive(Debug)]
pub(crate) enum Outcome {
    Placed,
    /// The cart is empty, or the order was placed before.
    NothingToDo,
    /// The total of the cart has changed.
    Changed,
    /// There are fewer tins of this than are wanted.
    TooFew(&'static Product),
}

/// Places an order, or changes nothing.
pub(crate) async fn place(database: &Database, cart: &mut Part<Cart>, wish: Wish) -> Result<Outcome, Failure> {
    match database {
        Database::Sqlite(_) => place_in::<Sqlite>(cart, wish).await,
        Database::Postgres(_) => place_in::<Postgres>(cart, wish).await,
        Database::MySql(_) => place_in::<MySql>(cart, wish).await,
    }
}

async fn place_in<D: SqlEngine>(cart: &mut Part<Cart>, wish: Wish) -> Result<Outcome, Failure>
where
    for<'c> Connection<'c>: From<&'c mut D::Connection>,
{
    // A second checkout waits here, and then finds no rows.
    let Some(mut checkout) = cart.begin::<D>().await? else { return Ok(Outcome::NothingToDo) };
    let quote = checkout.quote(wish.currency);
    let outcome = write(&mut Connection::from(checkout.connection()), wish, &quote).await?;
    if let Outcome::Placed = outcome {
        checkout.commit().await?;
    }
    Ok(outcome)
}

/// Takes the tins and writes the order. Unless it is placed, the caller rolls back.
async fn write(connection: &mut Connection<'_>, wish: Wish, quote: &Quote) -> Result<Outcome, Failure> {
    if quote.items.is_empty() || orders::is_placed(connection, wish.number).await? {
        return Ok(Outcome::NothingToDo);
    }
    if quote.total.to_string() != wish.seen {
        return Ok(Outcome::Changed);
    }
    if let Some(product) = stock::take(connection, quote).await? {
        return Ok(Outcome::TooFew(product));
    }
    orders::insert(connection, &Order::new(wish.number, wish.owner, wish.recipient, quote)).await?;
    Ok(Outcome::Placed)
}
