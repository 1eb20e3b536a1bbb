//! The guide: how to use the crate, its guarantees, and the reasons for its design.
//!
//! - [`quick_start`]: from nothing to a session, a login and a logout.
//! - [`timeouts`]: the lifetime of sessions, and "remember me".
//! - [`keys`]: creating, storing and rotating the keys that seal cookies.
//! - [`parts`]: typed pieces of a session, each with its own place.
//! - [`places`]: which state goes where.
//! - [`tables`]: parts in tables of the application, and how they become record data.
//! - [`accounts`]: logins, devices, and revocation.
//! - [`recipes`]: short answers, from a login in a test to state in cookies behind nginx.
//! - [`stores`]: the stores, their contract, and how to write one.
//! - [`events`]: session events, and which ones to alert on.
//! - [`deploys`]: a release that changes an option, and the visitors of the release before it.
//! - [`security`]: the security rules, their sources, and the limitations.
//! - [`design`]: the reasons for the design.
//! - [`comparison`]: other crates, compared by their sources.
//!
//! The tests compile and run every example. Most examples use axum handlers, and are skipped without that feature.

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

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("recipes.md"))]
pub mod recipes {}

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("stores.md"))]
pub mod stores {}

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("events.md"))]
pub mod events {}

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("deploys.md"))]
pub mod deploys {}

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("security.md"))]
pub mod security {}

#[doc = include_str!("design.md")]
pub mod design {}

#[cfg_attr(any(feature = "axum", not(doctest)), doc = include_str!("comparison.md"))]
pub mod comparison {}
