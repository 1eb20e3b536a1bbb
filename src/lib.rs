//! Session state for tower and axum.

mod clock;
mod error;
mod random;
mod record;

pub use clock::{Clock, SystemClock, Timestamp};
pub use error::{ConfigError, Error, ErrorKind};
