//! Session state for tower and axum.

mod clock;
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "the middleware that reads and writes cookies comes next")
)]
mod cookie;
mod error;
mod event;
mod random;
mod record;
pub mod store;

pub use clock::{Clock, SystemClock, Timestamp};
pub use cookie::{CookieConfig, CookieLifetime, SameSite};
pub use error::{ConfigError, Error, ErrorKind};
pub use event::{Observer, SessionEvent};
pub use record::Lifetime;
pub use record::lifetime::Expiry;
pub use store::{Handle, MemoryStore};
