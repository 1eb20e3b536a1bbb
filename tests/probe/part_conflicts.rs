//! Two requests of one session that change the part at the same time, in every order and under both policies.
//!
//! A change that was answered with 200 is in the part, or the other request has removed it as a whole; one that was
//! answered with 409 is not in the part; and the part can be read.

use serde_json::{Value, json};

use crate::parts::{PLACES, address, change, in_every_place, in_every_shared_place, in_places, line, part, untouched};
use crate::support::http::Response;
use crate::support::process::Probe;

type Change = (&'static str, Value);

/// The part as two requests left it, and which of them were answered with 200.
struct Outcome {
    part: Value,
    is_saved: [bool; 2],
}

impl Outcome {
    /// Whether the field at `pointer` has the value that one of the saved changes has given it.
    fn is_of_one(&self, pointer: &str, values: [Value; 2]) -> bool {
        let saved = values.iter().zip(self.is_saved).filter(|(_, is_saved)| *is_saved);
        self.part.pointer(pointer).is_some_and(|found| saved.into_iter().any(|(value, _)| value == found))
    }
}

/// Interleaves two changes: both requests have loaded the part before either writes it.
#[track_caller]
fn assert_interleaved(before: &[Change], changes: &[Change; 2], is_right: impl Fn(&Outcome) -> bool + Sync) {
    for policy in ["merge", "fail"] {
        in_every_shared_place(&["--conflict", policy], |probe| {
            for order in [[0, 1], [1, 0]] {
                let outcome = interleave(probe, before, changes, order);
                let Outcome { part, is_saved } = &outcome;
                assert!(is_saved[order[0]], "the first write meets no conflict: {changes:?}");
                assert!(is_right(&outcome), "{policy}, {order:?}, {changes:?}: {is_saved:?} left {part}");
            }
        });
    }
}

fn interleave(probe: &Probe, before: &[Change], changes: &[Change; 2], order: [usize; 2]) -> Outcome {
    let mut visitor = probe.visitor();
    visitor.set("k", 1);
    for (path, body) in before {
        change(&mut visitor, path, body.clone());
    }
    let mut held = changes.each_ref().map(|(path, body)| Some(visitor.hold(path, body.clone())));
    let mut is_saved = [false; 2];
    for index in order {
        let response = held[index].take().expect("each is released once").release();
        visitor.take(&response);
        assert!([200, 409].contains(&response.status), "{changes:?}: {response:?}");
        is_saved[index] = response.status == 200;
    }
    let response = visitor.get("/part");
    let text = String::from_utf8(response.body()).expect("a body is text");
    assert_eq!(response.status, 200, "after {order:?}, {changes:?} the part can be read: {text}");
    Outcome { part: response.json(), is_saved }
}

fn add_tag(tag: &str) -> Change {
    ("/part/tag", json!({ "tag": tag }))
}

fn step(step: &Value) -> Change {
    ("/part/step", json!({ "step": step }))
}

fn big(value: u128) -> Change {
    ("/part/big", json!({ "value": value.to_string() }))
}

fn add_qty() -> Change {
    ("/part/qty", json!({ "sku": "a", "by": 1 }))
}

fn set_address(address: Value) -> Change {
    ("/part/address", json!({ "address": address }))
}

fn steps() -> [Value; 3] {
    [json!("Start"), json!({ "Address": address("Elm", "1") }), json!({ "Paid": { "receipt": "r" } })]
}

#[test]
fn an_edit_of_a_line_does_not_undo_its_removal() {
    let changes = [("/part/remove-line", json!({ "sku": "a" })), add_qty()];
    assert_interleaved(&[("/part/line", line("a", 1)), ("/part/line", line("b", 1))], &changes, |outcome| {
        let is_removed = outcome.part["lines"].get("a").is_none();
        let is_edited = outcome.part["lines"]["a"]["qty"] == 2;
        outcome.part["lines"].get("b").is_some() && if outcome.is_saved[0] { is_removed } else { is_edited }
    });
}

#[test]
fn an_edit_of_an_address_does_not_undo_its_removal() {
    let changes = [set_address(Value::Null), ("/part/zip", json!({ "zip": "9" }))];
    assert_interleaved(&[set_address(address("Elm", "1"))], &changes, |outcome| {
        let expected = if outcome.is_saved[0] { Value::Null } else { address("Elm", "9") };
        outcome.part["address"] == expected
    });
}

#[test]
fn an_edit_of_an_address_does_not_bring_back_the_one_before() {
    let changes = [set_address(address("Oak", "2")), ("/part/zip", json!({ "zip": "9" }))];
    assert_interleaved(&[set_address(address("Elm", "1"))], &changes, |outcome| match outcome.is_saved {
        [true, true] => [address("Oak", "2"), address("Oak", "9")].contains(&outcome.part["address"]),
        [true, false] => outcome.part["address"] == address("Oak", "2"),
        _ => outcome.part["address"] == address("Elm", "9"),
    });
}

#[test]
fn one_of_two_addresses_wins_as_a_whole() {
    let addresses = [address("Oak", "2"), address("Ash", "3")];
    let changes = addresses.clone().map(set_address);
    for before in [Value::Null, address("Elm", "1")] {
        let before = [set_address(before)];
        assert_interleaved(&before, &changes, |outcome| outcome.is_of_one("/address", addresses.clone()));
    }
}

#[test]
fn one_of_two_steps_wins_as_a_whole() {
    for (before, first, second) in [(0, 1, 2), (1, 0, 2), (2, 0, 1)] {
        let [before, first, second] = [before, first, second].map(|index: usize| steps()[index].clone());
        let changes = [step(&first), step(&second)];
        assert_interleaved(&[step(&before)], &changes, |outcome| {
            outcome.is_of_one("/step", [first.clone(), second.clone()])
        });
    }
}

#[test]
fn one_of_a_new_step_and_a_change_inside_the_step_wins_as_a_whole() {
    let [_, before, paid] = steps();
    let moved = json!({ "Address": address("Oak", "2") });
    assert_interleaved(&[step(&before)], &[step(&paid), step(&moved)], |outcome| {
        outcome.is_of_one("/step", [paid.clone(), moved.clone()])
    });
}

#[test]
fn an_edit_of_a_receipt_does_not_undo_the_next_step() {
    let [start, address, paid] = steps();
    for next in [start, address] {
        let changes = [step(&next), ("/part/receipt", json!({ "receipt": "s" }))];
        assert_interleaved(&[step(&paid)], &changes, |outcome| {
            let expected = if outcome.is_saved[0] { &next } else { &json!({ "Paid": { "receipt": "s" } }) };
            outcome.part["step"] == *expected
        });
    }
}

#[test]
fn the_tags_of_both_are_kept() {
    for before in [vec![], (0..20).map(|n| add_tag(&format!("old{n:02}"))).collect()] {
        assert_interleaved(&before, &[add_tag("red"), add_tag("blue")], |outcome| {
            let mut expected: Vec<_> = (0..before.len()).map(|n| format!("old{n:02}")).collect();
            let added = ["red", "blue"].into_iter().zip(outcome.is_saved);
            expected.extend(added.filter(|(_, is_saved)| *is_saved).map(|(tag, _)| tag.to_owned()));
            expected.sort();
            outcome.part["tags"] == json!(expected)
        });
    }
}

/// A set is written in another order each time, which is no change of it.
#[test]
fn a_change_of_another_field_keeps_a_concurrently_added_tag() {
    let before: Vec<_> = (0..20).map(|n| add_tag(&format!("old{n:02}"))).collect();
    assert_interleaved(&before, &[add_tag("red"), ("/part/line", line("a", 1))], |outcome| {
        let has_tag = outcome.part["tags"].as_array().is_some_and(|tags| tags.contains(&json!("red")));
        let has_line = outcome.part["lines"].get("a").is_some();
        [has_tag, has_line] == outcome.is_saved
    });
}

#[test]
fn a_number_beyond_64_bits_is_kept_to_the_digit() {
    in_every_place(&[], |probe| {
        let mut visitor = probe.visitor();
        for value in [1 << 64, (1 << 100) + 1, (1 << 100) + 2, u128::MAX, u128::MAX - 1, 3] {
            let (path, body) = big(value);
            change(&mut visitor, path, body);
            assert_eq!(part(&mut visitor)["big"], value.to_string());
            change(&mut visitor, "/part/tag", json!({ "tag": value.to_string() }));
            visitor.post("/part/count", json!({ "by": 1 }));
            assert_eq!(part(&mut visitor)["big"], value.to_string());
        }
    });
}

#[test]
fn a_large_number_incremented_by_one_merges_with_another_change() {
    let (before, after) = ((1_u128 << 100) + 5, (1_u128 << 100) + 6);
    assert_interleaved(&[big(before)], &[big(after), add_tag("red")], |outcome| {
        let grown = if outcome.is_saved[0] { after } else { before };
        outcome.part["big"] == grown.to_string() && outcome.is_saved[1] == (outcome.part["tags"] == json!(["red"]))
    });
    let values = [after, after + 1].map(|value| json!(value.to_string()));
    assert_interleaved(&[big(before)], &[big(after), big(after + 1)], |outcome| {
        outcome.is_of_one("/big", values.clone())
    });
}

#[test]
fn counts_at_once_add_up() {
    let count = |by: i64| ("/part/count", json!({ "by": by }));
    let before = [("/part/line", line("n", 10))];
    assert_interleaved(&before, &[count(1), count(2)], |outcome| {
        let [first, second] = outcome.is_saved.map(i64::from);
        outcome.part["lines"]["n"]["qty"] == 10 + first + 2 * second
    });
    let changes = [count(1), ("/part/remove-line", json!({ "sku": "n" }))];
    assert_interleaved(&before, &changes, |outcome| match outcome.part["lines"].get("n") {
        // Replayed on a part without the line, the count starts a new one.
        Some(line) => line["qty"] == if outcome.is_saved[1] { 1 } else { 11 },
        None => outcome.is_saved[1],
    });
}

#[test]
fn a_line_exists_as_a_whole_or_not_at_all() {
    let other = json!({ "sku": "a", "name": "Coffee", "price": 300, "qty": 5 });
    let stored = json!({ "name": "Coffee", "price": 300, "qty": 5 });
    let changes = [("/part/line", other.clone()), ("/part/remove-line", json!({ "sku": "a" }))];
    assert_interleaved(&[("/part/line", line("a", 1))], &changes, |outcome| match outcome.part["lines"].get("a") {
        Some(line) => outcome.is_saved[0] && *line == stored,
        None => outcome.is_saved[1],
    });
    let changes = [("/part/line", other), ("/part/line", line("b", 1))];
    assert_interleaved(&[], &changes, |outcome| {
        let lines = &outcome.part["lines"];
        outcome.is_saved == [lines.get("a") == Some(&stored), lines.get("b").is_some()]
    });
}

#[test]
fn a_change_concurrent_with_a_reset_leaves_a_readable_part() {
    let before = [("/part/line", line("a", 1)), set_address(address("Elm", "1"))];
    for edit in [add_qty(), ("/part/zip", json!({ "zip": "9" }))] {
        assert_interleaved(&before, &[("/part/reset", json!({})), edit], |outcome| {
            if outcome.is_saved[0] { outcome.part == untouched() } else { outcome.part != untouched() }
        });
    }
    assert_interleaved(&before, &[("/part/reset", json!({})), add_tag("red")], |outcome| {
        let is_reset = outcome.part["lines"] == json!({}) && outcome.part["address"].is_null();
        is_reset == outcome.is_saved[0] && (is_reset || outcome.part["tags"] == json!(["red"]))
    });
}

/// Runs a test on server-side states alone: a sealed cookie that was copied before a login stays valid.
fn on_servers(test: impl Fn(&Probe) + Sync) {
    in_places(&PLACES, |state| !state.starts_with("cookie"), &[], test);
}

const WRITES: [fn() -> Change; 3] =
    [|| add_tag("blue"), || ("/part/count", json!({ "by": 1 })), || ("/part/reset", json!({}))];

#[track_caller]
fn assert_refused(late: &Response, path: &str) {
    let live = late.set_cookies().into_iter().find(|cookie| !cookie.is_removal());
    assert_eq!((late.status, live), (409, None), "{path}");
}

#[test]
fn a_write_whose_id_has_died_by_a_login_is_a_409_and_keeps_nothing() {
    on_servers(|probe| {
        for (path, body) in WRITES.map(|write| write()) {
            let mut visitor = probe.visitor();
            change(&mut visitor, "/part/tag", json!({ "tag": "red" }));
            let mut attacker = visitor.clone();
            let held = attacker.hold(path, body);
            visitor.post("/login", json!({ "principal": "alice" }));
            let before = part(&mut visitor);
            assert_eq!(before["tags"], json!(["red"]));
            assert_refused(&held.release(), path);
            assert_eq!(part(&mut visitor), before, "{path}");
            assert_eq!(part(&mut attacker), untouched(), "{path}");
        }
    });
}

#[test]
fn a_write_whose_id_has_died_by_a_logout_or_a_takeover_is_a_409_and_keeps_nothing() {
    on_servers(|probe| {
        for (end, principal) in [("/logout", Value::Null), ("/login", json!("bob"))] {
            for (path, body) in WRITES.map(|write| write()) {
                let mut visitor = probe.visitor();
                visitor.post("/login", json!({ "principal": "alice" }));
                change(&mut visitor, "/part/tag", json!({ "tag": "red" }));
                let held = visitor.hold(path, body);
                visitor.post(end, json!({ "principal": principal }));
                assert_refused(&held.release(), &format!("{end}, then {path}"));
                assert_eq!(part(&mut visitor), untouched(), "{end}, then {path}");
            }
        }
    });
}
