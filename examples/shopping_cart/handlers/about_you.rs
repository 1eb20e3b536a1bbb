//! A page with everything the server knows about its visitor.

use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::response::Redirect;
use session_state::{Lifetime, Part, PartInfo, PartPlace, Session};

use super::Failure;
use super::checkout::Checkout;
use crate::cart::Cart;
use crate::database::Database;
use crate::humanize::{ago, duration, plural};
use crate::orders::{self, Order};
use crate::pages::{AboutYouPage, View};
use crate::preferences::Preferences;
use crate::visitor::Visitor;

/// One thing the shop keeps: what it is, where it lives, how big and old it is, and when it ends.
#[derive(Debug)]
pub(crate) struct Fact {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) holds: String,
    pub(crate) size: String,
    pub(crate) age: String,
    pub(crate) ends: String,
}

/// The places where the shop keeps things.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Record,
    Rows,
    SealedCookie,
    Cookie,
    Orders,
}

impl Place {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Record => "Session record, on the server",
            Self::Rows => "Rows of a table, on the server",
            Self::SealedCookie => "Encrypted cookie, in your browser",
            Self::Cookie => "Cookie, in your browser",
            Self::Orders => "Tables of the shop, outside of any session",
        }
    }

    pub(crate) fn tint(self) -> &'static str {
        match self {
            Self::Record => "sage",
            Self::Rows => "sky",
            Self::SealedCookie | Self::Cookie => "rose",
            Self::Orders => "butter",
        }
    }
}

impl From<PartPlace> for Place {
    fn from(place: PartPlace) -> Self {
        match place {
            PartPlace::Cookie => Self::SealedCookie,
            PartPlace::Tables => Self::Rows,
            _ => Self::Record,
        }
    }
}

/// `GET /about-you`
pub(super) async fn show(
    visitor: Visitor,
    checkout: Part<Checkout>,
    State(database): State<Database>,
) -> Result<View<AboutYouPage>, Failure> {
    let facts = vec![
        session(&visitor.session),
        cart(&visitor.cart),
        part("Your address", checkout.describe(), checkout.info()),
        part("Your preferences", visitor.preferences.describe(), visitor.preferences.info()),
        cookie(&visitor.session),
        placed_orders(&visitor.session, &database).await?,
    ];
    Ok(View(AboutYouPage { handle: visitor.session.handle(), page: visitor.page()?, facts }))
}

/// `POST /forget-me`
pub(super) async fn forget(session: Session, mut preferences: Part<Preferences>) -> Redirect {
    *preferences = Preferences::default();
    session.destroy();
    Redirect::to("/about-you")
}

fn session(session: &Session) -> Fact {
    Fact {
        name: "Your session",
        place: Place::Record,
        holds: match session.principal() {
            Some(name) => {
                let device = session.label().unwrap_or_default();
                format!("That you are {name}, what you use ({device}), and messages for the next page.")
            }
            None if session.is_new() => "Nothing. You have only looked around, so there is no session.".to_owned(),
            None => "Messages for the next page. Nobody is logged in, so not who you are.".to_owned(),
        },
        size: plural(session.size(), "byte"),
        age: age(session.created_at()),
        ends: if session.is_new() { dash() } else { ends(session.lifetime()) },
    }
}

fn ends(lifetime: Lifetime) -> String {
    let idle = lifetime.idle_remaining.map(|left| format!("in {} if unused", duration(left)));
    let absolute = lifetime.absolute_remaining.map(|left| format!("in {} at the latest", duration(left)));
    [idle, absolute].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn cart(cart: &Part<Cart>) -> Fact {
    let holds = format!("{}. The rows go when they become an order.", plural(cart.count(), "tin"));
    Fact { size: plural(cart.kinds(), "row"), ..part("Your cart", holds, cart.info()) }
}

fn part(name: &'static str, holds: String, info: PartInfo) -> Fact {
    Fact {
        name,
        place: info.place.into(),
        holds,
        size: plural(info.size, "byte"),
        age: age(info.created_at),
        ends: info.expires_at.map_or_else(dash, |end| format!("in {}", duration(until(end)))),
    }
}

fn cookie(session: &Session) -> Fact {
    const ID_LENGTH: usize = 43;
    let (holds, size, ends) = match session.is_new() {
        true => ("Nothing: you have no such cookie.", 0, "–"),
        false => (
            "A random number that finds your session, and nothing else. Scripts cannot read it.",
            ID_LENGTH,
            "when you close the browser",
        ),
    };
    Fact {
        name: "Your ticket",
        place: Place::Cookie,
        holds: holds.to_owned(),
        size: plural(size, "byte"),
        age: age(session.created_at()),
        ends: ends.to_owned(),
    }
}

async fn placed_orders(session: &Session, database: &Database) -> Result<Fact, sqlx::Error> {
    let orders = match session.principal() {
        Some(owner) => orders::of(database, &owner).await?,
        None => Vec::new(),
    };
    Ok(Fact {
        name: "Your orders",
        place: Place::Orders,
        holds: format!("{}. They stay when you log out.", plural(orders.len(), "order")),
        size: plural(orders.iter().map(|order| 1 + order.lines.len()).sum::<usize>(), "row"),
        age: orders.last().map_or_else(dash, Order::age),
        ends: "never: a shop has to keep them".to_owned(),
    })
}

fn age(since: Option<SystemTime>) -> String {
    since.map_or_else(dash, |since| ago(since.elapsed().unwrap_or_default()))
}

/// Returns the duration until a future time, for which `elapsed` is an error.
fn until(end: SystemTime) -> Duration {
    end.elapsed().map_or_else(|ahead| ahead.duration(), |_| Duration::ZERO)
}

fn dash() -> String {
    "–".to_owned()
}
