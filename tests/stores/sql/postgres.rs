//! PostgreSQL.

use session_state::PostgresStore;
use session_state::test_kit::conformance::{cases as rules, check};
use sqlx::postgres::PgPoolOptions;

use crate::harness::engines::POSTGRES;
use crate::sql::{hex, table_name};

type Pool = sqlx::PgPool;

mod conformance {
    conformance_on_server!(crate::harness::engines::POSTGRES, super::open);
}

tests_of_sql_store!(PostgresStore);
tests_of_principals!();
tests_of_principals!([waiting]);
tests_of_references!();

mod parts {
    tests_of_parts!(Postgres, PostgresStore);
    tests_of_parts!([network] POSTGRES, PostgresStore, async |url: String| pool_at(&url).await);

    const TEXT: &str = "TEXT";

    const WATCH: &str = "CREATE FUNCTION @t_@event() RETURNS trigger AS $$ BEGIN INSERT INTO @t_log VALUES ('@event', @row.sku); RETURN NULL; END $$ LANGUAGE plpgsql; \
         CREATE TRIGGER @t_@event AFTER @event ON @t_lines FOR EACH ROW EXECUTE FUNCTION @t_@event()";

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_hundred_requests_at_once_all_take_place_at_the_strictest_isolation() {
        let Some(scene) = Scene::migrated().await else { return };
        let store = PostgresStore::new(strict_pool("serializable").await).with_table(&scene.table).unwrap();
        let shop = open(scene, store).await.with(|layer| layer.with_store_timeout(std::time::Duration::from_secs(60)));
        crate::sql::parts::rows::a_hundred_requests_at_once_all_take_place(shop).await;
    }
}

/// The type of a column that refers to a handle.
const HANDLE: &str = "BYTEA";

async fn open(url: &str) -> PostgresStore {
    let store = PostgresStore::new(pool_at(url).await).with_table(&table_name()).unwrap();
    store.migrate().await.unwrap();
    store
}

async fn pool() -> Option<Pool> {
    Some(pool_at(&POSTGRES.shared()?).await)
}

/// Connections use a time zone with an odd quarter-hour offset.
async fn pool_at(url: &str) -> Pool {
    let options = PgPoolOptions::new().max_connections(8).test_before_acquire(false);
    let options = options.after_connect(|connection, _| {
        Box::pin(async move {
            let set = "SET TIME ZONE 'Asia/Kathmandu'; SET client_min_messages = warning";
            sqlx::raw_sql(set).execute(connection).await.map(|_| ())
        })
    });
    options.connect(url).await.unwrap()
}

/// Connections have an isolation level by default, as an administrator may set it for a role.
async fn strict_pool(isolation: &'static str) -> Pool {
    let options = PgPoolOptions::new().max_connections(8).test_before_acquire(false);
    let options = options.after_connect(move |connection, _| {
        Box::pin(async move {
            let set = format!("SET default_transaction_isolation = '{isolation}'");
            sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(connection).await.map(|_| ())
        })
    });
    options.connect(&POSTGRES.shared().unwrap()).await.unwrap()
}

#[test]
fn races_end_as_well_at_stricter_isolation_levels() {
    if POSTGRES.shared().is_none() {
        return;
    }
    for isolation in ["repeatable read", "serializable"] {
        let open = async || {
            let store = PostgresStore::new(strict_pool(isolation).await).with_table(&table_name()).unwrap();
            store.migrate().await.unwrap();
            store
        };
        check(open(), rules::one_of_concurrent_renewals_of_one_session_is_done);
        check(open(), rules::one_of_concurrent_updates_of_one_version_is_done);
        check(open(), rules::one_of_a_concurrent_update_and_renewal_is_done);
        check(open(), rules::one_of_concurrent_creates_of_one_key_succeeds);
        check(open(), rules::one_of_concurrent_deletes_of_one_session_is_done);
        check(open(), rules::nothing_is_live_after_a_delete_that_followed_the_forward);
        check(open(), rules::nothing_is_live_after_a_revocation_during_renewals);
        check(open(), rules::concurrent_sweeps_are_safe);
    }
}

