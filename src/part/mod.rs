//! Parts: typed pieces of a session, each with its own place.

mod in_cookie;
mod in_store;
pub(crate) mod in_tables;
mod merge;
mod placement;
mod session_part;

pub use in_cookie::InCookie;
pub use in_store::InStore;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use in_tables::{InTables, SqlEngine, Tables};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) use in_tables::{Mapped, RowDialect};
pub(crate) use in_tables::{MappedPart, RowDatabase, RowWrites};
pub(crate) use merge::{Codec, Collection, TextChange, overlap};
pub(crate) use placement::AnyPlacement;
pub use placement::{PartPlace, Placement};
pub use session_part::SessionPart;
