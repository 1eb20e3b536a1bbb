//! Response headers: the attributes of the session cookie, and the cache directives.

use serde_json::json;

use crate::support::http::{Request, Response, SetCookie};
use crate::support::process::in_every_state;

fn cookie(name: &str, value: &str, attributes: &str) -> SetCookie {
    SetCookie { name: name.to_owned(), value: value.to_owned(), attributes: attributes.to_owned() }
}

/// The cookies of a response, with `…` in place of a value.
fn without_values(response: &Response) -> Vec<SetCookie> {
    let mut cookies = response.set_cookies();
    cookies.iter_mut().filter(|cookie| !cookie.is_removal()).for_each(|cookie| cookie.value = "…".to_owned());
    cookies
}

const STRICT: &str = "; HttpOnly; SameSite=Lax; Secure; Path=/";
const INSECURE: &str = "; HttpOnly; SameSite=Lax; Path=/";

#[test]
fn every_cookie_has_exactly_the_documented_attributes() {
    for (options, name, attributes) in [
        (&[][..], "__Host-Http-id", STRICT),
        (&["--insecure"], "id", INSECURE),
        (&["--cookie-name", "sid"], "sid", STRICT),
        (&["--cookie-name", "sid", "--insecure"], "sid", INSECURE),
        (&["--cookie-name", "__Host-sid"], "__Host-sid", STRICT),
        (&["--insecure", "--cookie-path", "/app"], "id", "; HttpOnly; SameSite=Lax; Path=/app"),
        (
            &["--cookie-name", "__Http-id", "--cookie-domain", "example.com"],
            "__Http-id",
            "; HttpOnly; SameSite=Lax; Secure; Path=/; Domain=example.com",
        ),
    ] {
        in_every_state(options, |probe| {
            let mut visitor = probe.visitor().with_cookie_name(name);
            assert_eq!(without_values(&visitor.set("k", 1)), [cookie(name, "…", attributes)]);
            for (path, body) in [("/login", json!({ "principal": "alice" })), ("/renew", json!({}))] {
                assert_eq!(without_values(&visitor.post(path, body)), [cookie(name, "…", attributes)], "{path}");
            }
            let remembered = visitor.post("/remember", json!({ "seconds": 3600 }));
            assert_eq!(without_values(&remembered), [cookie(name, "…", &format!("{attributes}; Max-Age=3600"))]);
            assert!(visitor.is_live());
            let removal = format!("{attributes}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
            assert_eq!(visitor.post("/logout", json!({})).set_cookies(), [cookie(name, "", &removal)]);
        });
    }
}

#[test]
fn the_browser_keeps_the_cookie_as_long_as_the_option_says() {
    for (option, kept, remembered, shortened) in [
        (&["--cookie-max-age", "browser"][..], None, None, None),
        (&[], None, Some(100), None),
        (&["--cookie-max-age", "session"], Some(60), Some(100), Some(30)),
    ] {
        in_every_state(&[&["--idle", "60s"], option].concat(), |probe| {
            for (seconds, age) in [(100, remembered), (30, shortened)] {
                let mut visitor = probe.visitor();
                assert_eq!(visitor.set("k", 1).cookie().unwrap().max_age(), kept, "{option:?}");
                let remember = visitor.post("/remember", json!({ "seconds": seconds }));
                // Where nothing changes for the browser, a session in a store needs no cookie.
                assert_eq!(remember.cookie().and_then(|cookie| cookie.max_age()), age, "{option:?}, {seconds} s");
                assert_eq!(visitor.get("/lifetime").json()["idle_seconds"], seconds);
                let login = visitor.post("/login", json!({ "principal": "alice" }));
                assert_eq!(login.cookie().unwrap().max_age(), age, "{option:?}, {seconds} s");
            }
        });
    }
}

#[test]
fn the_headers_of_a_handler_are_kept() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        let response = visitor.get("/own-headers");
        assert_eq!(
            without_values(&response),
            [cookie("theme", "dark", "; Path=/"), cookie("__Host-Http-id", "…", STRICT)]
                .map(|cookie| SetCookie { value: "…".to_owned(), ..cookie })
        );
        assert_eq!(response.lines("set-cookie")[0], "theme=dark; Path=/");
        assert_eq!(response.lines("vary"), ["Accept-Encoding", "Cookie"]);
        assert_eq!(response.lines("cache-control"), ["no-store"], "it carries our cookie");
    });
}

#[test]
fn a_handlers_cookie_with_the_session_cookies_name_is_replaced() {
    in_every_state(&["--cookie-name", "theme"], |probe| {
        let response = probe.visitor().get("/own-headers");
        assert_eq!(without_values(&response), [cookie("theme", "…", STRICT)]);
        assert_ne!(response.set_cookies()[0].value, "dark");
    });
}

#[test]
fn without_a_set_cookie_caching_is_up_to_the_handler() {
    in_every_state(&[], |probe| {
        let mut visitor = probe.visitor();
        visitor.get("/own-headers");
        let response = visitor.get("/own-headers");
        assert_eq!(response.lines("set-cookie"), ["theme=dark; Path=/"]);
        assert_eq!(response.lines("cache-control"), ["max-age=60"]);
        assert_eq!(response.lines("vary"), ["Accept-Encoding", "Cookie"]);
    });
}

/// CVE-2026-27205: a response that depended on the session was publicly cached because no value had been read by name.
#[test]
fn a_response_with_session_use_varies_on_the_cookie() {
    in_every_state(&[], |probe| {
        let mut live = probe.visitor();
        live.set("k", 1);
        for mut visitor in [probe.visitor(), probe.visitor_with("junk"), live] {
            for path in ["/read?key=k", "/dump", "/lifetime", "/stream?chunks=1&key=k"] {
                for method in ["GET", "HEAD"] {
                    let response = visitor.send(Request::new(method, path));
                    assert_eq!(response.lines("vary"), ["Cookie"], "{method} {path}");
                    assert_eq!(response.header("cache-control"), None, "{method} {path}");
                }
            }
            for path in ["/remove", "/clear", "/fail-renew", "/set", "/logout"] {
                let response = visitor.post(path, json!({ "key": "x", "value": 1, "status": 404 }));
                assert_eq!(response.lines("vary"), ["Cookie"], "{path}");
            }
        }
    });
}

#[test]
fn a_response_without_session_use_does_not_vary_on_the_cookie() {
    in_every_state(&["--touch-interval", "0s", "--renewal", "0s"], |probe| {
        let mut live = probe.visitor();
        live.set("k", 1);
        for mut visitor in [probe.visitor(), probe.visitor_with("junk"), live] {
            for path in ["/plain", "/nothing"] {
                let response = visitor.get(path);
                for name in ["vary", "set-cookie", "cache-control"] {
                    assert_eq!(response.header(name), None, "{path}");
                }
            }
        }
    });
}

#[test]
fn a_head_request_is_answered_like_a_get_without_the_body() {
    in_every_state(&["--touch-interval", "0s"], |probe| {
        let mut visitor = probe.visitor();
        let response = visitor.send(Request::new("HEAD", "/own-headers"));
        assert_eq!(response.status, 200);
        assert!(response.cookie().is_some());
        assert_eq!(visitor.dump()["values"], json!({ "own-headers": true }), "and commits like one");
    });
}
