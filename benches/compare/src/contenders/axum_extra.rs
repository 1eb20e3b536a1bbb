//! The private cookies of axum-extra: a cookie for the number, a cookie with a JSON object for the 20 values. It keeps
//! no expiry inside the seal.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::get;
use axum_extra::extract::cookie::{Cookie, Key, PrivateCookieJar};

use super::{next_replacement, unused};
use crate::scenario::{KEYS, LARGE, NUMBER, ONE, SEED, SMALL, value};

#[derive(Clone)]
struct State(Key);

impl FromRef<State> for Key {
    fn from_ref(state: &State) -> Self {
        state.0.clone()
    }
}

pub fn router() -> Router {
    Router::new()
        .route("/unused", get(unused))
        .route("/seed-number", get(|jar: PrivateCookieJar| async move { jar.add(cookie(NUMBER, SEED.to_string())) }))
        .route("/seed-small", get(|jar| seed(jar, SMALL)))
        .route("/seed-large", get(|jar| seed(jar, LARGE)))
        .route("/read", get(read))
        .route("/increment", get(increment))
        .route("/read-one", get(read_one))
        .route("/change-one", get(change_one))
        .with_state(State(Key::generate()))
}

fn cookie(name: &'static str, value: String) -> Cookie<'static> {
    Cookie::build((name, value)).secure(true).http_only(true).path("/").build()
}

fn values(jar: &PrivateCookieJar) -> BTreeMap<String, String> {
    jar.get("values").map(|cookie| serde_json::from_str(cookie.value()).unwrap()).unwrap_or_default()
}

fn with_values(jar: PrivateCookieJar, values: &BTreeMap<String, String>) -> PrivateCookieJar {
    jar.add(cookie("values", serde_json::to_string(values).unwrap()))
}

fn number(jar: &PrivateCookieJar) -> u64 {
    jar.get(NUMBER).map_or(0, |cookie| cookie.value().parse().unwrap())
}

async fn seed(jar: PrivateCookieJar, size: usize) -> PrivateCookieJar {
    with_values(jar, &KEYS.iter().map(|key| ((*key).to_owned(), value(key, size))).collect())
}

async fn read(jar: PrivateCookieJar) -> String {
    number(&jar).to_string()
}

async fn increment(jar: PrivateCookieJar) -> (PrivateCookieJar, String) {
    let n = number(&jar) + 1;
    (jar.add(cookie(NUMBER, n.to_string())), n.to_string())
}

async fn read_one(jar: PrivateCookieJar) -> String {
    values(&jar).remove(ONE).unwrap_or_default()
}

async fn change_one(jar: PrivateCookieJar) -> (PrivateCookieJar, &'static str) {
    let replacement = next_replacement();
    let mut values = values(&jar);
    values.insert(ONE.to_owned(), replacement.to_owned());
    (with_values(jar, &values), replacement)
}
