//! Session state for tower and axum.

mod base64url;
mod clock;
mod cookie;
mod error;
mod event;
mod middleware;
mod part;
mod random;
mod record;
mod seal;
mod session;
mod state;
pub mod store;
#[cfg(feature = "test-kit")]
pub mod test_kit;

pub use clock::{Clock, SystemClock, Timestamp};
pub use cookie::{CookieConfig, CookieLifetime, SameSite};
pub use error::{ConfigError, Error, ErrorKind};
pub use event::{Observer, SessionEvent};
pub use middleware::{ResponseFuture, SessionLayer, SessionService};
pub use part::{InCookie, Placement, SessionPart};
pub use record::Lifetime;
pub use record::lifetime::Expiry;
pub use seal::{Key, KeyRing};
pub use session::{Main, Part, PartInfo, Session, SessionLoader};
pub use state::{ConflictPolicy, CookieState, ServerErrorPolicy};
pub use store::{Handle, MemoryStore};
