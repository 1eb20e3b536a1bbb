//! Looking at biscuits.

use axum::extract::{Path, State};

use super::Failure;
use crate::catalog;
use crate::database::Database;
use crate::pages::{ProductPage, View, Window};
use crate::stock::Stock;
use crate::visitor::Visitor;

/// `GET /`
pub(super) async fn window(visitor: Visitor, State(database): State<Database>) -> Result<View<Window>, Failure> {
    let stock = Stock::look(&database).await?;
    Ok(View(Window { page: visitor.page()?, stock }))
}

/// `GET /biscuits/{sku}`
pub(super) async fn product(
    visitor: Visitor,
    State(database): State<Database>,
    Path(sku): Path<String>,
) -> Result<View<ProductPage>, Failure> {
    let product = catalog::find(&sku).ok_or(Failure::NotFound)?;
    let stock = Stock::look(&database).await?;
    Ok(View(ProductPage { page: visitor.page()?, product, stock }))
}
