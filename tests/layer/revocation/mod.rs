//! State in cookies that can be ended before its time.
//!
//! Two layers with the same keys and one store stand for two nodes; each has a store that fails on demand before the
//! one they share, and a clock of its own unless they are told the same time.

mod failures;
mod from_outside;
mod logout;
mod long_sessions;
mod round_trips;
mod support;
