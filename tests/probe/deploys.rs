//! A visitor of an earlier release, over HTTP: the next process on the same database has other settings.

use std::path::Path;

use serde_json::json;

use crate::support::process::Probe;
use crate::support::visitor::Visitor;

const KEY: &str = "P1DnqKqMUVvXRpCAGUzy+rZgOMrZVpSkq2cmgGEkHo0=";

/// Returns a new database.
fn database(test: &str) -> String {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploys").join(test);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("a directory can be made");
    format!("sqlite:{}", directory.join("sessions.db").display())
}

fn logged_in(probe: &Probe) -> String {
    let mut visitor = probe.visitor();
    visitor.set("k", "kept");
    assert_eq!(visitor.post("/login", json!({ "principal": "alice" })).status, 200);
    visitor.id().to_owned()
}

#[track_caller]
fn assert_kept(visitor: &mut Visitor<'_>) {
    assert_eq!(visitor.dump(), json!({ "values": { "k": "kept" }, "principal": "alice", "new": false }));
}

#[track_caller]
fn assert_anonymous_and_able_to_log_in(visitor: &mut Visitor<'_>) {
    assert_eq!(visitor.dump(), json!({ "values": {}, "principal": null, "new": true }));
    assert_eq!(visitor.post("/login", json!({ "principal": "alice" })).status, 200);
    assert_eq!(visitor.principal().as_deref(), Some("alice"), "the login takes");
}

#[test]
fn encryption_at_rest_is_turned_on_while_plain_records_are_accepted() {
    let state = database("encryption_on");
    let start = |options: &[&str]| Probe::start(&state, &[&["--keys", KEY], options].concat());
    let plain = start(&[]);
    let (active, away) = (logged_in(&plain), logged_in(&plain));
    drop(plain);
    let accepting = start(&["--encrypt-at-rest", "--accept-plain"]);
    assert_kept(&mut accepting.visitor_with(active.clone()));
    drop(accepting);
    let strict = start(&["--encrypt-at-rest"]);
    assert_kept(&mut strict.visitor_with(active.clone()));
    assert_anonymous_and_able_to_log_in(&mut strict.visitor_with(away));
    drop(strict);
    let plain_again = start(&[]);
    assert_anonymous_and_able_to_log_in(&mut plain_again.visitor_with(active));
}
