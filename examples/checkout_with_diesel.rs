//! A checkout with Diesel: the rows of a cart become those of an order, in a transaction of Diesel.
//!
//! ```console
//! $ cargo run --features sqlite --example checkout_with_diesel
//! ```
//!
//! A POST to <http://localhost:3000/cart/shortbread> adds to the cart of its cookie, and one to `/check-out` orders it.
//! Sessions, carts and orders are in the file `checkout.db`. The session layer has a pool of sqlx, and Diesel has
//! connections of its own. The first statement of Diesel's transaction comes from [`Part::lock_statement`]: it locks
//! the session, so that no other request changes the cart meanwhile.

use std::error::Error;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Text;
use diesel::{
    Connection as _, ExpressionMethods as _, Insertable, QueryDsl as _, QueryResult, Queryable, RunQueryDsl as _,
    Selectable, SelectableHelper as _, SqliteConnection, sql_query,
};
use serde::{Deserialize, Serialize};
use session_state::{InTables, LockStatement, Part, SessionLayer, SessionPart, SqliteStore};
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

use self::schema::{cart_items, order_lines};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// How often a checkout begins again when other requests of the session are faster.
const ATTEMPTS: usize = 10;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS cart_items (
    session BLOB NOT NULL REFERENCES session_state (handle) ON DELETE CASCADE,
    sku TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    PRIMARY KEY (session, sku)
) STRICT;
CREATE TABLE IF NOT EXISTS order_lines (id INTEGER PRIMARY KEY, sku TEXT NOT NULL, quantity INTEGER NOT NULL) STRICT;";

mod schema {
    diesel::table! {
        cart_items (session, sku) {
            session -> Binary,
            sku -> Text,
            quantity -> BigInt,
        }
    }

    diesel::table! {
        order_lines (id) {
            id -> BigInt,
            sku -> Text,
            quantity -> BigInt,
        }
    }
}

/// The session layer keeps it in `cart_items`.
#[derive(Default, Serialize, Deserialize)]
struct Cart {
    lines: Vec<Line>,
}

/// A row of `cart_items` for both serde and Diesel, and a row of `order_lines`.
#[derive(Serialize, Deserialize, Queryable, Selectable, Insertable)]
#[diesel(table_name = cart_items)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite))]
struct Line {
    sku: String,
    quantity: i64,
}

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

async fn add(Path(sku): Path<String>, mut cart: Part<Cart>) {
    cart.update(move |cart| match cart.lines.iter_mut().find(|line| line.sku == sku) {
        Some(line) => line.quantity += 1,
        None => cart.lines.push(Line { sku: sku.clone(), quantity: 1 }),
    });
}

async fn check_out(State(file): State<String>, mut cart: Part<Cart>) -> Result<String, (StatusCode, String)> {
    match place_order(file, &mut cart).await {
        Ok(lines) if lines.is_empty() => Ok("There is nothing to order, or you have ordered it already.\n".to_owned()),
        Ok(lines) => Ok(lines.iter().map(|line| format!("{} × {}\n", line.quantity, line.sku)).collect()),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, format!("Nothing was ordered: {error}\n"))),
    }
}

async fn place_order(file: String, cart: &mut Part<Cart>) -> Result<Vec<Line>, Failure> {
    for _ in 0..ATTEMPTS {
        let Some(lock) = cart.lock_statement().await? else { return Ok(Vec::new()) };
        let file = file.clone();
        if let Some(lines) = spawn_blocking(move || take(&file, &lock)).await?? {
            return Ok(lines);
        }
    }
    Err("other requests keep changing the session".into())
}

/// Turns the rows of the cart into an order. Returns `None` if the session has changed since the statement was made.
fn take(file: &str, lock: &LockStatement) -> Result<Option<Vec<Line>>, Failure> {
    let mut connection = SqliteConnection::establish(file)?;
    connection.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON")?;
    let taken: QueryResult<_> = connection.immediate_transaction(|connection| {
        let locked = sql_query(lock.sql()).bind::<Text, _>(lock.data()).execute(connection)?;
        if locked == 0 {
            return Ok(None);
        }
        let session = lock.session();
        let rows = cart_items::table.filter(cart_items::session.eq(&session.as_bytes()[..]));
        let lines: Vec<Line> = rows.select(Line::as_select()).order(cart_items::sku).load(connection)?;
        for Line { sku, quantity } in &lines {
            let columns = (order_lines::sku.eq(sku), order_lines::quantity.eq(quantity));
            diesel::insert_into(order_lines::table).values(columns).execute(connection)?;
        }
        diesel::delete(rows).execute(connection)?;
        Ok(Some(lines))
    });
    Ok(taken?)
}

pub(crate) async fn app(file: &str) -> Result<Router, Failure> {
    let store = SqliteStore::connect(&format!("sqlite:{file}")).await?;
    store.migrate().await?;
    SqliteConnection::establish(file)?.batch_execute(SCHEMA)?;
    let cart = InTables::new(&store).add_collection("lines", "cart_items", &["sku"]).check::<Cart>().await?;
    let sessions = SessionLayer::server(store).with_part::<Cart>(cart)?;
    let app = Router::new().route("/cart/{sku}", post(add)).route("/check-out", post(check_out));
    Ok(app.with_state(file.to_owned()).layer(sessions))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let app = app("checkout.db").await?;
    Ok(axum::serve(TcpListener::bind("localhost:3000").await?, app).await?)
}
