//! The middleware: when a session is loaded and saved.
//!
//! 1. A request comes in. Its `Cookie` headers are set aside, and an unopened session goes into its extensions. That is
//!    all for a request whose handler does not ask.
//! 2. An extractor loads the session, once, from wherever it lives.
//! 3. The handler answers. Before the head of the response goes on, what it did is committed, so a redirect never
//!    overtakes its data. `Set-Cookie`, `Cache-Control` and `Vary` are added as they are needed.
//! 4. A commit that fails replaces the response: the client is not told of a success that did not happen.
//!
//! A panic commits nothing.

mod future;
mod layer;
mod observers;
mod recent_login;
mod revocations;
mod service;
mod sessions;

pub use future::ResponseFuture;
pub use layer::SessionLayer;
pub use recent_login::{RecentLoginService, RequireRecentLogin, require_recent_login};
pub use revocations::Revocations;
pub use service::SessionService;
pub use sessions::{SessionInfo, Sessions};
