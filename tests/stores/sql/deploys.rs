//! A release with another table or schema, and the visitors of the release before it: rows of the guide's table.

use http::StatusCode;
use session_state::{InTables, Part, Session, SessionLayer, SqliteStore};
use sqlx::AssertSqlSafe;

use super::parts::Cart;
use super::sqlite::file;
use crate::browser::{App, Browser};

/// Returns a store of the table in the database. It is created if it is missing.
async fn store(database: &str, table: &str) -> SqliteStore {
    let store = unmigrated(database, table).await;
    store.migrate().await.unwrap();
    store
}

async fn unmigrated(database: &str, table: &str) -> SqliteStore {
    SqliteStore::connect(database).await.unwrap().with_table(table).unwrap()
}

fn database() -> String {
    format!("sqlite:{}", file().display())
}

async fn logged_in(app: &App) -> Browser {
    let mut browser = Browser::default();
    browser.visit(app, |session| async move { session.login("alice") }).await.value();
    browser
}

async fn principal(browser: &mut Browser, app: &App) -> Option<String> {
    let principal = |session: Session| async move { session.principal().map(|principal| principal.to_string()) };
    browser.visit(app, principal).await.value()
}

async fn assert_begins_anew(browser: &mut Browser, app: &App) {
    assert_eq!(principal(browser, app).await, None);
    browser.visit(app, |session| async move { session.login("alice") }).await.value();
    assert_eq!(principal(browser, app).await.as_deref(), Some("alice"));
}

#[tokio::test]
async fn another_table_begins_anew() {
    let database = database();
    let former = App::new(SessionLayer::server(store(&database, "former").await));
    let present = App::new(SessionLayer::server(store(&database, "present").await));
    assert_begins_anew(&mut logged_in(&former).await, &present).await;
}

#[tokio::test]
async fn a_table_that_is_missing_is_503_and_keeps_the_cookie_until_it_is_migrated() {
    let database = database();
    let former = App::new(SessionLayer::server(store(&database, "sessions").await));
    let store = unmigrated(&database, "present").await;
    let present = App::new(SessionLayer::server(store.clone()));
    let mut browser = logged_in(&former).await;
    for _ in 0..2 {
        let visit = browser.visit(&present, |session| async move { session.login("alice") }).await;
        assert_eq!((visit.status, visit.set_cookies().len()), (StatusCode::SERVICE_UNAVAILABLE, 0));
    }
    assert_eq!(principal(&mut browser, &former).await.as_deref(), Some("alice"), "after a rollback");
    store.migrate().await.unwrap();
    assert_begins_anew(&mut browser, &present).await;
}

#[tokio::test]
async fn a_newer_schema_keeps_the_sessions_of_running_nodes_and_starts_no_older_one() {
    let database = database();
    let store = store(&database, "sessions").await;
    let app = App::new(SessionLayer::server(store.clone()));
    let mut browser = logged_in(&app).await;
    store.migrate().await.expect("a node that starts again finds the schema migrated");
    let later = AssertSqlSafe("INSERT INTO sessions_schema SELECT MAX(version) + 1 FROM sessions_schema");
    sqlx::query(later).execute(store.pool()).await.unwrap();
    assert_eq!(principal(&mut browser, &app).await.as_deref(), Some("alice"));
    browser.set(&app, "n", 1).await.value();
    assert_eq!(browser.get(&app, "n").await, Some(1));
    let error = unmigrated(&database, "sessions").await.migrate().await.unwrap_err();
    assert!(sources(&error).contains("this release knows up to"), "{error:?}");
}

fn sources(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn a_part_in_other_tables_begins_anew() {
    let store = store(&database(), "sessions").await;
    let mut apps = Vec::new();
    for name in ["former", "present"] {
        let tables = InTables::new(&store).with_row(name);
        let tables = tables.add_collection("lines", &format!("{name}_lines"), &["sku"]);
        sqlx::raw_sql(AssertSqlSafe(tables.schema::<Cart>().unwrap())).execute(store.pool()).await.unwrap();
        let tables = tables.check::<Cart>().await.unwrap();
        apps.push(App::new(SessionLayer::server(store.clone()).with_part::<Cart>(tables).unwrap()));
    }
    let mut browser = logged_in(&apps[0]).await;
    for app in &apps {
        assert_eq!(principal(&mut browser, app).await.as_deref(), Some("alice"));
        let visit = browser.send_raw(app, |extensions| async move {
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            let before = cart.shown();
            cart.add("tea", 1);
            Ok((StatusCode::OK, before))
        });
        assert_eq!(visit.await.value(), "");
    }
}
