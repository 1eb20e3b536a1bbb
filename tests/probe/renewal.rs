//! New IDs: at a login without grace, otherwise with it.

use std::collections::HashSet;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::http::Response;
use crate::support::process::{in_every_state, in_states};
use crate::support::visitor::Held;

#[expect(clippy::disallowed_methods, reason = "these tests are about real time")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn a_login_keeps_the_values_and_names_the_principal() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("cart", json!(["tea"]));
        let before = visitor.id().to_owned();
        assert!(visitor.post("/login", json!({ "principal": "alice" })).cookie().is_some());
        assert_ne!(visitor.id(), before);
        assert_eq!(visitor.dump(), json!({ "values": { "cart": ["tea"] }, "principal": "alice", "new": false }));
        let again = visitor.id().to_owned();
        assert!(visitor.post("/login", json!({ "principal": "alice" })).cookie().is_some());
        assert_ne!(visitor.id(), again, "even for the same principal");
    });
}

#[test]
fn a_takeover_keeps_nothing_of_the_former_principal() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.post("/login", json!({ "principal": "alice" }));
        visitor.set("diary", "secret");
        visitor.post("/login", json!({ "principal": "bob" }));
        assert_eq!(visitor.dump(), json!({ "values": {}, "principal": "bob", "new": false }));
    });
}

#[test]
fn a_login_kills_the_old_id_at_once() {
    in_states(&["memory"], &["--grace", "1h"], |probe| {
        let mut victim = probe.visitor();
        victim.set("k", 1);
        let mut attacker = victim.clone();
        victim.post("/login", json!({ "principal": "alice" }));
        let dump = attacker.get("/dump");
        assert_eq!(dump.json(), json!({ "values": {}, "principal": null, "new": true }));
        assert_eq!(dump.set_cookies(), []);
        let rejected = attacker.post("/set", json!({ "key": "k", "value": 2 }));
        assert_eq!(rejected.status, 409);
        assert_eq!(rejected.set_cookies(), []);
        assert_eq!(victim.read("k"), 1);
    });
}

#[test]
fn a_request_from_before_a_login_neither_learns_nor_changes_anything() {
    in_states(&["memory"], &["--grace", "1h"], |probe| {
        for (path, body) in [
            ("/set", json!({ "key": "k", "value": "planted" })),
            ("/add", json!({ "key": "n", "by": 1 })),
            ("/fail-renew", json!({ "status": 200 })),
            ("/remember", json!({ "seconds": 10_000 })),
            ("/login", json!({ "principal": "mallory" })),
            ("/logout", json!({})),
        ] {
            let mut victim = probe.visitor();
            victim.set("k", 1);
            let attacker = victim.clone();
            let held = attacker.hold(path, body);
            victim.post("/login", json!({ "principal": "alice" }));
            assert_eq!(held.release().set_cookies(), [], "{path}");
            assert!(!attacker.cookie_is_live(), "{path}");
            assert_eq!(victim.dump(), json!({ "values": { "k": 1 }, "principal": "alice", "new": false }), "{path}");
            assert_eq!(victim.get("/lifetime").json()["idle_seconds"], 1800);
        }
    });
}

/// An earlier renewal with grace must not bypass the login's lack of grace.
#[test]
fn a_login_kills_ids_in_their_grace_too() {
    in_states(&["memory"], &["--grace", "1h"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let oldest = visitor.clone();
        visitor.post("/renew", json!({}));
        let older = visitor.clone();
        visitor.post("/renew", json!({}));
        assert!(oldest.cookie_is_live() && older.cookie_is_live());
        visitor.post("/login", json!({ "principal": "alice" }));
        assert!(!oldest.cookie_is_live() && !older.cookie_is_live());
        assert!(visitor.is_live());
    });
}

#[test]
fn a_login_concurrent_with_a_renewal_leaves_no_grace() {
    in_states(&["memory"], &["--grace", "1h"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let old = visitor.clone();
        let login = visitor.hold("/login", json!({ "principal": "alice" }));
        visitor.post("/renew", json!({}));
        let response = login.release();
        let mut alice = probe.visitor_with(response.cookie().expect("the login gives an ID").value);
        assert_eq!(alice.dump(), json!({ "values": { "k": 1 }, "principal": "alice", "new": false }));
        assert!(!old.cookie_is_live() && !visitor.cookie_is_live());
    });
}

#[test]
fn a_renewal_keeps_the_session_under_a_new_id() {
    in_every_state(&[], |probe| {
        for (path, status) in [("/renew", 200), ("/fail-renew", 500), ("/fail-renew", 404)] {
            let mut visitor = probe.visitor();
            visitor.set("k", 1);
            visitor.post("/login", json!({ "principal": "alice" }));
            let before = visitor.id().to_owned();
            assert_eq!(visitor.post(path, json!({ "status": status })).status, status);
            assert_ne!(visitor.id(), before);
            assert_eq!(visitor.dump(), json!({ "values": { "k": 1 }, "principal": "alice", "new": false }));
        }
    });
}

