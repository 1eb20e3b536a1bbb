//! The guide: how to use the crate, what it promises, and why it is made the way it is.
//!
//! - [`quick_start`]: from nothing to a session, a login and a logout.
//! - [`timeouts`]: how long a session lives, and how one visitor is remembered for longer.
//! - [`keys`]: making, storing and rotating the keys that seal cookies.
//! - [`parts`]: typed pieces of a session, each with a place of its own.
//! - [`places`]: which state goes where.
//! - [`tables`]: parts in tables of the application, and how they become record data.
//! - [`accounts`]: logins, devices, and sessions that are ended from outside.
//! - [`stores`]: what a store must do, and how to write one.
//! - [`events`]: what happens to sessions, and what to be alarmed at.
//! - [`security`]: the rules the crate keeps, where each comes from, and what it cannot do.
//! - [`design`]: why it is made the way it is.
//! - [`comparison`]: what other crates do, read in their sources.
//!
//! Every example in it is compiled and run by the tests. Most have handlers of axum, and are left out of tests without
//! that feature.

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("quick_start.md"))]
pub mod quick_start {}

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("timeouts.md"))]
pub mod timeouts {}

#[doc = include_str!("keys.md")]
pub mod keys {}

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("parts.md"))]
pub mod parts {}

#[doc = include_str!("places.md")]
pub mod places {}

#[cfg_attr(any(all(feature = "axum", feature = "sqlite"), not(doctest)), doc = include_str!("tables.md"))]
pub mod tables {}

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("accounts.md"))]
pub mod accounts {}

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("stores.md"))]
pub mod stores {}

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("events.md"))]
pub mod events {}

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("security.md"))]
pub mod security {}

#[doc = include_str!("design.md")]
pub mod design {}

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("comparison.md"))]
pub mod comparison {}
