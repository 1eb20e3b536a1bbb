//! The API for handlers: [`Session`] and [`Part`], and access to them from a tower service.

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod checkout;
mod effects;
#[cfg(feature = "axum")]
mod extract;
mod failure;
mod finite;
mod handler;
mod identity;
mod json;
mod loader;
mod merge;
mod part;
mod part_info;
mod part_use;
mod removal;
#[expect(clippy::module_inception, reason = "the module of the main type")]
mod session;
mod shared;
mod slots;

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use checkout::PartTransaction;
pub(crate) use effects::Effects;
pub(crate) use handler::Polling;
pub(crate) use json::{check_readable, from_json, to_json};
pub use loader::SessionLoader;
pub use part::{Part, PartOrDefault};
pub use part_info::PartInfo;
pub use session::{Main, Session};
pub(crate) use shared::Shared;
pub(crate) use slots::{Marker, Slots};
