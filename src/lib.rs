//! Session state for tower and axum.

mod clock;
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "the middleware that reads and writes cookies comes next")
)]
mod cookie;
mod error;
mod random;

pub use clock::{Clock, SystemClock, Timestamp};
pub use cookie::{CookieConfig, CookieLifetime, SameSite};
pub use error::{ConfigError, Error, ErrorKind};
