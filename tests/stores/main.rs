//! The stores on real servers, each started by the tests from its own binary. See `harness`.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests and their helpers may panic")]
#![cfg_attr(
    not(any(feature = "memcached", feature = "mongodb", feature = "mysql", feature = "postgres", feature = "redis")),
    expect(dead_code, unused_macros, reason = "without a store most of the harness is unused")
)]

#[macro_use]
mod harness;

#[macro_use]
mod adapters;
mod any;
mod at_rest;
#[path = "../layer/browser.rs"]
#[expect(dead_code, reason = "only a part of it is used here")]
mod browser;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod carts;
mod cookies;
mod devices;
mod dropped;
#[path = "../layer/drops.rs"]
#[expect(dead_code, reason = "only a part of it is used here")]
mod drops;
mod faults;
#[cfg(feature = "memcached")]
mod memcached;
#[cfg(feature = "mongodb")]
mod mongodb;
mod nginx;
mod nodes;
mod outages;
#[path = "../layer/paused.rs"]
#[expect(dead_code, reason = "only a part of it is used here")]
mod paused;
#[cfg(any(feature = "memcached", feature = "mongodb"))]
mod records;
#[cfg(feature = "redis")]
mod redis;
mod round_trips;
#[cfg(all(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod shop;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sql;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "only a part of it is used here")]
mod support;
