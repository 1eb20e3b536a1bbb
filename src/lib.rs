//! Session state for tower and axum.

mod clock;
mod error;
mod random;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "nothing seals yet"))]
mod seal;

pub use clock::{Clock, SystemClock, Timestamp};
pub use error::{ConfigError, Error, ErrorKind};
pub use seal::{Key, KeyRing};
