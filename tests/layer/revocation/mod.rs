//! Revocable state in cookies.
//!
//! Two layers with the same keys and one store stand for two nodes. Each wraps the shared store in one that fails on
//! demand, and has its own clock unless they share one.

mod failures;
mod from_outside;
mod just_ended;
mod logout;
mod long_sessions;
mod round_trips;
mod support;
mod taken_along;
