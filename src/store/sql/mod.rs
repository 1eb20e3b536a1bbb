//! Sessions in a table of an SQL database. One implementation, generic over the engine.
//!
//! - `store`: the store, its pool and its statements. `calls`: the calls of a [`Store`](super::Store).
//! - `principals`: the calls about all sessions of a principal; `principal_statements`: their statements.
//! - `rows`: rows of the application's tables, written together with a session.
//! - `statement`: templates with named parameters, and the values bound to them. `columns`: the columns of the table.
//! - `statements`: the statements of a store, in the SQL that all engines share.
//! - `dialect`: the differences between the engines; `sqlite`, `postgres` and `mysql` implement it.
//! - `engine`: the functions that need a concrete engine of sqlx.
//! - `executor`: runs statements on the pool or in a transaction. `pooled_connection`: a connection of the pool;
//!   `pooled_transaction`: a transaction on one.
//! - `read`: reads entries from rows. `table`: the name of the table.

mod calls;
mod columns;
mod dialect;
mod engine;
mod executor;
#[cfg(feature = "mysql")]
mod mysql;
mod pooled_connection;
mod pooled_transaction;
#[cfg(feature = "postgres")]
mod postgres;
mod principal_statements;
mod principals;
mod read;
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement;
mod statements;
mod store;
mod table;

pub(crate) use self::dialect::Dialect;
#[cfg(feature = "mysql")]
pub use self::mysql::MySqlStore;
pub(crate) use self::pooled_transaction::PooledTransaction;
#[cfg(feature = "postgres")]
pub use self::postgres::PostgresStore;
pub(crate) use self::rows::Batch;
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteStore;
#[cfg(test)]
pub(crate) use self::statement::Parameter;
pub(crate) use self::statement::{Call, Statement};
pub use self::store::SqlStore;
pub(crate) use self::table::Table;
