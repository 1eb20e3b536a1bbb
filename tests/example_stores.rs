//! The example stores against the conformance suite, and under a layer.

#![expect(clippy::unwrap_used, reason = "tests and their helpers may panic")]

use std::path::Path;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{Request, Response};
use axum::routing::get;
use session_state::store::Store;
use session_state::{Session, SessionLayer};
use tower::ServiceExt as _;

#[expect(dead_code, reason = "the tests do not call `main`")]
#[path = "../examples/redb_store.rs"]
mod redb_store;

#[expect(dead_code, reason = "the tests do not call `main`")]
#[path = "../examples/rusqlite_store.rs"]
mod rusqlite_store;

mod redb {
    use redb::Database;
    use redb::backends::InMemoryBackend;

    use crate::redb_store::RedbStore;

    async fn store() -> RedbStore {
        RedbStore(Database::builder().create_with_backend(InMemoryBackend::new()).unwrap())
    }

    session_state::store_conformance_tests!(store(), without principals);

    #[tokio::test]
    async fn a_session_survives_a_restart_until_its_logout() {
        super::log_in_restart_and_log_out("redb", |file| RedbStore(Database::create(file).unwrap())).await;
    }
}

mod rusqlite {
    use rusqlite::Connection;

    use crate::rusqlite_store::RusqliteStore;

    async fn store() -> RusqliteStore {
        RusqliteStore::new(Connection::open_in_memory().unwrap()).unwrap()
    }

    session_state::store_conformance_tests!(store(), without principals);

    #[tokio::test]
    async fn a_session_survives_a_restart_until_its_logout() {
        super::log_in_restart_and_log_out("rusqlite", |file| {
            RusqliteStore::new(Connection::open(file).unwrap()).unwrap()
        })
        .await;
    }
}

fn app(store: impl Store) -> Router {
    let log_in = async |session: Session| {
        session.login("ada");
        session.insert("color", "green")
    };
    let color = async |session: Session| session.get("color").map(Option::<String>::unwrap_or_default);
    let log_out = async |session: Session| session.logout();
    let routes = Router::new().route("/login", get(log_in)).route("/", get(color)).route("/logout", get(log_out));
    routes.layer(SessionLayer::server(store))
}

async fn send(app: &Router, page: &str, cookie: &str) -> Response<Body> {
    let request = Request::get(page).header(COOKIE, cookie).body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response
}

async fn color(app: &Router, cookie: &str) -> String {
    let body = to_bytes(send(app, "/", cookie).await.into_body(), 100).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn log_in_restart_and_log_out<S: Store>(name: &str, open: impl Fn(&Path) -> S) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("example_store.{name}"));
    let _ = std::fs::remove_file(&file);

    let before = app(open(&file));
    let response = send(&before, "/login", "").await;
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap();
    assert_eq!(color(&before, cookie).await, "green");
    drop(before);

    let after = app(open(&file));
    assert_eq!(color(&after, cookie).await, "green");
    send(&after, "/logout", cookie).await;
    assert_eq!(color(&after, cookie).await, "", "the session has ended");
}
