//! A client: keeps cookies and gives them back.

use axum::body::Bytes;
use axum::http::HeaderValue;

/// The cookies of one client.
#[derive(Default)]
pub struct Jar {
    cookies: Vec<(String, String)>,
}

impl Jar {
    /// Takes the cookies of a response.
    pub fn take(&mut self, cookies: &[String]) {
        for header in cookies {
            let (pair, attributes) = header.split_once(';').unwrap_or((header.as_str(), ""));
            let (name, value) = pair.split_once('=').expect("a cookie with a name");
            assert!(pair.len() <= 4097, "the cookie is larger than a browser takes: {}", pair.len());
            self.cookies.retain(|(known, _)| known != name);
            if !attributes.contains("Max-Age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// The `Cookie` header of the next request, sharing its bytes as those of a server do, so that cloning it
    /// allocates nothing.
    pub fn header(&self) -> Option<HeaderValue> {
        let pairs: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let bytes = Bytes::from(pairs.join("; "));
        drop(bytes.clone());
        (!pairs.is_empty()).then(|| HeaderValue::from_maybe_shared(bytes).expect("cookies in ASCII"))
    }
}
