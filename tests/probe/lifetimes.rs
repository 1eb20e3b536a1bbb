//! How long sessions live. The clock is real, so every test leaves a margin.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::process::{COOKIE_STATES, in_every_state, in_states};

/// Bounds for the time since an event at the probe: at most since the request was sent, at least since the response.
struct Watch(Instant);

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "these tests are about real time")]
    fn start() -> Self {
        Self(Instant::now())
    }

    fn sleep_until(&self, milliseconds: u64) {
        sleep(Duration::from_millis(milliseconds).saturating_sub(self.0.elapsed()));
    }
}

#[test]
fn without_options_a_session_has_the_timeouts_of_the_crate() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        let lifetime = json!({
            "idle_seconds": 1800, "absolute_seconds": 43200, "idle_remaining": 1800, "absolute_remaining": 43200
        });
        assert_eq!(visitor.get("/lifetime").json(), lifetime, "before there is a session");
        visitor.set("k", 1);
        let lifetime = visitor.get("/lifetime").json();
        assert_eq!((&lifetime["idle_seconds"], &lifetime["absolute_seconds"]), (&json!(1800), &json!(43200)));
        assert!((1790..=1800).contains(&lifetime["idle_remaining"].as_u64().unwrap()), "{lifetime}");
        assert!((43190..=43200).contains(&lifetime["absolute_remaining"].as_u64().unwrap()), "{lifetime}");
    });
}

#[test]
fn an_unused_session_lives_to_its_idle_timeout_and_no_longer() {
    in_every_state(&["--idle", "2s"], |probe| {
        let before = Watch::start();
        let (mut early, mut late) = (probe.visitor(), probe.visitor());
        early.set("k", 1);
        late.set("k", 1);
        let after = Watch::start();
        before.sleep_until(1600);
        assert!(early.is_live());
        after.sleep_until(2010);
        let dead = late.get("/dump");
        assert_eq!((dead.json()["new"].clone(), dead.json()["values"].clone()), (json!(true), json!({})));
    });
}

#[test]
fn reading_keeps_a_session_alive() {
    in_every_state(&["--idle", "1s"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        for _ in 0..6 {
            sleep(Duration::from_millis(400));
            assert_eq!(visitor.read("k"), 1);
        }
        sleep(Duration::from_millis(1010));
        assert!(!visitor.is_live());
    });
}

#[test]
fn a_touch_interval_as_long_as_the_session_does_not_end_one_in_steady_use() {
    in_every_state(&["--idle", "1s", "--touch-interval", "1h"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        for _ in 0..8 {
            sleep(Duration::from_millis(200));
            assert_eq!(visitor.read("k"), 1);
        }
    });
}

#[test]
fn a_session_that_is_not_looked_at_is_not_used() {
    in_every_state(&["--idle", "1s"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        for _ in 0..4 {
            sleep(Duration::from_millis(260));
            assert_eq!(visitor.get("/plain").set_cookies(), []);
        }
        assert!(!visitor.is_live());
    });
}

#[test]
fn to_peek_at_a_session_is_no_use_of_it() {
    in_every_state(&["--idle", "3s", "--touch-interval", "0s"], |probe| {
        let mut visitor = probe.visitor();
        assert_eq!(visitor.get("/peek").json(), visitor.get("/lifetime").json(), "before there is a session");
        visitor.set("k", 1);
        let written = Watch::start();
        for (milliseconds, left) in [(0, 3), (1010, 2), (2010, 1)] {
            written.sleep_until(milliseconds);
            let peeked = visitor.get("/peek");
            assert_eq!(peeked.set_cookies(), []);
            let peeked = peeked.json();
            let (idle, remaining) = (&peeked["idle_seconds"], &peeked["idle_remaining"]);
            assert_eq!(idle, 3);
            assert!(remaining.as_u64().unwrap() <= left, "{remaining}");
        }
        written.sleep_until(3010);
        assert!(!visitor.is_live());
    });
}

/// A use within the touch interval is not stored, so the session may end early by that much, but never late.
#[test]
fn a_touch_interval_ends_a_session_early_and_never_late() {
    in_every_state(&["--idle", "2s", "--touch-interval", "1s"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let written = Watch::start();
        written.sleep_until(300);
        assert_eq!(visitor.get("/read?key=k").set_cookies(), [], "no touch is due");
        let used = Watch::start();
        used.sleep_until(2010);
        assert!(!visitor.is_live());
    });
    in_every_state(&["--idle", "2s", "--touch-interval", "500ms"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let written = Watch::start();
        written.sleep_until(800);
        assert_eq!(visitor.read("k"), 1);
        written.sleep_until(2200);
        assert_eq!(visitor.read("k"), 1, "the touch was due and moved the deadline");
    });
}

