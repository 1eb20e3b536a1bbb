//! PostgreSQL: roles with few rights, and servers that accept no writes for a while.

use session_state::{InTables, Part, PostgresStore, SessionLayer};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::browser::{App, Browser};
use crate::harness::engines::POSTGRES;
use crate::sql::parts::Cart;
use crate::sql::rights::{IN_TABLES, granted, use_all};
use crate::sql::{cases, table_name};

const DOCUMENTED: &str = include_str!("../../../src/store/sql/postgres.rs");

/// A schema and a role of this test, and a pool of the superuser.
struct Scene {
    admin: PgPool,
    url: String,
    name: String,
}

impl Scene {
    async fn open() -> Option<Self> {
        let url = POSTGRES.shared()?;
        let admin = PgPoolOptions::new().max_connections(2).connect(&url).await.unwrap();
        let scene = Self { admin, url, name: table_name() };
        scene.run("CREATE SCHEMA @t; CREATE ROLE @t LOGIN").await;
        Some(scene)
    }

    async fn run(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.replace("@t", &self.name));
        sqlx::raw_sql(sql).execute(&self.admin).await.unwrap();
    }

    /// A pool of the role.
    async fn pool(&self, options: impl FnOnce(PgConnectOptions) -> PgConnectOptions) -> PgPool {
        let role = options(self.url.parse::<PgConnectOptions>().unwrap().username(&self.name));
        PgPoolOptions::new().max_connections(4).test_before_acquire(false).connect_with(role).await.unwrap()
    }
}

fn carts(store: &PostgresStore, schema: &str) -> InTables {
    let tables = InTables::new(store).with_row(&format!("{schema}carts"));
    tables.add_collection("lines", &format!("{schema}lines"), &["sku"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_documented_rights_are_enough_in_a_schema_of_its_own_and_along_the_search_path() {
    let Some(scene) = Scene::open().await else { return };
    let schema = format!("{}.", scene.name);
    let owner = PostgresStore::new(scene.admin.clone()).with_table(&format!("{schema}session_state")).unwrap();
    owner.migrate().await.unwrap();
    scene.run(&carts(&owner, &schema).schema::<Cart>().unwrap()).await;
    for right in granted(DOCUMENTED, &[("web.", &schema), ("SCHEMA web", "SCHEMA @t"), (" app;", " @t;")]) {
        scene.run(&right).await;
    }
    for table in ["@t.carts", "@t.lines"] {
        for right in granted(IN_TABLES, &[(" carts ", &format!(" {table} ")), (" app;", " @t;")]) {
            scene.run(&right).await;
        }
    }
    let store = PostgresStore::new(scene.pool(|role| role).await);
    assert!(
        store.clone().with_table(&format!("{schema}other")).unwrap().migrate().await.is_err(),
        "it may make tables"
    );
    let store = store.with_table(&format!("{schema}session_state")).unwrap();
    store.migrate().await.unwrap();
    use_all(&store, carts(&store, &schema).check().await.unwrap()).await;
    // It may make no table in either schema.
    let path = format!("{}, public", scene.name);
    let store = PostgresStore::new(scene.pool(|role| role.options([("search_path", path)])).await);
    store.migrate().await.unwrap();
    use_all(&store, carts(&store, "").check().await.unwrap()).await;
}

/// Fills a pool with connections that accept no writes, as those to a server that was demoted, and answer pings. New
/// ones accept writes, as those to the server that was promoted.
async fn demote(scene: &Scene, pool: &PgPool) {
    const CONNECTIONS: u32 = 4;
    scene.run("ALTER ROLE @t SET default_transaction_read_only = on").await;
    for is_new in [false, true] {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(pool.acquire().await.unwrap());
        }
        for connection in connections.into_iter().filter(|_| !is_new) {
            connection.close().await.unwrap();
        }
    }
    while pool.num_idle() < usize::try_from(CONNECTIONS).unwrap() {
        tokio::task::yield_now().await;
    }
    scene.run("ALTER ROLE @t RESET default_transaction_read_only").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_to_a_demoted_server_are_given_up_and_noticed_by_no_request() {
    let Some(scene) = Scene::open().await else { return };
    scene.run("GRANT CREATE, USAGE ON SCHEMA @t TO @t").await;
    let (pool, schema) = (scene.pool(|role| role).await, format!("{}.", scene.name));
    let store = PostgresStore::new(pool.clone()).with_table(&format!("{schema}session_state")).unwrap();
    store.migrate().await.unwrap();
    let carts = carts(&store, &schema);
    sqlx::raw_sql(sqlx::AssertSqlSafe(carts.schema::<Cart>().unwrap())).execute(&pool).await.unwrap();
    let layer = SessionLayer::server(store.clone()).with_part::<Cart>(carts.check().await.unwrap()).unwrap();
    let (app, mut browser) = (App::new(layer), Browser::default());
    browser.set(&app, "n", 1).await.value();
    // A statement.
    demote(&scene, &pool).await;
    browser.set(&app, "n", 2).await.value();
    // A transaction.
    demote(&scene, &pool).await;
    let push = async |extensions: http::Extensions| {
        Part::<Cart>::from_extensions(&extensions).await?.push("tea", 1);
        Ok((http::StatusCode::OK, ()))
    };
    browser.send_raw(&app, push).await.value();
    assert_eq!(browser.get(&app, "n").await, Some(2));
    // No old connection is left.
    for n in 0..10 {
        cases::create(&store, n, cases::now().after(cases::HOUR)).await;
    }
}
