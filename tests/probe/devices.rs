//! The sessions of a principal. `tests/stores` runs the same over every store.

use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::process::{COOKIE_STATES, Probe, in_states};
use crate::support::visitor::Visitor;

const ROUTES: [(&str, &str); 4] =
    [("GET", "/sessions"), ("POST", "/revoke"), ("POST", "/revoke-others"), ("POST", "/revoke-all")];

fn device<'p>(probe: &'p Probe, principal: &str) -> Visitor<'p> {
    let mut visitor = probe.visitor();
    assert_eq!(visitor.post("/login", json!({ "principal": principal })).status, 200);
    visitor
}

fn list(visitor: &mut Visitor<'_>) -> Vec<Value> {
    let response = visitor.get("/sessions");
    assert_eq!(response.status, 200, "{response:?}");
    response.json().as_array().expect("a list").clone()
}

#[test]
fn a_list_has_handles_and_times_and_no_id() {
    in_states(&["memory"], &[], |probe| {
        let mut phone = device(probe, "alice");
        let desk = device(probe, "alice");
        let shown = phone.get("/sessions");
        let text = String::from_utf8(shown.body()).expect("a text");
        assert!(!text.contains(phone.id()) && !text.contains(desk.id()), "{text}");
        let list = list(&mut phone);
        assert_eq!(list.len(), 2);
        for entry in &list {
            let fields: Vec<_> = entry.as_object().expect("an object").keys().map(String::as_str).collect();
            assert_eq!(fields, ["created_at", "current", "handle", "last_seen_at"]);
            assert_eq!(entry["handle"].as_str().expect("a text").len(), 22);
        }
        assert_eq!(list.iter().filter(|entry| entry["current"] == true).count(), 1);
    });
}

#[test]
fn without_a_login_the_list_is_empty_and_nothing_is_ended() {
    in_states(&["memory"], &[], |probe| {
        let alice = device(probe, "alice");
        let mut visitor = probe.visitor();
        assert_eq!(list(&mut visitor), [json!(null); 0]);
        assert_eq!(visitor.cookie, None);
        assert_eq!(visitor.post("/revoke-others", json!({})).status, 200);
        assert_eq!(visitor.post("/revoke", json!({ "handle": "x" })).status, 404);
        for (route, body) in [("/revoke", json!({})), ("/revoke", json!({ "handle": 1 })), ("/revoke-all", json!({}))] {
            assert_eq!(visitor.post(route, body).status, 400, "{route}");
        }
        assert!(alice.cookie_is_live());
    });
}

#[test]
fn a_state_that_cannot_list_its_sessions_has_no_routes_for_it() {
    in_states(&COOKIE_STATES, &[], |probe| {
        for (method, path) in ROUTES {
            let request = Request::new(method, path).header("Content-Length", "0");
            assert_eq!(probe.exchange(request).status, 404, "{path}");
        }
    });
}

#[test]
fn logins_beyond_the_limit_evict_the_oldest() {
    in_states(&["memory"], &["--max-sessions", "3"], |probe| {
        let devices: Vec<_> = (0..5).map(|_| device(probe, "alice")).collect();
        let live: Vec<_> = devices.iter().map(Visitor::cookie_is_live).collect();
        assert_eq!(live.iter().filter(|live| **live).count(), 3, "{live:?}");
        assert!(device(probe, "bob").cookie_is_live());
    });
}

#[test]
fn with_revocation_a_copy_of_a_cookie_does_not_outlive_the_logout() {
    in_states(&COOKIE_STATES, &["--revocation", "memory"], |probe| {
        let mut visitor = device(probe, "alice");
        let copy = visitor.clone();
        visitor.post("/logout", json!({}));
        assert!(!copy.cookie_is_live());
        let mut devices = [device(probe, "alice"), device(probe, "alice")];
        assert_eq!(devices[0].post("/revoke-others", json!({})).status, 200);
        assert_eq!(devices.iter().map(Visitor::cookie_is_live).collect::<Vec<_>>(), [true, false]);
        assert_eq!(probe.visitor().post("/revoke-all", json!({ "principal": "alice" })).status, 200);
        assert!(!devices[0].cookie_is_live());
        assert!(device(probe, "alice").cookie_is_live());
    });
    in_states(&COOKIE_STATES, &[], |probe| {
        let mut visitor = device(probe, "alice");
        let copy = visitor.clone();
        visitor.post("/logout", json!({}));
        assert!(copy.cookie_is_live(), "without revocation the copy stays valid, as documented");
    });
}
