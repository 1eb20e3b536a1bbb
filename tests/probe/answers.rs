//! Status codes and error bodies, and the fate of changes when a handler or its request fails.

use serde_json::{Value, json};

use crate::support::http::Request;
use crate::support::process::{COOKIE_STATES, Probe, in_every_state, in_states};

#[test]
fn a_panic_commits_nothing_and_answers_500() {
    in_every_state(&[], |probe| {
        let stranger = probe.visitor().post("/panic", json!({ "key": "k", "value": 1 }));
        assert_eq!((stranger.status, stranger.set_cookies()), (500, vec![]));
        let mut visitor = probe.visitor();
        visitor.set("k", "before");
        let response = visitor.post("/panic", json!({ "key": "k", "value": "after" }));
        assert_eq!((response.status, response.set_cookies()), (500, vec![]));
        assert_eq!(visitor.dump()["values"], json!({ "k": "before" }));
    });
}

#[test]
fn an_error_status_keeps_the_changes_of_its_handler() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        for status in [400, 401, 404, 418, 500, 503, 599, 200, 204, 302, 304] {
            let response = visitor.post("/fail", json!({ "key": "status", "value": status, "status": status }));
            assert_eq!(response.status, status);
            assert_eq!(visitor.read("status"), status);
        }
    });
}

#[test]
fn values_survive_a_round_trip() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        for value in [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(1.5),
            json!(""),
            json!("\u{0}\u{1f}\"\\/é\u{2028}\u{1f980}"),
            json!([[], {}, [[[]]], { "": { "a": [1, "b", null] } }]),
        ] {
            visitor.set("k", value.clone());
            assert_eq!(visitor.read("k"), value);
        }
    });
}

#[test]
fn every_text_is_a_valid_key() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        let keys = ["", " ", "@", "@@", "@part", "a=b&c", "\u{0}", "é", "\"", "%20", "a/b"];
        for key in keys {
            visitor.set(key, key);
        }
        let expected: serde_json::Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), json!(key))).collect();
        assert_eq!(visitor.dump()["values"], Value::Object(expected));
        for key in keys {
            visitor.post("/remove", json!({ "key": key }));
        }
        assert_eq!(visitor.dump(), json!({ "values": {}, "principal": null, "new": false }));
    });
}

#[test]
fn a_session_without_values_is_still_a_session() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("a", 1);
        visitor.set("b", 1);
        visitor.post("/login", json!({ "principal": "alice" }));
        visitor.post("/remove", json!({ "key": "a" }));
        assert_eq!(visitor.dump(), json!({ "values": { "b": 1 }, "principal": "alice", "new": false }));
        visitor.post("/clear", json!({}));
        assert_eq!(visitor.dump(), json!({ "values": {}, "principal": "alice", "new": false }));
    });
}

#[test]
fn an_addition_answers_with_the_sum() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        for (by, sum) in [(5, 5), (-7, -2), (0, -2)] {
            assert_eq!(visitor.post("/add", json!({ "key": "n", "by": by })).json(), json!({ "value": sum }));
        }
    });
}

#[test]
fn an_addition_to_a_value_that_is_not_a_number_is_an_error_and_changes_nothing() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", "text");
        let response = visitor.post("/add", json!({ "key": "k", "by": 1 }));
        assert_eq!((response.status, response.set_cookies()), (500, vec![]));
        assert!(!String::from_utf8(response.body()).unwrap().contains("text"), "errors show no value");
        assert_eq!(visitor.read("k"), "text");
    });
}

#[test]
fn oversized_state_is_an_error_and_the_old_state_stays() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", "small");
        let before = visitor.clone();
        let large = "x".repeat(1_100_000);
        for path in ["/set", "/fail"] {
            let response = visitor.post(path, json!({ "key": "k", "value": large, "status": 200 }));
            assert_eq!((response.status, response.set_cookies()), (500, vec![]), "{path}");
            assert_eq!(response.lines("vary"), ["Cookie"], "its handler used the session");
            let told = response.json()["error"].to_string();
            assert!(told.starts_with("\"session takes 1") && told.contains(" bytes where at most "), "{told}");
            assert_eq!(visitor.cookie, before.cookie);
            assert_eq!(visitor.read("k"), "small");
        }
        let stranger = probe.visitor().post("/set", json!({ "key": "k", "value": large }));
        assert_eq!((stranger.status, stranger.set_cookies()), (500, vec![]));
    });
}

/// Returns the longest text that fits in a cookie.
fn longest_that_fits(probe: &Probe) -> usize {
    let fits = |length: usize| {
        let mut visitor = probe.visitor();
        let response = visitor.post("/set", json!({ "key": "k", "value": "x".repeat(length) }));
        assert_eq!(response.cookie().is_some(), response.status == 200, "{length}");
        assert!(response.status == 500 || visitor.read("k") == "x".repeat(length));
        response.status == 200
    };
    let (mut fitting, mut too_long) = (1000, 5000);
    assert!(fits(fitting) && !fits(too_long));
    while too_long - fitting > 1 {
        let middle = usize::midpoint(fitting, too_long);
        *(if fits(middle) { &mut fitting } else { &mut too_long }) = middle;
    }
    fitting
}

#[test]
fn a_cookie_holds_what_browsers_accept_and_not_a_byte_more() {
    in_states(&COOKIE_STATES, &[], |probe| {
        let longest = longest_that_fits(probe);
        assert!(longest > 2800, "{longest} bytes fit");
    });
}

