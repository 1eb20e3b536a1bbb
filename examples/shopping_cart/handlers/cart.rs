//! Filling, changing and emptying the cart.

use axum::Form;
use axum::extract::State;
use axum::response::Redirect;
use serde::Deserialize;
use session_state::{Part, Session};

use super::Failure;
use crate::cart::{Cart, Quantity};
use crate::catalog;
use crate::database::Database;
use crate::humanize::plural;
use crate::pages::{CartPage, View};
use crate::stock::Stock;
use crate::visitor::{Flash, Visitor};

/// A product and a number of tins, as they come from a form.
#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Line {
    sku: String,
    quantity: String,
}

impl Default for Line {
    fn default() -> Self {
        Self { sku: String::new(), quantity: "1".to_owned() }
    }
}

/// `GET /cart`
pub(super) async fn show(visitor: Visitor, State(database): State<Database>) -> Result<View<CartPage>, Failure> {
    let stock = Stock::look(&database).await?;
    Ok(View(CartPage { quote: visitor.quote(), page: visitor.page()?, stock }))
}

/// `POST /cart/add`
///
/// The change is made by `update`: when two tabs add something at the same moment, both tins arrive.
pub(super) async fn add(session: Session, mut cart: Part<Cart>, Form(line): Form<Line>) -> Result<Redirect, Failure> {
    let product = catalog::find(&line.sku).ok_or(Failure::NotFound)?;
    match Quantity::parse(&line.quantity) {
        Ok(quantity) => {
            cart.update(move |cart| cart.add(product.sku, quantity));
            Flash::done(&session, format!("{} is in your cart.", product.name))?;
            Ok(Redirect::to("/cart"))
        }
        Err(advice) => {
            Flash::problem(&session, advice)?;
            Ok(Redirect::to(&format!("/biscuits/{}", product.sku)))
        }
    }
}

/// `POST /cart/change`
pub(super) async fn change(
    session: Session,
    mut cart: Part<Cart>,
    Form(line): Form<Line>,
) -> Result<Redirect, Failure> {
    let product = catalog::find(&line.sku).ok_or(Failure::NotFound)?;
    match Quantity::parse(&line.quantity) {
        Ok(quantity) => {
            cart.update(move |cart| cart.set(product.sku, quantity));
            Flash::done(&session, format!("{}: {}.", product.name, plural(quantity.get(), "tin")))?;
        }
        Err(advice) => Flash::problem(&session, advice)?,
    }
    Ok(Redirect::to("/cart"))
}

/// `POST /cart/remove`
pub(super) async fn remove(
    session: Session,
    mut cart: Part<Cart>,
    Form(line): Form<Line>,
) -> Result<Redirect, Failure> {
    let product = catalog::find(&line.sku).ok_or(Failure::NotFound)?;
    cart.update(move |cart| cart.remove(product.sku));
    Flash::done(&session, format!("{} is back on the shelf.", product.name))?;
    Ok(Redirect::to("/cart"))
}
