//! The probe: a small server that shows every promise of the crate over plain HTTP.
//!
//! It uses nothing but the crate's public API, and any client can drive it:
//!
//! ```text
//! cargo run --all-features --example probe -- --state memory --listen 127.0.0.1:0
//! ```
//!
//! Once it accepts connections it prints one line, `listening on http://127.0.0.1:<PORT>`. Logs go to standard error.
//! It stops on SIGTERM or SIGINT, after the requests in flight are finished.
//!
//! - `options` reads the command line, and refuses what it does not know,
//! - `sessions` makes the layers that the options ask for, `stores` connects to the store below them,
//! - `routes` are the handlers, `body` the JSON they take; `devices` are those that list and end the sessions of a
//!   principal; `cart` is a part in tables, with handlers of its own; `wizard` is a part in the place that
//!   `--part-place` names (`record`, `cookie` or `store`), with handlers that two requests at once can be held in;
//!   `later` are the routes that are not built yet.
//!
//! `--conflict` (`merge` or `fail`) says what becomes of the later of two changes.

mod body;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod cart;
mod devices;
mod later;
mod options;
mod routes;
mod sessions;
mod stores;
mod wizard;

use std::process::ExitCode;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::middleware::map_response;
use axum::response::Response;
use session_state::store::StoreError;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use crate::options::{Error, Options};
use crate::sessions::Layers;

/// The exit status for a command line that is not right: `EX_USAGE` of `sysexits.h`.
const USAGE: u8 = 64;

const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => return usage(&error),
    };
    let layers = match Layers::open(&options).await {
        Ok(layers) => layers,
        Err(error) if error.is::<StoreError>() => {
            eprintln!("probe: {}", with_causes(&*error));
            return ExitCode::FAILURE;
        }
        Err(error) => return usage(&error),
    };
    match serve(layers, &options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {}: {error}", options.listen);
            ExitCode::FAILURE
        }
    }
}

fn usage(error: &Error) -> ExitCode {
    eprintln!("probe: {error}");
    ExitCode::from(USAGE)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    error.source().map_or(error.to_string(), |source| format!("{error}: {}", with_causes(source)))
}

async fn serve(layers: Layers, options: &Options) -> std::io::Result<()> {
    let Layers { sessions, breaking, routes } = layers;
    let listener = TcpListener::bind(options.listen).await?;
    let stop = stop_signal()?;
    tokio::spawn(sessions.sweeper(SWEEP_INTERVAL));
    // Outside of the sessions: a panic passes through their layer as one, and nothing is committed.
    let app = routes::router()
        .merge(routes)
        .merge(wizard::router())
        .layer(sessions.clone())
        .merge(wizard::breaking_router().layer(breaking))
        .merge(later::router())
        .layer(map_response(explain))
        .layer(CatchPanicLayer::new());
    // Standard output is flushed at the end of each line.
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    // What is still to be logged is: a reader of the log that has gone away holds nothing up for long.
    let _ = tokio::time::timeout(FLUSH_TIMEOUT, sessions.flush_observers()).await;
    Ok(())
}

/// Says in JSON what was wrong with the session.
async fn explain(mut response: Response) -> Response {
    if let Some(error) = response.extensions().get::<session_state::Error>() {
        let explanation = serde_json::json!({ "error": error.to_string() });
        *response.body_mut() = Body::from(explanation.to_string());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

/// Returns a future that ends when the process is asked to stop. From this call on, no signal is missed.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
