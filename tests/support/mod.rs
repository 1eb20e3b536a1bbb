//! What end-to-end tests need: a real process, real connections, and requests of which every byte is the test's own.

pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod visitor;
