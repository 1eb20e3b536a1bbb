//! Parsing of the session cookie among the bytes of a request.

use serde_json::{Value, json};

use crate::support::http::{COOKIE, Request};
use crate::support::process::{Probe, in_every_state};

/// Starts a session that contains `secret`, and returns its cookie's value.
fn live_cookie(probe: &Probe) -> String {
    let mut visitor = probe.visitor();
    visitor.set("secret", "tea");
    visitor.id().to_owned()
}

/// Reads the session with these `Cookie` headers.
fn dump_with(probe: &Probe, headers: &[&[u8]]) -> Value {
    let request = headers.iter().fold(Request::get("/dump"), |request, header| request.cookie(header));
    let response = probe.exchange(request);
    assert_eq!((response.status, response.set_cookies()), (200, vec![]), "{}", shown(headers));
    response.json()
}

#[track_caller]
fn assert_live(probe: &Probe, headers: &[&[u8]]) {
    let values = dump_with(probe, headers);
    assert_eq!(values, json!({ "values": { "secret": "tea" }, "principal": null, "new": false }), "{}", shown(headers));
}

#[track_caller]
fn assert_anonymous(probe: &Probe, headers: &[&[u8]]) {
    let values = dump_with(probe, headers);
    assert_eq!(values, json!({ "values": {}, "principal": null, "new": true }), "{}", shown(headers));
}

fn shown(headers: &[&[u8]]) -> String {
    headers.iter().map(|header| format!("[{:.200}]", header.escape_ascii().to_string())).collect()
}

/// CVE-2020-8184, CVE-2020-7070, CVE-2022-31629: cookies that any host of the domain may set were accepted as the
/// session cookie.
#[test]
fn a_similar_name_is_another_cookie() {
    let names: [&[u8]; 26] = [
        b"%5F%5FHost-Http-id",
        b"__Host%2DHttp%2Did",
        b"%5f%5fHost-Http-id",
        b"__Host-Http-i%64",
        b"__host-http-id",
        b"__HOST-HTTP-ID",
        b"__Host-Http-Id",
        b"\xe2\x80\x80__Host-Http-id",
        b"\xc2\xa0__Host-Http-id",
        b"\xa0__Host-Http-id",
        b"\xe3\x80\x80__Host-Http-id",
        b"__Host-Http-id\xe2\x80\x80",
        b"__Host-Http-id\xc2\xa0",
        b"\"__Host-Http-id\"",
        b"\"__Host-Http-id",
        b"$__Host-Http-id",
        b"+__Host-Http-id",
        b"__Host-Http-id[]",
        b"__Host-Http-id.",
        b"__Host-Http-id.1",
        b"__Host-Http-id,",
        b",__Host-Http-id",
        b"..Host-Http-id",
        b"  Host-Http-id",
        b"a=__Host-Http-id",
        b"=__Host-Http-id",
    ];
    in_every_state(&[], |probe| {
        let value = live_cookie(probe);
        for name in names {
            assert_anonymous(probe, &[&[name, b"=", value.as_bytes()].concat()]);
        }
    });
}

#[test]
fn a_value_in_another_encoding_is_rejected() {
    in_every_state(&[], |probe| {
        let value = live_cookie(probe);
        let (first, rest) = value.split_at(1);
        let values: [String; 13] = [
            String::new(),
            format!("\"{value}\""),
            format!("\"{value}"),
            format!("{value}\""),
            format!("%{:02x}{rest}", first.as_bytes()[0]),
            format!("{value}="),
            format!("={value}"),
            format!("{value},"),
            format!("{value}%00"),
            format!("{first} {rest}"),
            format!("{value}\u{a0}"),
            format!("\u{2000}{value}"),
            format!("{value}{value}"),
        ];
        for value in values {
            assert_anonymous(probe, &[&[COOKIE.as_bytes(), b"=", value.as_bytes()].concat()]);
        }
    });
}

/// CVE-2023-26049: a parser that honors quotes and `$Version` can be made to leak one cookie inside another.
#[test]
fn the_session_cookie_is_found_among_any_other_cookies() {
    in_every_state(&[], |probe| {
        let cookie = format!("{COOKIE}={}", live_cookie(probe)).into_bytes();
        let around: [(&[u8], &[u8]); 12] = [
            (b"", b""),
            (b"a=b; ", b""),
            (b"", b"; a=b"),
            (b"a=b;", b";c=d"),
            (b";;; ;", b";;"),
            (b"a=b;\t \t", b"\t ; c=d"),
            (b"$Version=1; ", b"; $Path=/; $Domain=example.com"),
            (b"$Version=\"1\"; a=\"b; ", b"; c=d\""),
            (b"caf\xc3\xa9=\xff\xfe; ", b"; \xf0\x9f=\x80"),
            (b"%5F%5FHost-Http-id=other; ", b"; __host-http-id=other"),
            (b"__Host-Http-id; ", b"; __Host-Http-id"),
            (b"=__Host-Http-id; a=__Host-Http-id=x; ", b"; __Host-Http-id2=x; x__Host-Http-id=x"),
        ];
        for (before, after) in around {
            assert_live(probe, &[&[before, &cookie, after].concat()]);
        }
    });
}

