//! What the layer promises, tried in one process: a browser that keeps cookies, a clock that stands still, handlers made
//! up on the spot. No axum here: any tower service will do.

mod browser;
mod commits;
mod cookies;
mod lifetimes;
mod parts;
mod renewals;
