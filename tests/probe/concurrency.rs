//! Concurrent requests of one session lose no changes.

use std::thread;

use serde_json::{Value, json};

use crate::support::process::in_states;
use crate::support::visitor::Held;

/// Releases all requests at once, and asserts that all succeed.
fn release(held: Vec<Held>) {
    thread::scope(|scope| {
        for held in held {
            scope.spawn(|| assert_eq!(held.release().status, 200));
        }
    });
}

#[test]
fn a_hundred_additions_at_once_add_up() {
    in_states(&["memory"], &[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("other", "stays");
        release((1..=100).map(|by| visitor.hold("/add", json!({ "key": "n", "by": by }))).collect());
        assert_eq!(visitor.dump()["values"], json!({ "other": "stays", "n": 5050 }));
    });
}

#[test]
fn additions_that_are_held_by_their_handlers_add_up() {
    in_states(&["memory"], &[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("n", 0);
        thread::scope(|scope| {
            for _ in 0..100 {
                let mut visitor = visitor.clone();
                scope.spawn(move || {
                    let response = visitor.post("/add", json!({ "key": "n", "by": 1, "hold_ms": 300 }));
                    assert_eq!(response.status, 200);
                    assert!(response.json()["value"].as_i64().unwrap() >= 1);
                });
            }
        });
        assert_eq!(visitor.read("n"), 100);
    });
}

#[test]
fn a_value_that_was_set_after_it_was_read_is_not_taken() {
    in_states(&["memory"], &[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("notices", json!(["one"]));
        let held = visitor.hold("/take", json!({ "key": "notices" }));
        visitor.set("notices", json!(["one", "two"]));
        assert_eq!(held.release().json()["value"], json!(["one"]));
        assert_eq!(visitor.read("notices"), json!(["one", "two"]));
        assert_eq!(visitor.post("/take", json!({ "key": "notices" })).json()["value"], json!(["one", "two"]));
        assert_eq!(visitor.post("/take", json!({ "key": "notices" })).json()["value"], Value::Null);
    });
}

#[test]
fn changes_of_different_values_are_all_kept() {
    in_states(&["memory"], &[], |probe| {
        let mut visitor = probe.visitor();
        for n in 0..10 {
            visitor.set(&format!("old{n}"), n);
        }
        let removals = (0..10).map(|n| visitor.hold("/remove", json!({ "key": format!("old{n}") })));
        let writes = (0..40).map(|n| visitor.hold("/set", json!({ "key": format!("new{n}"), "value": n })));
        release(removals.chain(writes).collect());
        let expected: serde_json::Map<_, _> = (0..40).map(|n| (format!("new{n}"), Value::from(n))).collect();
        assert_eq!(visitor.dump()["values"], Value::Object(expected));
    });
}

#[test]
fn the_later_of_two_changes_of_one_value_wins() {
    in_states(&["memory"], &[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", "first");
        let late = visitor.hold("/set", json!({ "key": "k", "value": "last" }));
        visitor.set("k", "middle");
        late.release();
        assert_eq!(visitor.read("k"), "last");
    });
}

#[test]
fn a_change_keeps_the_timeout_set_by_another_request() {
    in_states(&["memory"], &[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let late = visitor.hold("/set", json!({ "key": "late", "value": 2 }));
        visitor.post("/remember", json!({ "seconds": 5000 }));
        late.release();
        assert_eq!(visitor.dump()["values"], json!({ "k": 1, "late": 2 }));
        assert_eq!(visitor.get("/lifetime").json()["idle_seconds"], 5000);
    });
}

#[test]
fn concurrent_first_writes_make_separate_sessions() {
    in_states(&["memory"], &[], |probe| {
        let visitor = probe.visitor();
        let held: Vec<_> = (0..20).map(|n| visitor.hold("/set", json!({ "key": "k", "value": n }))).collect();
        for (n, held) in held.into_iter().enumerate() {
            let mut visitor = probe.visitor_with(held.release().cookie().unwrap().value);
            assert_eq!(visitor.dump()["values"], json!({ "k": n }));
        }
    });
}
