//! The sessions of a principal, on several processes over one store.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::nodes::{at, start};
use crate::support::process::Probe;
use crate::support::visitor::Visitor;

/// A unique principal, since the tests share the server.
pub(crate) fn somebody() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("zoë {}-{} ", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn device<'p>(node: &'p Probe, principal: &str) -> Visitor<'p> {
    let mut visitor = node.visitor();
    assert_eq!(visitor.post("/login", json!({ "principal": principal })).status, 200);
    visitor
}

/// Returns the handles listed for a device, and its own.
fn devices(visitor: &mut Visitor<'_>) -> (BTreeSet<String>, Option<String>) {
    let response = visitor.get("/sessions");
    assert_eq!(response.status, 200, "{response:?}");
    let list = response.json();
    let list = list.as_array().expect("a list");
    let handle = |entry: &Value| entry["handle"].as_str().expect("a handle").to_owned();
    let handles: BTreeSet<_> = list.iter().map(handle).collect();
    assert_eq!(handles.len(), list.len(), "each is listed once: {list:?}");
    for entry in list {
        let (created, seen) = (entry["created_at"].as_f64().unwrap(), entry["last_seen_at"].as_f64().unwrap());
        assert!(created > 1.6e9 && seen >= created, "{entry}");
        assert_eq!(entry.as_object().unwrap().len(), 4, "{entry}");
    }
    (handles, list.iter().find(|entry| entry["current"] == true).map(handle))
}

fn own(visitor: &mut Visitor<'_>) -> String {
    devices(visitor).1.expect("a device is in its own list")
}

pub(crate) fn devices_are_listed_on_all_nodes_as_soon_as_they_log_in_and_no_longer_than_they_live(state: &str) {
    let [one, other] = start(state, &["--grace", "1h"]);
    let (alice, bob) = (somebody(), somebody());
    let mut phone = device(&one, &alice);
    let mut desk = device(&other, &alice);
    let mut stranger = device(&other, &bob);
    let (of_phone, of_desk) = (own(&mut phone), own(&mut desk));
    assert_ne!(of_phone, of_desk);
    let both = BTreeSet::from([of_phone.clone(), of_desk.clone()]);
    assert_eq!(devices(&mut at(&other, &phone)), (both.clone(), Some(of_phone.clone())));
    assert_eq!(devices(&mut stranger).0.len(), 1);
    assert_eq!(devices(&mut one.visitor()), (BTreeSet::new(), None));
    let mut visitor = one.visitor();
    visitor.set("k", 1);
    assert_eq!(devices(&mut visitor), (BTreeSet::new(), None));
    // A renewed session stays the same device, and so does one that logs in again.
    phone.post("/renew", json!({}));
    phone.post("/login", json!({ "principal": alice }));
    assert_eq!(devices(&mut at(&other, &phone)), (both, Some(of_phone)));
    desk.post("/logout", json!({}));
    assert_eq!(devices(&mut phone).0.len(), 1);
    // Another principal logs in on the device.
    phone.post("/login", json!({ "principal": bob }));
    assert_eq!(devices(&mut stranger).0.len(), 2);
    assert_eq!(devices(&mut device(&one, &alice)).0.len(), 1);
}

pub(crate) fn a_device_that_is_ended_on_one_node_is_anonymous_on_all(state: &str) {
    let [one, other] = start(state, &[]);
    let (alice, bob) = (somebody(), somebody());
    let mut phone = device(&one, &alice);
    let (mut desk, mut stranger) = (device(&other, &alice), device(&one, &bob));
    let (of_desk, of_stranger) = (own(&mut desk), own(&mut stranger));
    let late = at(&other, &desk).hold("/set", json!({ "key": "late", "value": 1 }));
    for forged in [of_stranger.as_str(), "AAAAAAAAAAAAAAAAAAAAAA", "", "x", "' OR 1 = 1 --", &of_desk[..21]] {
        assert_eq!(phone.post("/revoke", json!({ "handle": forged })).status, 404, "{forged}");
    }
    assert_eq!(one.visitor().post("/revoke", json!({ "handle": of_desk })).status, 404, "the client is not logged in");
    assert_eq!(phone.post("/revoke", json!({ "key": of_desk })).status, 400);
    assert!(at(&one, &desk).cookie_is_live() && stranger.cookie_is_live());
    assert_eq!(phone.post("/revoke", json!({ "handle": of_desk })).status, 200);
    assert!(late.release().cookie().is_none());
    for node in [&one, &other] {
        assert!(!at(node, &desk).cookie_is_live());
        assert!(at(node, &phone).cookie_is_live() && at(node, &stranger).cookie_is_live());
    }
    assert_eq!(devices(&mut phone).0.len(), 1);
    assert_eq!(phone.post("/revoke", json!({ "handle": of_desk })).status, 404, "the session has ended");
}

