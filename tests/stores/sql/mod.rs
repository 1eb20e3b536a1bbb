//! The SQL stores: the suite on each, and tests beyond the contract.
//!
//! `cases` has the tests that all engines share, `references` those for tables that refer to a session, `principals`
//! those for many sessions of one principal, `parts` those for parts in tables, `rights` those for roles
//! with few rights. The modules of the engines run them and add their own.

use std::sync::atomic::{AtomicU32, Ordering};

#[macro_use]
mod cases;
#[macro_use]
pub(crate) mod parts;
#[macro_use]
mod principals;
#[macro_use]
mod references;
#[cfg(feature = "sqlite")]
mod deploys;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "mysql")]
mod mysql_roles;
#[cfg(feature = "postgres")]
#[expect(dead_code, reason = "few of the tests that all engines share are made")]
mod pgbouncer;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_roles;
#[cfg(feature = "postgres")]
mod postgres_types;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod rights;
#[cfg(feature = "sqlite")]
mod sqlite;

/// Returns a table name that is unique across tests and processes.
fn table_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Returns the number in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
