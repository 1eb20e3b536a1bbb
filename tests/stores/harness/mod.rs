//! Real servers for tests.
//!
//! - `process` runs a server as a child on a free port of this machine, with a data directory of its own. It can be killed,
//!   halted and started again, and nothing of it is left when the tests are over, however they end.
//! - `engines` are the servers that we know how to run. Conformance cases share one server of an engine; a test that hurts
//!   its server starts one for itself.
//! - `proxy` stands between a store and its server, counts what passes, and fails as networks do.
//!
//! An address in the environment, such as `SESSION_STATE_TEST_REDIS`, takes the place of the shared server. Without an
//! address and without a binary the test is skipped, which is said, unless `SESSION_STATE_NO_SKIP` is set.

#[macro_use]
mod conformance;

pub(crate) mod engines;
pub(crate) mod process;
pub(crate) mod proxy;

mod proxy_tests;
mod tests;
