//! A small HTTP/1.1 client that sends any bytes, valid or not, and checks the responses.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longer than any operation takes unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// The probe's default name of the session cookie.
pub(crate) const COOKIE: &str = "__Host-Http-id";

/// The bytes of a request, head and body apart.
#[derive(Clone)]
pub(crate) struct Request {
    head: Vec<u8>,
    body: Vec<u8>,
    is_head: bool,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: probe\r\n").into_bytes();
        Self { head, body: Vec::new(), is_head: method == "HEAD" }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: &str, body: &Value) -> Self {
        Self::post_bytes(path, body.to_string().as_bytes())
    }

    pub(crate) fn post_bytes(path: &str, body: &[u8]) -> Self {
        let length = body.len().to_string();
        Self { body: body.to_vec(), ..Self::new("POST", path).header("Content-Length", length) }
    }

    /// Adds a header whose value is sent as it is.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.head.extend([name.as_bytes(), b": ", value.as_ref(), b"\r\n"].concat());
        self
    }

    pub(crate) fn cookie(self, value: impl AsRef<[u8]>) -> Self {
        self.header("Cookie", value)
    }
}

/// A connection for several requests, one after the other.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the probe accepts connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("small writes can be sent at once");
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn exchange(&mut self, request: &Request) -> Response {
        self.send(&[&request.head, &b"\r\n"[..], &request.body].concat());
        self.receive(request.is_head)
    }

    /// Sends the head and waits until the handler reads the body. By then the extractors before the body have run and
    /// the session is loaded.
    pub(crate) fn send_head(&mut self, request: &Request) {
        self.send(&[&request.head, &b"Expect: 100-continue\r\n\r\n"[..]].concat());
        let (status, headers) = self.receive_head();
        assert_eq!((status, headers.len()), (100, 0), "the handler asks for the body");
    }

    pub(crate) fn send_body(&mut self, request: &Request) -> Response {
        self.send(&request.body);
        self.receive(false)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the probe reads requests");
    }

    /// Sends a request and returns the response without its body, as soon as the head has arrived.
    pub(crate) fn begin(&mut self, request: &Request) -> Response {
        self.send(&[&request.head, &b"\r\n"[..], &request.body].concat());
        let (status, headers) = self.receive_head();
        Response { status, headers, chunks: Vec::new() }
    }

    /// Receives the body of a response.
    pub(crate) fn finish(&mut self, response: &mut Response) {
        response.chunks = self.receive_body(response);
    }

    fn receive(&mut self, is_head: bool) -> Response {
        let (status, headers) = self.receive_head();
        let mut response = Response { status, headers, chunks: Vec::new() };
        if !is_head && status != 204 && status != 304 {
            self.finish(&mut response);
        }
        response.check();
        response
    }

    fn receive_head(&mut self) -> (u16, Vec<(String, Vec<u8>)>) {
        let line = self.line();
        let status = line.strip_prefix(b"HTTP/1.1 ").and_then(|rest| str::from_utf8(rest.get(..3)?).ok()?.parse().ok());
        let status = status.unwrap_or_else(|| panic!("a status line: {:?}", line.escape_ascii().to_string()));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                return (status, headers);
            }
            let colon = line.iter().position(|&byte| byte == b':').expect("a header has a colon");
            let name = String::from_utf8(line[..colon].to_ascii_lowercase()).expect("the name of a header is ascii");
            headers.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    fn receive_body(&mut self, response: &Response) -> Vec<Vec<u8>> {
        if let Some(length) = response.header("content-length") {
            return vec![self.bytes(length.parse().expect("a length is a number"))];
        }
        assert_eq!(response.header("transfer-encoding").as_deref(), Some("chunked"), "a body has an end");
        let mut chunks = Vec::new();
        loop {
            let size = String::from_utf8(self.line()).expect("the size of a chunk is ascii");
            let size = usize::from_str_radix(&size, 16).expect("the size of a chunk is hexadecimal");
            let chunk = self.bytes(size);
            assert_eq!(self.line(), b"", "a chunk ends with its line");
            if size == 0 {
                return chunks;
            }
            chunks.push(chunk);
        }
    }

    fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).expect("the probe answers");
        assert!(line.ends_with(b"\r\n"), "the probe closed the connection early");
        line.truncate(line.len() - 2);
        line
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).expect("the probe sends the whole body");
        bytes
    }

    /// Returns whether the other side has closed the connection without sending anything.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }
}

/// A response as received.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, Vec<u8>)>,
    /// The body, in its received pieces.
    pub(crate) chunks: Vec<Vec<u8>>,
}

/// A `Set-Cookie` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetCookie {
    pub(crate) name: String,
    pub(crate) value: String,
    /// The attributes, including the first `;`.
    pub(crate) attributes: String,
}

impl SetCookie {
    pub(crate) fn is_removal(&self) -> bool {
        self.value.is_empty()
    }

    /// What tells it apart in a browser: its name, domain and path.
    fn scope(&self) -> (&str, Vec<&str>) {
        let is_scope = |part: &&str| part.starts_with("Domain=") || part.starts_with("Path=");
        (&self.name, self.attributes.split("; ").filter(is_scope).collect())
    }

    pub(crate) fn max_age(&self) -> Option<u64> {
        let number = self.attributes.split("; Max-Age=").nth(1)?.split(';').next()?;
        Some(number.parse().expect("Max-Age is a number"))
    }
}

impl Response {
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let lines = self.headers.iter().filter(|(other, _)| other == name);
        lines.map(|(_, value)| String::from_utf8(value.clone()).expect("the header is utf-8")).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.lines(name).into_iter().next()
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn set_cookies(&self) -> Vec<SetCookie> {
        let parsed = |line: &String| {
            let (pair, attributes) = line.split_at(line.find(';').unwrap_or(line.len()));
            let (name, value) = pair.split_once('=').expect("a cookie has a name");
            SetCookie { name: name.to_owned(), value: value.to_owned(), attributes: attributes.to_owned() }
        };
        self.lines("set-cookie").iter().map(parsed).collect()
    }

    /// Returns the cookie of this name that the response sets or removes.
    pub(crate) fn cookie_named(&self, name: &str) -> Option<SetCookie> {
        self.set_cookies().into_iter().find(|cookie| cookie.name == name)
    }

    /// The session's cookie.
    pub(crate) fn cookie(&self) -> Option<SetCookie> {
        self.cookie_named(COOKIE)
    }

    /// Asserts the invariants of every response.
    fn check(&self) {
        let cookies = self.set_cookies();
        let set: Vec<_> = cookies.iter().filter(|cookie| !cookie.is_removal()).collect();
        let names: HashSet<_> = set.iter().map(|cookie| &cookie.name).collect();
        assert_eq!(names.len(), set.len(), "two cookies of one name: {self:?}");
        let scopes: HashSet<_> = cookies.iter().map(SetCookie::scope).collect();
        assert_eq!(scopes.len(), cookies.len(), "two lines for one cookie: {self:?}");
        if cookies.iter().any(|cookie| cookie.attributes.contains("HttpOnly")) {
            assert_eq!(self.lines("cache-control"), ["no-store"], "a shared cache may keep a cookie: {self:?}");
            assert!(self.lines("vary").contains(&"Cookie".to_owned()), "its handler used the session: {self:?}");
        }
        for cookie in &cookies {
            assert!(cookie.name.len() + cookie.value.len() <= 4096, "a browser rejects the cookie: {self:?}");
        }
    }
}
