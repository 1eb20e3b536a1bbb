//! Measures the stores of SQL on a server: `stores throughput <postgres-url>` compares calls with those of
//! tower-sessions' store and with plain statements, in rounds that take turns; `stores sweep <url>` measures how long a
//! sweep of a tenth of a million sessions holds anybody up; `stores touches <postgres-url>` counts the log and the
//! growth of a million touches; `stores cart <url>` serves a page with a part in tables, and one by hand; `stores
//! cart-once <url> <ours|hand> <pages>` serves only some, for a profiler. All make tables of their own and leave them
//! behind; with SQLite they are files whose names begin with the one that was given.
//!
//! ```text
//! cargo run --release --features stores --bin stores -- throughput postgres://postgres@localhost/postgres
//! ```

mod cart;
mod sqlite;
mod sweep;
mod throughput;
mod touches;

use std::process::ExitCode;

const USAGE: &str = "usage: stores throughput <postgres-url> | sweep <sqlite:file or postgres-url> | touches <postgres-url> | cart <sqlite:file or postgres-url> | \
    cart-once <sqlite:file or postgres-url> <ours|hand> <pages>";

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["throughput", url] => throughput::compare(url).await,
        ["cart", url] => cart::compare(url).await,
        ["cart-once", url, whose, pages] => cart::once(url, whose, pages).await,
        ["sweep", url] if url.starts_with("sqlite:") => sqlite::sweep(url).await,
        ["sweep", url] => sweep::postgres(url).await,
        ["touches", url] => touches::postgres(url).await,
        _ => Err(USAGE.into()),
    };
    if let Err(error) = done {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
