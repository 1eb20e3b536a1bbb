//! The guarantees of the crate, end to end: every test starts the probe as a separate process and talks to it over TCP.
//!
//! "Held" requests make races deterministic: such a request has loaded its session and waits for its body, so the test
//! controls what happens in between.

#[path = "../support/mod.rs"]
mod support;

mod adoption;
mod answers;
mod concurrency;
#[cfg(feature = "sqlite")]
mod deploys;
mod devices;
mod headers;
mod lifetimes;
mod logout;
mod parsing;
mod part_conflicts;
mod parts;
mod process;
mod renewal;
mod seals;
