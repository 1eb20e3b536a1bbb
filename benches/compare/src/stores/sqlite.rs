//! How long a sweep of SQLite keeps the lock of the file from other writers. It is measured twice: beside a sweep of
//! another file on the same disk, where no lock is in the way and all waiting is for the disk, and beside a sweep of
//! the same file. What the second is longer by is the sweep's.

use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use session_state::SqliteStore;
use session_state::store::Store as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use crate::Error;
use crate::sweep::{COLUMNS, NOW, VALUES, report, to_keys, touch};

/// As many as the layer's sweeper asks for at once.
const LIMIT: usize = 1000;

pub async fn sweep(url: &str) -> Result<(), Error> {
    // The file of this name is left alone.
    let name = url.trim_start_matches("sqlite:");
    let [path, filled, other] = ["swept", "filled", "other"].map(|suffix| format!("{name}-{suffix}"));
    for file in [&path, &filled, &other] {
        remove(file);
    }
    fill(&filled).await?;
    println!("the database has {} MB", std::fs::metadata(&filled)?.len() / 1_000_000);
    for (what, swept) in [("beside a sweep of another file", &other), ("beside a sweep of the same file", &path)] {
        println!("{what}:");
        for writer in [Writer::AsksAlways, Writer::Store] {
            for file in [&path, &other] {
                remove(file);
                std::fs::copy(&filled, file)?;
            }
            measure(writer, &path, swept).await?;
        }
    }
    Ok(())
}

/// Removes a database, if it is there.
fn remove(path: &str) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{path}{suffix}"));
    }
}

async fn open(path: impl AsRef<Path>) -> Result<SqliteConnection, Error> {
    let options = SqliteConnectOptions::from_str("sqlite:")?.filename(path).create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    Ok(options.connect().await?)
}

async fn store(path: &str) -> Result<SqliteStore, Error> {
    Ok(SqliteStore::connect(&format!("sqlite:{path}")).await?.with_table("sweep_bench")?)
}

async fn fill(path: &str) -> Result<(), Error> {
    store(path).await?.migrate().await?;
    let mut connection = open(path).await?;
    let fill = format!(
        "INSERT INTO sweep_bench ({COLUMNS}) SELECT randomblob(32), randomblob(16), {VALUES} FROM \
         (WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1000000) SELECT n FROM s)"
    );
    sqlx::raw_sql(AssertSqlSafe(fill)).execute(&mut connection).await?;
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Writer {
    /// Asks for the lock without a pause, and so sees for how long it is held.
    AsksAlways,
    /// Touches sessions through the store, and waits as SQLite waits, which looks every 1 to 100 ms.
    Store,
}

/// Sweeps one file, while a writer changes rows of the first.
async fn measure(writer: Writer, path: &str, swept: &str) -> Result<(), Error> {
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (path, is_over) = (path.to_owned(), Arc::clone(&is_over));
        move || -> Result<_, String> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let writing = write(writer, path, is_over);
            runtime.map_err(|error| error.to_string())?.block_on(writing).map_err(|error| error.to_string())
        }
    });
    let (store, begun, mut removed) = (store(swept).await?, Instant::now(), 0);
    loop {
        let swept = store.sweep(NOW, LIMIT).await?;
        removed += swept;
        if swept < LIMIT {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("  {removed} swept in {:.1?}", begun.elapsed());
    is_over.store(true, Ordering::Relaxed);
    for (what, times) in writer.join().map_err(|_| "the writer panicked")?? {
        report(what, times);
    }
    Ok(())
}

type Times = Vec<(&'static str, Vec<Duration>)>;

async fn write(writer: Writer, path: String, is_over: Arc<AtomicBool>) -> Result<Times, Error> {
    match writer {
        Writer::AsksAlways => ask_always(path, is_over).await,
        Writer::Store => {
            let live = "SELECT id_hash FROM sweep_bench WHERE expires_at > 20000000 LIMIT 1000";
            let keys: Vec<Vec<u8>> = sqlx::query_scalar(live).fetch_all(&mut open(&path).await?).await?;
            let (times, are_live) = touch(&store(&path).await?, &to_keys(keys)?, is_over, 0).await?;
            assert!(are_live, "a live session was not there");
            Ok(vec![("  a touch of the store, one after the other", times)])
        }
    }
}

/// Writes every few milliseconds until it is over.
async fn ask_always(path: String, is_over: Arc<AtomicBool>) -> Result<Times, Error> {
    let mut connection = open(&path).await?;
    // Its commits are nothing else.
    sqlx::raw_sql("PRAGMA busy_timeout = 0; PRAGMA wal_autocheckpoint = 0").execute(&mut connection).await?;
    let live = "SELECT rowid FROM sweep_bench WHERE expires_at > 20000000 LIMIT 1000";
    let rows: Vec<i64> = sqlx::query_scalar(live).fetch_all(&mut connection).await?;
    let (mut waits, mut commits) = (Vec::new(), Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        while let Err(error) = sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await {
            let code = error.as_database_error().and_then(|error| error.code());
            if code.is_none_or(|code| code != "5") {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        waits.push(begun.elapsed());
        let update = "UPDATE sweep_bench SET last_seen_at = last_seen_at + 1 WHERE rowid = ?";
        sqlx::query(update).bind(rows[waits.len() % rows.len()]).execute(&mut connection).await?;
        let begun = Instant::now();
        sqlx::query("COMMIT").execute(&mut connection).await?;
        commits.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(vec![("  a wait for the lock", waits), ("  the commit after it, with the lock", commits)])
}