pub(super) fn literal(bytes: &[u8]) -> String {
    format!("'\\x{}'::bytea", hex(bytes))
}

async fn in_schema(scene: &Scene) -> PostgresStore {
    scene.run("CREATE SCHEMA \"S_@t\"").await;
    scene.store.clone().with_table(&format!("S_{}.order", scene.table)).unwrap()
}

/// Fills a table with ten thousand sessions, of which a hundred have expired.
async fn fill(scene: &Scene) {
    scene
        .run(
            "INSERT INTO @t (id_hash, handle, version, created_at, renewed_at, last_seen_at, expires_at, principal, data) \
             SELECT sha256(int8send(n)), substring(sha256(int8send(n + 1)) FOR 16), 1, 1, 1, 1, \
             CASE WHEN n % 100 = 0 THEN 10 ELSE 1000000000000 + n END, 'user ' || n, '{}' \
             FROM generate_series(1, 10000) AS n; ANALYZE @t",
        )
        .await;
}

#[tokio::test]
async fn every_look_up_uses_an_index() {
    let Some(scene) = Scene::migrated().await else { return };
    fill(&scene).await;
    for (condition, index) in [
        ("id_hash = '\\x01'::bytea AND expires_at > 11", "pkey"),
        ("expires_hour < 11 ORDER BY expires_hour LIMIT 500 FOR UPDATE SKIP LOCKED", "expires_hour"),
        ("handle = '\\x01'::bytea AND expires_at > 11", "handle"),
        ("left(principal, 500) = 'user 1' AND principal = 'user 1' AND +expires_at > 11", "principal"),
        (
            "(left(principal, 500), handle) > ('user 1', '\\x01'::bytea) AND left(principal, 500) <= 'user 1' \
             AND COALESCE(principal = 'user 1', FALSE) AND +expires_at > 11 ORDER BY left(principal, 500), handle LIMIT 10",
            "principal",
        ),
        ("handle IN ('\\x01'::bytea, '\\x02'::bytea) AND principal = 'user 1' AND +expires_at > 11", "handle"),
    ] {
        let explain = format!("EXPLAIN SELECT * FROM {} WHERE {condition}", scene.table);
        let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(explain)).fetch_all(&scene.pool).await.unwrap();
        let plan = plan.join("\n");
        assert!(
            plan.contains(&format!("{}_{index}", scene.table)) && !plan.contains("Seq Scan"),
            "{condition}: {plan}"
        );
    }
}

/// Counts the reads of all statements on the table and its indexes.
async fn work(scene: &Scene) -> u64 {
    let mut connection = scene.pool.acquire().await.unwrap();
    sqlx::raw_sql("SELECT pg_stat_force_next_flush()").execute(&mut *connection).await.unwrap();
    let read = format!(
        "SELECT (seq_tup_read + idx_tup_fetch + (SELECT SUM(idx_tup_read) FROM pg_stat_user_indexes AS i \
         WHERE i.relid = t.relid))::BIGINT FROM pg_stat_user_tables AS t WHERE relname = '{}'",
        scene.table
    );
    let read: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(read)).fetch_one(&mut *connection).await.unwrap();
    read.try_into().unwrap()
}

/// An index entry and the row, which a removal may read once more.
const WORK_PER_ROW: u64 = 3;

/// Like [`pool_at`], with one connection, whose counters are those of the store.
async fn counting_pool() -> Option<Pool> {
    let options = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
    Some(options.connect(&POSTGRES.shared()?).await.unwrap())
}

/// Inserts sessions of a principal into the table.
const FILL: &str = "INSERT INTO @t (id_hash, handle, version, created_at, renewed_at, last_seen_at, expires_at, principal, data) \
     SELECT sha256(convert_to(n || @principal, 'UTF8')), substring(sha256(convert_to('h' || n || @principal, 'UTF8')) \
     FOR 16), 1, 1, 1, 1, 1000000000000, @principal, '{}' FROM generate_series(1, @count) AS n; ANALYZE @t";

const EACH_ANOTHER: &str = "'user ' || n";

/// Counts the statements that wait for a lock on the table.
const WAITING: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%@t%'";