#[test]
fn within_the_grace_an_old_id_finds_the_session_and_learns_the_new_id() {
    in_states(&["memory"], &["--grace", "1h"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let mut old = visitor.clone();
        visitor.post("/renew", json!({}));
        let told = old.get("/read?key=k");
        assert_eq!(told.json()["value"], 1);
        assert_eq!(told.cookie().expect("the new cookie").value, visitor.id());
        assert_eq!(old.get("/read?key=k").set_cookies(), [], "the client has the new ID");
    });
}

#[test]
fn after_the_grace_an_old_id_is_dead() {
    in_states(&["memory"], &["--grace", "1s"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let old = visitor.clone();
        visitor.post("/renew", json!({}));
        assert!(old.cookie_is_live());
        thread::sleep(Duration::from_millis(1050));
        assert!(!old.cookie_is_live());
        assert!(visitor.is_live());
    });
}

#[test]
fn without_a_grace_an_old_id_is_dead_at_once() {
    in_states(&["memory"], &["--grace", "0s"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let old = visitor.clone();
        let held = old.hold("/set", json!({ "key": "late", "value": 1 }));
        visitor.post("/renew", json!({}));
        assert!(!old.cookie_is_live());
        assert_eq!(held.release().set_cookies(), [], "a dead ID does not learn its successor");
        assert!(visitor.is_live());
    });
}

#[test]
fn a_chain_of_renewals_within_the_grace_leads_to_its_end() {
    in_states(&["memory"], &["--grace", "1h"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let mut ids = vec![visitor.clone()];
        for _ in 0..5 {
            visitor.post("/renew", json!({}));
            ids.push(visitor.clone());
        }
        let different: HashSet<_> = ids.iter().map(|visitor| visitor.id().to_owned()).collect();
        assert_eq!(different.len(), 6);
        for mut old in ids {
            assert_eq!(old.read("k"), 1);
            assert_eq!(old.id(), visitor.id());
        }
    });
}

/// A client that sends all its requests before the first response arrives.
#[test]
fn a_client_that_renews_over_and_over_with_its_old_id_is_not_logged_out() {
    in_states(&["memory"], &["--grace", "1h"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let old = visitor.clone();
        for request in 0..30 {
            let mut late = old.clone();
            assert_eq!(late.post("/renew", json!({})).status, 200);
            assert_eq!(late.read("k"), 1, "request {request}");
        }
        assert!(old.cookie_is_live());
    });
}

/// Releases all requests at once, and waits for their responses.
fn release_at_once(held: Vec<Held>) -> Vec<Response> {
    let barrier = Barrier::new(held.len());
    thread::scope(|scope| {
        let release = |held: Held| {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                held.release()
            })
        };
        let threads: Vec<_> = held.into_iter().map(release).collect();
        threads.into_iter().map(|thread| thread.join().expect("no request fails")).collect()
    })
}

#[test]
fn two_hundred_requests_at_the_moment_of_a_renewal_see_one_new_id() {
    // On a busy machine two hundred requests take more than a second, and then the new ID is due for renewal too.
    in_states(&["memory"], &["--renewal", "4s", "--grace", "1h"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let held: Vec<_> =
            (0..200).map(|index| visitor.hold("/set", json!({ "key": format!("k{index}"), "value": index }))).collect();
        thread::sleep(Duration::from_millis(4050));
        let responses = release_at_once(held);
        let ids: HashSet<_> = responses.iter().map(|response| response.cookie().expect("the new ID").value).collect();
        assert!(responses.iter().all(|response| response.status == 200));
        assert_eq!(ids.len(), 1);
        assert!(!ids.contains(visitor.id()));
        let mut values = probe.visitor_with(ids.into_iter().next().unwrap()).dump();
        assert_eq!(values["values"].as_object_mut().unwrap().len(), 201, "and none of their changes is lost");
        assert!(visitor.is_live(), "the session is still logged in");
    });
}

#[test]
fn a_hundred_explicit_renewals_at_once_make_one_new_id() {
    in_states(&["memory"], &["--grace", "1h"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let held: Vec<_> = (0..100).map(|_| visitor.hold("/fail-renew", json!({ "status": 200 }))).collect();
        let responses = release_at_once(held);
        let ids: HashSet<_> = responses.iter().map(|response| response.cookie().expect("the new ID").value).collect();
        assert_eq!(ids.len(), 1);
        assert!(visitor.is_live());
    });
}

