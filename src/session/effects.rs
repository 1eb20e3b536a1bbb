//! [`Effects`] of a request's session on its response.

use http::HeaderValue;

use crate::error::Error;

/// Effects of the session on the response.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) cookies: Vec<HeaderValue>,
    /// Whether the handler used the session, so that the response depends on the cookie.
    pub(crate) looked: bool,
    /// Replaces the handler's response when its changes could not be saved.
    pub(crate) error: Option<Error>,
    /// An error that a call has returned to the handler.
    pub(crate) returned: Option<Error>,
}
