//! No session at all: what the same answers cost. Subtracted from everybody else.

use std::hint::black_box;
use std::sync::LazyLock;

use axum::Router;
use axum::http::header::{HeaderName, SET_COOKIE};
use axum::routing::get;

use super::{next_replacement, unused};
use crate::scenario::{ONE, SEED, SMALL, value};

pub fn router() -> Router {
    Router::new()
        .route("/unused", get(unused))
        .route("/seed-number", get(seed))
        .route("/seed-small", get(seed))
        .route("/seed-large", get(seed))
        .route("/read", get(read))
        .route("/increment", get(read))
        .route("/read-one", get(read_one))
        .route("/change-one", get(change_one))
}

/// Gives the client a cookie, so that its requests are those that the others get.
async fn seed() -> [(HeaderName, &'static str); 1] {
    [(SET_COOKIE, "session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; Path=/")]
}

async fn read() -> String {
    black_box(SEED).to_string()
}

async fn read_one() -> String {
    static VALUE: LazyLock<String> = LazyLock::new(|| value(ONE, SMALL));
    VALUE.clone()
}

async fn change_one() -> &'static str {
    next_replacement()
}
