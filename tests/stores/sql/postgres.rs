//! PostgreSQL.

use session_state::PostgresStore;
use sqlx::postgres::PgPoolOptions;

use crate::harness::engines::POSTGRES;
use crate::sql::{hex, table_name};

type Pool = sqlx::PgPool;

mod conformance {
    conformance_on_server!(crate::harness::engines::POSTGRES, super::open);
}

tests_of_sql_store!(PostgresStore);
tests_of_references!();

mod parts {
    tests_of_parts!(Postgres, PostgresStore);
    tests_of_parts!([network] POSTGRES, PostgresStore, async |url: String| pool_at(&url).await);

    const TEXT: &str = "TEXT";

    const WATCH: &str = "CREATE FUNCTION @t_@event() RETURNS trigger AS $$ BEGIN INSERT INTO @t_log VALUES ('@event', @row.sku); RETURN NULL; END $$ LANGUAGE plpgsql; \
         CREATE TRIGGER @t_@event AFTER @event ON @t_lines FOR EACH ROW EXECUTE FUNCTION @t_@event()";
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

/// Connections have a time zone that is a quarter of an hour off all others.
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

fn literal(bytes: &[u8]) -> String {
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
async fn what_is_looked_up_is_looked_up_in_an_index() {
    let Some(scene) = Scene::migrated().await else { return };
    fill(&scene).await;
    for (condition, index) in [
        ("id_hash = '\\x01'::bytea AND expires_at > 11", "pkey"),
        ("expires_at <= 11 ORDER BY expires_at LIMIT 500 FOR UPDATE SKIP LOCKED", "expires_at"),
        ("handle = '\\x01'::bytea AND expires_at > 11", "handle"),
        ("principal = 'user 1' AND expires_at > 11", "principal"),
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
