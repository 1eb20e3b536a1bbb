//! The routes, and what the handlers behind them have in common.
//!
//! Every change is a `POST` that answers with a redirect, so that reloading a page never repeats it.

pub(crate) mod about_you;
mod browse;
mod cart;
pub(crate) mod checkout;
pub(crate) mod devices;
mod login;
mod orders;
mod preferences;

use axum::Router;
use axum::extract::FromRef;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use session_state::{ConfigError, Sessions};

use crate::database::Database;

/// What handlers work with beside the visitor's own session.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) database: Database,
    pub(crate) sessions: Sessions,
}

impl FromRef<Shop> for Database {
    fn from_ref(shop: &Shop) -> Self {
        shop.database.clone()
    }
}

impl FromRef<Shop> for Sessions {
    fn from_ref(shop: &Shop) -> Self {
        shop.sessions.clone()
    }
}

/// Every page and every form.
pub(crate) fn routes() -> Result<Router<Shop>, ConfigError> {
    Ok(Router::new()
        .route("/", get(browse::window))
        .route("/biscuits/{sku}", get(browse::product))
        .route("/cart", get(cart::show))
        .route("/cart/add", post(cart::add))
        .route("/cart/change", post(cart::change))
        .route("/cart/remove", post(cart::remove))
        .route("/checkout", get(checkout::show).post(checkout::place))
        .route("/orders", get(orders::list))
        .route("/orders/{number}", get(orders::show))
        .route("/login", get(login::show).post(login::login))
        .route("/logout", post(login::logout))
        .route("/confirm", get(login::ask).post(login::confirm))
        .route("/devices", get(devices::list))
        .route("/devices/end", post(devices::end))
        .route("/devices/end-others", post(devices::end_others).route_layer(devices::guard()?))
        .route("/preferences", post(preferences::save))
        .route("/about-you", get(about_you::show))
        .route("/forget-me", post(about_you::forget))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .method_not_allowed_fallback(|| async { StatusCode::METHOD_NOT_ALLOWED }))
}

/// Public assets, which need no session.
pub(crate) fn assets() -> Router<Shop> {
    Router::new()
        .route("/style.css", get(|| async { asset("text/css; charset=utf-8", include_str!("../style.css")) }))
        .route("/favicon.svg", get(|| async { asset("image/svg+xml", include_str!("../art/favicon.svg")) }))
}

fn asset(media_type: &'static str, content: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "public, max-age=3600")], content)
}

/// Why a handler has no page to show.
pub(crate) enum Failure {
    NotFound,
    Session(session_state::Error),
    Database(sqlx::Error),
}

impl From<session_state::Error> for Failure {
    fn from(error: session_state::Error) -> Self {
        Self::Session(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND.into_response(),
            Self::Session(error) => error.into_response(),
            Self::Database(error) => {
                eprintln!("database: {error}");
                match error {
                    sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                    _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                }
            }
        }
    }
}

/// A path within this shop, which prevents open redirects.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "String")]
struct LocalPath(String);

impl From<String> for LocalPath {
    fn from(path: String) -> Self {
        let harmless = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        if harmless && path.starts_with('/') && !path.starts_with("//") { Self(path) } else { Self::default() }
    }
}

impl Default for LocalPath {
    fn default() -> Self {
        Self("/".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_to_another_site_leads_home() {
        for path in ["//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "", "cart"] {
            assert_eq!(LocalPath::from(path.to_owned()).0, "/", "{path:?}");
        }
        assert_eq!(LocalPath::from("/orders/TIN-482190347".to_owned()).0, "/orders/TIN-482190347");
    }
}
