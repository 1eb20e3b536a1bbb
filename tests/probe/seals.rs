//! State in a cookie: any manipulation is rejected.

use crate::support::process::{COOKIE_STATES, Probe, in_states};
use crate::support::visitor::Visitor;

use serde_json::json;

const KEY_1: &str = "P1DnqKqMUVvXRpCAGUzy+rZgOMrZVpSkq2cmgGEkHo0=";
const KEY_2: &str = "yRo8vB0CePgEQdQAdNYuLuzXvcJpBfuw1r4q0AOYBoc=";

fn logged_in(probe: &Probe) -> Visitor<'_> {
    let mut visitor = probe.visitor();
    visitor.set("k", "secret value");
    visitor.post("/login", json!({ "principal": "alice" }));
    visitor
}

#[track_caller]
fn assert_opens_nothing(probe: &Probe, cookie: &str) {
    let response = probe.visitor_with(cookie).get("/dump");
    assert_eq!((response.status, response.set_cookies()), (200, vec![]), "{cookie}");
    assert_eq!(response.json(), json!({ "values": {}, "principal": null, "new": true }), "{cookie}");
}

#[test]
fn a_seal_with_any_character_changed_opens_nothing() {
    in_states(&COOKIE_STATES, &[], |probe| {
        let sealed = logged_in(probe).id().to_owned();
        let mut tried = 0;
        for index in 0..sealed.len() {
            // The neighbour in the alphabet differs in the lowest bit, in the padding bits of a last character too.
            for replacement in ['A', 'B', '_', '='] {
                if !sealed[index..].starts_with(replacement) {
                    let changed = format!("{}{replacement}{}", &sealed[..index], &sealed[index + 1..]);
                    assert_opens_nothing(probe, &changed);
                    tried += 1;
                }
            }
        }
        assert!(tried > 3 * sealed.len());
        assert_eq!(probe.visitor_with(sealed).principal().as_deref(), Some("alice"));
    });
}

#[test]
fn a_seal_has_one_spelling() {
    in_states(&COOKIE_STATES, &[], |probe| {
        let sealed = logged_in(probe).id().to_owned();
        let last = sealed.len() - 1;
        for character in ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_', '+', '/', '=']) {
            let spelling = format!("{}{character}", &sealed[..last]);
            assert_eq!(probe.visitor_with(spelling.clone()).is_live(), spelling == sealed, "{character}");
        }
    });
}

#[test]
fn a_seal_cut_or_stretched_opens_nothing() {
    in_states(&COOKIE_STATES, &[], |probe| {
        let sealed = logged_in(probe).id().to_owned();
        for length in 0..sealed.len() {
            assert_opens_nothing(probe, &sealed[..length]);
        }
        for cut in [1, 2, 3, 4, 8, 16] {
            assert_opens_nothing(probe, &sealed[cut..]);
        }
        for more in ["A", "AA", "AAAA", "=", "==", ".", "%00"] {
            assert_opens_nothing(probe, &format!("{sealed}{more}"));
            assert_opens_nothing(probe, &format!("{more}{sealed}"));
        }
        assert_opens_nothing(probe, &"A".repeat(60_000));
    });
}

#[test]
fn spliced_halves_of_two_seals_are_rejected() {
    in_states(&COOKIE_STATES, &[], |probe| {
        let (alice, mut bob) = (logged_in(probe), probe.visitor());
        bob.set("k", "secret value");
        bob.post("/login", json!({ "principal": "carol" }));
        let (alice, bob) = (alice.id(), bob.id());
        for at in (1..alice.len().min(bob.len())).step_by(7) {
            let mixed = format!("{}{}", &alice[..at], &bob[at..]);
            if mixed != alice && mixed != bob {
                assert_opens_nothing(probe, &mixed);
            }
        }
    });
}

