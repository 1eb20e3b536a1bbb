//! SQLite.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use session_state::{Key, SqliteStore};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

use crate::nodes::at;
use crate::sql::{hex, table_name};
use crate::support::process::Probe;

type Pool = sqlx::SqlitePool;

mod conformance {
    session_state::store_conformance_tests!(async {
        let store = super::connect(&super::file()).await;
        store.migrate().await.unwrap();
        store
    });
}

tests_of_sql_store!(SqliteStore);
tests_of_principals!();
tests_of_references!();

mod parts {
    tests_of_parts!(Sqlite, SqliteStore);

    const TEXT: &str = "TEXT";

    const WATCH: &str =
        "CREATE TRIGGER @t_@event AFTER @event ON @t_lines BEGIN INSERT INTO @t_log VALUES ('@event', @row.sku); END";
}

/// The type of a column that refers to a handle.
const HANDLE: &str = "BLOB";

/// One file per test, since writers in one file wait for each other. The files are removed however this process ends.
pub(super) fn file() -> PathBuf {
    static DIRECTORY: LazyLock<(PathBuf, Child)> = LazyLock::new(|| {
        let directory = std::env::temp_dir().join(format!("session-state-sqlite-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut remover = Command::new("sh");
        remover.args(["-c", r#"read _; rm -rf -- "$1""#, "sh"]).arg(&directory);
        remover.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        (directory, remover.spawn().expect("sh can be run"))
    });
    DIRECTORY.0.join(table_name())
}

async fn connect(file: &Path) -> SqliteStore {
    let url = format!("sqlite:{}", file.display());
    SqliteStore::connect(&url).await.unwrap().with_table(&table_name()).unwrap()
}

async fn pool() -> Option<Pool> {
    let options = SqliteConnectOptions::new().filename(file()).create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Wal);
    Some(SqlitePoolOptions::new().max_connections(8).connect_with(options).await.unwrap())
}

fn literal(bytes: &[u8]) -> String {
    format!("x'{}'", hex(bytes))
}

async fn in_schema(scene: &Scene) -> SqliteStore {
    scene.store.clone().with_table("main.order").unwrap()
}

#[test]
fn the_probe_encrypts_what_it_stores_if_it_is_told_to() {
    let (url, keys) = (format!("sqlite:{}", file().display()), Key::generate().unwrap().to_base64());
    let sealing = || Probe::start(&url, &["--keys", &keys, "--encrypt-at-rest"]);
    let (one, other, plain) = (sealing(), sealing(), Probe::start(&url, &["--keys", &keys]));
    let mut visitor = one.visitor();
    visitor.set("k", 1);
    assert_eq!(at(&other, &visitor).read("k"), 1);
    assert_eq!(at(&plain, &visitor).read("k"), serde_json::Value::Null);
}

#[tokio::test]
async fn every_look_up_uses_an_index() {
    let Some(scene) = Scene::migrated().await else { return };
    for (condition, index) in [
        ("id_hash = x'01' AND expires_at > 11", "sqlite_autoindex"),
        ("expires_at <= 11 ORDER BY expires_at LIMIT 100", "_expires_at"),
        ("handle = x'01' AND expires_at > 11", "_handle"),
        ("principal = 'user 1' AND +expires_at > 11", "_principal (principal=?)"),
        (
            "principal = 'user 1' AND handle > x'01' AND +expires_at > 11 ORDER BY handle LIMIT 100",
            "_principal (principal=? AND handle>?)",
        ),
        ("handle IN (x'01', x'02') AND principal = 'user 1' AND +expires_at > 11", "handle=?)"),
    ] {
        let explain = format!("EXPLAIN QUERY PLAN SELECT * FROM {} WHERE {condition}", scene.table);
        let plan = sqlx::query(sqlx::AssertSqlSafe(explain)).fetch_all(&scene.pool).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| sqlx::Row::get(row, 3)).collect();
        let plan = plan.join("\n");
        assert!(plan.starts_with("SEARCH") && plan.contains(index) && !plan.contains("TEMP"), "{condition}: {plan}");
    }
}

/// SQLite would open a database of its own on each connection.
#[tokio::test]
async fn a_url_without_a_file_is_an_error_with_the_remedy() {
    for url in ["sqlite:", "sqlite://"] {
        let error = SqliteStore::connect(url).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("sqlite:sessions.db"), "{url}: {source}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_in_memory_is_one_for_all_calls() {
    for url in ["sqlite::memory:", "sqlite://:memory:", "sqlite:sessions?mode=memory"] {
        let store = SqliteStore::connect(url).await.unwrap();
        store.migrate().await.unwrap();
        let calls = (0..24).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.load(&cases::key(n), cases::now()).await.unwrap() })
        });
        for call in calls.collect::<Vec<_>>() {
            assert_eq!(call.await.unwrap(), None, "{url}");
        }
    }
}

#[tokio::test]
async fn connect_creates_a_file_with_concurrent_readers() {
    let file = file();
    let store = connect(&file).await;
    store.migrate().await.unwrap();
    let key = cases::create(&store, 1, cases::now().after(HOUR)).await;
    let options = SqliteConnectOptions::new().filename(&file).read_only(true);
    let reader = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&reader).await.unwrap();
    assert_eq!(journal, "wal");
    let mut reading = reader.begin().await.unwrap();
    let tables = "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table'";
    assert_eq!(sqlx::query_scalar::<_, i64>(tables).fetch_one(&mut *reading).await.unwrap(), 2);
    // The reader's transaction is still open.
    assert_eq!(store.delete(&key, None, cases::now()).await.unwrap(), Outcome::Done);
    reading.commit().await.unwrap();
}

static STEPS: AtomicU64 = AtomicU64::new(0);

/// Counts the steps of all statements on connections of [`counting_pool`]. SQLite counts no rows.
async fn work(_: &Scene) -> u64 {
    STEPS.load(Ordering::SeqCst)
}

/// The number of steps to find a row twice, remove it from the table and its indexes and insert a forward.
const WORK_PER_ROW: u64 = 125;

/// A pool whose statements are counted, for one test.
async fn counting_pool() -> Option<Pool> {
    const AT_ONCE: i32 = 10;
    let options = SqlitePoolOptions::new().max_connections(1).after_connect(|connection, _| {
        Box::pin(async move {
            let count = || STEPS.fetch_add(AT_ONCE.unsigned_abs().into(), Ordering::SeqCst) < u64::MAX;
            connection.lock_handle().await?.set_progress_handler(AT_ONCE, count);
            Ok(())
        })
    });
    Some(options.connect(&format!("sqlite:{}?mode=rwc", file().display())).await.unwrap())
}

/// Inserts sessions of a principal into the table.
const FILL: &str = "INSERT INTO @t (id_hash, handle, version, created_at, renewed_at, last_seen_at, expires_at, principal, data) \
     WITH RECURSIVE numbers AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < @count) \
     SELECT randomblob(32), randomblob(16), 1, 1, 1, 1, 1000000000000, @principal, '{}' FROM numbers; ANALYZE @t";

const EACH_ANOTHER: &str = "'user ' || n";
