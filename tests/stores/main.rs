//! The stores on the servers they are for, each started by the tests from its own binary. See `harness`.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]

#[macro_use]
mod harness;

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sql;
