//! Parts in tables of an SQL database. One implementation, generic over the engine.
//!
//! - `in_tables`: the tables that an application names for a part; `tables`: the tables after the check; `table_store`:
//!   the databases that they are in, without the type of the engine.
//! - `shape`: finds the fields of a type by probing its `Deserialize`.
//! - `plan`: the table and the column for each field; `schema` prints the plan as SQL.
//! - `facts`: the tables as the database describes them; `catalog` queries them, and `check` compares a plan with them.
//! - `mapped_table`: a table that was checked; `mapping`: the tables of a part, with the statements for them.
//! - `cell`: values as the texts that are written to columns and read from them.
//! - `difference`: the writes that turn one value into another.
//! - `dialect`: the differences between the engines; `sqlite`, `postgres` and `mysql` implement it. `engine`: the
//!   engines for functions of the application.
//! - `load`: reads the rows of a session; `assembly` turns them into the JSON text of the part.
//! - `mapped`: a part whose tables were checked, and their database.

mod assembly;
mod catalog;
mod cell;
mod check;
mod dialect;
mod difference;
mod engine;
mod facts;
mod in_tables;
mod load;
mod mapped;
mod mapped_table;
mod mapping;
#[cfg(feature = "mysql")]
mod mysql;
mod plan;
#[cfg(feature = "postgres")]
mod postgres;
mod schema;
mod shape;
#[cfg(feature = "sqlite")]
mod sqlite;
mod table_store;
mod tables;
#[cfg(test)]
mod tests;

pub(crate) use self::dialect::RowDialect;
pub use self::engine::SqlEngine;
pub use self::in_tables::InTables;
pub(crate) use self::mapped::Mapped;
pub use self::tables::Tables;
