//! The cart: a part in tables, and how it becomes an order.
//!
//! Its rows are in `cart_items`, those of orders in `orders` and `order_lines`. Only states of SQL have it.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use session_state::{Part, SessionPart};

use crate::body::{Body, CartAdd, CartRemove};

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Cart {
    lines: Vec<Line>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) qty: i64,
    pub(crate) unit_price_cents: i64,
}

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

pub(crate) fn router(checkout: MethodRouter) -> Router {
    Router::new()
        .route("/cart", get(show))
        .route("/cart/add", post(add))
        .route("/cart/remove", post(remove))
        .route("/cart/checkout", checkout)
}

async fn show(cart: Part<Cart>) -> Json<Value> {
    Json(json!({ "lines": cart.lines }))
}

/// Adds to the quantity of a product, and takes over the price.
async fn add(mut cart: Part<Cart>, Body(CartAdd { sku, qty, unit_price_cents }): Body<CartAdd>) -> Json<Value> {
    cart.update(move |cart| match cart.lines.iter_mut().find(|line| line.sku == sku) {
        Some(line) => {
            line.qty = line.qty.saturating_add(qty.get().into());
            line.unit_price_cents = unit_price_cents.into();
        }
        None => {
            let line = Line { sku: sku.clone(), qty: qty.get().into(), unit_price_cents: unit_price_cents.into() };
            cart.lines.push(line);
        }
    });
    Json(json!({ "ok": true }))
}

async fn remove(mut cart: Part<Cart>, Body(CartRemove { sku }): Body<CartRemove>) -> Json<Value> {
    cart.update(move |cart| cart.lines.retain(|line| line.sku != sku));
    Json(json!({ "ok": true }))
}

/// What a checkout comes to: the number of the order, or that nothing was pending.
fn ordered(order: Option<i64>) -> Response {
    let status = if order.is_some() { StatusCode::OK } else { StatusCode::CONFLICT };
    (status, Json(json!({ "order_id": order }))).into_response()
}

fn failed(error: &sqlx::Error) -> Response {
    eprintln!("probe: an order was not placed: {error}");
    (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "the order was not placed" }))).into_response()
}

/// Makes a module for an engine: `prepare` makes the tables that are missing and says where the cart lives, `checkout`
/// is the handler that turns the rows of the cart into an order.
macro_rules! engine {
    ($engine:ident, $order:expr, $line:literal, $schema:expr) => {
        use axum::response::{IntoResponse, Response};
        use session_state::store::SqlStore;
        use session_state::{AnyStore, InTables, Part, Tables};
        use sqlx::$engine;

        use super::{Cart, failed, ordered};
        use crate::options::Error;

        pub(crate) async fn prepare(store: &AnyStore) -> Result<Tables<Cart>, Error> {
            let pool = store.downcast_ref::<SqlStore<$engine>>().ok_or("the store is of another engine")?.pool();
            let cart = InTables::new(store).add_collection("lines", "cart_items", &["sku"]);
            let schema = format!("{}{}", cart.schema::<Cart>()?, $schema);
            // Engines may let nodes fail that make a table at the same time; the second time it is there.
            for _ in 0..5 {
                if sqlx::raw_sql(sqlx::AssertSqlSafe(schema.clone())).execute(pool).await.is_ok() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            Ok(cart.check::<Cart>().await?)
        }

        pub(crate) async fn checkout(mut cart: Part<Cart>) -> Response {
            let mut checkout = match cart.begin::<$engine>().await {
                Ok(Some(checkout)) => checkout,
                Ok(None) => return ordered(None),
                Err(error) => return error.into_response(),
            };
            let lines = checkout.lines.clone();
            let placed: Result<i64, sqlx::Error> = async {
                let connection = checkout.connection();
                let order: i64 = $order(connection).await?;
                for line in lines {
                    let insert = sqlx::query::<$engine>($line).bind(order).bind(line.sku);
                    insert.bind(line.qty).bind(line.unit_price_cents).execute(&mut *connection).await?;
                }
                Ok(order)
            }
            .await;
            match placed {
                Ok(order) => match checkout.commit().await {
                    Ok(()) => ordered(Some(order)),
                    Err(error) => error.into_response(),
                },
                Err(error) => failed(&error),
            }
        }
    };
}

#[cfg(feature = "sqlite")]
pub(crate) mod sqlite {
    engine!(
        Sqlite,
        async |connection: &mut sqlx::SqliteConnection| {
            sqlx::query_scalar("INSERT INTO orders DEFAULT VALUES RETURNING id").fetch_one(connection).await
        },
        "INSERT INTO order_lines (order_id, sku, qty, unit_price_cents) VALUES (?, ?, ?, ?)",
        "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY AUTOINCREMENT);
         CREATE TABLE IF NOT EXISTS order_lines (
             order_id INTEGER NOT NULL REFERENCES orders (id),
             sku TEXT NOT NULL,
             qty INTEGER NOT NULL,
             unit_price_cents INTEGER NOT NULL,
             PRIMARY KEY (order_id, sku)
         );"
    );
}

#[cfg(feature = "postgres")]
pub(crate) mod postgres {
    engine!(
        Postgres,
        async |connection: &mut sqlx::PgConnection| {
            sqlx::query_scalar("INSERT INTO orders DEFAULT VALUES RETURNING id").fetch_one(connection).await
        },
        "INSERT INTO order_lines (order_id, sku, qty, unit_price_cents) VALUES ($1, $2, $3, $4)",
        "CREATE TABLE IF NOT EXISTS orders (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
         CREATE TABLE IF NOT EXISTS order_lines (
             order_id BIGINT NOT NULL REFERENCES orders (id),
             sku TEXT NOT NULL,
             qty BIGINT NOT NULL,
             unit_price_cents BIGINT NOT NULL,
             PRIMARY KEY (order_id, sku)
         );"
    );
}

#[cfg(feature = "mysql")]
pub(crate) mod mysql {
    engine!(
        MySql,
        async |connection: &mut sqlx::MySqlConnection| {
            let inserted = sqlx::query("INSERT INTO orders () VALUES ()").execute(connection).await?;
            Ok::<_, sqlx::Error>(inserted.last_insert_id().cast_signed())
        },
        "INSERT INTO order_lines (order_id, sku, qty, unit_price_cents) VALUES (?, ?, ?, ?)",
        "CREATE TABLE IF NOT EXISTS orders (id BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE = InnoDB;
         CREATE TABLE IF NOT EXISTS order_lines (
             order_id BIGINT NOT NULL,
             sku VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
             qty BIGINT NOT NULL,
             unit_price_cents BIGINT NOT NULL,
             PRIMARY KEY (order_id, sku),
             FOREIGN KEY (order_id) REFERENCES orders (id)
         ) ENGINE = InnoDB;"
    );
}
