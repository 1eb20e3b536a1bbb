//! The Sealed Tin: a small biscuit shop, and a tour of `session-state`.
//!
//! ```console
//! $ cargo run --release --features sqlite,postgres,mysql --example shopping_cart
//! ```
//!
//! then open <http://localhost:3000>. Nothing has to be set up: sessions, carts and orders are kept in a file of
//! SQLite, `shopping-cart.db`, and are still there when the shop comes back. Other choices go behind `--`:
//!
//! - `--port 8080`, or the environment variable `PORT`;
//! - `--database postgres://…` or `mysql://…`, or `DATABASE_URL`. Any number of shops may share a database.
//!
//! | what | where it lives |
//! | --- | --- |
//! | the cart ([`cart::Cart`]) | a part in a table of the shop, `cart_items`, a row for each product |
//! | the checkout form ([`handlers::checkout::Checkout`]) | a part in the session's record, on the server |
//! | flash messages ([`visitor::Flash`]), who is logged in and on which [`device`] | the session's record |
//! | currency and theme ([`preferences::Preferences`]) | a part in an encrypted cookie of its own |
//! | orders ([`orders::Order`]) and what is on the shelves ([`stock::Stock`]) | no session at all: they outlive it |
//!
//! Handlers do not know any of this. [`sessions`] decides it, in one place. One handler wants more than a session: the
//! order that comes out of a cart, in one transaction with what goes from the cart; see [`till`].

mod accounts;
mod cart;
mod catalog;
mod database;
mod device;
mod handlers;
mod humanize;
mod middleware;
mod money;
mod options;
mod orders;
mod pages;
mod preferences;
mod server;
mod stock;
mod till;
mod visitor;

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, map_response};
use session_state::{InCookie, InTables, Key, KeyRing, SessionLayer, SessionLimitPolicy};
use tower_http::csrf::CsrfLayer;

use crate::cart::Cart;
use crate::database::Database;
use crate::handlers::Shop;
use crate::options::Options;
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
    let options = Options::read(env::args().skip(1), |name| env::var(name).ok())?;
    let listener = server::listen(options.port).await?;
    let database = Database::open(&options.database).await?;
    let sessions = sessions(&database).await?;
    tokio::spawn(sessions.sweeper(Duration::from_secs(60)));
    println!("sessions, carts and orders are in {}", database.describe());
    println!("listening on http://localhost:{}", listener.local_addr()?.port());
    server::serve(listener, app(sessions, database.clone())?).await?;
    database.close().await;
    Ok(())
}

/// Decides where the state of a visitor lives and how long.
async fn sessions(database: &Database) -> Result<SessionLayer, Box<dyn Error>> {
    // The sessions in a store, and the carts in a table beside them.
    let store = database.sessions();
    store.migrate().await?;
    let carts = InTables::new(&store).add_collection("lines", "cart_items", &["sku"]);
    database.migrate(&carts.schema::<Cart>()?).await?;
    let carts = carts.check::<Cart>().await?;
    Ok(SessionLayer::server(store)
        .with_part::<Cart>(carts)?
        .with_part::<Preferences>(InCookie::encrypted(keys()?).with_default_retention())?
        .with_idle_timeout(Duration::from_secs(30 * 60))
        .with_absolute_timeout(Duration::from_secs(12 * 60 * 60))
        .with_max_sessions(10, SessionLimitPolicy::EvictOldest)?)
}

/// The keys that seal the preferences: 32 random bytes as base64 from `SESSION_KEY`, the same on every node.
///
/// Without it, each start generates a new key, and visitors lose their preferences when the shop restarts.
fn keys() -> Result<KeyRing, Box<dyn Error>> {
    Ok(match env::var("SESSION_KEY") {
        Ok(key) => KeyRing::new(Key::from_base64(&key)?),
        Err(_) => KeyRing::generate()?,
    })
}

/// Puts the layers around the routes. The last one is the first to see a request.
fn app(sessions: SessionLayer, database: Database) -> Result<Router, Box<dyn Error>> {
    let shop = Shop { database, sessions: sessions.sessions()? };
    Ok(handlers::routes()?
        .layer(CsrfLayer::new())
        .layer(from_fn(middleware::explain_errors))
        .layer(sessions)
        .layer(map_response(middleware::explain_unsaved))
        .merge(handlers::assets())
        .layer(map_response(middleware::protect))
        .layer(from_fn(middleware::log))
        .with_state(shop))
}
