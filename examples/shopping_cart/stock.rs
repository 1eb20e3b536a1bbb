//! What is on the shelves.

use std::collections::HashMap;

use sqlx::Error;

use crate::cart::Quote;
use crate::catalog::Product;
use crate::database::{Connection, Database, Value};
use crate::humanize::plural;

/// The most tins for which a page shows how many are left.
const FEW: u64 = 5;

/// The number of tins of each product, as of the last query.
#[derive(Debug)]
pub(crate) struct Stock(HashMap<String, u64>);

impl Stock {
    pub(crate) async fn look(database: &Database) -> Result<Self, Error> {
        let rows = database.fetch("SELECT sku, tins FROM stock", &[]).await?;
        rows.iter().map(|row| Ok((row.text("sku")?, row.number("tins")?))).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn tins(&self, product: &Product) -> u64 {
        self.0.get(product.sku).copied().unwrap_or(0)
    }

    pub(crate) fn is_sold_out(&self, product: &Product) -> bool {
        self.tins(product) == 0
    }

    /// Returns a message if few tins are left.
    pub(crate) fn warning(&self, product: &Product) -> Option<String> {
        match self.tins(product) {
            0 => Some("Sold out".to_owned()),
            few @ 1..=FEW => Some(format!("Only {} left", plural(few, "tin"))),
            _ => None,
        }
    }

    /// Returns a message for a visitor who wants more tins than there are.
    pub(crate) fn shortage(&self, product: &Product) -> String {
        match self.tins(product) {
            0 => format!("{} is sold out.", product.name),
            1 => format!("There is only 1 tin of {} left.", product.name),
            tins => format!("There are only {tins} tins of {} left.", product.name),
        }
    }
}

/// Takes the ordered tins from the stock. Returns the first product that is short, if any; the caller then rolls the
/// transaction back.
pub(crate) async fn take(connection: &mut Connection<'_>, quote: &Quote) -> Result<Option<&'static Product>, Error> {
    let mut items: Vec<_> = quote.items.iter().collect();
    // In the same order in every transaction, so that no two of them deadlock.
    items.sort_by_key(|item| item.product.sku);
    for item in items {
        let (sku, tins) = (Value::Text(item.product.sku), Value::Number(item.quantity.into()));
        let take = "UPDATE stock SET tins = tins - ? WHERE sku = ? AND tins >= ?";
        if connection.execute(take, &[tins, sku, tins]).await? == 0 {
            return Ok(Some(item.product));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn a_page_says_how_many_tins_there_are_when_they_are_few() {
        let product = catalog::find("party-ring").expect("it is sold");
        let said = |tins| Stock(HashMap::from([(product.sku.to_owned(), tins)])).warning(product);
        assert_eq!(said(0).as_deref(), Some("Sold out"));
        assert_eq!(said(1).as_deref(), Some("Only 1 tin left"));
        assert_eq!(said(5).as_deref(), Some("Only 5 tins left"));
        assert_eq!(said(6), None);
    }
}
