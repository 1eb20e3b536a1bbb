//! Tests of parts in tables: on SQLite here, and on the servers that the environment names.

mod checks;
mod engines;
mod native;
mod plans;
mod shapes;
mod values;
mod writes;
