//! Accounts: the sessions of a principal, from inside and outside of their own requests.
//!
//! - [`Sessions`] lists and ends sessions in a store.
//! - [`Revocations`] ends sessions in cookies.
//! - [`require_recent_login`] guards routes that need a recent login.

mod recent_login;
mod revocations;
mod sessions;

pub use recent_login::{RecentLoginService, RequireRecentLogin, require_recent_login};
pub use revocations::Revocations;
pub use sessions::{SessionInfo, Sessions};
