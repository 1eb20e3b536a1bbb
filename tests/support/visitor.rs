//! A visitor: a browser that keeps the cookies of the session and its parts.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::http::{COOKIE, Connection, Request, Response, SetCookie};
use super::process::Probe;

/// Sends the cookie it has, and keeps the one it gets.
#[derive(Clone)]
pub(crate) struct Visitor<'p> {
    probe: &'p Probe,
    name: &'static str,
    pub(crate) cookie: Option<String>,
    /// The cookies of parts, by their names.
    pub(crate) parts: BTreeMap<String, String>,
}

impl<'p> Visitor<'p> {
    pub(crate) fn new(probe: &'p Probe) -> Self {
        Self { probe, name: COOKIE, cookie: None, parts: BTreeMap::new() }
    }

    /// Creates a visitor of a probe with another cookie name.
    pub(crate) fn with_cookie_name(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(Request::get(path))
    }

    pub(crate) fn post(&mut self, path: &str, body: Value) -> Response {
        self.send(Request::post(path, &body))
    }

    pub(crate) fn send(&mut self, request: Request) -> Response {
        let response = self.probe.exchange(self.with_cookie(request));
        self.take(&response);
        response
    }

    /// Sets a value and asserts that it was saved.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) -> Response {
        let response = self.post("/set", json!({ "key": key, "value": value.into() }));
        assert_eq!((response.status, response.json()), (200, json!({ "ok": true })));
        response
    }

    pub(crate) fn read(&mut self, key: &str) -> Value {
        let response = self.get(&format!("/read?key={key}"));
        assert_eq!(response.status, 200, "{response:?}");
        response.json()["value"].clone()
    }

    pub(crate) fn dump(&mut self) -> Value {
        let response = self.get("/dump");
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    pub(crate) fn is_live(&mut self) -> bool {
        self.dump()["new"] == false
    }

    /// Returns whether the cookie opens a live session, without keeping the cookies of the response.
    pub(crate) fn cookie_is_live(&self) -> bool {
        self.clone().is_live()
    }

    pub(crate) fn principal(&mut self) -> Option<String> {
        self.dump()["principal"].as_str().map(str::to_owned)
    }

    pub(crate) fn id(&self) -> &str {
        self.cookie.as_deref().expect("the visitor has a cookie")
    }

    /// Begins a request whose handler has loaded the session, and waits.
    pub(crate) fn hold(&self, path: &str, body: Value) -> Held {
        let request = self.with_cookie(Request::post(path, &body));
        let mut connection = self.probe.connect();
        connection.send_head(&request);
        Held { connection, request }
    }

    fn with_cookie(&self, request: Request) -> Request {
        let parts = self.parts.iter().map(|(name, value)| (name.as_str(), value));
        let cookies = self.cookie.iter().map(|value| (self.name, value)).chain(parts);
        let cookies: Vec<_> = cookies.map(|(name, value)| format!("{name}={value}")).collect();
        if cookies.is_empty() { request } else { request.cookie(cookies.join("; ")) }
    }

    /// Keeps the cookies of a response.
    pub(crate) fn take(&mut self, response: &Response) {
        if let Some(cookie) = response.cookie_named(self.name) {
            self.cookie = Some(cookie).filter(|cookie| !cookie.is_removal()).map(|cookie| cookie.value);
        }
        // The name of a part's cookie has the same prefix, which other cookies of the application do not have.
        let is_of_part = |cookie: &SetCookie| cookie.name != self.name && cookie.name.starts_with("__Host-Http-");
        for cookie in response.set_cookies().into_iter().filter(is_of_part) {
            if cookie.is_removal() {
                self.parts.remove(&cookie.name);
            } else {
                self.parts.insert(cookie.name, cookie.value);
            }
        }
    }
}

/// A request that has loaded the session and waits.
pub(crate) struct Held {
    connection: Connection,
    request: Request,
}

impl Held {
    /// Lets the request continue, and waits for its response.
    pub(crate) fn release(mut self) -> Response {
        self.connection.send_body(&self.request)
    }
}
