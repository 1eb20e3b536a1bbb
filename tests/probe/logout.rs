//! Ended sessions stay ended, even when another request finishes late.

use serde_json::json;

use crate::support::process::{in_every_state, in_states};

const REMOVAL: &str = "; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT";

#[test]
fn a_logout_removes_the_cookie_with_all_its_attributes() {
    in_every_state(&[], |probe| {
        for (path, status) in [("/logout", 200), ("/fail-logout", 503), ("/fail-logout", 404)] {
            let mut visitor = probe.visitor();
            visitor.set("k", 1);
            let response = visitor.post(path, json!({ "status": status }));
            assert_eq!(response.status, status);
            let removal = response.cookie().expect("the cookie is removed");
            assert_eq!((removal.value.as_str(), removal.attributes.as_str()), ("", REMOVAL));
            assert_eq!(visitor.cookie, None);
        }
    });
}

#[test]
fn after_a_logout_the_id_is_dead() {
    in_states(&["memory"], &[], |probe| {
        for path in ["/logout", "/fail-logout"] {
            let mut visitor = probe.visitor();
            visitor.set("k", 1);
            visitor.post("/login", json!({ "principal": "alice" }));
            let old = visitor.clone();
            visitor.post(path, json!({ "status": 500 }));
            assert!(!old.cookie_is_live(), "{path}");
            assert_eq!(old.clone().dump()["principal"], json!(null));
        }
    });
}

#[test]
fn a_slower_request_cannot_revive_a_session() {
    in_states(&["memory"], &[], |probe| {
        for (path, body) in [
            ("/set", json!({ "key": "late", "value": 1 })),
            ("/add", json!({ "key": "late", "by": 1 })),
            ("/remove", json!({ "key": "k" })),
            ("/login", json!({ "principal": "mallory" })),
            ("/remember", json!({ "seconds": 1000 })),
            ("/fail", json!({ "key": "late", "value": 1, "status": 500 })),
            ("/fail-renew", json!({ "status": 200 })),
            ("/fail-logout", json!({ "status": 200 })),
            ("/logout", json!({})),
        ] {
            let mut visitor = probe.visitor();
            visitor.set("k", 1);
            let old = visitor.clone();
            let held = old.hold(path, body);
            visitor.post("/logout", json!({}));
            assert_eq!(held.release().set_cookies(), [], "{path} sets no cookie, and removes none that may be fresh");
            assert!(!old.cookie_is_live(), "{path}");
        }
    });
}

/// Without a server that knows of the logout, a client may keep a copy of its cookie. The late response still must not
/// set a cookie that undoes the logout.
#[test]
fn a_slower_reader_of_a_cookie_state_sets_no_cookie_after_a_logout() {
    in_states(&crate::support::process::COOKIE_STATES, &[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let held = visitor.hold("/remove", json!({ "key": "other" }));
        visitor.post("/logout", json!({}));
        assert_eq!(held.release().set_cookies(), []);
    });
}

#[test]
fn a_slower_logout_does_not_log_out_a_fresh_login() {
    in_states(&["memory"], &[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let held = visitor.hold("/logout", json!({}));
        visitor.post("/login", json!({ "principal": "alice" }));
        assert_eq!(held.release().set_cookies(), [], "a removal would race the fresh cookie");
        assert_eq!(visitor.principal().as_deref(), Some("alice"));
    });
}

#[test]
fn a_logout_ends_a_renewed_session() {
    in_states(&["memory"], &[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let old = visitor.clone();
        let held = old.hold("/logout", json!({}));
        visitor.post("/renew", json!({}));
        assert_ne!(visitor.id(), old.id());
        let between = visitor.clone();
        visitor.post("/renew", json!({}));
        assert!(held.release().cookie().is_some_and(|cookie| cookie.is_removal()));
        for visitor in [&visitor, &between, &old] {
            assert!(!visitor.cookie_is_live());
        }
    });
}

#[test]
fn a_logout_with_an_id_in_its_grace_ends_the_session() {
    in_states(&["memory"], &[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let mut old = visitor.clone();
        visitor.post("/renew", json!({}));
        assert!(old.post("/logout", json!({})).cookie().is_some_and(|cookie| cookie.is_removal()));
        assert!(!visitor.cookie_is_live());
    });
}

#[test]
fn a_second_logout_has_nothing_to_remove() {
    in_states(&["memory"], &[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let mut again = visitor.clone();
        visitor.post("/logout", json!({}));
        assert_eq!(again.post("/logout", json!({})).set_cookies(), []);
    });
}

#[test]
fn one_of_many_concurrent_logouts_removes_the_cookie() {
    in_states(&["memory"], &[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let held: Vec<_> = (0..50).map(|_| visitor.hold("/logout", json!({}))).collect();
        let removals = held.into_iter().map(|held| held.release().set_cookies().len());
        assert_eq!(removals.sum::<usize>(), 1);
    });
}

#[test]
fn a_new_session_after_a_logout_has_nothing_of_the_old() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        visitor.post("/login", json!({ "principal": "alice" }));
        visitor.post("/remember", json!({ "seconds": 1000 }));
        let old = visitor.id().to_owned();
        visitor.post("/logout", json!({}));
        let response = visitor.set("other", 2);
        assert_ne!(visitor.id(), old);
        assert_eq!(response.cookie().and_then(|cookie| cookie.max_age()), None);
        assert_eq!(visitor.dump(), json!({ "values": { "other": 2 }, "principal": null, "new": false }));
        assert_eq!(visitor.get("/lifetime").json()["idle_seconds"], 1800);
    });
}

#[test]
fn a_request_held_by_its_handler_cannot_revive_a_session() {
    in_states(&["memory"], &[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let mut slow = visitor.clone();
        std::thread::scope(|scope| {
            let slow = scope.spawn(move || {
                let response = slow.post("/set", json!({ "key": "late", "value": 1, "hold_ms": 1500 }));
                (slow, response)
            });
            // A request that has not loaded the session by now comes after the logout and starts a new session.
            std::thread::sleep(std::time::Duration::from_millis(700));
            let old = visitor.clone();
            visitor.post("/logout", json!({}));
            let (slow, response) = slow.join().unwrap();
            assert_eq!(response.set_cookies(), []);
            assert!(!slow.cookie_is_live() && !old.cookie_is_live());
        });
    });
}
