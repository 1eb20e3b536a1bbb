//! The probe as a program: its command line, connections and exit.

use serde_json::json;

use crate::support::http::{COOKIE, Request};
use crate::support::process::{Probe, in_every_state, run};

const KEY: &str = "P1DnqKqMUVvXRpCAGUzy+rZgOMrZVpSkq2cmgGEkHo0=";

#[test]
fn an_invalid_command_line_exits_with_status_64_and_a_reason() {
    let memory = |more: &[&'static str]| [&["--state", "memory", "--listen", "127.0.0.1:0"], more].concat();
    let state = |state| vec!["--state", state, "--listen", "127.0.0.1:0"];
    for (arguments, complaint) in [
        (vec![], "--state"),
        (vec!["--state", "memory"], "--listen"),
        (vec!["--listen", "127.0.0.1:0"], "--state"),
        (vec!["--state"], "--state"),
        (vec!["--state", "memory", "--listen"], "--listen"),
        (vec!["--state", "memory", "--listen", "nowhere"], "nowhere"),
        (vec!["--state", "memory", "--listen", "127.0.0.1"], "127.0.0.1"),
        (vec!["--state", "memory", "--listen", "127.0.0.1:70000"], "70000"),
        (state("floppy"), "floppy"),
        (state(""), "--state"),
        (state("Memory"), "Memory"),
        (memory(&["--unknown"]), "--unknown"),
        (memory(&["--idle=2s"]), "--idle=2s"),
        (memory(&["extra"]), "extra"),
        (memory(&["--revocation", "memory"]), "--revocation is for state in the cookie"),
        (memory(&["--revocation", "floppy"]), "--revocation floppy"),
        (vec!["--state", "cookie-signed", "--listen", "127.0.0.1:0", "--revocation", "cookie-signed"], "a store"),
        (memory(&["--conflict", "later"]), "--conflict later"),
        (memory(&["--conflict"]), "--conflict"),
        (memory(&["--part-place", "tables"]), "--part-place tables"),
        (memory(&["--part-place", "Record"]), "--part-place Record"),
        (memory(&["--max-sessions", "0"]), "0 sessions"),
        (memory(&["--max-sessions", "-1"]), "--max-sessions"),
        (memory(&["--idle"]), "--idle"),
        (memory(&["--idle", ""]), "--idle"),
        (memory(&["--idle", "2"]), "--idle"),
        (memory(&["--idle", "s"]), "--idle"),
        (memory(&["--absolute", "-2s"]), "-2s"),
        (memory(&["--absolute", "1.5s"]), "1.5s"),
        (memory(&["--touch-interval", "2 s"]), "2 s"),
        (memory(&["--renewal", "2S"]), "2S"),
        (memory(&["--grace", "2w"]), "2w"),
        (memory(&["--store-timeout", "99999999999999999999s"]), "--store-timeout"),
        (memory(&["--store-timeout", "18446744073709551615d"]), "--store-timeout"),
        (memory(&["--keys", ""]), "key"),
        (memory(&["--keys", "c2hvcnQ="]), "key of 5 bytes"),
        (memory(&["--keys", "?"]), "base64"),
        (memory(&["--keys", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]), "key"),
        (memory(&["--cookie-name", ""]), "name"),
        (memory(&["--cookie-name", "a b"]), "a b"),
        (memory(&["--cookie-name", "a;b"]), "a;b"),
        (memory(&["--cookie-name", "__Host-id", "--insecure"]), "__Host-"),
        (memory(&["--cookie-domain", "example.com"]), "__Host-"),
        (memory(&["--cookie-domain", "example.com:80", "--insecure"]), "example.com:80"),
        (memory(&["--cookie-path", "/app"]), "__Host-"),
        (memory(&["--cookie-path", "app", "--insecure"]), "app"),
        (memory(&["--cookie-max-age", "60"]), "--cookie-max-age 60"),
        (vec!["--state", "cookie-signed", "--listen", "127.0.0.1:0", "--encrypt-at-rest"], "encryption at rest"),
        (memory(&["--accept-plain"]), "with_encryption_at_rest"),
    ] {
        let (status, stdout, stderr) = run(&arguments);
        assert_eq!((status, stdout.as_str()), (Some(64), ""), "{arguments:?}");
        assert!(stderr.contains(complaint), "{arguments:?}: {stderr}");
    }
    let twice = format!("{KEY},{KEY}");
    let (status, _, stderr) = run(&["--state", "memory", "--listen", "127.0.0.1:0", "--keys", &twice]);
    assert_eq!(status, Some(64));
    assert!(!stderr.contains(&KEY[..8]), "a key is not shown");
}

#[test]
fn a_store_that_the_probe_was_built_without_is_named_with_its_feature_and_not_with_its_password() {
    for (state, feature, is_built) in [
        ("sqlite:sessions.db", "sqlite", cfg!(feature = "sqlite")),
        ("postgres://user:secret@localhost/db", "postgres", cfg!(feature = "postgres")),
        ("mysql://user:secret@localhost/db", "mysql", cfg!(feature = "mysql")),
        ("redis://user:secret@localhost", "redis", cfg!(feature = "redis")),
        ("memcached://localhost:11211", "memcached", cfg!(feature = "memcached")),
        ("mongodb://user:secret@localhost", "mongodb", cfg!(feature = "mongodb")),
    ] {
        if !is_built {
            let (status, stdout, stderr) = run(&["--state", state, "--listen", "127.0.0.1:0"]);
            assert_eq!((status, stdout.as_str()), (Some(64), ""), "{state}");
            assert!(stderr.contains(&format!("without the feature `{feature}`")), "{state}: {stderr}");
            assert!(!stderr.contains("secret"), "{state}: {stderr}");
        }
    }
}

#[cfg(any(feature = "memcached", feature = "redis"))]
#[test]
fn a_store_that_cannot_be_reached_ends_the_probe_before_it_listens_and_its_password_stays_secret() {
    // Bound, so that no other process listens there; connections are refused.
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    let states: &[(&str, bool)] = &[
        (&format!("redis://user:secret@127.0.0.1:{port}/"), cfg!(feature = "redis")),
        (&format!("memcached://127.0.0.1:{port}"), cfg!(feature = "memcached")),
    ];
    for (state, _) in states.iter().filter(|(_, is_built)| *is_built) {
        let (status, stdout, stderr) = run(&["--state", state, "--listen", "127.0.0.1:0"]);
        assert_eq!((status, stdout.as_str()), (Some(1), ""), "{state}");
        assert!(!stderr.is_empty() && !stderr.contains("secret"), "{state}: {stderr}");
    }
}

#[test]
fn an_address_in_use_has_a_different_exit_status() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, stdout, stderr) = run(&["--state", "memory", "--listen", &address]);
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains(&address));
}

