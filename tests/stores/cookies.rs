//! State in cookies on several processes that share one revocation store.

use std::thread;

use serde_json::json;

use crate::devices::{device, somebody};
use crate::nodes::{at, start};
use crate::support::process::{COOKIE_STATES, Probe};

const KEY: &str = "P1DnqKqMUVvXRpCAGUzy+rZgOMrZVpSkq2cmgGEkHo0=";

fn nodes<const N: usize>(store: &str) -> [Probe; N] {
    nodes_of("cookie-encrypted", store)
}

fn nodes_of<const N: usize>(state: &str, store: &str) -> [Probe; N] {
    start(state, &["--keys", KEY, "--revocation", store, "--store-timeout", "30s"])
}

pub(crate) fn a_logged_out_cookie_is_rejected_on_all_nodes(store: &str) {
    for state in COOKIE_STATES {
        a_cookie_is_refused(&nodes_of(state, store));
    }
}

fn a_cookie_is_refused([one, other]: &[Probe; 2]) {
    let mut browser = device(one, &somebody());
    let late = at(other, &browser).hold("/set", json!({ "key": "late", "value": 1 }));
    let thief = browser.clone();
    assert!(at(other, &thief).cookie_is_live());
    assert_eq!(browser.post("/logout", json!({})).status, 200);
    for node in [one, other] {
        assert!(!at(node, &thief).cookie_is_live());
    }
    let late = late.release();
    assert_eq!((late.status, late.set_cookies()), (409, vec![]), "a late request has revived the session");
    // Another principal takes the session over.
    let mut browser = device(one, &somebody());
    let thief = browser.clone();
    assert_eq!(browser.post("/login", json!({ "principal": somebody() })).status, 200);
    assert!(!at(other, &thief).cookie_is_live());
    assert!(at(other, &browser).cookie_is_live());
}

pub(crate) fn the_cookies_of_a_principal_are_ended_on_all_nodes_and_later_logins_live(store: &str) {
    let [one, other] = nodes(store);
    let (alice, bob) = (somebody(), somebody());
    let (mut phone, desk, stranger) = (device(&one, &alice), device(&other, &alice), device(&one, &bob));
    for _ in 0..2 {
        assert_eq!(phone.post("/revoke-others", json!({})).status, 200);
        for node in [&one, &other] {
            assert!(at(node, &phone).cookie_is_live() && at(node, &stranger).cookie_is_live());
            assert!(!at(node, &desk).cookie_is_live());
        }
    }
    for _ in 0..2 {
        assert_eq!(other.visitor().post("/revoke-all", json!({ "principal": alice })).status, 200);
        let later = device(&other, &alice);
        for node in [&one, &other] {
            assert!(!at(node, &phone).cookie_is_live());
            assert!(at(node, &later).cookie_is_live() && at(node, &stranger).cookie_is_live());
        }
        phone = later;
    }
}

pub(crate) fn thirty_concurrent_revocations_on_three_nodes_all_succeed(store: &str) {
    let nodes = nodes::<3>(store);
    let alice = somebody();
    let before: Vec<_> = (0..3).map(|n| device(&nodes[n], &alice)).collect();
    let held: Vec<_> =
        (0..30).map(|n| nodes[n % 3].visitor().hold("/revoke-all", json!({ "principal": alice }))).collect();
    thread::scope(|scope| {
        for held in held {
            scope.spawn(|| assert_eq!(held.release().status, 200));
        }
    });
    assert!(before.iter().all(|browser| !browser.cookie_is_live()));
    assert!(at(&nodes[1], &device(&nodes[0], &alice)).cookie_is_live());
}
