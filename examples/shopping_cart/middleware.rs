//! What surrounds every request: the log, the security headers, and error pages a person can read.

use std::io::{self, Write};

use axum::extract::{FromRequestParts, Request};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;

use crate::pages::{ErrorPage, View};
use crate::visitor::{Page, Visitor};

/// Prints one line per request, without the query and the headers, so it never contains a cookie or a token.
pub(crate) async fn log(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let start = Instant::now();
    let response = next.run(request).await;
    let (status, time) = (response.status().as_u16(), start.elapsed().as_millis());
    // A closed log is no reason to fail.
    let _ = writeln!(io::stdout(), "{method} {path} {status} {time} ms");
    response
}

/// Allows a page its style sheet, its own forms and nothing else.
pub(crate) async fn protect(mut response: Response) -> Response {
    let rules = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Stricter, `no-referrer`, makes browsers send `Origin: null` with forms, which hides where they come from.
        (header::REFERRER_POLICY, "same-origin"),
    ];
    response.headers_mut().extend(rules.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// Turns every bare error response into a page with the visitor's theme and a way back.
pub(crate) async fn explain_errors(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let mut visit = parts.clone();
    let response = next.run(Request::from_parts(parts, body)).await;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    if let Some(error) = response.extensions().get::<session_state::Error>() {
        eprintln!("session: {error}");
    }
    // A visitor whose session cannot be read gets the page without it.
    let visitor = Visitor::from_request_parts(&mut visit, &()).await;
    error_page(response, visitor.and_then(|visitor| visitor.page()).unwrap_or_default())
}

/// Does the same where the session could not be saved, which shows only after the handler: a second click on "log out",
/// a database that is down.
pub(crate) async fn explain_unsaved(response: Response) -> Response {
    let is_page =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    match response.extensions().get::<session_state::Error>() {
        Some(error) if !is_page && !response.status().is_success() => {
            eprintln!("session: {error}");
            error_page(response, Page::default())
        }
        _ => response,
    }
}

/// Keeps the other headers, such as cookies.
fn error_page(response: Response, page: Page) -> Response {
    let (mut head, _) = response.into_parts();
    head.headers.remove(header::CONTENT_TYPE);
    head.headers.remove(header::CONTENT_LENGTH);
    let status = head.status;
    (head, View(ErrorPage { page, status })).into_response()
}
