//! What is on the shelves.

use std::collections::HashMap;

use sqlx::Error;

use crate::cart::Quote;
use crate::catalog::Product;
use crate::database::{Connection, Database, Value};
use crate::humanize::plural;

/// From how many tins on a page says how many there are.
const FEW: u64 = 5;

/// How many tins of each product there are, when somebody last looked.
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

    /// Says that there are few tins, if there are.
    pub(crate) fn warning(&self, product: &Product) -> Option<String> {
        match self.tins(product) {
            0 => Some("Sold out".to_owned()),
            few @ 1..=FEW => Some(format!("Only {} left", plural(few, "tin"))),
            _ => None,
        }
    }

    /// Says how few tins there are for somebody who wants more.
    pub(crate) fn shortage(&self, product: &Product) -> String {
        match self.tins(product) {
            0 => format!("{} is sold out.", product.name),
            1 => format!("There is only 1 tin of {} left.", product.name),
            tins => format!("There are only {tins} tins of {} left.", product.name),
        }
    }
}

/// Takes what was ordered off the shelves, or returns the first product there is too little of. Then the transaction is to
/// be rolled back.
pub(crate) async fn take(connection: &mut Connection<'_>, quote: &Quote) -> Result<Option<&'static Product>, Error> {
    let mut items: Vec<_> = quote.items.iter().collect();
    // In the same order for everybody, so that no two orders wait for each other.
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
