//! Several processes on one store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::process::Probe;
use crate::support::visitor::Visitor;

/// The number of requests of a client, each to another node.
const VISITS: usize = 60;

/// Starts nodes on one store.
pub(crate) fn start<const N: usize>(state: &str, options: &[&str]) -> [Probe; N] {
    std::array::from_fn(|_| Probe::start(state, options))
}

/// Returns the visitor with a connection to another node.
pub(crate) fn at<'p>(node: &'p Probe, visitor: &Visitor<'_>) -> Visitor<'p> {
    match &visitor.cookie {
        Some(cookie) => node.visitor_with(cookie),
        None => node.visitor(),
    }
}

pub(crate) fn writes_of_one_node_are_visible_to_the_others_at_once(state: &str) {
    let [one, other, third] = start(state, &[]);
    let mut visitor = one.visitor();
    visitor.set("k", "v");
    for node in [&other, &third, &one] {
        assert_eq!(at(node, &visitor).read("k"), "v");
    }
    at(&other, &visitor).set("k", "w");
    for node in [&third, &one, &other] {
        assert_eq!(at(node, &visitor).read("k"), "w");
    }
}

pub(crate) fn a_logout_on_one_node_takes_effect_on_all_at_once(state: &str) {
    let [one, other, third] = start(state, &[]);
    let mut visitor = one.visitor();
    visitor.post("/login", json!({ "principal": "alice" }));
    assert_eq!(at(&other, &visitor).principal().as_deref(), Some("alice"));
    // Loaded before the logout, saved after it.
    let late = at(&other, &visitor).hold("/add", json!({ "key": "n", "by": 1 }));
    assert_eq!(at(&third, &visitor).post("/logout", json!({})).status, 200);
    for node in [&one, &other, &third] {
        assert!(!at(node, &visitor).cookie_is_live());
    }
    let answer = late.release();
    assert!(answer.cookie().is_none(), "a late request sets a live cookie: {answer:?}");
    for node in [&one, &other, &third] {
        assert!(!at(node, &visitor).cookie_is_live(), "a late request has revived the session");
    }
}

pub(crate) fn a_login_on_one_node_kills_the_old_id_on_all(state: &str) {
    let [one, other] = start(state, &[]);
    let mut visitor = one.visitor();
    visitor.set("k", 1);
    let thief = visitor.clone();
    let mut visitor = at(&other, &visitor);
    visitor.post("/login", json!({ "principal": "alice" }));
    for node in [&one, &other] {
        assert!(!at(node, &thief).cookie_is_live());
        assert_eq!(at(node, &visitor).principal().as_deref(), Some("alice"));
        assert_eq!(at(node, &visitor).read("k"), 1);
    }
}

pub(crate) fn additions_on_one_node_after_the_other_add_up(state: &str) {
    let nodes = start::<3>(state, &[]);
    let mut visitor = nodes[0].visitor();
    for visit in 1..=VISITS {
        let mut there = at(&nodes[visit % nodes.len()], &visitor);
        assert_eq!(there.post("/add", json!({ "key": "n", "by": 1 })).json(), json!({ "value": visit }));
        visitor.cookie = there.cookie;
    }
}

pub(crate) fn fifty_additions_at_once_on_three_nodes_add_up(state: &str) {
    let nodes = start::<3>(state, &["--store-timeout", "30s"]);
    let mut visitor = nodes[0].visitor();
    visitor.set("other", "stays");
    let held = (1..=50).map(|by| at(&nodes[by % 3], &visitor).hold("/add", json!({ "key": "n", "by": by })));
    let held: Vec<_> = held.collect();
    thread::scope(|scope| {
        for held in held {
            scope.spawn(|| assert_eq!(held.release().status, 200));
        }
    });
    assert_eq!(at(&nodes[1], &visitor).dump()["values"], json!({ "other": "stays", "n": 1275 }));
}

pub(crate) fn a_renewal_on_one_node_is_followed_on_all(state: &str) {
    let [one, other, third] = start(state, &["--grace", "1h"]);
    let mut visitor = one.visitor();
    visitor.set("k", 1);
    let old = visitor.clone();
    let late = at(&third, &visitor).hold("/set", json!({ "key": "late", "value": 2 }));
    assert_eq!(visitor.post("/renew", json!({})).status, 200);
    assert_ne!(visitor.id(), old.id());
    // The old cookie leads to the same session, and the response sets the same new ID.
    let mut follower = at(&other, &old);
    assert_eq!(follower.read("k"), 1);
    assert_eq!(follower.id(), visitor.id());
    // A request that loaded the session under the old ID saves it under the new one.
    assert_eq!(late.release().status, 200);
    assert_eq!(at(&other, &visitor).dump()["values"], json!({ "k": 1, "late": 2 }));
    // A logout with the old ID ends the session.
    assert_eq!(at(&other, &old).post("/logout", json!({})).status, 200);
    assert!(!at(&one, &visitor).cookie_is_live());
}

pub(crate) fn a_renewal_without_grace_on_one_node_kills_the_old_id_on_all(state: &str) {
    let [one, other] = start(state, &["--grace", "0s"]);
    let mut visitor = one.visitor();
    visitor.set("k", 1);
    let old = visitor.clone();
    visitor.post("/renew", json!({}));
    assert!(!at(&other, &old).cookie_is_live());
    assert_eq!(at(&other, &visitor).read("k"), 1);
}

pub(crate) fn a_killed_node_loses_no_session(state: &str) {
    let [one, other] = start(state, &[]);
    let mut visitor = one.visitor();
    visitor.set("k", 1);
    // It has loaded the session and is about to write.
    let _held = visitor.hold("/add", json!({ "key": "k", "by": 1 }));
    let mut visitor = at(&other, &visitor);
    one.signal("-KILL");
    assert_eq!(visitor.read("k"), 1);
    visitor.set("k", 2);
    assert_eq!(visitor.read("k"), 2);
}

pub(crate) fn a_node_killed_during_additions_loses_no_acknowledged_one(state: &str) {
    const CLIENTS: u64 = 8;
    let [one, other] = start(state, &[]);
    let mut visitor = one.visitor();
    visitor.set("n", 0);
    let acknowledged = AtomicU64::new(0);
    let add = || {
        let mut visitor = visitor.clone();
        // The node is killed at the end, and the client panics.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let status = visitor.post("/add", json!({ "key": "n", "by": 1 })).status;
                assert_eq!(status, 200);
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        }));
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(add)).collect();
        while acknowledged.load(Ordering::SeqCst) < 50 && !clients.iter().all(|client| client.is_finished()) {
            thread::sleep(Duration::from_millis(1));
        }
        one.signal("-KILL");
    });
    let acknowledged = acknowledged.load(Ordering::SeqCst);
    let [again] = start(state, &[]);
    for node in [&other, &again] {
        let counted = at(node, &visitor).read("n").as_u64().unwrap();
        assert!(acknowledged >= 50, "the clients got no further than {acknowledged}");
        assert!((acknowledged..=acknowledged + CLIENTS).contains(&counted), "{counted}, not {acknowledged}");
    }
}
