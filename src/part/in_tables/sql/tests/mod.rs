//! Tests of parts in tables: on SQLite here, and on the servers that the environment names.

mod checks;
mod engines;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod native;
mod plans;
mod shapes;
mod values;
mod writes;
