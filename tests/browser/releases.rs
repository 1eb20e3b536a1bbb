//! Two releases of an application, used through a real browser: the second has its cookie under another path.

use std::process::Command;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use session_state::{CookieConfig, MemoryStore, Session, SessionLayer};
use tokio::net::TcpListener;

use crate::{SKIPPED, skip};

/// The application with its cookie under a path.
fn release(store: &MemoryStore, path: &'static str) -> Router {
    let cookie = CookieConfig::new().with_name("sid").and_then(|cookie| cookie.with_path(path)).expect("a cookie");
    let who = || get(|session: Session| async move { session.principal().unwrap_or_else(|| "nobody".to_owned()) });
    let log_in = |session: Session, Path(principal): Path<String>| async move {
        session.login(&principal);
        principal
    };
    let sessions = SessionLayer::server(store.clone()).with_cookie(cookie).expect("a layer");
    let routes = Router::new().route("/", who()).route("/shop/cart", who()).route("/login/{principal}", get(log_in));
    routes.layer(sessions)
}

/// The former release stays in reach under another address.
#[tokio::test(flavor = "multi_thread")]
async fn after_the_path_of_the_cookie_changes_a_real_browser_is_logged_in_from_the_second_page_on() {
    let store = MemoryStore::new();
    let app = release(&store, "/").nest("/former", release(&store, "/shop"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://localhost:{}", listener.local_addr().expect("an address").port());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/releases.py");
    let visit = tokio::task::spawn_blocking(move || Command::new("python3").args(["-B", script, &address]).output());
    let output = match visit.await.expect("the visit ends") {
        Ok(output) => output,
        Err(error) => return skip(&format!("python3: {error}")),
    };
    server.abort();
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(SKIPPED) {
        return skip(printed.trim());
    }
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
}
