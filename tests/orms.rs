//! The examples of checkouts with an ORM.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use futures_util::future::join_all;
use sqlx::SqlitePool;
use tower::ServiceExt as _;

#[path = "../examples/checkout_with_diesel.rs"]
#[expect(dead_code, reason = "its `main` is not run")]
mod checkout_with_diesel;

#[path = "../examples/checkout_with_sea_orm.rs"]
#[expect(dead_code, reason = "its `main` is not run")]
mod checkout_with_sea_orm;

type Failure = Box<dyn Error + Send + Sync>;

/// A database file, which is removed at the end.
struct File(PathBuf);

impl File {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("session-state-orms-{}-{number}.db", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", self.0.display()));
        }
    }
}

/// Sends a request. Returns the text of the response and the cookie that it sets.
async fn send(app: &Router, path: &str, cookie: &str) -> Result<(String, Option<String>), Failure> {
    let request = Request::post(path).header("cookie", cookie).body(Body::empty())?;
    let response = app.clone().oneshot(request).await?;
    let status = response.status();
    let set = response.headers().get("set-cookie").map(|set| set.to_str().map(str::to_owned)).transpose()?;
    let cookie = set.and_then(|set| Some(set.split_once(';')?.0.to_owned()));
    let text = String::from_utf8(to_bytes(response.into_body(), 1000).await?.into())?;
    if status == StatusCode::OK { Ok((text, cookie)) } else { Err(format!("{status}: {text}").into()) }
}

/// Adds up the quantities in a text such as `2 × bun`.
fn quantity(text: &str) -> i64 {
    text.lines().filter_map(|line| line.split_once(" × ")?.0.parse::<i64>().ok()).sum()
}

/// Runs a query for a number.
async fn number(file: &File, query: &'static str) -> Result<i64, Failure> {
    let pool = SqlitePool::connect(&format!("sqlite:{}", file.path())).await?;
    Ok(sqlx::query_scalar(query).fetch_one(&pool).await?)
}

/// Checks out, also eight requests at once: half of them add to a cart and half of them check out.
async fn every_line_is_ordered_once(app: Router, file: &File) -> Result<(), Failure> {
    let (_, cookie) = send(&app, "/cart/shortbread", "").await?;
    let cookie = cookie.ok_or("no cookie")?;
    send(&app, "/cart/bun", &cookie).await?;
    send(&app, "/cart/bun", &cookie).await?;
    assert_eq!(send(&app, "/check-out", &cookie).await?.0, "2 × bun\n1 × shortbread\n");
    assert!(send(&app, "/check-out", &cookie).await?.0.starts_with("There is nothing"));

    let (mut added, mut ordered) = (0, 0);
    for _ in 0..5 {
        let requests = (0..8).map(|number| {
            let (app, cookie) = (app.clone(), cookie.clone());
            let path = if number % 2 == 0 { "/cart/bun" } else { "/check-out" };
            tokio::spawn(async move { send(&app, path, &cookie).await })
        });
        for answer in join_all(requests).await {
            ordered += quantity(&answer??.0);
        }
        added += 4;
    }
    ordered += quantity(&send(&app, "/check-out", &cookie).await?.0);
    assert_eq!(ordered, added);
    assert_eq!(number(file, "SELECT SUM(quantity) FROM order_lines").await?, added + 3);
    assert_eq!(number(file, "SELECT COUNT(*) FROM cart_items").await?, 0);
    Ok(())
}

async fn a_failed_order_changes_nothing(app: Router, file: &File) -> Result<(), Failure> {
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON order_lines WHEN NEW.sku = 'stone' \
                  BEGIN SELECT RAISE(ABORT, 'a stone is no biscuit'); END";
    sqlx::raw_sql(refuse).execute(&SqlitePool::connect(&format!("sqlite:{}", file.path())).await?).await?;
    let cookie = send(&app, "/cart/bun", "").await?.1.ok_or("no cookie")?;
    send(&app, "/cart/stone", &cookie).await?;
    let refused = send(&app, "/check-out", &cookie).await.expect_err("the database refuses it").to_string();
    assert!(refused.contains("Nothing was ordered") && refused.contains("a stone is no biscuit"), "{refused}");
    let (ordered, in_cart) = ("SELECT COUNT(*) FROM order_lines", "SELECT COUNT(*) FROM cart_items");
    assert_eq!((number(file, ordered).await?, number(file, in_cart).await?), (0, 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn diesel_orders_every_line_once() -> Result<(), Failure> {
    let file = File::new();
    every_line_is_ordered_once(checkout_with_diesel::app(file.path()).await?, &file).await
}

#[tokio::test]
async fn diesel_changes_nothing_if_an_order_fails() -> Result<(), Failure> {
    let file = File::new();
    a_failed_order_changes_nothing(checkout_with_diesel::app(file.path()).await?, &file).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sea_orm_orders_every_line_once() -> Result<(), Failure> {
    let file = File::new();
    every_line_is_ordered_once(checkout_with_sea_orm::app(file.path()).await?, &file).await
}

#[tokio::test]
async fn sea_orm_changes_nothing_if_an_order_fails() -> Result<(), Failure> {
    let file = File::new();
    a_failed_order_changes_nothing(checkout_with_sea_orm::app(file.path()).await?, &file).await
}
