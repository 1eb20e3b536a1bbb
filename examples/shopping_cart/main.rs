//! The Sealed Tin: a small biscuit shop, and a tour of `session-state`.
//!
//! ```sh
//! cargo run --release --example shopping_cart
//! ```
//!
//! then open <http://localhost:3000>. Another port: `-- --port 8080`, or the environment variable `PORT`.
//!
//! | what | where it lives |
//! | --- | --- |
//! | the cart ([`cart::Cart`]) and the checkout form ([`handlers::checkout::Checkout`]) | parts in the session's record, on the server |
//! | flash messages ([`visitor::Flash`]) and who is logged in | values of the session's record |
//! | currency and theme ([`preferences::Preferences`]) | a part in an encrypted cookie of its own |
//! | orders ([`orders::OrderBook`]) | no session at all: they outlive it |
//!
//! Handlers do not know any of this. [`sessions`] decides it, in one place.

mod accounts;
mod cart;
mod catalog;
mod handlers;
mod humanize;
mod middleware;
mod money;
mod options;
mod orders;
mod pages;
mod preferences;
mod server;
mod visitor;

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, map_response};
use session_state::{InCookie, KeyRing, MemoryStore, SessionLayer};
use tower_http::csrf::CsrfLayer;

use crate::orders::OrderBook;
use crate::preferences::Preferences;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shopping_cart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let port = options::port(env::args().skip(1), env::var("PORT").ok())?;
    let listener = server::listen(port).await?;
    let sessions = sessions()?;
    tokio::spawn(sessions.sweeper(Duration::from_secs(60)));
    println!("listening on http://localhost:{}", listener.local_addr()?.port());
    server::serve(listener, app(sessions)).await?;
    Ok(())
}

/// Decides where the state of a visitor lives and how long.
///
/// The key is made anew at each start, so preferences are forgotten when the shop restarts, as carts are. A shop that
/// means to keep them reads its keys from a secret store.
fn sessions() -> Result<SessionLayer, Box<dyn Error>> {
    Ok(SessionLayer::server(MemoryStore::new())
        .with_part::<Preferences>(InCookie::encrypted(KeyRing::generate()?).free_standing())
        .with_idle_timeout(Duration::from_secs(30 * 60))
        .with_absolute_timeout(Duration::from_secs(12 * 60 * 60)))
}

/// Puts the layers around the routes. The last one is the first to see a request.
fn app(sessions: SessionLayer) -> Router {
    handlers::routes()
        .layer(CsrfLayer::new())
        .layer(from_fn(middleware::explain_errors))
        .layer(sessions)
        .merge(handlers::assets())
        .layer(map_response(middleware::protect))
        .layer(from_fn(middleware::log))
        .with_state(OrderBook::default())
}