pub(crate) fn all_other_devices_and_all_devices_are_ended_on_all_nodes(state: &str) {
    let nodes = start::<2>(state, &[]);
    let (alice, bob) = (somebody(), somebody());
    let mut all: Vec<_> = (0..12).map(|n| device(&nodes[n % 2], &alice)).collect();
    let stranger = device(&nodes[0], &bob);
    assert_eq!(all[5].post("/revoke-others", json!({})).status, 200);
    let live: Vec<_> = all.iter().map(|device| at(&nodes[0], device).cookie_is_live()).collect();
    assert_eq!(live.iter().filter(|live| **live).count(), 1);
    assert!(live[5] && stranger.cookie_is_live());
    assert_eq!(nodes[0].visitor().post("/revoke-others", json!({})).status, 200);
    all.extend((0..3).map(|n| device(&nodes[n % 2], &alice)));
    assert_eq!(nodes[1].visitor().post("/revoke-all", json!({ "principal": alice })).status, 200);
    assert!(all.iter().all(|device| !device.cookie_is_live()) && stranger.cookie_is_live());
    assert_eq!(devices(&mut device(&nodes[0], &alice)).0.len(), 1);
}

pub(crate) fn a_hundred_logins_at_once_on_three_nodes_with_room_for_three_leave_exactly_three(state: &str) {
    let nodes = start::<3>(state, &["--max-sessions", "3", "--store-timeout", "30s"]);
    let alice = somebody();
    let held: Vec<_> = (0..100).map(|n| nodes[n % 3].visitor().hold("/login", json!({ "principal": alice }))).collect();
    let cookies: Vec<_> = thread::scope(|scope| {
        let log_in = |held: crate::support::visitor::Held| {
            let response = held.release();
            assert_eq!(response.status, 200, "{response:?}");
            response.cookie().expect("a login sets a cookie").value
        };
        let logins: Vec<_> = held.into_iter().map(|held| scope.spawn(move || log_in(held))).collect();
        logins.into_iter().map(|login| login.join().expect("a login that is answered")).collect()
    });
    let live: Vec<_> = cookies.iter().filter(|cookie| nodes[0].visitor_with(*cookie).cookie_is_live()).collect();
    assert_eq!(live.len(), 3);
    assert_eq!(devices(&mut nodes[1].visitor_with(live[0])).0.len(), 3);
}

/// The behavior of a store that cannot find sessions by principal.
#[cfg(feature = "memcached")]
pub(crate) fn a_state_without_lists_has_none_of_their_routes(state: &str) {
    let [node] = start(state, &[]);
    let mut visitor = device(&node, "alice");
    assert_eq!(visitor.get("/sessions").status, 404);
    for route in ["/revoke", "/revoke-others", "/revoke-all"] {
        assert_eq!(visitor.post(route, json!({ "handle": "x", "principal": "alice" })).status, 404, "{route}");
    }
    assert!(visitor.cookie_is_live());
    let (status, _, said) =
        crate::support::process::run(&["--state", state, "--listen", "127.0.0.1:0", "--max-sessions", "3"]);
    assert_eq!(status, Some(64), "{said}");
    assert!(said.contains("does not find sessions by their principal"), "{said}");
}
