//! The visitor of a page, and what every page needs to know about them.

use axum::extract::FromRequestParts;
use axum::http::Method;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use session_state::{Error, Part, Session};

use crate::cart::{Cart, Quote};
use crate::catalog::Product;
use crate::money::{Currency, Money};
use crate::preferences::{Preferences, Theme};

/// Everything a handler that draws a page works with.
pub(crate) struct Visitor {
    pub(crate) session: Session,
    pub(crate) cart: Part<Cart>,
    pub(crate) preferences: Part<Preferences>,
    path: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        Ok(Self {
            session: Session::from_request_parts(parts, state).await?,
            cart: Part::from_request_parts(parts, state).await?,
            preferences: Part::from_request_parts(parts, state).await?,
            // The response to a form is not a page to come back to.
            path: if parts.method == Method::GET { parts.uri.to_string() } else { "/".to_owned() },
        })
    }
}

impl Visitor {
    /// What the frame around every page shows. The flash message is shown once, so it is taken.
    pub(crate) fn page(&self) -> Result<Page, Error> {
        Ok(Page {
            theme: self.preferences.theme,
            currency: self.preferences.currency,
            cart_count: self.cart.count(),
            account: self.session.principal(),
            flash: Flash::take(&self.session)?,
            path: self.path.clone(),
        })
    }

    /// The cart with prices in the visitor's currency.
    pub(crate) fn quote(&self) -> Quote {
        self.cart.quote(self.preferences.currency)
    }
}

/// What the frame around every page shows.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) theme: Theme,
    pub(crate) currency: Currency,
    pub(crate) cart_count: u32,
    pub(crate) account: Option<String>,
    pub(crate) flash: Option<Flash>,
    pub(crate) path: String,
}

impl Page {
    pub(crate) fn price(&self, product: &Product) -> Money {
        product.price(self.currency)
    }
}

/// A message for the next page, whichever it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Flash {
    pub(crate) problem: bool,
    pub(crate) text: String,
}

impl Flash {
    const KEY: &'static str = "flash";

    /// Tells the visitor that something went well.
    pub(crate) fn done(session: &Session, text: impl Into<String>) -> Result<(), Error> {
        session.insert(Self::KEY, Self { problem: false, text: text.into() })
    }

    /// Tells the visitor that something has to be done differently.
    pub(crate) fn problem(session: &Session, text: impl Into<String>) -> Result<(), Error> {
        session.insert(Self::KEY, Self { problem: true, text: text.into() })
    }

    fn take(session: &Session) -> Result<Option<Self>, Error> {
        session.take(Self::KEY)
    }
}
