//! Tests of the SQL stores beyond the store contract.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use session_state::store::{
    Entry, FindPrincipals, Forward, Generation, Handle, Outcome, Record, Renewal, Store, StoreError, StoreKey, Touch,
    Values, Version,
};
use session_state::{Clock as _, SystemClock, Timestamp};

pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);

/// Makes the tests that all engines share, in a module with `async fn pool() -> Option<Pool>`, which returns `None`
/// where the tests are to be skipped. With `[scene]` it makes only what they need.
macro_rules! tests_of_sql_store {
    ([scene] $store:ident) => {
        use session_state::store::Store as _;

        /// A store over a separate table, which does not exist yet, and access to its database.
        struct Scene {
            pool: Pool,
            table: String,
            store: $store,
        }

        impl Scene {
            async fn open() -> Option<Self> {
                Some(Self::at(pool().await?))
            }

            fn at(pool: Pool) -> Self {
                let table = crate::sql::table_name();
                let store = $store::new(pool.clone()).with_table(&table).unwrap();
                Self { pool, table, store }
            }

            /// Returns a store over the same table that has one connection, which the other methods do not use.
            async fn on_one_connection(&self) -> $store {
                let options = self.pool.options().clone().max_connections(1);
                let pool = options.connect_with((*self.pool.connect_options()).clone()).await.unwrap();
                $store::new(pool).with_table(&self.table).unwrap()
            }

            async fn migrated() -> Option<Self> {
                let scene = Self::open().await?;
                scene.store.migrate().await.unwrap();
                Some(scene)
            }

            async fn run(&self, sql: &str) {
                let sql = sqlx::AssertSqlSafe(sql.replace("@t", &self.table));
                sqlx::raw_sql(sql).execute(&self.pool).await.unwrap();
            }

            async fn number(&self, sql: &str) -> i64 {
                let sql = sqlx::AssertSqlSafe(sql.replace("@t", &self.table));
                sqlx::Row::get(&sqlx::raw_sql(sql).fetch_one(&self.pool).await.unwrap(), 0)
            }

            async fn text(&self, sql: &str) -> String {
                let sql = sqlx::AssertSqlSafe(sql.replace("@t", &self.table));
                sqlx::Row::get(&sqlx::raw_sql(sql).fetch_one(&self.pool).await.unwrap(), 0)
            }
        }
    };
    ($store:ident) => {
        use session_state::store::{Outcome, StoreErrorKind};
        use session_state::test_kit::conformance::compare_with_model;

        use crate::sql::cases::{self, HOUR};

        tests_of_sql_store! { [scene] $store }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn many_nodes_migrate_an_empty_database_at_once() {
            for _ in 0..5 {
                let Some(scene) = Scene::open().await else { return };
                let nodes: Vec<_> = (0..8)
                    .map(|_| {
                        let store = scene.store.clone();
                        tokio::spawn(async move { store.migrate().await })
                    })
                    .collect();
                for node in nodes {
                    node.await.unwrap().unwrap();
                }
                scene.store.migrate().await.unwrap();
                assert_eq!(scene.number("SELECT COUNT(*) FROM @t_schema").await, 1);
                cases::place(&scene.store).await;
                scene.store.migrate().await.unwrap();
                assert_eq!(scene.number("SELECT COUNT(*) FROM @t").await, 1, "a migration keeps what is there");
            }
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn the_schema_that_is_printed_can_be_run_by_hand_and_again() {
            let Some(scene) = Scene::open().await else { return };
            for _ in 0..2 {
                scene.run(&scene.store.schema()).await;
            }
            cases::place(&scene.store).await;
            scene.store.migrate().await.unwrap();
            assert_eq!(scene.number("SELECT MAX(version) FROM @t_schema").await, 1);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_schema_of_a_later_release_is_refused() {
            let Some(scene) = Scene::migrated().await else { return };
            scene.run("INSERT INTO @t_schema (version) VALUES (7)").await;
            let error = scene.store.migrate().await.expect_err("the schema is newer");
            let source = std::error::Error::source(&error).map(ToString::to_string);
            assert_eq!(source.as_deref(), Some("the table has schema version 7, and this release knows up to 1"));
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn without_its_table_a_store_fails() {
            let Some(scene) = Scene::open().await else { return };
            let error = scene.store.load(&cases::key(1), cases::now()).await.expect_err("there is no table");
            assert_eq!((error.kind(), error.store()), (StoreErrorKind::Failed, scene.store.name()));
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn columns_hold_what_they_say() {
            let Some(scene) = Scene::migrated().await else { return };
            let (key, record) = cases::place(&scene.store).await;
            let millis = |time: session_state::Timestamp| i64::try_from(time.as_millis()).unwrap();
            for (column, expected) in [
                ("created_at", millis(record.created_at)),
                ("renewed_at", millis(record.renewed_at)),
                ("last_seen_at", millis(record.last_seen_at)),
                ("expires_at", millis(record.expires_at)),
                ("authenticated_at", millis(record.authenticated_at.unwrap())),
                ("idle_timeout", 1_500),
                ("absolute_timeout", 86_400_000),
                ("version", 1),
                ("generation", (3 << 32) + 7),
            ] {
                assert_eq!(scene.number(&format!("SELECT {column} FROM @t")).await, expected, "{column}");
            }
            assert_eq!(scene.text("SELECT principal FROM @t").await, "alice");
            assert_eq!(scene.text("SELECT label FROM @t").await, "Zoë's phone");
            assert_eq!(scene.text("SELECT data FROM @t").await, cases::DATA);
            let hex = format!("SELECT COUNT(*) FROM @t WHERE id_hash = {}", literal(key.as_bytes()));
            assert_eq!(scene.number(&hex).await, 1);
            let hex = format!("SELECT COUNT(*) FROM @t WHERE handle = {}", literal(record.handle.as_bytes()));
            assert_eq!(scene.number(&hex).await, 1);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_forward_has_no_column_of_the_session() {
            let Some(scene) = Scene::migrated().await else { return };
            cases::renew(&scene.store).await;
            let deleted = scene.store.delete(&cases::key(2), Some(cases::ended()), cases::now()).await;
            assert_eq!(deleted.unwrap(), Outcome::Done);
            assert_eq!(scene.number("SELECT COUNT(*) FROM @t").await, 2);
            let nothing = "handle IS NULL AND version IS NULL AND generation = 0 AND principal IS NULL AND label IS NULL \
                           AND data IS NULL AND created_at IS NULL AND authenticated_at IS NULL AND idle_timeout IS NULL";
            let forwards = format!("SELECT COUNT(*) FROM @t WHERE {nothing} AND grace_until IS NOT NULL");
            assert_eq!(scene.number(&forwards).await, 2);
            assert_eq!(scene.number("SELECT COUNT(*) FROM @t WHERE successor IS NULL AND grace_until = 0").await, 1);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_malformed_row_is_undecodable_and_can_be_deleted() {
            let Some(scene) = Scene::migrated().await else { return };
            for broken in ["data = '[1]'", "data = NULL", "created_at = NULL", "handle = NULL", "created_at = -1"] {
                let (key, record) = cases::place(&scene.store).await;
                scene.run(&format!("UPDATE @t SET {broken}")).await;
                let error = scene.store.load(&key, cases::now()).await.expect_err(broken);
                assert_eq!(error.kind(), StoreErrorKind::Undecodable, "{broken}");
                let outcome = scene.store.delete(&key, None, record.created_at).await;
                assert_eq!(outcome.unwrap(), Outcome::Done, "{broken}");
            }
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_value_that_is_not_json_is_rejected_and_not_stored() {
            let Some(scene) = Scene::migrated().await else { return };
            let error = cases::create_no_json(&scene.store).await.expect_err("it is no JSON");
            assert_eq!(error.kind(), StoreErrorKind::Failed);
            assert_eq!(scene.number("SELECT COUNT(*) FROM @t").await, 0);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn sweeps_concurrent_with_writers_fail_no_call() {
            let Some(scene) = Scene::migrated().await else { return };
            cases::write_and_sweep(&scene.store).await;
            let live = scene.number("SELECT COUNT(*) FROM @t WHERE version IS NOT NULL").await;
            assert_eq!(live, cases::WRITERS, "each writer has one session left");
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_sweep_removes_up_to_its_limit() {
            let Some(scene) = Scene::migrated().await else { return };
            for n in 0..10 {
                cases::create(&scene.store, n, cases::now().after(HOUR)).await;
            }
            assert_eq!(scene.store.sweep(cases::now().after(3 * HOUR), 4).await.unwrap(), 4);
            assert_eq!(scene.number("SELECT COUNT(*) FROM @t").await, 6);
            assert_eq!(scene.store.sweep(cases::now().after(3 * HOUR), 1_000_000).await.unwrap(), 6);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_call_that_is_dropped_leaves_no_transaction_on_its_connection() {
            let Some(scene) = Scene::migrated().await else { return };
            let store = scene.on_one_connection().await;
            let mut written = 0;
            for call in cases::IN_TRANSACTIONS {
                let mut dropped = 0;
                for poll in 1..30 {
                    written += 1;
                    cases::create_expired(&scene.store, written).await;
                    dropped += usize::from(cases::drop_at(poll, cases::call(&store, call, written)).await);
                    cases::create(&store, 1_000 + written, cases::now().after(HOUR)).await;
                    let seen = scene.number("SELECT COUNT(*) FROM @t WHERE version IS NOT NULL AND principal IS NULL");
                    assert_eq!(u64::try_from(seen.await).unwrap(), written, "{call:?}, dropped at poll {poll}");
                }
                assert!(dropped > 0, "{call:?} asks the database");
            }
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_table_may_be_in_a_schema_and_have_the_name_of_a_word() {
            let Some(scene) = Scene::open().await else { return };
            let store = in_schema(&scene).await;
            store.migrate().await.unwrap();
            let store = std::sync::Arc::new(store);
            compare_with_model(&store, 1, 150).await;
            cases::renew(&*store).await;
            store.sweep(cases::now().after(100 * HOUR), 10).await.unwrap();
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn debug_output_shows_the_table_but_not_the_pool() {
            let Some(scene) = Scene::open().await else { return };
            let shown = format!("{:?}", scene.store);
            assert!(shown.contains(&scene.table) && shown.len() < 120, "{shown}");
        }
    };
}

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// Returns a key like a hash: the bytes differ from the first on.
pub(crate) fn key(n: u64) -> StoreKey {
    let mixed = |i: u64| (n * 4 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let bytes = [mixed(1), mixed(2), mixed(3), mixed(4)].concat();
    StoreKey::from_bytes(bytes.try_into().unwrap())
}

/// The values of [`record`] as they are stored.
pub(crate) const DATA: &str = r#"{"b":1.0,"a":"\u0000é","":[ ]}"#;

pub(crate) fn record(n: u64, expires_at: Timestamp) -> Record {
    let mut record = Record::new(Handle::from_bytes((u128::from(n) << 64 | 1).to_be_bytes()), now(), expires_at);
    record.values = Values::from_json(DATA).unwrap();
    record
}

pub(crate) async fn create(store: &impl Store, n: u64, expires_at: Timestamp) -> StoreKey {
    let record = Arc::new(record(n, expires_at));
    assert!(store.create(&key(n), record, now()).await.unwrap());
    key(n)
}

/// Stores a record in which every field is set.
pub(crate) async fn place(store: &impl Store) -> (StoreKey, Record) {
    let mut record = record(1, now().after(HOUR));
    record.generation = Generation::from_u64((3 << 32) + 7);
    record.idle_timeout = Some(Duration::from_millis(1_500));
    record.absolute_timeout = Some(24 * HOUR);
    record.principal = Some("alice".into());
    record.label = Some("Zoë's phone".into());
    record.authenticated_at = Some(record.created_at.after(Duration::from_millis(3)));
    assert!(store.create(&key(1), Arc::new(record.clone()), now()).await.unwrap());
    (key(1), record)
}

pub(crate) async fn renew(store: &impl Store) {
    let (old, record) = place(store).await;
    let forward = Forward { successor: Some([7; 32]), ..ended() };
    let renewal = Renewal { old, expected: record.version, new: key(2), record: Arc::new(record), forward };
    assert_eq!(store.renew(renewal, now()).await.unwrap(), Outcome::Done);
}

/// Returns the forward of a session that has ended.
pub(crate) fn ended() -> Forward {
    Forward { successor: None, grace_until: Timestamp::from_millis(0), expires_at: now().after(HOUR) }
}

/// Drops a future at a poll, and returns whether it was still pending.
pub(crate) async fn drop_at<T>(poll: usize, future: impl Future<Output = T>) -> bool {
    let (mut future, mut polls) = (Box::pin(future), 0);
    let dropped = std::future::poll_fn(|context| {
        polls += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending if polls == poll => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        }
    });
    dropped.await
}

/// A call that takes a transaction in some engines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InTransaction {
    CreateOverExpired,
    Revoke,
}

pub(crate) const IN_TRANSACTIONS: [InTransaction; 2] = [InTransaction::CreateOverExpired, InTransaction::Revoke];

/// Stores a session of a principal that has expired now, but is live at an earlier time.
pub(crate) async fn create_expired(store: &impl Store, n: u64) {
    let mut record = record(n, now());
    record.principal = Some("alice".into());
    let earlier = Timestamp::from_millis(record.expires_at.as_millis() - 1_000);
    assert!(store.create(&key(n), Arc::new(record), earlier).await.unwrap());
}

/// Makes a call on the session of [`create_expired`].
pub(crate) async fn call(store: &impl FindPrincipals, call: InTransaction, n: u64) {
    let mut record = record(n, now().after(HOUR));
    record.principal = Some("alice".into());
    match call {
        InTransaction::CreateOverExpired => drop(store.create(&key(n), Arc::new(record), now()).await.unwrap()),
        InTransaction::Revoke => {
            let earlier = Timestamp::from_millis(now().as_millis() - 60_000);
            drop(store.revoke("alice", &[record.handle], ended(), earlier).await.unwrap());
        }
    }
}

pub(crate) async fn create_no_json(store: &impl Store) -> Result<bool, StoreError> {
    let mut record = record(1, now().after(HOUR));
    record.values = Values::from_pairs([("a", &b"1,\"admin\":true"[..])]);
    store.create(&key(1), Arc::new(record), now()).await
}

pub(crate) const WRITERS: i64 = 6;

/// Writers renew and touch their own sessions and leave expired ones behind, during concurrent sweeps. No call may
/// fail.
pub(crate) async fn write_and_sweep<S: Store + Clone>(store: &S) {
    const STEPS: u64 = 40;
    let of = |writer| writer * 1_000_000;
    let begin = now();
    let writers: Vec<_> = (0..u64::try_from(WRITERS).unwrap())
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut at = create(&store, of(writer), begin.after(4 * HOUR)).await;
                for step in 1..=STEPS {
                    let now = begin.after(Duration::from_millis(step));
                    let deadline = begin.after(4 * HOUR + Duration::from_millis(step));
                    assert_eq!(
                        store
                            .touch(
                                &at,
                                Touch { expected: Version::FIRST, last_seen_at: now, expires_at: deadline },
                                now
                            )
                            .await
                            .unwrap(),
                        Outcome::Done
                    );
                    let record = Arc::new(record(of(writer), deadline));
                    assert_eq!(
                        store.update(&at, Version::FIRST, Arc::clone(&record), now).await.unwrap(),
                        Outcome::Done
                    );
                    let new = key(of(writer) + step);
                    // It has already expired for the sweepers.
                    let expires_at = now.after(Duration::from_secs(1));
                    let forward = Forward { successor: None, grace_until: now, expires_at };
                    let renewal = Renewal { old: at, expected: Version::FIRST, new, record, forward };
                    assert_eq!(store.renew(renewal, now).await.unwrap(), Outcome::Done);
                    at = new;
                }
                assert!(matches!(store.load(&at, begin).await, Ok(Some(Entry::Live(_)))));
            })
        })
        .collect();
    let sweepers: Vec<_> = (0..3)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut swept = 0;
                for _ in 0..60 {
                    swept += store.sweep(begin.after(2 * HOUR), 1_000).await.unwrap();
                }
                swept
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut swept = 0;
    for sweeper in sweepers {
        swept += sweeper.await.unwrap();
    }
    assert!(swept > 0, "nothing was swept meanwhile");
}
