//! The cart: what is in it, and what it comes to.

use serde::{Deserialize, Serialize};
use session_state::SessionPart;

use crate::catalog::{self, Product};
use crate::money::{Currency, Money};

const POSTAGE_EURO_CENTS: u64 = 490;
const FREE_POSTAGE_FROM_EURO_CENTS: u64 = 4000;

/// The tins a visitor has chosen: a part of the session, and rows of the table `cart_items`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cart {
    lines: Vec<CartLine>,
}

/// A row of that table. Each field is a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct CartLine {
    sku: String,
    quantity: u8,
}

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

impl Cart {
    /// Adds tins of a product, up to the most that one order takes.
    pub(crate) fn add(&mut self, sku: &str, quantity: Quantity) {
        match self.line(sku) {
            Some(line) => line.quantity = line.quantity.saturating_add(quantity.0).min(Quantity::MOST),
            None => self.lines.push(CartLine { sku: sku.to_owned(), quantity: quantity.0 }),
        }
    }

    /// Changes how many tins of a product there are, if there are any.
    pub(crate) fn set(&mut self, sku: &str, quantity: Quantity) {
        if let Some(line) = self.line(sku) {
            line.quantity = quantity.0;
        }
    }

    pub(crate) fn remove(&mut self, sku: &str) {
        self.lines.retain(|line| line.sku != sku);
    }

    /// How many tins there are in all.
    pub(crate) fn count(&self) -> u32 {
        self.lines.iter().map(|line| u32::from(line.quantity)).sum()
    }

    /// How many kinds of biscuit there are.
    pub(crate) fn kinds(&self) -> usize {
        self.lines.len()
    }

    /// What the cart comes to. A product that is no longer sold is left out.
    pub(crate) fn quote(&self, currency: Currency) -> Quote {
        let sold = |line: &CartLine| Some((catalog::find(&line.sku)?, line.quantity));
        Quote::new(self.lines.iter().filter_map(sold), currency)
    }

    fn line(&mut self, sku: &str) -> Option<&mut CartLine> {
        self.lines.iter_mut().find(|line| line.sku == sku)
    }
}

/// A number of tins that can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity(u8);

impl Quantity {
    pub(crate) const MOST: u8 = 24;

    pub(crate) fn get(self) -> u8 {
        self.0
    }

    /// Reads what a visitor typed, or says kindly what would have been right.
    pub(crate) fn parse(typed: &str) -> Result<Self, String> {
        match typed.trim().parse() {
            Ok(quantity) if (1..=Self::MOST).contains(&quantity) => Ok(Self(quantity)),
            _ => Err(format!("Please choose a whole number of tins from 1 to {}.", Self::MOST)),
        }
    }
}

/// The content of a cart with prices in one currency.
#[derive(Clone, Debug)]
pub(crate) struct Quote {
    pub(crate) items: Vec<Item>,
    pub(crate) goods: Money,
    pub(crate) postage: Money,
    pub(crate) total: Money,
    /// What is still missing for free postage, if anything.
    pub(crate) until_free_postage: Option<Money>,
}

/// One product of a [`Quote`].
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) product: &'static Product,
    pub(crate) quantity: u8,
    pub(crate) price: Money,
    pub(crate) total: Money,
}

impl Quote {
    fn new(lines: impl Iterator<Item = (&'static Product, u8)>, currency: Currency) -> Self {
        let (mut items, mut goods, mut euro_cents) = (Vec::new(), currency.price(0), 0);
        for (product, quantity) in lines {
            let price = product.price(currency);
            let total = price * quantity;
            goods = goods + total;
            euro_cents += product.euro_cents * u64::from(quantity);
            items.push(Item { product, quantity, price, total });
        }
        let missing = FREE_POSTAGE_FROM_EURO_CENTS.saturating_sub(euro_cents);
        let postage = currency.price(if missing == 0 || items.is_empty() { 0 } else { POSTAGE_EURO_CENTS });
        let until_free_postage = (missing > 0).then(|| currency.price(missing));
        Self { items, goods, postage, total: goods + postage, until_free_postage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tins(number: u8) -> Quantity {
        Quantity::parse(&number.to_string()).expect("a number of tins")
    }

    #[test]
    fn adding_the_same_biscuit_twice_makes_one_line() {
        let mut cart = Cart::default();
        cart.add("party-ring", tins(2));
        cart.add("party-ring", tins(3));
        assert_eq!(cart.lines.len(), 1);
        assert_eq!(cart.count(), 5);
    }

    #[test]
    fn a_line_never_grows_beyond_what_one_order_takes() {
        let mut cart = Cart::default();
        cart.add("party-ring", tins(20));
        cart.add("party-ring", tins(20));
        assert_eq!(cart.count(), 24);
    }

    #[test]
    fn only_whole_numbers_from_one_to_twenty_four_are_quantities() {
        assert_eq!(Quantity::parse(" 24 "), Ok(Quantity(24)));
        for typed in ["", "0", "25", "-1", "1.5", "two", "999999999999"] {
            assert!(Quantity::parse(typed).is_err(), "{typed:?}");
        }
    }

    #[test]
    fn postage_is_free_from_forty_euros() {
        let mut cart = Cart::default();
        cart.add("party-ring", tins(7));
        assert_eq!(cart.quote(Currency::Eur).total.to_string(), "€41.30");
        cart.add("party-ring", tins(1));
        assert_eq!(cart.quote(Currency::Eur).total.to_string(), "€41.60");
    }

    #[test]
    fn a_biscuit_that_is_no_longer_sold_is_left_out() {
        let mut cart = Cart::default();
        cart.add("garibaldi", tins(1));
        assert!(cart.quote(Currency::Eur).items.is_empty());
    }
}
