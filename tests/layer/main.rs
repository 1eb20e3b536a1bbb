//! What the layer promises, tried in one process: a browser that keeps cookies, a clock that stands still, handlers made
//! up on the spot. No axum here: any tower service will do.

#![expect(clippy::unwrap_used, reason = "a test may panic, and its helpers with it")]

mod at_rest;
mod browser;
mod commits;
mod cookies;
mod events;
mod faults;
mod interleavings;
mod lifetimes;
mod model;
mod parts;
mod parts_in_stores;
mod principals;
mod random;
mod recent_login;
mod renewals;
mod resent;
mod revocation;
mod revocation_races;
#[cfg(feature = "tracing")]
mod spans;
mod threads;