#[test]
fn activity_does_not_move_the_absolute_timeout() {
    in_every_state(&["--absolute", "2s", "--idle", "1s"], |probe| {
        let before = Watch::start();
        let mut visitor = probe.visitor();
        visitor.set("n", 0);
        let after = Watch::start();
        let mut uses = 0;
        while before.0.elapsed() < Duration::from_millis(1600) {
            assert!(visitor.is_live(), "after {uses} uses");
            visitor.set("n", uses);
            visitor.post("/renew", json!({}));
            uses += 1;
            sleep(Duration::from_millis(100));
        }
        after.sleep_until(2010);
        assert!(!visitor.is_live());
    });
}

#[test]
fn a_login_starts_the_absolute_timeout_anew() {
    in_every_state(&["--absolute", "2s"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        sleep(Duration::from_millis(1200));
        let before = Watch::start();
        visitor.post("/login", json!({ "principal": "alice" }));
        let after = Watch::start();
        before.sleep_until(1400);
        assert!(visitor.is_live());
        after.sleep_until(2010);
        assert!(!visitor.is_live());
    });
}

#[test]
fn a_remembered_session_outlives_the_idle_timeout_of_the_layer() {
    in_every_state(&["--idle", "1s"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let remembered = visitor.post("/remember", json!({ "seconds": 100 })).cookie().expect("a cookie to be kept");
        assert_eq!(remembered.max_age(), Some(100));
        sleep(Duration::from_millis(1100));
        assert_eq!(visitor.read("k"), 1);
        let written = visitor.set("k", 2).cookie().expect("the cookie moves along");
        assert_eq!(written.max_age(), Some(100), "a later write keeps it");
        visitor.post("/login", json!({ "principal": "alice" }));
        visitor.post("/renew", json!({}));
        visitor.post("/clear", json!({}));
        let lifetime = visitor.get("/lifetime").json();
        assert_eq!(lifetime["idle_seconds"], 100);
        assert!((98..=100).contains(&lifetime["idle_remaining"].as_u64().unwrap()), "{lifetime}");
        sleep(Duration::from_millis(1100));
        assert!(visitor.is_live());
    });
}

#[test]
fn a_session_may_be_remembered_for_less() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        visitor.post("/remember", json!({ "seconds": 1 }));
        let after = Watch::start();
        assert!(visitor.is_live());
        after.sleep_until(2110);
        assert!(!visitor.is_live());
    });
}

#[test]
fn no_cookie_is_kept_longer_than_its_session_lives() {
    in_every_state(&["--absolute", "1h"], |probe| {
        for seconds in [7200, 1_000_000_000, u64::MAX] {
            let mut visitor = probe.visitor();
            visitor.set("k", 1);
            let cookie = visitor.post("/remember", json!({ "seconds": seconds })).cookie().expect("a cookie");
            assert!((3590..=3600).contains(&cookie.max_age().unwrap()), "{cookie:?}");
            assert!(visitor.is_live());
        }
    });
    in_every_state(&["--absolute", "10000d"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let cookie = visitor.post("/remember", json!({ "seconds": u64::MAX })).cookie().expect("a cookie");
        assert_eq!(cookie.max_age(), Some(400 * 24 * 60 * 60), "the longest that browsers keep one");
        assert!(visitor.is_live());
    });
}

#[test]
fn a_takeover_does_not_keep_the_remembered_timeout() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.post("/login", json!({ "principal": "alice" }));
        visitor.post("/remember", json!({ "seconds": 100_000 }));
        let login = visitor.post("/login", json!({ "principal": "bob" }));
        assert_eq!(login.cookie().expect("a new ID").max_age(), None, "a session cookie of the browser");
        assert_eq!(visitor.get("/lifetime").json()["idle_seconds"], 1800);
    });
}

#[test]
fn a_session_may_be_remembered_for_no_time_at_all() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        visitor.post("/remember", json!({ "seconds": 0 }));
        assert!(!visitor.is_live());
    });
}

/// The times are inside the seal: a copy of the cookie lives no longer than the cookie.
#[test]
fn a_copied_cookie_expires_like_the_original() {
    in_states(&COOKIE_STATES, &["--idle", "1s"], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let copy = visitor.clone();
        let after = Watch::start();
        for at in [500, 1010] {
            after.sleep_until(at);
            assert!(visitor.is_live(), "the original is used");
        }
        assert!(!copy.cookie_is_live());
    });
}
