//! The placed orders of an account.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::Failure;
use super::login::to_login;
use crate::database::Database;
use crate::orders::{self, OrderNumber};
use crate::pages::{OrderPage, OrdersPage, View};
use crate::visitor::Visitor;

/// `GET /orders`
pub(super) async fn list(visitor: Visitor, State(database): State<Database>) -> Result<Response, Failure> {
    let Some(owner) = visitor.session.principal() else {
        return Ok(to_login("/orders").into_response());
    };
    let orders = orders::of(&database, &owner).await?;
    Ok(View(OrdersPage { page: visitor.page()?, orders }).into_response())
}

/// `GET /orders/{number}`: another account's order does not exist.
pub(super) async fn show(
    visitor: Visitor,
    State(database): State<Database>,
    Path(number): Path<String>,
) -> Result<View<OrderPage>, Failure> {
    let owner = visitor.session.principal().ok_or(Failure::NotFound)?;
    let number = OrderNumber::parse(&number).ok_or(Failure::NotFound)?;
    let order = orders::find(&database, number, &owner).await?.ok_or(Failure::NotFound)?;
    Ok(View(OrderPage { page: visitor.page()?, order }))
}
