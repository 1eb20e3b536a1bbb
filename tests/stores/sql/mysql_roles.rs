//! MySQL and MariaDB: users with few rights, and servers that accept no writes for a while.

use std::collections::BTreeSet;
use std::time::Duration;

use session_state::store::{Outcome, Store as _};
use session_state::{InTables, MySqlStore, SessionLayer};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};

use crate::browser::{App, Browser};
use crate::harness::engines::MYSQL;
use crate::harness::process::Server;
use crate::sql::parts::Cart;
use crate::sql::rights::{IN_TABLES, granted, use_all};
use crate::sql::{cases, table_name};

const DOCUMENTED: &str = include_str!("../../../src/store/sql/mysql.rs");

/// A pool of the administrator, who has no password.
async fn admin(server: &Server) -> MySqlPool {
    let options = MySqlConnectOptions::new().host("127.0.0.1").port(server.address().port()).username("root");
    MySqlPoolOptions::new().max_connections(1).connect_with(options).await.unwrap()
}

async fn run(admin: &MySqlPool, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(admin).await.unwrap();
}

fn carts(store: &MySqlStore, database: &str) -> InTables {
    let tables = InTables::new(store).with_row(&format!("{database}carts"));
    tables.add_collection("lines", &format!("{database}lines"), &["sku"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_documented_rights_are_enough_in_another_database_and_in_that_of_the_connection() {
    let Some(server) = MYSQL.server() else { return };
    let (admin, name) = (admin(server).await, table_name());
    let database = format!("{name}.");
    run(&admin, &format!("CREATE DATABASE {name}; CREATE USER '{name}'@'%'")).await;
    let owner = MySqlStore::new(admin.clone()).with_table(&format!("{database}session_state")).unwrap();
    owner.migrate().await.unwrap();
    run(&admin, &carts(&owner, &database).schema::<Cart>().unwrap()).await;
    let user = format!("'{name}'@'%';");
    for right in granted(DOCUMENTED, &[("shop.", &database), ("'app'@'%';", &user)]) {
        run(&admin, &right).await;
    }
    for table in ["carts", "lines"] {
        for right in granted(IN_TABLES, &[(" carts ", &format!(" {database}{table} ")), ("app;", &user)]) {
            run(&admin, &right).await;
        }
    }
    // Another database than that of the tables.
    run(&admin, &format!("CREATE DATABASE {name}_app; GRANT SELECT ON {name}_app.* TO {user}")).await;
    let options = MySqlConnectOptions::new().host("127.0.0.1").port(server.address().port()).username(&name);
    for (own, prefix) in [(format!("{name}_app"), &*database), (name.clone(), "")] {
        let pool = MySqlPoolOptions::new().max_connections(4).test_before_acquire(false);
        let store = MySqlStore::new(pool.connect_with(options.clone().database(&own)).await.unwrap());
        let other = store.clone().with_table(&format!("{prefix}other")).unwrap();
        assert!(other.migrate().await.is_err(), "it may make tables");
        let store = store.with_table(&format!("{prefix}session_state")).unwrap();
        store.migrate().await.unwrap();
        use_all(&store, carts(&store, prefix).check().await.unwrap()).await;
    }
}

/// Returns the numbers of the connections of stores.
async fn connections(admin: &MySqlPool) -> BTreeSet<u64> {
    let numbers = "SELECT CAST(ID AS UNSIGNED) FROM information_schema.PROCESSLIST WHERE USER = 'sessions'";
    sqlx::query_scalar::<_, u64>(numbers).fetch_all(admin).await.unwrap().into_iter().collect()
}

/// Waits until none of these connections is there.
async fn wait_until_closed(admin: &MySqlPool, old: BTreeSet<u64>) {
    assert!(!old.is_empty());
    let closed = async {
        while !connections(admin).await.is_disjoint(&old) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the store keeps its old connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_to_a_demoted_server_are_given_up() {
    let Some(server) = MYSQL.start() else { return };
    let admin = admin(&server).await;
    let store = MySqlStore::connect(&MYSQL.url(server.address())).await.unwrap();
    store.migrate().await.unwrap();
    let (app, mut browser) = (App::new(SessionLayer::server(store.clone())), Browser::default());
    browser.set(&app, "n", 1).await.value();
    let key = cases::create(&store, 1, cases::now().after(cases::HOUR)).await;
    run(&admin, "SET GLOBAL read_only = 1").await;
    let before = connections(&admin).await;
    // A statement.
    assert_eq!(browser.set(&app, "n", 2).await.status, 503);
    wait_until_closed(&admin, before).await;
    // A transaction, which makes room for another session.
    assert!(store.load(&key, cases::now()).await.unwrap().is_some());
    let (before, later) = (connections(&admin).await, cases::now().after(2 * cases::HOUR));
    assert!(store.create(&key, cases::record(1, later).into(), later).await.is_err());
    wait_until_closed(&admin, before).await;
    run(&admin, "SET GLOBAL read_only = 0").await;
    assert_eq!(browser.get(&app, "n").await, Some(1));
    browser.set(&app, "n", 3).await.value();
    assert_eq!(store.delete(&key, None, cases::now()).await.unwrap(), Outcome::Done);
}
