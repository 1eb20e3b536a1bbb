//! Ends state in cookies before its time, by what a store remembers of it.

mod cache;
mod cutoff;
mod list;
mod settings;

pub(super) use cutoff::Login;
pub(crate) use list::RevocationList;
pub(crate) use settings::Revocation;
