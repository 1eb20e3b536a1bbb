//! A page that counts its visitor's visits.
//!
//! Run `cargo run --example counter` and open <http://localhost:3000> a few times.

use axum::{Router, routing::get};
use session_state::{Error, MemoryStore, Session, SessionLayer};
use tokio::net::TcpListener;

async fn visits(session: Session) -> Result<String, Error> {
    let visits = session.update("visits", |visits: &mut u32| *visits += 1)?;
    Ok(format!("visit number {visits}"))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let app = Router::new().route("/", get(visits)).layer(SessionLayer::server(MemoryStore::new()));
    axum::serve(TcpListener::bind("localhost:3000").await?, app).await
}
