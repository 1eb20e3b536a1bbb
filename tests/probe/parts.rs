//! The part of `/part`, in every place: single changes, concurrent changes, and an unreadable part.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::process::Probe;
use crate::support::visitor::Visitor;

const KEY: &str = "P1DnqKqMUVvXRpCAGUzy+rZgOMrZVpSkq2cmgGEkHo0=";
pub(crate) const PLACES: [&str; 3] = ["record", "cookie", "store"];

fn states() -> Vec<String> {
    let states = ["memory", "cookie-encrypted"].map(str::to_owned);
    #[cfg(feature = "sqlite")]
    let states = states.into_iter().chain([new_database()]);
    states.into_iter().collect()
}

#[cfg(feature = "sqlite")]
fn new_database() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};

    static COUNT: AtomicU32 = AtomicU32::new(0);
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("parts");
    let directory = directory.join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("a directory can be made");
    format!("sqlite:{}", directory.join("sessions.db").display())
}

/// Runs a test on a probe of each state and place, at the same time. The thread that fails has the name of both.
pub(crate) fn in_every_place(options: &[&str], test: impl Fn(&Probe) + Sync) {
    in_places(&PLACES, |_| true, options, test);
}

/// Runs a test for the places that keep both of two concurrent changes: stores. In a cookie the last one wins.
pub(crate) fn in_every_shared_place(options: &[&str], test: impl Fn(&Probe) + Sync) {
    in_places(&["record"], |state| !state.starts_with("cookie"), options, &test);
    in_places(&["store"], |_| true, options, &test);
}

pub(crate) fn in_places(
    places: &[&str],
    has_state: impl Fn(&str) -> bool,
    options: &[&str],
    test: impl Fn(&Probe) + Sync,
) {
    let test = &test;
    thread::scope(|scope| {
        for place in places {
            for state in states().into_iter().filter(|state| has_state(state)) {
                let name = format!("{state} with the part in a {place}");
                let run = move || test(&Probe::start(&state, &[&["--part-place", place], options].concat()));
                thread::Builder::new().name(name).spawn_scoped(scope, run).expect("a thread can be started");
            }
        }
    });
}