/// A record may grow by a byte when it is sealed again. A request that only reads must not fail because of it.
#[test]
fn a_full_cookie_stays_readable_until_it_expires() {
    for options in [["--touch-interval", "0s"], ["--renewal", "0s"]] {
        in_states(&COOKIE_STATES, &options, |probe| {
            let mut visitor = probe.visitor();
            visitor.set("k", "x".repeat(longest_that_fits(probe)));
            for read in 0..300 {
                assert_eq!(visitor.get("/read?key=k").status, 200, "read {read}");
            }
            assert!(visitor.is_live());
        });
    }
}

#[test]
fn values_nested_without_end_are_refused() {
    in_every_state(&[], |probe| {
        let nested = |depth| [&b"["[..], &b"]"[..]].map(|bracket| bracket.repeat(depth)).concat();
        for depth in [121, 127, 1000, 100_000] {
            let body = [&br#"{"key":"k","value":"#[..], &nested(depth), b"}"].concat();
            let response = probe.exchange(Request::post_bytes("/set", &body));
            assert!(response.status >= 400, "{depth}");
            assert_eq!(response.set_cookies(), []);
        }
        let body = [&br#"{"key":"k","value":"#[..], &nested(100), b"}"].concat();
        assert_eq!(probe.exchange(Request::post_bytes("/set", &body)).status, 200);
    });
}

#[test]
fn a_body_that_is_not_what_the_route_takes_is_400_and_begins_no_session() {
    in_every_state(&[], |probe| {
        for (path, body) in [
            ("/set", ""),
            ("/set", "{}"),
            ("/set", "not json"),
            ("/set", "\u{0}"),
            ("/set", "[]"),
            ("/set", "null"),
            ("/set", "\"k\""),
            ("/set", "{\"key\":\"k\"}"),
            ("/set", "{\"value\":1}"),
            ("/set", "{\"key\":1,\"value\":1}"),
            ("/set", "{\"key\":null,\"value\":1}"),
            ("/set", "{\"key\":\"k\",\"value\":1"),
            ("/set", "{\"key\":\"k\",\"value\":1}}"),
            ("/set", "{\"key\":\"k\",\"value\":1,\"hold_ms\":-1}"),
            ("/set", "{\"key\":\"k\",\"value\":1,\"hold_ms\":\"1\"}"),
            ("/set", "key=k&value=1"),
            ("/add", "{\"key\":\"k\"}"),
            ("/add", "{\"key\":\"k\",\"by\":\"1\"}"),
            ("/add", "{\"key\":\"k\",\"by\":1.5}"),
            ("/add", "{\"key\":\"k\",\"by\":null}"),
            ("/remove", "{}"),
            ("/login", "{}"),
            ("/login", "{\"principal\":1}"),
            ("/login", "{\"principal\":null}"),
            ("/logout", "{\"hold_ms\":true}"),
            ("/remember", "{}"),
            ("/remember", "{\"seconds\":-1}"),
            ("/remember", "{\"seconds\":\"60\"}"),
            ("/fail", "{\"key\":\"k\",\"value\":1}"),
            ("/fail", "{\"key\":\"k\",\"value\":1,\"status\":99}"),
            ("/fail", "{\"key\":\"k\",\"value\":1,\"status\":100}"),
            ("/fail", "{\"key\":\"k\",\"value\":1,\"status\":600}"),
            ("/fail", "{\"key\":\"k\",\"value\":1,\"status\":70000}"),
            ("/fail-logout", "{}"),
            ("/fail-renew", "{\"status\":\"500\"}"),
            ("/panic", "{\"key\":\"k\"}"),
        ] {
            let response = probe.exchange(Request::post_bytes(path, body.as_bytes()));
            assert_eq!((response.status, response.set_cookies()), (400, vec![]), "{path} {body}");
        }
        for path in ["/read", "/stream", "/stream?key=k", "/stream?chunks=x&key=k", "/stream?chunks=-1&key=k"] {
            assert_eq!(probe.exchange(Request::get(path)).status, 400, "{path}");
        }
    });
}

#[test]
fn bodies_are_json_whatever_their_content_type() {
    in_every_state(&[], |probe| {
        for content_type in ["application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"] {
            let request = Request::post("/set", &json!({ "key": "k", "value": 1 }));
            assert_eq!(probe.exchange(request.header("Content-Type", content_type)).status, 200);
        }
        assert_eq!(probe.exchange(Request::new("POST", "/logout").header("Content-Length", "0")).status, 200);
    });
}

#[test]
fn unknown_routes_and_methods_are_reported() {
    in_every_state(&[], |probe| {
        for (method, path, status) in [
            ("GET", "/cart", 404),
            ("POST", "/cart/add", 404),
            ("POST", "/cart/remove", 404),
            ("POST", "/cart/checkout", 404),
            ("GET", "/", 404),
            ("GET", "/nothing", 404),
            ("GET", "/set", 405),
            ("POST", "/read?key=k", 405),
        ] {
            let request = Request::new(method, path).header("Content-Length", "0");
            assert_eq!(probe.exchange(request).status, status, "{method} {path}");
        }
    });
}

#[test]
fn a_stream_shows_the_value_in_every_chunk() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", json!({ "a": [1] }));
        let response = visitor.get("/stream?chunks=3&key=k");
        assert_eq!(response.chunks, vec![b"{\"a\":[1]}\n".to_vec(); 3]);
        assert_eq!(visitor.get("/stream?chunks=1&key=none").body(), b"null\n");
        assert_eq!(visitor.get("/stream?chunks=0&key=k").body(), b"");
    });
}

#[test]
fn an_aborted_request_commits_no_partial_changes() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.set("k", 1);
        for path in ["/set", "/login", "/logout"] {
            drop(visitor.hold(path, json!({ "key": "k", "value": 2, "principal": "alice" })));
        }
        assert_eq!(visitor.dump(), json!({ "values": { "k": 1 }, "principal": null, "new": false }));
    });
}
