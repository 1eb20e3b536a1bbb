//! Logging in and out.

use axum::Form;
use axum::extract::Query;
use axum::response::Redirect;
use serde::Deserialize;
use session_state::Session;

use super::{Failure, LocalPath};
use crate::accounts;
use crate::pages::{LoginPage, View};
use crate::visitor::{Flash, Visitor};

/// Where to go once the visitor is logged in.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Destination {
    next: LocalPath,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Credentials {
    name: String,
    password: String,
    next: LocalPath,
}

/// `GET /login?next=/checkout`
pub(super) async fn show(visitor: Visitor, Query(destination): Query<Destination>) -> Result<View<LoginPage>, Failure> {
    Ok(View(LoginPage { page: visitor.page()?, next: destination.next.0 }))
}

/// `POST /login`
///
/// `login` gives the session a new ID, so a known old one is worth nothing. What is in the cart stays there.
pub(super) async fn login(session: Session, Form(form): Form<Credentials>) -> Result<Redirect, Failure> {
    let Some(account) = accounts::check(form.name.trim(), &form.password) else {
        Flash::problem(&session, "That name and password do not belong together. Please try again.")?;
        return Ok(to_login(&form.next.0));
    };
    session.login(account.name);
    Flash::done(&session, format!("Welcome back, {}.", account.name))?;
    Ok(Redirect::to(&form.next.0))
}

/// `POST /logout`
///
/// The session is gone, cart and all. The goodbye begins a new one, that of a stranger.
pub(super) async fn logout(session: Session) -> Result<Redirect, Failure> {
    session.logout();
    Flash::done(&session, "You are logged out. Come back before you get peckish.")?;
    Ok(Redirect::to("/"))
}

/// Asks the visitor to log in first, and comes back to `next` afterwards.
pub(super) fn to_login(next: &str) -> Redirect {
    Redirect::to(&format!("/login?next={next}"))
}
