//! Real servers for tests.
//!
//! - `process` runs a server as a child on a free port of this machine, with a data directory of its own. It can be
//!   killed, paused and restarted, and leaves nothing behind, however the tests end.
//! - `engines` are the servers that the tests can run. Conformance cases share one server of an engine; a test that
//!   kills or pauses its server starts its own.
//! - `proxy` sits between a store and its server, counts the traffic, and simulates network failures.
//!
//! An address in the environment, such as `SESSION_STATE_TEST_REDIS`, replaces the shared server. Without an address
//! and without a binary the test is skipped with a message; with `SESSION_STATE_NO_SKIP` it fails.

#[macro_use]
mod conformance;

pub(crate) mod engines;
pub(crate) mod process;
pub(crate) mod proxy;

mod proxy_tests;
mod tests;
