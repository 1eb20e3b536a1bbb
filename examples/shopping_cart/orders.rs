//! Placed orders: rows of the shop that outlive their session.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sqlx::Error;

use crate::cart::Quote;
use crate::catalog::{self, Product};
use crate::database::{Connection, Database, Row, Value};
use crate::humanize::{self, plural};
use crate::money::{Currency, Money};

/// One order, as it was when it was placed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Order {
    pub(crate) number: OrderNumber,
    pub(crate) owner: String,
    /// The lines of the label.
    pub(crate) recipient: Vec<String>,
    pub(crate) lines: Vec<OrderLine>,
    pub(crate) total: Money,
    placed_at: SystemTime,
}

/// Some tins of one biscuit, at the price of that day.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OrderLine {
    sku: String,
    pub(crate) name: String,
    pub(crate) quantity: u8,
    unit_price: Money,
}

impl Order {
    /// Makes a line at the price that the visitor was shown, as of now.
    pub(crate) fn new(number: OrderNumber, owner: String, recipient: Vec<String>, quote: &Quote) -> Self {
        let lines = quote.items.iter().map(|item| OrderLine {
            sku: item.product.sku.to_owned(),
            name: item.product.name.to_owned(),
            quantity: item.quantity,
            unit_price: item.price,
        });
        // Whole milliseconds, as they are stored.
        let now = Duration::from_millis(millis(UNIX_EPOCH.elapsed().unwrap_or_default()).unsigned_abs());
        Self { number, owner, recipient, lines: lines.collect(), total: quote.total, placed_at: UNIX_EPOCH + now }
    }

    /// How long ago it was placed, in words.
    pub(crate) fn age(&self) -> String {
        humanize::ago(self.placed_at.elapsed().unwrap_or_default())
    }

    /// How many tins there are in all, in words.
    pub(crate) fn tins(&self) -> String {
        plural(self.lines.iter().map(|line| u32::from(line.quantity)).sum::<u32>(), "tin")
    }

    pub(crate) fn goods(&self) -> Money {
        self.lines.iter().fold(self.total.currency().price(0), |goods, line| goods + line.total())
    }

    pub(crate) fn postage(&self) -> Money {
        self.total - self.goods()
    }
}

impl OrderLine {
    pub(crate) fn total(&self) -> Money {
        self.unit_price * self.quantity
    }

    /// The product, if it is still sold.
    pub(crate) fn product(&self) -> Option<&'static Product> {
        catalog::find(&self.sku)
    }
}

/// The number of an order, written `TIN-482190347`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrderNumber(u32);

impl OrderNumber {
    /// Draws a random number for a new order, without coordination between nodes.
    pub(crate) fn draw() -> Self {
        Self(rand::random_range(100_000_000..1_000_000_000))
    }

    /// Reads a number as it stands in an address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.strip_prefix("TIN-")?.parse().ok().map(Self)
    }

    fn value(self) -> Value<'static> {
        Value::Number(self.0.into())
    }
}

impl fmt::Display for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TIN-{}", self.0)
    }
}

/// Inserts an order in the caller's transaction.
pub(crate) async fn insert(connection: &mut Connection<'_>, order: &Order) -> Result<(), Error> {
    let recipient = order.recipient.join("\n");
    let placed_at = order.placed_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let head = [
        order.number.value(),
        Value::Text(&order.owner),
        Value::Text(&recipient),
        Value::Text(order.total.currency().code()),
        Value::Number(order.total.minor().cast_signed()),
        Value::Number(millis(placed_at)),
    ];
    connection
        .execute(
            "INSERT INTO orders (number, owner, recipient, currency, total, placed_at) VALUES (?, ?, ?, ?, ?, ?)",
            &head,
        )
        .await?;
    for line in &order.lines {
        let line = [
            order.number.value(),
            Value::Text(&line.sku),
            Value::Text(&line.name),
            Value::Number(line.quantity.into()),
            Value::Number(line.unit_price.minor().cast_signed()),
        ];
        connection
            .execute(
                "INSERT INTO order_lines (order_number, sku, name, quantity, unit_price) VALUES (?, ?, ?, ?, ?)",
                &line,
            )
            .await?;
    }
    Ok(())
}

/// Returns whether there is an order with this number.
pub(crate) async fn is_placed(connection: &mut Connection<'_>, number: OrderNumber) -> Result<bool, Error> {
    Ok(!connection.fetch("SELECT number FROM orders WHERE number = ?", &[number.value()]).await?.is_empty())
}

/// Asks for orders and their lines, the newest order first.
macro_rules! select_orders {
    ($which:literal) => {
        concat!(
            "SELECT number, owner, recipient, currency, total, placed_at, sku, name, quantity, unit_price \
             FROM orders JOIN order_lines ON order_number = number WHERE ",
            $which,
            " ORDER BY placed_at DESC, number, name",
        )
    };
}

/// Lists someone's orders, the newest first.
pub(crate) async fn of(database: &Database, owner: &str) -> Result<Vec<Order>, Error> {
    read(&database.fetch(select_orders!("owner = ?"), &[Value::Text(owner)]).await?)
}

/// Finds an order, for the principal who placed it only.
pub(crate) async fn find(database: &Database, number: OrderNumber, owner: &str) -> Result<Option<Order>, Error> {
    let which = [Value::Text(owner), number.value()];
    Ok(read(&database.fetch(select_orders!("owner = ? AND number = ?"), &which).await?)?.pop())
}

fn read(rows: &[Row]) -> Result<Vec<Order>, Error> {
    let mut orders: Vec<Order> = Vec::new();
    for row in rows {
        let (order, line) = (order(row)?, line(row)?);
        match orders.last_mut().filter(|last| last.number == order.number) {
            Some(order) => order.lines.push(line),
            None => orders.push(Order { lines: vec![line], ..order }),
        }
    }
    Ok(orders)
}

fn order(row: &Row) -> Result<Order, Error> {
    Ok(Order {
        number: OrderNumber(row.number("number")?),
        owner: row.text("owner")?,
        recipient: row.text("recipient")?.lines().map(str::to_owned).collect(),
        lines: Vec::new(),
        total: money(row, "total")?,
        placed_at: UNIX_EPOCH + Duration::from_millis(row.number("placed_at")?),
    })
}

fn line(row: &Row) -> Result<OrderLine, Error> {
    Ok(OrderLine {
        sku: row.text("sku")?,
        name: row.text("name")?,
        quantity: row.number("quantity")?,
        unit_price: money(row, "unit_price")?,
    })
}

fn money(row: &Row, column: &str) -> Result<Money, Error> {
    let code = row.text("currency")?;
    let currency = Currency::ALL.into_iter().find(|currency| currency.code() == code);
    let currency = currency.ok_or_else(|| Error::Decode(format!("the currency {code:?} is unknown").into()))?;
    Ok(Money::new(row.number(column)?, currency))
}

/// A time as it is stored: milliseconds since 1970.
fn millis(since_1970: Duration) -> i64 {
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
