//! Support for end-to-end tests: a real process, real connections, and full control over the bytes of a request.

pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod visitor;
