//! The middleware: when a session is loaded and saved.
//!
//! 1. A request comes in. Its `Cookie` headers are set aside, and an unopened session goes into its extensions. That is
//!    all for a request whose handler does not ask.
//! 2. An extractor loads the session, once, from wherever it lives.
//! 3. The handler answers. Before the response head is sent, its changes are committed, so a redirect never overtakes
//!    its data. `Set-Cookie`, `Cache-Control` and `Vary` are added as needed.
//! 4. A commit that fails replaces the response: the client never sees success for a write that failed.
//!
//! A panic of the handler commits nothing, and neither does a response future that is dropped before its commit.

mod future;
mod layer;
mod observers;
mod service;
mod session_limit;

pub use future::ResponseFuture;
pub(crate) use future::failure;
pub use layer::SessionLayer;
pub use service::SessionService;
