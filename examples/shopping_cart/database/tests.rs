//! The shop's own statements, on an in-memory SQLite database.

use sqlx::sqlite::SqlitePoolOptions;

use super::*;
use crate::cart::{Cart, Quantity};
use crate::catalog;
use crate::money::Currency;
use crate::orders::{self, Order, OrderNumber};
use crate::stock::{self, Stock};

async fn database() -> Database {
    // In memory each connection has a database of its own.
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.expect("a database");
    let database = Database::Sqlite(pool);
    database.migrate("").await.expect("tables");
    database
}

/// Runs a closure on one connection, without a transaction.
async fn with<T>(database: &Database, run: impl AsyncFnOnce(&mut Connection<'_>) -> T) -> T {
    each_engine!(Database, database, pool => {
        let mut own = pool.acquire().await.expect("a connection");
        run(&mut Connection::from(&mut *own)).await
    })
}

fn cart(lines: &[(&str, u8)]) -> Cart {
    let mut cart = Cart::default();
    for (sku, tins) in lines {
        cart.add(sku, Quantity::parse(&tins.to_string()).expect("a number of tins"));
    }
    cart
}

fn order(owner: &str, cart: &Cart) -> Order {
    let recipient = vec!["Ada".to_owned(), "1 Mill Lane".to_owned()];
    Order::new(OrderNumber::draw(), owner.to_owned(), recipient, &cart.quote(Currency::Gbp))
}

#[test]
fn postgres_gets_numbers_for_the_values_of_a_statement() {
    assert_eq!(numbered("a = ? AND b = ?"), "a = $1 AND b = $2");
    assert_eq!(numbered("SELECT 1"), "SELECT 1");
}

#[tokio::test]
async fn an_order_is_read_as_it_was_written_and_by_its_owner_alone() {
    let database = database().await;
    let order = order("alice", &cart(&[("party-ring", 2), ("cinnamon-star", 1)]));
    with(&database, async |connection| orders::insert(connection, &order).await).await.expect("it is written");
    let found = orders::find(&database, order.number, "alice").await.expect("it can be asked for");
    let mut expected = order.clone();
    expected.lines.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(found, Some(expected));
    assert_eq!(order.total.to_string(), "£19.98");
    assert_eq!((order.goods() + order.postage()), order.total);
    assert_eq!(orders::find(&database, order.number, "bruno").await.expect("it can be asked for"), None);
    assert_eq!(orders::of(&database, "bruno").await.expect("they can be asked for"), []);
    assert_eq!(orders::of(&database, "alice").await.expect("they can be asked for").len(), 1);
}

#[tokio::test]
async fn a_number_is_given_to_one_order_only() {
    let database = database().await;
    let order = order("alice", &cart(&[("party-ring", 2)]));
    for is_first in [true, false] {
        let is_there = with(&database, async |connection| orders::is_placed(connection, order.number).await).await;
        assert_eq!(is_there.expect("it can be asked for"), !is_first);
        let written = with(&database, async |connection| orders::insert(connection, &order).await).await;
        assert_eq!(written.is_ok(), is_first);
    }
}

#[tokio::test]
async fn tins_leave_the_shelf_until_there_are_too_few() {
    let database = database().await;
    let product = catalog::find("pistachio-macaron").expect("it is sold");
    let quote = cart(&[("party-ring", 1), (product.sku, 2)]).quote(Currency::Eur);
    let take = async || with(&database, async |connection| stock::take(connection, &quote).await).await;
    assert!(take().await.expect("it can be taken").is_none());
    let stock = Stock::look(&database).await.expect("it can be asked for");
    assert_eq!(stock.tins(product), 1);
    let missing = take().await.expect("it can be asked for").expect("there are too few");
    assert_eq!(missing.sku, product.sku);
    assert_eq!(stock.shortage(missing), "There is only 1 tin of Pistachio Macaron left.");
}

#[tokio::test]
async fn a_shelf_is_filled_once() {
    let database = database().await;
    let product = catalog::find("pistachio-macaron").expect("it is sold");
    let quote = cart(&[(product.sku, 3)]).quote(Currency::Eur);
    let taken = with(&database, async |connection| stock::take(connection, &quote).await).await;
    assert!(taken.expect("it can be taken").is_none());
    database.migrate("").await.expect("tables");
    assert!(Stock::look(&database).await.expect("it can be asked for").is_sold_out(product));
}

#[tokio::test]
async fn a_url_of_another_kind_is_refused_and_not_repeated() {
    for url in ["redis://:secret@localhost", "tins.db", ""] {
        let error = Database::open(url).await.err().expect("it is no database of ours").to_string();
        assert!(error.contains("sqlite:") && !error.contains("secret"), "{error}");
    }
}
