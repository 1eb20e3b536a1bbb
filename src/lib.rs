//! Session state for tower and axum.

mod clock;
mod error;
mod event;
mod random;
mod record;
pub mod store;

pub use clock::{Clock, SystemClock, Timestamp};
pub use error::{ConfigError, Error, ErrorKind};
pub use event::{Observer, SessionEvent};
pub use record::Lifetime;
pub use record::lifetime::Expiry;
pub use store::{Handle, MemoryStore};
