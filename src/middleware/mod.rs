//! The middleware: when a session is loaded and saved.
//!
//! 1. A request arrives. The layer keeps its `Cookie` headers and puts an unloaded session into its extensions. A
//!    request whose handler does not use the session costs nothing more.
//! 2. An extractor loads the session once, from its store or cookie.
//! 3. The handler answers. Its changes are committed before the response head is sent, so a redirect never overtakes
//!    its data. `Set-Cookie`, `Cache-Control` and `Vary` are added as needed.
//! 4. A commit that fails replaces the response: the client never sees success for a write that failed.
//!
//! A panic of the handler commits nothing, and neither does a response future that is dropped before its commit.

mod at_rest;
mod error_body;
mod future;
mod insecure_page;
mod layer;
mod observers;
mod service;
mod session_limit;

pub(crate) use error_body::failure;
pub use error_body::{BodyOrError, ErrorBody};
pub use future::ResponseFuture;
pub use layer::SessionLayer;
pub use service::SessionService;
