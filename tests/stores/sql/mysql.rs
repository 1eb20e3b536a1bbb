//! MySQL and MariaDB.

use std::str::FromStr as _;

use session_state::MySqlStore;
use session_state::test_kit::conformance::{cases as rules, check};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};

use crate::harness::engines::MYSQL;
use crate::sql::{hex, table_name};

type Pool = sqlx::MySqlPool;

mod conformance {
    conformance_on_server!(crate::harness::engines::MYSQL, super::open);
}

tests_of_sql_store!(MySqlStore);
tests_of_principals!();
tests_of_principals!([waiting]);
tests_of_references!();

mod parts {
    tests_of_parts!(MySql, MySqlStore);
    tests_of_parts!([network] MYSQL, MySqlStore, async |url: String| pool_at(&url, "SELECT 1").await);

    const TEXT: &str = "VARCHAR(50)";

    const WATCH: &str =
        "CREATE TRIGGER @t_@event AFTER @event ON @t_lines FOR EACH ROW INSERT INTO @t_log VALUES ('@event', @row.sku)";
}

/// The type of a column that refers to a handle.
const HANDLE: &str = "BINARY(16)";

async fn open(url: &str) -> MySqlStore {
    migrated(pool_at(url, "SELECT 1").await).await
}

async fn migrated(pool: Pool) -> MySqlStore {
    let store = MySqlStore::new(pool).with_table(&table_name()).unwrap();
    store.migrate().await.unwrap();
    store
}

async fn pool() -> Option<Pool> {
    Some(pool_at(&MYSQL.shared()?, "SELECT 1").await)
}

/// Connections run an initial statement and use a time zone with an odd quarter-hour offset.
async fn pool_at(url: &str, first: &'static str) -> Pool {
    let options = MySqlPoolOptions::new().max_connections(8).test_before_acquire(false);
    let options = options.after_connect(move |connection, _| {
        Box::pin(async move { sqlx::raw_sql(first).execute(connection).await.map(|_| ()) })
    });
    let to = MySqlConnectOptions::from_str(url).unwrap().timezone(Some("+05:45".to_owned()));
    options.connect_with(to).await.unwrap()
}

fn literal(bytes: &[u8]) -> String {
    format!("x'{}'", hex(bytes))
}

/// A schema is a database.
async fn in_schema(scene: &Scene) -> MySqlStore {
    let database = scene.text("SELECT DATABASE()").await;
    scene.store.clone().with_table(&format!("{database}.order")).unwrap()
}

/// Without the implicit locks of a stricter isolation level.
#[test]
fn races_end_well_with_read_committed_isolation() {
    let Some(url) = MYSQL.shared() else { return };
    let open = async || {
        let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
        migrated(pool_at(&url, isolation).await).await
    };
    check(open(), rules::one_of_concurrent_renewals_of_one_session_is_done);
    check(open(), rules::one_of_a_concurrent_update_and_renewal_is_done);
    check(open(), rules::one_of_concurrent_creates_of_one_key_succeeds);
    check(open(), rules::one_of_concurrent_deletes_of_one_session_is_done);
    check(open(), rules::nothing_is_live_after_a_delete_that_followed_the_forward);
}

#[tokio::test]
async fn every_look_up_uses_an_index() {
    let Some(scene) = Scene::migrated().await else { return };
    scene
        .run(
            "INSERT INTO @t (id_hash, handle, version, created_at, renewed_at, last_seen_at, expires_at, principal, data) \
             WITH RECURSIVE numbers AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000) \
             SELECT UNHEX(SHA2(n, 256)), LEFT(UNHEX(SHA2(n + 1, 256)), 16), 1, 1, 1, 1, \
             IF(n % 100 = 0, 10, 1000000000000 + n), CONCAT('user ', n), '{}' FROM numbers; ANALYZE TABLE @t",
        )
        .await;
    for (condition, index) in [
        ("id_hash = UNHEX(SHA2(5, 256)) AND expires_at > 11", "PRIMARY"),
        ("expires_at <= 11 ORDER BY expires_at LIMIT 500 FOR UPDATE SKIP LOCKED", "@_expires_at"),
        ("handle = LEFT(UNHEX(SHA2(5, 256)), 16) AND expires_at > 11", "@_handle"),
        ("principal = 'user 1' AND +expires_at > 11", "@_principal"),
        ("principal = 'user 1' AND handle > x'01' AND +expires_at > 11 ORDER BY handle LIMIT 100", "@_principal"),
        ("handle IN (x'01', x'02') AND principal = 'user 1' AND +expires_at > 11", "@_handle"),
    ] {
        let plan = scene.text(&format!("EXPLAIN FORMAT = JSON SELECT * FROM @t WHERE {condition}")).await;
        let is_used = plan.contains(&format!("\"key\": \"{}\"", index.replace('@', &scene.table)));
        assert!(is_used, "{condition}: {plan}");
    }
}

/// Counts what all statements of the connection have read.
async fn work(scene: &Scene) -> u64 {
    let status = "SHOW SESSION STATUS LIKE 'Handler_read%'";
    let counts: Vec<(String, String)> = sqlx::query_as(status).fetch_all(&scene.pool).await.unwrap();
    counts.iter().map(|(_, count)| count.parse::<u64>().unwrap()).sum()
}

/// A row is read once; to replace it by a forward, it is read three times more, first to lock it. Reading the counters
/// counts too.
const WORK_PER_ROW: u64 = 5;

/// Like [`pool_at`], with one connection, whose counters are those of the store.
async fn counting_pool() -> Option<Pool> {
    let options = MySqlPoolOptions::new().max_connections(1).test_before_acquire(false);
    Some(options.connect(&MYSQL.shared()?).await.unwrap())
}

/// Inserts sessions of a principal into the table.
const FILL: &str = "INSERT INTO @t (id_hash, handle, version, created_at, renewed_at, last_seen_at, expires_at, principal, data) \
     WITH digits AS (SELECT 0 AS n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3 UNION SELECT 4 UNION SELECT 5 \
     UNION SELECT 6 UNION SELECT 7 UNION SELECT 8 UNION SELECT 9), numbers AS (SELECT a.n + 10 * b.n + 100 * c.n \
     + 1000 * d.n + 10000 * e.n AS n FROM digits AS a, digits AS b, digits AS c, digits AS d, digits AS e) \
     SELECT UNHEX(SHA2(CONCAT(n, @principal), 256)), LEFT(UNHEX(SHA2(CONCAT('h', n, @principal), 256)), 16), \
     1, 1, 1, 1, 1000000000000, @principal, '{}' FROM numbers WHERE n < @count; ANALYZE TABLE @t";

const EACH_ANOTHER: &str = "CONCAT('user ', n)";

/// Counts the statements that wait to lock rows of the table.
const WAITING: &str = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND = 'Execute' \
     AND INFO LIKE '%@t%FOR UPDATE' AND ID <> CONNECTION_ID()";
