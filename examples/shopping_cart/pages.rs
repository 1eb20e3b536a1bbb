//! The pages: one type a template in `templates/`, where all output is escaped.

use askama::Template;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use session_state::Handle;

use crate::accounts::ACCOUNTS;
use crate::cart::Quote;
use crate::catalog::{PRODUCTS, Product};
use crate::handlers::about_you::Fact;
use crate::handlers::checkout::{Address, Problems};
use crate::handlers::devices::Device;
use crate::money::Currency;
use crate::orders::Order;
use crate::preferences::Theme;
use crate::stock::Stock;
use crate::visitor::Page;

const EMPTY_TIN: &str = include_str!("art/empty-tin.svg");

/// Answers with a page. Pages are personal: nobody but the visitor's own browser may keep them.
pub(crate) struct View<T>(pub(crate) T);

impl<T: Template> IntoResponse for View<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(html) => ([(header::CACHE_CONTROL, "private, no-cache")], Html(html)).into_response(),
            Err(error) => {
                eprintln!("cannot draw a page: {error}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

#[derive(Template)]
#[template(path = "window.html")]
pub(crate) struct Window {
    pub(crate) page: Page,
    pub(crate) stock: Stock,
}

#[derive(Template)]
#[template(path = "product.html")]
pub(crate) struct ProductPage {
    pub(crate) page: Page,
    pub(crate) product: &'static Product,
    pub(crate) stock: Stock,
}

#[derive(Template)]
#[template(path = "cart.html")]
pub(crate) struct CartPage {
    pub(crate) page: Page,
    pub(crate) stock: Stock,
    pub(crate) quote: Quote,
}

#[derive(Template)]
#[template(path = "login.html")]
pub(crate) struct LoginPage {
    pub(crate) page: Page,
    pub(crate) next: String,
}

#[derive(Template)]
#[template(path = "confirmation.html")]
pub(crate) struct ConfirmationPage {
    pub(crate) page: Page,
    pub(crate) account: String,
    pub(crate) next: String,
}

#[derive(Template)]
#[template(path = "devices.html")]
pub(crate) struct DevicesPage {
    pub(crate) page: Page,
    pub(crate) devices: Vec<Device>,
}

#[derive(Template)]
#[template(path = "checkout.html")]
pub(crate) struct CheckoutPage {
    pub(crate) page: Page,
    pub(crate) quote: Quote,
    pub(crate) address: Address,
    pub(crate) problems: Problems,
}

#[derive(Template)]
#[template(path = "order.html")]
pub(crate) struct OrderPage {
    pub(crate) page: Page,
    pub(crate) order: Order,
}

#[derive(Template)]
#[template(path = "orders.html")]
pub(crate) struct OrdersPage {
    pub(crate) page: Page,
    pub(crate) orders: Vec<Order>,
}

#[derive(Template)]
#[template(path = "about_you.html")]
pub(crate) struct AboutYouPage {
    pub(crate) page: Page,
    pub(crate) facts: Vec<Fact>,
    pub(crate) handle: Option<Handle>,
}

#[derive(Template)]
#[template(path = "error.html")]
pub(crate) struct ErrorPage {
    pub(crate) page: Page,
    pub(crate) status: StatusCode,
}

impl ErrorPage {
    fn title(&self) -> &'static str {
        match self.status {
            StatusCode::NOT_FOUND => "Nothing but crumbs",
            StatusCode::FORBIDDEN => "That did not come from our shop",
            StatusCode::CONFLICT => "Two hands in one tin",
            StatusCode::SERVICE_UNAVAILABLE => "The oven is resting",
            status if status.is_client_error() => "We could not read that",
            _ => "Something burnt",
        }
    }

    fn advice(&self) -> &'static str {
        match self.status {
            StatusCode::NOT_FOUND => "There is no such page. Perhaps someone ate it, perhaps it was never baked.",
            StatusCode::FORBIDDEN => "Another site tried to send a form in your name. We did not let it.",
            StatusCode::CONFLICT => {
                "Somebody was quicker, perhaps you in another tab. Please look again and try once more."
            }
            StatusCode::SERVICE_UNAVAILABLE => "We cannot reach our shelves right now. Please try again in a moment.",
            status if status.is_client_error() => "Your browser sent something the shop does not understand.",
            _ => "This one is our fault. Nothing you did was lost; please try again.",
        }
    }
}
