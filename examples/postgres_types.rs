//! A part in PostgreSQL with columns of its own types: an enum, an array and `jsonb`.
//!
//! ```console
//! $ cargo run --features postgres --example postgres_types
//! ```
//!
//! It writes to the database at `DATABASE_URL`. Each visitor has a draft of an advert: a POST to
//! <http://localhost:3000/condition/worn> changes its condition, `/tags/{tag}` adds a tag, `/sizes/{name}/{number}`
//! sets a size, and `/publish` turns the draft into an advert.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::post;
use serde::{Deserialize, Serialize};
use session_state::{InTables, Part, PostgresStore, Session, SessionLayer, SessionPart};
use sqlx::Postgres;
use tokio::net::TcpListener;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

const SCHEMA: &str = "
CREATE TYPE condition AS ENUM ('new', 'worn', 'broken');
CREATE TABLE drafts (
    session BYTEA PRIMARY KEY REFERENCES session_state (handle) ON DELETE CASCADE,
    condition condition NOT NULL,
    tags TEXT[] NOT NULL,
    sizes JSONB NOT NULL
);
CREATE INDEX ON drafts USING gin (tags);
CREATE TABLE adverts (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    condition condition NOT NULL,
    tags TEXT[] NOT NULL,
    sizes JSONB NOT NULL
);";

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Condition {
    #[default]
    New,
    Worn,
    Broken,
}

/// The session layer keeps it in `drafts`.
#[derive(Default, Serialize, Deserialize)]
struct Draft {
    condition: Condition,
    tags: BTreeSet<String>,
    sizes: BTreeMap<String, u32>,
}

impl SessionPart for Draft {
    const NAME: &'static str = "draft";
}

async fn set_condition(Path(condition): Path<Condition>, mut draft: Part<Draft>) {
    draft.condition = condition;
}

async fn add_tag(Path(tag): Path<String>, mut draft: Part<Draft>) {
    draft.tags.insert(tag);
}

async fn set_size(Path((name, size)): Path<(String, u32)>, mut draft: Part<Draft>) {
    draft.sizes.insert(name, size);
}

async fn publish(session: Session, mut draft: Part<Draft>) -> Result<String, (StatusCode, String)> {
    let published = insert_advert(&session, &mut draft).await;
    published.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("Nothing was published: {error}\n")))
}

async fn insert_advert(session: &Session, draft: &mut Part<Draft>) -> Result<String, Failure> {
    let Some(mut checkout) = draft.begin::<Postgres>().await? else { return Ok("There is no draft.\n".to_owned()) };
    // The columns have the same types, so the row needs no detour through Rust.
    let insert = "INSERT INTO adverts (condition, tags, sizes) \
                  SELECT condition, tags, sizes FROM drafts WHERE session = $1 RETURNING id";
    let session = session.handle().ok_or("no session")?;
    let insert = sqlx::query_scalar(insert).bind(&session.as_bytes()[..]);
    let id: i64 = insert.fetch_one(checkout.connection()).await?;
    checkout.commit().await?;
    Ok(format!("advert {id}\n"))
}

pub(crate) async fn app(url: &str) -> Result<Router, Failure> {
    let store = PostgresStore::connect(url).await?;
    store.migrate().await?;
    let is_new: bool = sqlx::query_scalar("SELECT to_regclass('drafts') IS NULL").fetch_one(store.pool()).await?;
    if is_new {
        sqlx::raw_sql(SCHEMA).execute(store.pool()).await?;
    }
    let draft = InTables::new(&store).with_row("drafts").check::<Draft>().await?;
    let sessions = SessionLayer::server(store).with_part::<Draft>(draft)?;
    let app = Router::new()
        .route("/condition/{condition}", post(set_condition))
        .route("/tags/{tag}", post(add_tag))
        .route("/sizes/{name}/{size}", post(set_size))
        .route("/publish", post(publish));
    Ok(app.layer(sessions))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let app = app(&std::env::var("DATABASE_URL")?).await?;
    Ok(axum::serve(TcpListener::bind("localhost:3000").await?, app).await?)
}
