//! The stores on the servers they are for, each started by the tests from its own binary. See `harness`.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]

#[path = "../layer/browser.rs"]
mod browser;

#[macro_use]
mod adapters;
#[macro_use]
mod harness;

mod faults;
mod outages;
mod round_trips;

#[cfg(feature = "redis")]
mod redis;