/// RFC 6265bis §4.2.1; HTTP/2 splits them.
#[test]
fn several_cookie_headers_are_one_list() {
    in_every_state(&[], |probe| {
        let cookie = format!("{COOKIE}={}", live_cookie(probe));
        let cookie = cookie.as_bytes();
        assert_live(probe, &[cookie, b"a=b"]);
        assert_live(probe, &[b"a=b", cookie]);
        assert_live(probe, &[b"a=b", b"", b"\xff=\xff", cookie, b"c=d"]);
    });
}

#[test]
fn a_session_cookie_with_two_values_is_anonymous() {
    in_every_state(&[], |probe| {
        let (value, other) = (live_cookie(probe), live_cookie(probe));
        let quoted = format!("\"{value}\"");
        let [ours, other, empty, junk, quoted] =
            [value.as_str(), &other, "", "junk", &quoted].map(|value| format!("{COOKIE}={value}").into_bytes());
        for other in [&other, &empty, &junk, &quoted] {
            assert_anonymous(probe, &[&[&ours[..], b"; ", other].concat()]);
            assert_anonymous(probe, &[&[&other[..], b"; ", &ours].concat()]);
            assert_anonymous(probe, &[&[&other[..], b";a=b;\t", &ours, b"; c=d"].concat()]);
            assert_anonymous(probe, &[&ours, other]);
            assert_anonymous(probe, &[other, b"a=b", &ours]);
            assert_anonymous(probe, &[&ours, other, &ours]);
        }
        assert_live(probe, &[&ours]);
    });
}

#[test]
fn the_same_session_cookie_twice_is_one() {
    in_every_state(&[], |probe| {
        let value = live_cookie(probe);
        let ours = format!("{COOKIE}={value}").into_bytes();
        let spaced = [COOKIE.as_bytes(), b" =", value.as_bytes(), b" "].concat();
        for other in [&ours, &spaced] {
            assert_live(probe, &[&[&ours[..], b"; ", other].concat()]);
            assert_live(probe, &[&[&other[..], b";a=b;\t", &ours, b"; c=d"].concat()]);
            assert_live(probe, &[&ours, b"a=b", other, &ours]);
        }
    });
}

#[test]
fn a_write_beside_a_planted_duplicate_begins_a_session_of_its_own() {
    in_every_state(&[], |probe| {
        let value = live_cookie(probe);
        let twice = format!("{COOKIE}={value}; {COOKIE}=planted");
        let response = probe.exchange(Request::post("/set", &json!({ "key": "k", "value": 1 })).cookie(twice));
        let fresh = response.cookie().expect("a session begins").value;
        assert_ne!(fresh, value);
        assert_eq!(probe.visitor_with(fresh).dump()["values"], json!({ "k": 1 }));
        assert_eq!(probe.visitor_with(value).dump()["values"], json!({ "secret": "tea" }));
    });
}

/// Otherwise the login would answer 200 and not take, for as long as the browser keeps both cookies.
#[test]
fn a_login_with_two_cookies_of_the_name_leaves_one() {
    const REMOVED: &str = "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
    for (options, attributes) in [
        (&["--cookie-name", "sid"][..], "; HttpOnly; SameSite=Lax; Secure; Path=/"),
        (&["--cookie-name", "sid", "--insecure"], "; HttpOnly; SameSite=Lax; Path=/"),
    ] {
        in_every_state(options, |probe| {
            let mut visitor = probe.visitor().with_cookie_name("sid");
            visitor.set("k", 1);
            let cookies = format!("sid={}; sid=planted", visitor.id());
            let login = Request::post("/login", &json!({ "principal": "alice" })).cookie(cookies);
            let response = probe.exchange(login.header("Origin", "https://app.example.com"));
            let mut lines = response.set_cookies();
            let set = lines.pop().expect("the session's cookie comes last");
            assert_eq!((&*set.name, set.attributes), ("sid", attributes.to_owned()));
            let variants = ["; Domain=app.example.com", "; Domain=example.com"];
            for variant in variants.map(|domain| format!("{attributes}{domain}{REMOVED}")) {
                assert!(lines.iter().any(|line| line.attributes == variant), "{variant}: {lines:?}");
            }
            assert!(lines.iter().all(|line| line.name == "sid" && line.attributes.ends_with(REMOVED)), "{lines:?}");
            visitor.cookie = Some(set.value);
            assert_eq!(visitor.principal().as_deref(), Some("alice"));
        });
    }
}

#[test]
fn the_session_cookie_is_found_among_much_junk() {
    in_every_state(&[], |probe| {
        let cookie = format!("{COOKIE}={}", live_cookie(probe)).into_bytes();
        let many = b"a=b; ".repeat(64 * 1024 / 5);
        let long = [b"a=", &b"x".repeat(64 * 1024)[..], b"; "].concat();
        let separators = b";".repeat(64 * 1024);
        for junk in [&many, &long, &separators] {
            assert_live(probe, &[&[&junk[..], &cookie].concat()]);
            assert_live(probe, &[junk, &cookie]);
            assert_live(probe, &[&cookie, junk]);
        }
    });
}

/// The unread rest may contain the name again, so a list that is too long is treated like a duplicate.
#[test]
fn too_many_cookies_are_anonymous() {
    in_every_state(&[], |probe| {
        let cookie = format!("{COOKIE}={}; ", live_cookie(probe)).into_bytes();
        assert_anonymous(probe, &[&[&cookie[..], &b"a=b; ".repeat(192 * 1024 / 5)].concat()]);
    });
}
