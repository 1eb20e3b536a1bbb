//! Looking at biscuits.

use axum::extract::Path;

use super::Failure;
use crate::catalog;
use crate::pages::{ProductPage, View, Window};
use crate::visitor::Visitor;

/// `GET /`
pub(super) async fn window(visitor: Visitor) -> Result<View<Window>, Failure> {
    Ok(View(Window { page: visitor.page()? }))
}

/// `GET /biscuits/{sku}`
pub(super) async fn product(visitor: Visitor, Path(sku): Path<String>) -> Result<View<ProductPage>, Failure> {
    let product = catalog::find(&sku).ok_or(Failure::NotFound)?;
    Ok(View(ProductPage { page: visitor.page()?, product }))
}
