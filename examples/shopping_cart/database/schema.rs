//! The tables of the shop, created at the first start.

use sqlx::{AssertSqlSafe, Error};

use super::{Connection, Database, Value, each_engine};
use crate::catalog::PRODUCTS;

/// How many tins there are, what was ordered, and the lines of it.
const TABLES: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS stock (
        sku VARCHAR(64) NOT NULL PRIMARY KEY,
        tins BIGINT NOT NULL CHECK (tins >= 0)
    )",
    "CREATE TABLE IF NOT EXISTS orders (
        number BIGINT NOT NULL PRIMARY KEY,
        owner VARCHAR(255) NOT NULL,
        recipient VARCHAR(1000) NOT NULL,
        currency VARCHAR(3) NOT NULL CHECK (currency IN ('EUR', 'USD', 'GBP')),
        total BIGINT NOT NULL CHECK (total >= 0),
        placed_at BIGINT NOT NULL,
        UNIQUE (owner, placed_at, number)
    )",
    "CREATE TABLE IF NOT EXISTS order_lines (
        order_number BIGINT NOT NULL,
        sku VARCHAR(64) NOT NULL,
        name VARCHAR(255) NOT NULL,
        quantity BIGINT NOT NULL CHECK (quantity > 0),
        unit_price BIGINT NOT NULL CHECK (unit_price >= 0),
        PRIMARY KEY (order_number, sku),
        FOREIGN KEY (order_number) REFERENCES orders (number),
        FOREIGN KEY (sku) REFERENCES stock (sku)
    )",
];

impl Database {
    /// Creates the missing tables: the shop's, and those of the `carts`. Stocks new products.
    ///
    /// Nodes that start at once take turns.
    pub(crate) async fn migrate(&self, carts: &str) -> Result<(), Error> {
        let (begin, end, options) = match self {
            Self::Sqlite(_) => ("BEGIN IMMEDIATE", "COMMIT", ""),
            Self::Postgres(_) => ("BEGIN; SELECT pg_advisory_xact_lock(84736)", "COMMIT", ""),
            // DDL is not transactional there, and the default collation ignores case.
            Self::MySql(_) => (
                "SELECT GET_LOCK('the sealed tin', 60)",
                "SELECT RELEASE_LOCK('the sealed tin')",
                " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            ),
        };
        let tables = TABLES.map(|table| format!("{table}{options};\n")).concat();
        each_engine!(Database, self, pool => {
            let mut connection = pool.acquire().await?;
            sqlx::raw_sql(begin).execute(&mut *connection).await?;
            sqlx::raw_sql(AssertSqlSafe(tables + carts)).execute(&mut *connection).await?;
            fill_new_shelves(&mut Connection::from(&mut *connection)).await?;
            sqlx::raw_sql(end).execute(&mut *connection).await?;
        });
        Ok(())
    }
}

/// Stocks products that have no row yet. A sold-out product stays sold out.
async fn fill_new_shelves(connection: &mut Connection<'_>) -> Result<(), Error> {
    for product in &PRODUCTS {
        let sku = Value::Text(product.sku);
        if connection.fetch("SELECT sku FROM stock WHERE sku = ?", &[sku]).await?.is_empty() {
            let tins = Value::Number(product.first_delivery);
            connection.execute("INSERT INTO stock (sku, tins) VALUES (?, ?)", &[sku, tins]).await?;
        }
    }
    Ok(())
}