pub(crate) fn part(visitor: &mut Visitor<'_>) -> Value {
    let response = visitor.get("/part");
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

/// Makes a change, and asserts that it was saved.
pub(crate) fn change(visitor: &mut Visitor<'_>, path: &str, body: Value) {
    let response = visitor.post(path, body);
    assert_eq!((response.status, response.json()), (200, json!({ "ok": true })), "{path}");
}

pub(crate) fn line(sku: &str, qty: i64) -> Value {
    json!({ "sku": sku, "name": "Tea", "price": 250, "qty": qty })
}

pub(crate) fn address(street: &str, zip: &str) -> Value {
    json!({ "street": street, "zip": zip })
}

pub(crate) fn untouched() -> Value {
    json!({ "lines": {}, "address": null, "step": "Start", "big": "0", "tags": [] })
}

#[test]
fn each_route_changes_its_field_of_the_part_and_no_other() {
    in_every_place(&[], |probe| {
        let mut visitor = probe.visitor();
        let mut expected = untouched();
        for (path, body, field, value) in [
            ("/part/line", line("a", 1), "/lines", json!({ "a": { "name": "Tea", "price": 250, "qty": 1 } })),
            ("/part/qty", json!({ "sku": "a", "by": -3 }), "/lines/a/qty", json!(-2)),
            ("/part/qty", json!({ "sku": "a", "by": i64::MIN }), "/lines/a/qty", json!(i64::MIN)),
            (
                "/part/line",
                json!({ "sku": "a", "name": "", "price": 0.5, "qty": 2 }),
                "/lines/a",
                json!({ "name": "", "price": 0.5, "qty": 2 }),
            ),
            ("/part/remove-line", json!({ "sku": "a" }), "/lines", json!({})),
            ("/part/address", json!({ "address": address("Elm", "1") }), "/address", address("Elm", "1")),
            ("/part/zip", json!({ "zip": "2" }), "/address/zip", json!("2")),
            ("/part/address", json!({ "address": null }), "/address", json!(null)),
            (
                "/part/step",
                json!({ "step": { "Address": address("Elm", "1") } }),
                "/step",
                json!({ "Address": address("Elm", "1") }),
            ),
            (
                "/part/step",
                json!({ "step": { "Paid": { "receipt": "r" } } }),
                "/step",
                json!({ "Paid": { "receipt": "r" } }),
            ),
            ("/part/receipt", json!({ "receipt": "s" }), "/step/Paid/receipt", json!("s")),
            ("/part/step", json!({ "step": "Start" }), "/step", json!("Start")),
            ("/part/big", json!({ "value": 7 }), "/big", json!("7")),
            ("/part/big", json!({ "value": u64::MAX.to_string() }), "/big", json!(u64::MAX.to_string())),
            ("/part/tag", json!({ "tag": "red" }), "/tags", json!(["red"])),
            ("/part/tag", json!({ "tag": "blue" }), "/tags", json!(["blue", "red"])),
            ("/part/tag", json!({ "tag": "red" }), "/tags", json!(["blue", "red"])),
        ] {
            change(&mut visitor, path, body);
            *expected.pointer_mut(field).unwrap() = value;
            assert_eq!(part(&mut visitor), expected, "{path}");
        }
        assert_eq!(visitor.dump(), json!({ "values": {}, "principal": null, "new": false }));
    });
}

#[test]
fn a_count_answers_with_the_sum() {
    in_every_place(&[], |probe| {
        let mut visitor = probe.visitor();
        for (by, sum) in [(5, 5), (-7, -2), (0, -2)] {
            assert_eq!(visitor.post("/part/count", json!({ "by": by })).json(), json!({ "value": sum }));
        }
        assert_eq!(part(&mut visitor)["lines"]["n"]["qty"], -2);
    });
}

#[test]
fn a_change_inside_a_missing_field_changes_nothing_and_begins_no_session() {
    in_every_place(&[], |probe| {
        let mut visitor = probe.visitor();
        for (path, body) in [
            ("/part/qty", json!({ "sku": "a", "by": 1 })),
            ("/part/remove-line", json!({ "sku": "a" })),
            ("/part/zip", json!({ "zip": "1" })),
            ("/part/receipt", json!({ "receipt": "r" })),
        ] {
            let response = visitor.post(path, body);
            assert_eq!((response.status, response.set_cookies()), (200, vec![]), "{path}");
        }
        assert_eq!(part(&mut visitor), untouched());
        assert!(!visitor.is_live());
    });
}

#[test]
fn a_body_that_a_route_of_the_part_does_not_take_is_400_and_begins_no_session() {
    in_every_place(&[], |probe| {
        for (path, body) in [
            ("/part/line", "{}"),
            ("/part/line", "[]"),
            ("/part/line", "not json"),
            ("/part/line", r#"{"sku":"a","name":"n","price":1}"#),
            ("/part/line", r#"{"sku":"a","name":"n","price":"1","qty":1}"#),
            ("/part/line", r#"{"sku":"a","name":"n","price":1,"qty":1.5}"#),
            ("/part/line", r#"{"sku":"a","name":"n","price":1,"qty":1,"hold_ms":-1}"#),
            ("/part/remove-line", r#"{"sku":1}"#),
            ("/part/qty", r#"{"sku":"a"}"#),
            ("/part/qty", r#"{"sku":"a","by":9223372036854775808}"#),
            ("/part/address", "{}"),
            ("/part/address", r#"{"address":{"street":"Elm"}}"#),
            ("/part/zip", r#"{"zip":null}"#),
            ("/part/step", r#"{"step":"Paid"}"#),
            ("/part/step", r#"{"step":"Later"}"#),
            ("/part/step", r#"{"step":{"Paid":{}}}"#),
            ("/part/step", r#"{"step":{"Paid":{"receipt":"r"},"Start":null}}"#),
            ("/part/receipt", r#"{"receipt":7}"#),
            ("/part/big", r#"{"value":-1}"#),
            ("/part/big", r#"{"value":1.0}"#),
            ("/part/big", r#"{"value":""}"#),
            ("/part/big", r#"{"value":"+1"}"#),
            ("/part/big", r#"{"value":"0x1"}"#),
            ("/part/big", r#"{"value":340282366920938463463374607431768211456}"#),
            ("/part/tag", r#"{"tag":["red"]}"#),
            ("/part/count", "{}"),
            ("/part/count", r#"{"by":"1"}"#),
        ] {
            let response = probe.exchange(Request::post_bytes(path, body.as_bytes()));
            assert_eq!((response.status, response.set_cookies()), (400, vec![]), "{path} {body}");
        }
    });
}

#[test]
fn the_part_of_a_visitor_without_a_session_is_the_default_and_begins_none() {
    in_every_place(&[], |probe| {
        let response = probe.visitor().get("/part");
        assert_eq!((response.status, response.json()), (200, untouched()));
        assert_eq!(response.set_cookies(), []);
    });
}

#[test]
fn the_part_survives_a_login_and_ends_with_a_logout() {
    in_every_place(&[], |probe| {
        let mut visitor = probe.visitor();
        change(&mut visitor, "/part/tag", json!({ "tag": "red" }));
        visitor.post("/login", json!({ "principal": "alice" }));
        assert_eq!(part(&mut visitor)["tags"], json!(["red"]));
        visitor.post("/logout", json!({}));
        assert_eq!(part(&mut visitor), untouched());
    });
}

#[test]
fn a_part_that_cannot_be_read_breaks_no_route_without_it_and_can_be_reset() {
    in_every_place(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        change(&mut visitor, "/part/tag", json!({ "tag": "red" }));
        change(&mut visitor, "/part/break", json!({}));
        for _ in 0..2 {
            let response = visitor.get("/part");
            assert_eq!((response.status, response.set_cookies()), (500, vec![]));
            assert!(!String::from_utf8(response.body()).unwrap().contains("no wizard"), "errors show no value");
        }
        assert_eq!(visitor.post("/part/tag", json!({ "tag": "blue" })).status, 500);
        visitor.set("k", 2);
        assert_eq!(visitor.dump(), json!({ "values": { "k": 2 }, "principal": null, "new": false }));
        change(&mut visitor, "/part/reset", json!({}));
        assert_eq!(part(&mut visitor), untouched());
        change(&mut visitor, "/part/tag", json!({ "tag": "blue" }));
        assert_eq!(part(&mut visitor)["tags"], json!(["blue"]));
        assert_eq!(visitor.read("k"), 2);
    });
}

#[test]
fn a_broken_part_ends_with_its_session() {
    in_every_place(&[], |probe| {
        let mut visitor = probe.visitor();
        change(&mut visitor, "/part/break", json!({}));
        assert_eq!(visitor.post("/logout", json!({})).status, 200);
        assert_eq!(part(&mut visitor), untouched());
    });
}

#[test]
fn a_reset_of_a_part_that_can_be_read_removes_it_too() {
    in_every_place(&[], |probe| {
        let mut visitor = probe.visitor();
        change(&mut visitor, "/part/line", line("a", 1));
        change(&mut visitor, "/part/reset", json!({}));
        assert_eq!(part(&mut visitor), untouched());
    });
}

#[test]
fn only_a_part_in_a_cookie_has_a_cookie_and_every_process_with_the_keys_opens_it() {
    for (place, cookies) in PLACES.into_iter().zip([0, 1, 0]) {
        let options = ["--part-place", place, "--keys", KEY];
        let first = Probe::start("cookie-encrypted", &options);
        let mut visitor = first.visitor();
        change(&mut visitor, "/part/tag", json!({ "tag": "red" }));
        assert_eq!(visitor.parts.len(), cookies, "{place}");
        if place != "store" {
            let second = Probe::start("cookie-encrypted", &options);
            let mut moved = second.visitor_with(visitor.id());
            moved.parts = visitor.parts.clone();
            assert_eq!(part(&mut moved)["tags"], json!(["red"]), "{place}");
        }
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn the_processes_of_one_store_share_the_part() {
    let both = |state: &str, options: &[&str]| {
        let [first, second] = [(); 2].map(|()| Probe::start(state, &[options, &["--keys", KEY]].concat()));
        let mut visitor = first.visitor();
        change(&mut visitor, "/part/tag", json!({ "tag": "red" }));
        assert_eq!(part(&mut second.visitor_with(visitor.id()))["tags"], json!(["red"]), "{state} {options:?}");
    };
    both(&new_database(), &["--part-place", "record"]);
    both(&new_database(), &["--part-place", "store"]);
    both("cookie-encrypted", &["--part-place", "store", "--revocation", &new_database()]);
}

#[expect(clippy::disallowed_methods, reason = "the probe is another process and has no clock of the test")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn every_route_can_wait_between_loading_and_changing() {
    in_places(
        &["record"],
        |state| state == "memory",
        &[],
        |probe| {
            thread::scope(|scope| {
                for (path, body) in [
                    ("/part/line", line("a", 1)),
                    ("/part/remove-line", json!({ "sku": "a" })),
                    ("/part/qty", json!({ "sku": "a", "by": 1 })),
                    ("/part/address", json!({ "address": null })),
                    ("/part/zip", json!({ "zip": "1" })),
                    ("/part/step", json!({ "step": "Start" })),
                    ("/part/receipt", json!({ "receipt": "r" })),
                    ("/part/tag", json!({ "tag": "red" })),
                    ("/part/count", json!({ "by": 1 })),
                ] {
                    scope.spawn(move || {
                        let mut body = body;
                        body["hold_ms"] = json!(200);
                        let before = now();
                        assert_eq!(probe.visitor().post(path, body).status, 200, "{path}");
                        assert!(before.elapsed() >= Duration::from_millis(200), "{path}");
                    });
                }
            });
        },
    );
}

#[test]
fn counts_at_once_that_are_held_by_their_handlers_add_up() {
    in_every_shared_place(&[], |probe| {
        let mut visitor = probe.visitor();
        change(&mut visitor, "/part/tag", json!({ "tag": "red" }));
        thread::scope(|scope| {
            for _ in 0..10 {
                let mut visitor = visitor.clone();
                scope.spawn(move || {
                    let response = visitor.post("/part/count", json!({ "by": 1, "hold_ms": 300 }));
                    assert_eq!(response.status, 200);
                    assert!(response.json()["value"].as_i64().unwrap() >= 1);
                });
            }
        });
        assert_eq!(part(&mut visitor)["lines"]["n"]["qty"], 10);
    });
}

/// The part as two requests leave it that were both loaded before either wrote, with the statuses of their responses.
fn interleaved(probe: &Probe, [first, second]: [(&str, Value); 2]) -> ([u16; 2], Value) {
    let mut visitor = probe.visitor();
    change(&mut visitor, "/part/line", line("a", 1));
    let held = [first, second].map(|(path, body)| visitor.hold(path, body));
    let statuses = held.map(|held| {
        let response = held.release();
        visitor.take(&response);
        response.status
    });
    (statuses, part(&mut visitor))
}

fn two_tags() -> [(&'static str, Value); 2] {
    ["red", "blue"].map(|tag| ("/part/tag", json!({ "tag": tag })))
}

#[test]
fn changes_of_different_fields_at_once_are_both_kept() {
    let changes = || [("/part/qty", json!({ "sku": "a", "by": 1 })), ("/part/big", json!({ "value": "1" }))];
    in_every_shared_place(&["--conflict", "merge"], |probe| {
        let (statuses, part) = interleaved(probe, changes());
        assert_eq!(statuses, [200, 200]);
        assert_eq!((&part["lines"]["a"]["qty"], &part["big"]), (&json!(2), &json!("1")));
    });
}

#[test]
fn with_the_fail_policy_the_later_change_is_409_and_keeps_nothing() {
    in_every_shared_place(&["--conflict", "fail"], |probe| {
        let (statuses, part) = interleaved(probe, two_tags());
        assert_eq!((statuses, &part["tags"]), ([200, 409], &json!(["red"])));
    });
}

#[test]
fn the_last_response_wins_between_two_changes_in_a_cookie() {
    in_places(
        &["cookie"],
        |_| true,
        &[],
        |probe| {
            let (statuses, part) = interleaved(probe, two_tags());
            assert_eq!((statuses, &part["tags"]), ([200, 200], &json!(["blue"])));
        },
    );
}
