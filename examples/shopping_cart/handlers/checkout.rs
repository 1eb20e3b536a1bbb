//! From a full cart to an order.

use axum::Form;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::{Deserialize, Serialize};
use session_state::{Part, Session, SessionPart};

use super::Failure;
use super::login::to_login;
use crate::cart::Cart;
use crate::database::Database;
use crate::orders::{self, OrderNumber};
use crate::pages::{CheckoutPage, View};
use crate::preferences::Preferences;
use crate::stock::Stock;
use crate::till::{self, Outcome, Wish};
use crate::visitor::{Flash, Visitor};

/// The order being written: a part of the session that stays on the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Checkout {
    /// Drawn before the order is placed, so that a form sent twice leads to one order.
    number: Option<OrderNumber>,
    address: Address,
    /// Whether the address was sent, so that an untouched form is not full of complaints.
    sent: bool,
}

impl SessionPart for Checkout {
    const NAME: &'static str = "checkout";
}

impl Checkout {
    /// What is known of the address, in words.
    pub(super) fn describe(&self) -> String {
        match self.address == Address::default() {
            true => "None yet.".to_owned(),
            false => "What you typed at the checkout, kept for the next order.".to_owned(),
        }
    }
}

/// Where the tins go, as the visitor typed it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Address {
    pub(crate) name: String,
    pub(crate) street: String,
    pub(crate) postcode: String,
    pub(crate) city: String,
}

/// What the checkout form sends: the address, and the total that the visitor has seen.
#[derive(Debug, Deserialize)]
pub(super) struct Placement {
    #[serde(flatten)]
    address: Address,
    #[serde(default)]
    total: String,
}

/// What is wrong with an [`Address`], field by field.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Problems {
    pub(crate) name: Option<&'static str>,
    pub(crate) street: Option<&'static str>,
    pub(crate) postcode: Option<&'static str>,
    pub(crate) city: Option<&'static str>,
}

impl Address {
    /// Turns the address into the lines of a label.
    fn label(&self) -> Result<Vec<String>, Problems> {
        let problems = Problems {
            name: problem(&self.name, "Please tell us who the tins are for."),
            street: problem(&self.street, "Please give a street and a number."),
            postcode: problem(&self.postcode, "Please give a postcode."),
            city: problem(&self.city, "Please give a town or a city."),
        };
        if problems != Problems::default() {
            return Err(problems);
        }
        let city = format!("{} {}", self.postcode.trim(), self.city.trim());
        Ok(vec![self.name.trim().to_owned(), self.street.trim().to_owned(), city])
    }
}

fn problem(typed: &str, when_empty: &'static str) -> Option<&'static str> {
    const LONGEST: usize = 80;
    match typed.trim() {
        "" => Some(when_empty),
        long if long.chars().count() > LONGEST => Some("This is longer than fits on a label: 80 characters at most."),
        odd if odd.contains(char::is_control) => Some("There is something in it that no label can show."),
        _ => None,
    }
}

/// `GET /checkout`
pub(super) async fn show(
    visitor: Visitor,
    mut checkout: Part<Checkout>,
    State(database): State<Database>,
) -> Result<Response, Failure> {
    let quote = visitor.quote();
    if quote.items.is_empty() {
        return Ok(Redirect::to("/cart").into_response());
    }
    let Some(owner) = visitor.session.principal() else {
        Flash::done(&visitor.session, "Please log in to check out. Your cart comes with you.")?;
        return Ok(to_login("/checkout").into_response());
    };
    let is_written = match checkout.number {
        Some(number) => orders::find(&database, number, &owner).await?.is_none(),
        None => false,
    };
    if !is_written {
        checkout.number = Some(OrderNumber::draw());
    }
    let problems = if checkout.sent { checkout.address.label().err() } else { None };
    let (address, problems) = (checkout.address.clone(), problems.unwrap_or_default());
    Ok(View(CheckoutPage { page: visitor.page()?, quote, address, problems }).into_response())
}

/// `POST /checkout`
pub(super) async fn place(
    session: Session,
    mut checkout: Part<Checkout>,
    mut cart: Part<Cart>,
    preferences: Part<Preferences>,
    State(database): State<Database>,
    Form(form): Form<Placement>,
) -> Result<Redirect, Failure> {
    let (Some(owner), Some(number)) = (session.principal(), checkout.number) else {
        return Ok(Redirect::to("/checkout"));
    };
    (checkout.address, checkout.sent) = (form.address, true);
    let Ok(recipient) = checkout.address.label() else {
        return Ok(Redirect::to("/checkout"));
    };
    let wish = Wish { number, owner: owner.clone(), recipient, currency: preferences.currency, seen: form.total };
    match till::place(&database, &mut cart, wish).await? {
        Outcome::Placed => {
            checkout.sent = false;
            Flash::done(&session, "Thank you! Your order is in the oven.")?;
        }
        Outcome::NothingToDo => {
            checkout.sent = false;
            if orders::find(&database, number, &owner).await?.is_none() {
                checkout.number = None;
                return Ok(Redirect::to("/cart"));
            }
        }
        Outcome::Changed => {
            Flash::problem(&session, "Your cart has changed in the meantime. Please look at the new total.")?;
            return Ok(Redirect::to("/checkout"));
        }
        Outcome::TooFew(product) => {
            let shortage = Stock::look(&database).await?.shortage(product);
            Flash::problem(
                &session,
                format!("{shortage} Nothing was ordered; please choose fewer, or something else."),
            )?;
            return Ok(Redirect::to("/cart"));
        }
    }
    Ok(Redirect::to(&format!("/orders/{number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_every_line_of_a_label() {
        let mut address = Address { name: " Ada ".into(), street: "1 Mill Lane".into(), ..Address::default() };
        let problems = address.label().expect_err("two lines are missing");
        assert!(problems.name.is_none() && problems.postcode.is_some() && problems.city.is_some());
        (address.postcode, address.city) = ("N1 9GU".into(), "London".into());
        assert_eq!(address.label(), Ok(vec!["Ada".to_owned(), "1 Mill Lane".to_owned(), "N1 9GU London".to_owned()]));
    }

    #[test]
    fn an_address_that_does_not_fit_on_a_label_is_refused() {
        let line = "x".repeat(81);
        let address = Address { name: line.clone(), street: line.clone(), postcode: line.clone(), city: line };
        assert!(address.label().is_err_and(|problems| problems.name.is_some() && problems.city.is_some()));
        let address = Address { name: "Ada\0Lovelace".into(), ..address };
        assert!(address.label().is_err_and(|problems| problems.name.is_some()));
    }
}
