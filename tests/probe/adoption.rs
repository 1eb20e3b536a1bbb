//! Session adoption: an ID made up by a client never becomes a session, and reading leaves no trace.

use serde_json::json;

use crate::support::http::Request;
use crate::support::process::{STATES, in_every_state, in_states};

/// 32 bytes in base64url.
const WELL_FORMED: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY";

/// CVE-2024-38513, CVE-2018-1000519.
#[test]
fn an_id_that_the_server_did_not_make_is_never_adopted() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor_with(WELL_FORMED);
        let looked = visitor.get("/dump");
        assert_eq!((looked.json()["new"].clone(), looked.cookie()), (json!(true), None));
        for (path, body) in [
            ("/set", json!({ "key": "k", "value": 1 })),
            ("/add", json!({ "key": "k", "by": 1 })),
            ("/login", json!({ "principal": "alice" })),
            ("/remember", json!({ "seconds": 60 })),
        ] {
            let mut visitor = probe.visitor_with(WELL_FORMED);
            let response = visitor.post(path, body);
            let fresh = response.cookie().expect("the write begins a session").value;
            assert_ne!(fresh, WELL_FORMED);
            assert!(!fresh.is_empty());
            assert!(visitor.is_live(), "{path}");
            assert!(!probe.visitor_with(WELL_FORMED).is_live(), "{path}");
        }
    });
}

#[test]
fn an_id_of_the_wrong_length_or_spelling_is_anonymous() {
    in_every_state(&[], |probe| {
        let mut live = probe.visitor();
        live.set("k", 1);
        let id = live.id().to_owned();
        for length in [0, 1, 2, 41, 42, 43, 44, 45, 64, 86, 128, 255, 256, 1024, 4096, 8192] {
            let made_up = "A".repeat(length);
            assert!(!probe.visitor_with(made_up).is_live(), "{length}");
        }
        for length in (1..id.len()).step_by(id.len() / 40 + 1) {
            assert!(!probe.visitor_with(&id[..length]).is_live(), "the first {length} characters");
            assert!(!probe.visitor_with(&id[length..]).is_live(), "from character {length} on");
        }
        for wrong in [format!("{id}A"), format!("A{id}"), format!("{id}="), id.to_lowercase(), id.replace('A', "+")] {
            assert!(wrong == id || !probe.visitor_with(wrong).is_live());
        }
        assert!(live.is_live());
    });
}

/// 43 characters hold two bits more than 32 bytes: of four spellings only one is canonical.
#[test]
fn an_id_has_one_spelling() {
    in_states(&["memory"], &[], |probe| {
        let mut live = probe.visitor();
        live.set("k", 1);
        let id = live.id().to_owned();
        assert_eq!(id.len(), 43);
        for last in ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_', '+', '/', '=']) {
            let spelling = format!("{}{last}", &id[..42]);
            assert_eq!(probe.visitor_with(spelling.clone()).is_live(), spelling == id, "{last}");
        }
    });
}

#[test]
fn a_write_does_not_revive_a_dead_id() {
    in_states(&["memory"], &[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let dead = visitor.id().to_owned();
        visitor.post("/logout", json!({}));
        let mut late = probe.visitor_with(dead.clone());
        let response = late.send(Request::post("/set", &json!({ "key": "k", "value": 2 })));
        assert_eq!((response.status, response.set_cookies()), (409, vec![]), "a minute long");
        assert!(!late.is_live());
        late.post("/login", json!({ "principal": "alice" }));
        assert_ne!(late.id(), dead);
        assert!(!probe.visitor_with(dead).is_live());
    });
}

#[test]
fn reading_sets_no_cookie() {
    in_every_state(&[], |probe| {
        for cookie in [None, Some(WELL_FORMED.to_owned()), Some("junk".to_owned())] {
            for path in ["/plain", "/read?key=k", "/dump", "/lifetime", "/stream?chunks=2&key=k"] {
                for method in ["GET", "HEAD"] {
                    let mut visitor = probe.visitor();
                    visitor.cookie = cookie.clone();
                    let response = visitor.send(Request::new(method, path));
                    assert_eq!((response.status, response.set_cookies()), (200, vec![]), "{method} {path}");
                }
            }
        }
    });
}

#[test]
fn a_change_of_nothing_begins_no_session() {
    in_every_state(&[], |probe| {
        for (path, body) in [
            ("/remove", json!({ "key": "k" })),
            ("/clear", json!({})),
            ("/renew", json!({})),
            ("/logout", json!({})),
            ("/fail-logout", json!({ "status": 500 })),
            ("/fail-renew", json!({ "status": 500 })),
        ] {
            for cookie in [None, Some(WELL_FORMED.to_owned()), Some("junk".to_owned())] {
                let mut visitor = probe.visitor();
                visitor.cookie = cookie;
                assert_eq!(visitor.post(path, body.clone()).set_cookies(), [], "{path}");
            }
        }
    });
}

#[test]
fn a_session_that_is_read_and_not_yet_to_be_touched_sends_no_cookie() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        for path in ["/read?key=k", "/dump", "/lifetime"] {
            assert_eq!(visitor.get(path).set_cookies(), [], "{path}");
        }
        let same = visitor.post("/set", json!({ "key": "k", "value": 1 }));
        assert_eq!(same.set_cookies(), [], "the value has not changed");
    });
}

#[test]
fn a_cookie_of_one_state_is_invalid_in_another() {
    let key = "P1DnqKqMUVvXRpCAGUzy+rZgOMrZVpSkq2cmgGEkHo0=";
    let probes = STATES.map(|state| crate::support::process::Probe::start(state, &["--keys", key]));
    for (from, probe) in probes.iter().enumerate() {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        for (to, other) in probes.iter().enumerate() {
            assert_eq!(other.visitor_with(visitor.id()).is_live(), from == to, "{} to {}", STATES[from], STATES[to]);
        }
    }
}
