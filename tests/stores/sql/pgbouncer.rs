//! PostgreSQL behind PgBouncer in transaction mode, whose clients share a few connections to the server.

use session_state::PostgresStore;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::harness::engines::{PGBOUNCER, pgbouncer_with};
use crate::harness::process::Server;
use crate::sql::cases::{self, HOUR};
use crate::sql::postgres::literal;
use crate::sql::table_name;

type Pool = sqlx::PgPool;

mod conformance {
    conformance_on_server!(crate::harness::engines::PGBOUNCER, super::open);
}

tests_of_sql_store!([scene] PostgresStore);

mod parts {
    tests_of_parts!([shop] Postgres, PostgresStore);
    tests_of_parts! { [each]
        rows { twenty_requests_at_once_lose_no_row }
        checkouts { one_of_eight_concurrent_checkouts_succeeds }
        drops { a_checkout_that_is_dropped_takes_place_whole_or_not_at_all }
    }

    const TEXT: &str = "TEXT";

    const WATCH: &str = "SELECT '@event @row'";

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn sixty_requests_at_once_are_all_served() {
        const REQUESTS: u32 = 60;
        let Some(shop) = shop().await else { return };
        let shared = shop.browser_with(&[("tea", 0)]).await;
        let tasks: Vec<_> = (0..REQUESTS)
            .map(|n| {
                let (app, shared) = (shop.app.clone(), shared.clone());
                tokio::spawn(async move {
                    let mut own = crate::browser::Browser::default();
                    own.set(&app, "n", n).await.value();
                    assert_eq!(own.get(&app, "n").await, Some(n));
                    let handler = async move |session: session_state::Session| {
                        session.update("sum", move |sum: &mut u32| *sum += n).map(drop).unwrap();
                    };
                    shared.send(&app, handler).await.value();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(shared.clone().get(&shop.app, "sum").await, Some((0..REQUESTS).sum()));
    }
}

/// Nothing is to be set where PgBouncer follows named statements, as it does by default since 1.24.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn named_statements_are_followed_by_a_pgbouncer_that_can() {
    if PGBOUNCER.shared().is_none() {
        return;
    }
    let server = match pgbouncer_with(200) {
        Ok(spec) => Server::start(spec),
        Err(why) => return println!("{why}"),
    };
    let store = open(&format!("postgres://postgres@{}/postgres", server.address())).await;
    let tasks: Vec<_> = (0..60)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let key = cases::create(&store, n, cases::now().after(HOUR)).await;
                assert!(store.load(&key, cases::now()).await.unwrap().is_some());
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// The store's own pool, by the URL alone.
async fn open(url: &str) -> PostgresStore {
    let store = PostgresStore::connect(url).await.unwrap().with_table(&table_name()).unwrap();
    store.migrate().await.unwrap();
    store
}

async fn pool() -> Option<Pool> {
    let options = PGBOUNCER.shared()?.parse::<PgConnectOptions>().unwrap().extra_float_digits(None);
    let pool = PgPoolOptions::new().max_connections(8).test_before_acquire(false);
    Some(pool.connect_with(options).await.unwrap())
}