#[test]
fn every_option_of_a_duration_takes_every_unit() {
    let options = [
        ["--idle", "30m"],
        ["--absolute", "14d"],
        ["--touch-interval", "500ms"],
        ["--renewal", "12h"],
        ["--grace", "2s"],
        ["--store-timeout", "1s"],
    ];
    in_every_state(options.as_flattened(), |probe| {
        let lifetime = probe.visitor().get("/lifetime").json();
        assert_eq!((&lifetime["idle_seconds"], &lifetime["absolute_seconds"]), (&json!(1800), &json!(1_209_600)));
    });
}

#[test]
fn the_requests_in_flight_are_finished_before_the_end() {
    for signal in ["-TERM", "-INT"] {
        let probe = Probe::start("memory", &[]);
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        let mut idle = probe.connect();
        assert_eq!(idle.exchange(&Request::get("/plain")).status, 200);
        let held = visitor.hold("/add", json!({ "key": "k", "by": 1 }));
        probe.signal(signal);
        assert!(idle.is_closed(), "a connection without a request is closed");
        let response = held.release();
        assert_eq!((response.status, response.json()), (200, json!({ "value": 2 })));
        let (status, more) = probe.wait();
        assert_eq!((status.code(), more.as_str()), (Some(0), ""), "one line is all it prints");
    }
}

#[test]
fn a_stream_in_flight_is_finished_before_the_end() {
    let probe = Probe::start("memory", &[]);
    let mut connection = probe.connect();
    let mut stream = connection.begin(&Request::get("/stream?chunks=8&key=k"));
    probe.signal("-TERM");
    connection.finish(&mut stream);
    assert_eq!(stream.chunks, vec![b"null\n".to_vec(); 8]);
    assert!(probe.wait().0.success());
}

#[test]
fn a_connection_carries_the_requests_of_many_visitors() {
    in_every_state(&[], |probe| {
        let mut connection = probe.connect();
        let cookies: Vec<_> = (0..20)
            .map(|n| {
                let response = connection.exchange(&Request::post("/set", &json!({ "key": "n", "value": n })));
                format!("{COOKIE}={}", response.cookie().unwrap().value)
            })
            .collect();
        for (n, cookie) in cookies.iter().enumerate() {
            let own = connection.exchange(&Request::get("/read?key=n").cookie(cookie));
            assert_eq!(own.json(), json!({ "value": n }));
            let nobody = connection.exchange(&Request::get("/read?key=n"));
            assert_eq!((nobody.json(), nobody.set_cookies()), (json!({ "value": null }), vec![]));
        }
        let panicked = connection.exchange(&Request::post("/panic", &json!({ "key": "n", "value": 1 })));
        assert_eq!(panicked.status, 500);
        let after = connection.exchange(&Request::new("HEAD", "/read?key=n").cookie(&cookies[3]));
        assert_eq!(after.status, 200);
        assert_eq!(connection.exchange(&Request::get("/read?key=n").cookie(&cookies[3])).json(), json!({ "value": 3 }));
    });
}

#[test]
fn an_unimplemented_route_is_501_and_an_unknown_one_404() {
    in_every_state(&[], |probe| {
        for request in [Request::get("/health"), Request::get("/cache"), Request::post("/drain", &json!({}))] {
            assert_eq!(probe.exchange(request).status, 501);
        }
        for path in ["/nowhere", "/part/nowhere", "/cart"] {
            assert_eq!(probe.exchange(Request::get(path)).status, 404, "{path}");
        }
    });
}

#[test]
fn a_restart_ends_the_sessions_in_memory() {
    let first = Probe::start("memory", &["--keys", KEY]);
    let mut visitor = first.visitor();
    visitor.set("k", 1);
    let second = Probe::start("memory", &["--keys", KEY]);
    assert!(!second.visitor_with(visitor.id()).is_live());
}
