//! The example with columns of PostgreSQL's own types.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use futures_util::future::join_all;
use sqlx::PgPool;
use tower::ServiceExt as _;

use self::example::{Failure, app};
use crate::harness::engines::POSTGRES;
use crate::sql::table_name;

#[path = "../../../examples/postgres_types.rs"]
#[expect(dead_code, reason = "its `main` is not run")]
mod example;

/// Sends a request. Returns its text and the cookie that it sets.
async fn send(app: &Router, path: &str, cookie: &str) -> Result<(String, Option<String>), Failure> {
    let request = Request::post(path).header("cookie", cookie).body(Body::empty())?;
    let response = app.clone().oneshot(request).await?;
    let status = response.status();
    let set = response.headers().get("set-cookie").map(|set| set.to_str().map(str::to_owned)).transpose()?;
    let cookie = set.and_then(|set| Some(set.split_once(';')?.0.to_owned()));
    let text = String::from_utf8(to_bytes(response.into_body(), 1000).await?.into())?;
    assert_eq!(status, StatusCode::OK, "{path}: {text}");
    Ok((text, cookie))
}

async fn shown(pool: &PgPool, query: &'static str) -> Result<String, Failure> {
    Ok(sqlx::query_scalar(query).fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_changes_of_an_enum_an_array_and_jsonb_merge_and_become_an_advert() -> Result<(), Failure> {
    let Some(url) = POSTGRES.shared() else { return Ok(()) };
    let schema = table_name();
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::raw_sql(create).execute(&PgPool::connect(&url).await?).await?;
    let url = format!("{url}?options[search_path]={schema}");
    let (app, pool) = (app(&url).await?, PgPool::connect(&url).await?);

    let (_, cookie) = send(&app, "/tags/wool", "").await?;
    let cookie = cookie.ok_or("no cookie")?;
    let paths = (0..6).flat_map(|number| [format!("/tags/t{number}"), format!("/sizes/s{number}/{number}")]);
    let requests = paths.chain(["/condition/worn".to_owned()]).map(|path| {
        let (app, cookie) = (app.clone(), cookie.clone());
        tokio::spawn(async move { send(&app, &path, &cookie).await })
    });
    for answer in join_all(requests).await {
        answer??;
    }
    let draft = "SELECT concat_ws(' ', condition, ARRAY(SELECT unnest(tags) ORDER BY 1), sizes) FROM drafts";
    let sizes = r#"{"s0": 0, "s1": 1, "s2": 2, "s3": 3, "s4": 4, "s5": 5}"#;
    assert_eq!(shown(&pool, draft).await?, format!("worn {{t0,t1,t2,t3,t4,t5,wool}} {sizes}"));
    assert_eq!(shown(&pool, "SELECT sizes ->> 's4' FROM drafts WHERE tags @> '{wool}'").await?, "4");

    assert_eq!(send(&app, "/publish", &cookie).await?.0, "advert 1\n");
    assert_eq!(send(&app, "/publish", &cookie).await?.0, "There is no draft.\n");
    assert_eq!(shown(&pool, "SELECT condition || ' ' || cardinality(tags) FROM adverts").await?, "worn 7");
    assert_eq!(shown(&pool, "SELECT count(*)::text FROM drafts").await?, "0");
    send(&app, "/tags/silk", &cookie).await?;
    assert_eq!(shown(&pool, draft).await?, "new {silk} {}");
    Ok(())
}
