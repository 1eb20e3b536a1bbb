//! State that lives in a store, with the session's ID in the cookie.
//!
//! [`load`] finds the session of a request, and [`commit`] writes its changes: the [plan](commit) is carried out by one
//! [write], a [conflict](conflict) is resolved by replaying the changes, and a [lost reply](pending_write) by checking
//! the store.

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod checkout;
mod commit;
mod conflict;
mod lease;
mod load;
mod local_locks;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod lock_statement;
mod login_limit;
mod new_write;
mod parts;
mod pending_write;
mod preparation;
mod principals;
mod records;
mod second_login;
mod server_state;
mod session_limit;
mod write;

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) use checkout::{Checkout, note_checkout};
pub(super) use commit::Commit;
pub(super) use load::{load, load_part};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use lock_statement::LockStatement;
pub(crate) use principals::Principals;
pub(super) use records::Records;
pub(crate) use server_state::ServerState;
pub(crate) use session_limit::SessionLimit;
pub use session_limit::SessionLimitPolicy;
