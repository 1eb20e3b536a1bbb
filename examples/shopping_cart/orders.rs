//! Orders that were placed: record data, kept apart from any session.
//!
//! A session ends and forgets; an order must not. A real shop writes it to its database at this point.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::cart::Quote;
use crate::humanize;

/// One order, as it was when it was placed.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) number: OrderNumber,
    pub(crate) owner: String,
    pub(crate) quote: Quote,
    pub(crate) recipient: Vec<String>,
    pub(crate) placed: Instant,
}

impl Order {
    /// How long ago it was placed, in words.
    pub(crate) fn age(&self) -> String {
        humanize::ago(self.placed.elapsed())
    }
}

/// The number of an order, written `TIN-1001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct OrderNumber(u32);

impl OrderNumber {
    /// Reads a number as it stands in an address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.strip_prefix("TIN-")?.parse().ok().map(Self)
    }
}

impl fmt::Display for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TIN-{}", self.0)
    }
}

/// All orders of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct OrderBook(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    reserved: u32,
    orders: BTreeMap<OrderNumber, Order>,
}

impl OrderBook {
    /// Sets a number aside for an order that is being written.
    pub(crate) fn reserve(&self) -> OrderNumber {
        let mut book = self.book();
        book.reserved += 1;
        OrderNumber(1000 + book.reserved)
    }

    /// Places an order, and returns whether it is new: a form sent twice is one order.
    pub(crate) fn place(&self, order: Order) -> bool {
        match self.book().orders.entry(order.number) {
            Entry::Vacant(page) => {
                page.insert(order);
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    pub(crate) fn is_placed(&self, number: OrderNumber) -> bool {
        self.book().orders.contains_key(&number)
    }

    /// Finds an order for the one who placed it, and for nobody else.
    pub(crate) fn find(&self, number: OrderNumber, owner: &str) -> Option<Order> {
        self.book().orders.get(&number).filter(|order| order.owner == owner).cloned()
    }

    /// Lists someone's orders, the newest first.
    pub(crate) fn of(&self, owner: &str) -> Vec<Order> {
        self.book().orders.values().rev().filter(|order| order.owner == owner).cloned().collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
