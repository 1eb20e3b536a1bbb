//! What handlers see: [`Session`], and how a tower service gets at it.

#[cfg(feature = "axum")]
mod extract;
mod identity;
mod json;
mod loader;
mod part;
mod part_slot;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod part_transaction;
#[expect(clippy::module_inception, reason = "the type that the folder is about")]
mod session;
mod shared;

pub(crate) use json::{from_json, to_json};
pub use loader::SessionLoader;
pub(crate) use loader::insert;
pub use part::{Part, PartInfo};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use part_transaction::PartTransaction;
pub use session::{Main, Session};
pub(crate) use shared::{Effects, Shared};
