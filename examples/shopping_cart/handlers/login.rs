//! Logging in and out.

use axum::Form;
use axum::extract::Query;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use session_state::Session;

use super::{Failure, LocalPath};
use crate::accounts;
use crate::device;
use crate::pages::{ConfirmationPage, LoginPage, View};
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
/// `login` gives the session a new ID, which prevents session fixation. The cart stays. The label names this device on
/// the account's page of devices.
pub(super) async fn login(
    session: Session,
    headers: HeaderMap,
    Form(form): Form<Credentials>,
) -> Result<Redirect, Failure> {
    let Some(account) = accounts::check(form.name.trim(), &form.password) else {
        Flash::problem(&session, "That name and password do not belong together. Please try again.")?;
        return Ok(to_login(&form.next.0));
    };
    session.login(account.name);
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    session.set_label(device::name(user_agent.unwrap_or_default()))?;
    Flash::done(&session, format!("Welcome back, {}.", account.name))?;
    Ok(Redirect::to(&form.next.0))
}

/// `POST /logout`
///
/// Ends the session with its cart. The goodbye message starts a new, anonymous one.
pub(super) async fn logout(session: Session) -> Result<Redirect, Failure> {
    session.logout();
    Flash::done(&session, "You are logged out. Come back before you get peckish.")?;
    Ok(Redirect::to("/"))
}

/// `GET /confirm?next=/devices`
pub(super) async fn ask(visitor: Visitor, Query(destination): Query<Destination>) -> Result<Response, Failure> {
    let page = visitor.page()?;
    Ok(match page.account.clone() {
        Some(account) => View(ConfirmationPage { page, account, next: destination.next.0 }).into_response(),
        None => to_login(&destination.next.0).into_response(),
    })
}

/// `POST /confirm`: like a login, but the session keeps its data and its principal.
pub(super) async fn confirm(session: Session, Form(form): Form<Credentials>) -> Result<Redirect, Failure> {
    let Some(account) = session.principal() else {
        return Ok(to_login(&form.next.0));
    };
    if accounts::check(&account, &form.password).is_none() {
        Flash::problem(&session, format!("That is not the password of {account}. Please try again."))?;
        return Ok(to_confirmation(&form.next.0));
    }
    session.mark_reauthenticated()?;
    Flash::done(&session, "Thank you. Now go ahead.")?;
    Ok(Redirect::to(&form.next.0))
}

/// Asks the visitor for the password again, and comes back to `next` afterwards.
fn to_confirmation(next: &str) -> Redirect {
    Redirect::to(&format!("/confirm?next={next}"))
}

/// Asks the visitor to log in first, and comes back to `next` afterwards.
pub(super) fn to_login(next: &str) -> Redirect {
    Redirect::to(&format!("/login?next={next}"))
}
