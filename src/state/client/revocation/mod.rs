//! Revokes sessions in cookies, with marks in a store.

mod cache;
mod check;
mod cutoff;
mod list;
mod settings;

pub(super) use cutoff::Login;
pub(crate) use list::RevocationList;
pub(crate) use settings::Revocation;
