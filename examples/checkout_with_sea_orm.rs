//! A checkout with SeaORM: the rows of a cart become those of an order, by entities of SeaORM.
//!
//! ```console
//! $ cargo run --features sqlite --example checkout_with_sea_orm
//! ```
//!
//! A POST to <http://localhost:3000/cart/shortbread> adds to the cart of its cookie, and one to `/check-out` orders it.
//! The session layer uses the pool of sqlx that is under the `DatabaseConnection` of SeaORM. The entities of the order
//! are written by [`OnConnection`], in the transaction that the session layer has begun.

use std::error::Error;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::post;
use sea_orm::prelude::async_trait::async_trait;
use sea_orm::sea_query::Values;
use sea_orm::{
    ActiveModelTrait as _, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, EntityTrait as _,
    ExecResult, QueryResult, RuntimeErr, Set, Statement,
};
use sea_query_sqlx::SqlxValues;
use serde::{Deserialize, Serialize};
use session_state::{InTables, Part, SessionLayer, SessionPart, SqliteStore};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS cart_items (
    session BLOB NOT NULL REFERENCES session_state (handle) ON DELETE CASCADE,
    sku TEXT NOT NULL,
    quantity INTEGER NOT NULL,
    PRIMARY KEY (session, sku)
) STRICT;
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, sum INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS order_lines (
    id INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL REFERENCES orders (id),
    sku TEXT NOT NULL,
    quantity INTEGER NOT NULL
) STRICT;";

mod order {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "orders")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) sum: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod order_line {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "order_lines")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) order_id: i64,
        pub(crate) sku: String,
        pub(crate) quantity: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(crate) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The session layer keeps it in `cart_items`.
#[derive(Default, Serialize, Deserialize)]
struct Cart {
    lines: Vec<Line>,
}

#[derive(Clone, Serialize, Deserialize)]
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

async fn check_out(mut cart: Part<Cart>) -> Result<String, (StatusCode, String)> {
    match place_order(&mut cart).await {
        Ok(lines) if lines.is_empty() => Ok("There is nothing to order, or you have ordered it already.\n".to_owned()),
        Ok(lines) => Ok(lines.iter().map(|line| format!("{} × {}\n", line.quantity, line.sku)).collect()),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, format!("Nothing was ordered: {error}\n"))),
    }
}

async fn place_order(cart: &mut Part<Cart>) -> Result<Vec<Line>, Failure> {
    let Some(mut checkout) = cart.begin::<Sqlite>().await? else { return Ok(Vec::new()) };
    let lines = checkout.lines.clone();
    let transaction = OnConnection::new(checkout.connection());
    let sum = lines.iter().map(|line| line.quantity).sum();
    let order = order::ActiveModel { sum: Set(sum), ..Default::default() }.insert(&transaction).await?;
    let of_order = |Line { sku, quantity }: Line| order_line::ActiveModel {
        order_id: Set(order.id),
        sku: Set(sku),
        quantity: Set(quantity),
        ..Default::default()
    };
    order_line::Entity::insert_many(lines.iter().cloned().map(of_order)).exec(&transaction).await?;
    checkout.commit().await?;
    Ok(lines)
}

/// Runs the statements of SeaORM on a connection of sqlx.
///
/// For PostgreSQL write `PgConnection`, `Postgres` and `DbBackend::Postgres`, for MySQL accordingly.
struct OnConnection<'c>(Mutex<&'c mut SqliteConnection>);

impl<'c> OnConnection<'c> {
    fn new(connection: &'c mut SqliteConnection) -> Self {
        Self(Mutex::new(connection))
    }
}

fn query(Statement { sql, values, .. }: Statement) -> Query<'static, Sqlite, SqlxValues> {
    sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values.unwrap_or(Values(Vec::new()))))
}

fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(error.into()))
}

#[async_trait]
impl ConnectionTrait for OnConnection<'_> {
    fn get_database_backend(&self) -> DbBackend {
        DbBackend::Sqlite
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let result = query(statement).execute(&mut **self.0.lock().await).await;
        result.map(Into::into).map_err(failed)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let result = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **self.0.lock().await).await;
        result.map(Into::into).map_err(failed)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let row = query(statement).fetch_optional(&mut **self.0.lock().await).await;
        row.map(|row| row.map(Into::into)).map_err(failed)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let rows = query(statement).fetch_all(&mut **self.0.lock().await).await;
        rows.map(|rows| rows.into_iter().map(Into::into).collect()).map_err(failed)
    }
}

pub(crate) async fn app(file: &str) -> Result<Router, Failure> {
    let database: DatabaseConnection = Database::connect(format!("sqlite:{file}?mode=rwc")).await?;
    let store = SqliteStore::new(database.get_sqlite_connection_pool().clone());
    store.migrate().await?;
    database.execute_unprepared(SCHEMA).await?;
    let cart = InTables::new(&store).add_collection("lines", "cart_items", &["sku"]).check::<Cart>().await?;
    let sessions = SessionLayer::server(store).with_part::<Cart>(cart)?;
    Ok(Router::new().route("/cart/{sku}", post(add)).route("/check-out", post(check_out)).layer(sessions))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let app = app("checkout.db").await?;
    Ok(axum::serve(TcpListener::bind("localhost:3000").await?, app).await?)
}
