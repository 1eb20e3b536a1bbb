//! The layer in one process: a browser with a cookie jar, a fake clock, and handlers defined in the tests. No axum: any
//! tower service works.

#![expect(clippy::unwrap_used, reason = "tests and their helpers may panic")]

mod at_rest;
mod bodies;
mod browser;
mod closures;
mod commits;
mod cookie_login_calls;
mod cookie_logins;
mod cookies;
mod dead_ids;
mod deploy_cookies;
mod deploys;
mod discards;
mod dropped;
mod drops;
mod duplicate_cookies;
mod ended;
mod ended_ids;
mod events;
mod exhaustive;
mod failures;
mod faults;
mod interleavings;
mod jar;
mod jitter;
mod keep_alive;
mod late_cookies;
mod lifetimes;
mod messages;
mod model;
mod orphans;
mod panics;
mod part_failures;
mod part_kit;
mod part_merges;
mod part_moves;
mod part_removals;
mod part_rivals;
mod part_round_trips;
mod parts;
mod parts_in_stores;
mod paused;
mod peeks;
mod principals;
mod random;
mod random_counts;
mod random_logouts;
mod recent_login;
mod renewals;
mod replaced_ids;
mod resent;
mod revocation;
mod revocation_races;
mod saves;
mod setup;
mod sizes;
mod skewed_clocks;
#[cfg(feature = "tracing")]
mod spans;
mod takes;
mod threads;
mod turns;
mod twice;
mod two_layers;