#[test]
fn one_of_many_concurrent_logins_wins_and_the_others_learn_nothing() {
    in_states(&["memory"], &["--grace", "1h"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let held: Vec<_> =
            (0..50).map(|n| visitor.hold("/login", json!({ "principal": format!("user{n}") }))).collect();
        let responses = release_at_once(held);
        let cookies: Vec<_> = responses.iter().filter_map(Response::cookie).collect();
        assert_eq!(cookies.len(), 1);
        assert!(!visitor.is_live());
    });
}

#[test]
fn periodic_renewals_change_the_id_and_keep_the_login() {
    in_states(&["memory"], &["--renewal", "400ms", "--grace", "400ms"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let mut ids = HashSet::from([visitor.id().to_owned()]);
        let before = now();
        for _ in 0..30 {
            thread::sleep(Duration::from_millis(50));
            assert_eq!(visitor.read("k"), 1);
            ids.insert(visitor.id().to_owned());
        }
        let most = 1 + before.elapsed().as_millis() / 400;
        assert!((3..=most).contains(&(ids.len() as u128)), "{} where {most} are due", ids.len());
    });
}

#[test]
fn a_change_made_under_the_old_id_lands_in_the_renewed_session() {
    in_states(&["memory"], &["--grace", "1h"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let held = visitor.hold("/set", json!({ "key": "late", "value": 2 }));
        visitor.post("/renew", json!({}));
        assert_eq!(held.release().cookie().expect("the new ID").value, visitor.id());
        assert_eq!(visitor.dump()["values"], json!({ "k": 1, "late": 2 }));
    });
}

/// A persistent cookie is set again whenever its deadline moves. This must not undo concurrent changes.
#[test]
fn a_slow_reader_of_a_remembered_session_does_not_put_an_old_id_in_place_of_a_new_one() {
    in_states(&["memory"], &["--touch-interval", "0s", "--grace", "1h"], |probe| {
        for (path, body) in [("/renew", json!({})), ("/login", json!({ "principal": "alice" })), ("/logout", json!({}))]
        {
            let mut visitor = probe.visitor();
            visitor.post("/remember", json!({ "seconds": 10_000 }));
            let held = visitor.hold("/remove", json!({ "key": "none" }));
            visitor.post(path, body);
            assert_eq!(held.release().set_cookies(), [], "{path}");
        }
    });
}

#[test]
fn a_slow_reader_with_an_id_in_its_grace_does_not_put_a_dead_id_in_place_of_a_new_one() {
    for options in [&["--grace", "1h"][..], &["--grace", "1h", "--touch-interval", "0s"]] {
        in_states(&["memory"], options, |probe| {
            for (path, body) in [("/login", json!({ "principal": "alice" })), ("/logout", json!({}))] {
                let mut visitor = probe.visitor();
                visitor.set("k", 1);
                let old = visitor.clone();
                visitor.post("/renew", json!({}));
                let held = old.hold("/remove", json!({ "key": "none" }));
                visitor.post(path, body);
                assert_eq!(held.release().set_cookies(), [], "{path}");
            }
        });
    }
}

#[test]
fn a_dead_id_does_not_learn_its_successor_even_in_a_remembered_session() {
    in_states(&["memory"], &["--grace", "0s"], |probe| {
        for (path, body) in [
            ("/set", json!({ "key": "late", "value": 1 })),
            ("/remove", json!({ "key": "none" })),
            ("/fail-renew", json!({ "status": 200 })),
        ] {
            let mut visitor = probe.visitor();
            visitor.post("/remember", json!({ "seconds": 10_000 }));
            let held = visitor.hold(path, body);
            visitor.post("/renew", json!({}));
            assert_eq!(held.release().set_cookies(), [], "{path}");
            assert!(visitor.is_live());
        }
    });
}

#[test]
fn every_new_id_of_a_remembered_session_is_kept_as_long() {
    in_states(&["memory"], &["--grace", "1h", "--touch-interval", "0s"], |probe| {
        let mut visitor = probe.visitor();
        visitor.post("/remember", json!({ "seconds": 10_000 }));
        let mut old = visitor.clone();
        for response in [
            visitor.post("/renew", json!({})),
            old.get("/dump"),
            visitor.get("/dump"),
            visitor.set("k", 1),
            visitor.post("/login", json!({ "principal": "alice" })),
        ] {
            let cookie = response.cookie().expect("the deadline moves");
            assert!((9998..=10_000).contains(&cookie.max_age().expect("the cookie is kept")), "{cookie:?}");
        }
    });
}

#[test]
fn a_cookie_state_is_resealed_by_a_due_renewal() {
    in_states(&crate::support::process::COOKIE_STATES, &["--renewal", "1s"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        assert_eq!(visitor.get("/read?key=k").set_cookies(), []);
        thread::sleep(Duration::from_millis(1050));
        assert!(visitor.get("/read?key=k").cookie().is_some());
        assert_eq!(visitor.read("k"), 1);
    });
}
