//! Parts in tables of the application.
//!
//! - `mapped_part`: the interface to the rest of the crate, without an engine. `row_writes`: the rows that a request
//!   writes.
//! - `sql`: the implementation for SQL databases.

#![cfg_attr(
    not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
    expect(dead_code, reason = "no engine with tables is compiled in")
)]

mod mapped_part;
mod row_writes;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sql;

pub(crate) use mapped_part::{MappedPart, RowDatabase};
pub(crate) use row_writes::RowWrites;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use sql::{InTables, SqlEngine, Tables};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) use sql::{Mapped, RowDialect};