#[test]
fn a_seal_is_valid_only_for_its_cookie_name_state_and_key() {
    for state in COOKIE_STATES {
        let probe = Probe::start(state, &["--keys", KEY_1]);
        let sealed = logged_in(&probe).id().to_owned();
        let other_state = COOKIE_STATES.into_iter().find(|other| *other != state).unwrap();
        for (state, options, name, is_live) in [
            (state, &["--keys", KEY_1][..], "__Host-Http-id", true),
            (state, &["--keys", KEY_1, "--cookie-name", "sid"], "sid", false),
            (state, &["--keys", KEY_1, "--insecure"], "id", false),
            (state, &["--keys", KEY_2], "__Host-Http-id", false),
            (state, &[], "__Host-Http-id", false),
            (other_state, &["--keys", KEY_1], "__Host-Http-id", false),
        ] {
            let other = Probe::start(state, options);
            let mut visitor = other.visitor_with(sealed.clone()).with_cookie_name(name);
            assert_eq!(visitor.is_live(), is_live, "{state} {options:?}");
        }
    }
}

#[test]
fn only_the_signed_state_is_readable_by_the_client() {
    use base64::Engine;
    for (state, is_readable) in [("cookie-signed", true), ("cookie-encrypted", false)] {
        let probe = Probe::start(state, &[]);
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&logged_in(&probe).id()[8..]).unwrap();
        let shows = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert_eq!((shows(b"secret value"), shows(b"alice")), (is_readable, is_readable), "{state}");
    }
}

#[test]
fn the_same_state_sealed_twice_looks_different() {
    in_states(&["cookie-encrypted"], &[], |probe| {
        let seals = [(); 20].map(|()| logged_in(probe).id().to_owned());
        let tails: std::collections::HashSet<_> = seals.iter().map(|seal| &seal[8..]).collect();
        assert_eq!(tails.len(), 20);
    });
}

#[test]
fn sessions_outlive_a_restart_and_a_rotation_of_keys() {
    for state in COOKIE_STATES {
        let start = |keys: &[&str]| Probe::start(state, &["--keys", &keys.join(",")]);
        let old = start(&[KEY_1]);
        let sealed_by_1 = logged_in(&old).id().to_owned();
        let (stopped, _) = {
            old.signal("-TERM");
            old.wait()
        };
        assert!(stopped.success());

        let rotated = start(&[KEY_2, KEY_1]);
        let mut visitor = rotated.visitor_with(sealed_by_1.clone());
        let response = visitor.get("/dump");
        assert_eq!(response.json()["principal"], "alice");
        let sealed_by_2 = response.cookie().expect("the state is sealed again").value;
        assert_eq!(visitor.get("/dump").set_cookies(), [], "once");
        assert_eq!(
            rotated.visitor_with(sealed_by_1.clone()).get("/plain").set_cookies(),
            [],
            "reading resealed nothing"
        );

        let new = start(&[KEY_2]);
        assert_eq!(new.visitor_with(sealed_by_2.clone()).dump()["values"], json!({ "k": "secret value" }));
        assert_eq!(new.visitor_with(sealed_by_2.clone()).principal().as_deref(), Some("alice"));
        assert_opens_nothing(&new, &sealed_by_1);

        let prepared = start(&[KEY_1, KEY_2]);
        assert!(
            prepared.visitor_with(sealed_by_2).is_live(),
            "a node that does not seal with the new key yet opens it"
        );
    }
}

#[test]
fn a_session_sealed_with_an_old_key_can_log_out() {
    for state in COOKIE_STATES {
        let old = Probe::start(state, &["--keys", KEY_1]);
        let sealed = logged_in(&old).id().to_owned();
        let rotated = Probe::start(state, &["--keys", &[KEY_2, KEY_1].join(",")]);
        let mut visitor = rotated.visitor_with(sealed);
        assert!(visitor.post("/logout", json!({})).cookie().is_some_and(|cookie| cookie.is_removal()));
    }
}
