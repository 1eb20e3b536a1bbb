//! The cost of one principal's sessions among many others, and revocations that wait for other transactions.

use session_state::Timestamp;
use session_state::store::{FindPrincipals, Handle};

/// Makes the tests that all engines share, in a module that has those of `tests_of_references`, and in it
/// `async fn counting_pool() -> Option<Pool>`, `async fn work(&Scene) -> u64`, which counts what the statements on its
/// connections read, `const WORK_PER_ROW: u64`, and `const FILL: &str` and `const EACH_ANOTHER: &str` for many
/// sessions. With `[waiting]`, those for engines in which a statement waits for a row that another one has changed, and
/// in the module `const WAITING: &str`.
macro_rules! tests_of_principals {
    () => {
        use session_state::store::FindPrincipals as _;

        use crate::sql::principals;

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn calls_about_a_principal_do_not_read_rows_of_others() {
            let Some(pool) = counting_pool().await else { return };
            let scene = Scene::at(pool);
            scene.store.migrate().await.unwrap();
            for (principal, count) in [("'other'", 50_000), (EACH_ANOTHER, 50_000), ("'busy'", 10_000)] {
                let fill = FILL.replace("@principal", principal).replace("@count", &count.to_string());
                scene.run(&fill).await;
            }
            // More than the cost of a row, for the fixed cost of a statement.
            let most = |rows: u64| WORK_PER_ROW * (rows + 10);
            let mut after = None;
            for page in 0..100 {
                let before = work(&scene).await;
                let handles = principals::page(&scene.store, after).await;
                let done = work(&scene).await - before;
                assert!(done <= most(100), "page {page} took {done}");
                assert!(handles.len() == 100 && handles.is_sorted() && handles.first().copied() > after);
                after = handles.last().copied();
            }
            // PostgreSQL plans the first executions for the bound values, later ones generically.
            for _ in 0..8 {
                let before = work(&scene).await;
                assert_eq!(scene.store.count("busy", principals::NOW).await.unwrap(), 10_000);
                let done = work(&scene).await - before;
                assert!(done <= most(10_000), "a count took {done}");
            }
            for batch in 0..20 {
                let handles = principals::page(&scene.store, None).await;
                let before = work(&scene).await;
                let ended = scene.store.revoke("busy", &handles, cases::ended(), principals::NOW).await.unwrap();
                let done = work(&scene).await - before;
                assert!(done <= most(100), "batch {batch} took {done}");
                assert_eq!(principals::sorted(ended), handles);
            }
            assert_eq!(scene.store.count("busy", principals::NOW).await.unwrap(), 8_000);
            assert_eq!(scene.store.count("other", principals::NOW).await.unwrap(), 50_000);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn referencing_rows_are_deleted_by_a_revocation() {
            let Some(scene) = Scene::with_lines().await else { return };
            let (key, record) = cases::place(&scene.store).await;
            let other = cases::create(&scene.store, 2, record.expires_at).await;
            scene.add_lines().await;
            let left = cases::ended();
            let ended = scene.store.revoke("alice", &[record.handle], left.clone(), record.created_at).await;
            assert_eq!(ended.unwrap(), [record.handle]);
            assert_eq!(scene.lines().await, 3, "those of the other session are left");
            let found = scene.store.load(&key, record.created_at).await.unwrap();
            assert_eq!(found, Some(session_state::store::Entry::Retired(left)));
            assert!(scene.store.load(&other, record.created_at).await.unwrap().is_some());
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn any_number_of_sessions_is_revoked_at_once() {
            let Some(scene) = Scene::migrated().await else { return };
            scene.run(&FILL.replace("@principal", "'busy'").replace("@count", "345")).await;
            let handles: Vec<_> = scene.store.list("busy", None, 1_000, principals::NOW).await.unwrap();
            let mut handles: Vec<_> = handles.iter().map(|record| record.handle).collect();
            let left = handles.pop();
            assert_eq!(scene.store.revoke("busy", &[], cases::ended(), principals::NOW).await.unwrap(), []);
            let ended = scene.store.revoke("busy", &handles, cases::ended(), principals::NOW).await.unwrap();
            assert_eq!(principals::sorted(ended), handles);
            assert_eq!(scene.number("SELECT COUNT(*) FROM @t WHERE grace_until = 0").await, 344, "one forward each");
            assert_eq!(principals::page(&scene.store, None).await.first().copied(), left);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn principal_and_label_can_be_read_when_values_are_encrypted() {
            let Some(scene) = Scene::migrated().await else { return };
            let layer = session_state::SessionLayer::server(scene.store.clone());
            let app = App::new(layer.with_encryption_at_rest(session_state::KeyRing::generate().unwrap()).unwrap());
            let mut browser = Browser::default();
            let log_in = async |session: session_state::Session| {
                session.insert("secret", "of values").unwrap();
                session.login("alice");
                session.set_label("laptop").unwrap();
            };
            browser.visit(&app, log_in).await.value();
            assert_eq!(scene.text("SELECT principal FROM @t WHERE version IS NOT NULL").await, "alice");
            assert_eq!(scene.text("SELECT label FROM @t WHERE version IS NOT NULL").await, "laptop");
            let data = scene.text("SELECT data FROM @t WHERE version IS NOT NULL").await;
            assert!(data.starts_with("{\"#sealed\":"), "{data}");
            let label = browser.visit(&app, async |session| session.label()).await.value();
            assert_eq!(label.as_deref(), Some("laptop"));
        }
    };
    ([waiting]) => {
        /// Makes a revocation of the session of `alice` wait for a transaction with these changes. Returns how many
        /// sessions it has ended, each of which leaves a forward.
        async fn revoke_meanwhile(scene: &Scene, changes: &str, end: &str) -> usize {
            let mut transaction = scene.pool.acquire().await.unwrap();
            let begun = format!("BEGIN; {}", changes.replace("@t", &scene.table));
            sqlx::raw_sql(sqlx::AssertSqlSafe(begun)).execute(&mut *transaction).await.unwrap();
            let handle = cases::record(1, cases::now()).handle;
            let store = scene.store.clone();
            let revoke = async move { store.revoke("alice", &[handle], cases::ended(), cases::now()).await };
            let revocation = tokio::spawn(revoke);
            while scene.number(WAITING).await == 0 {
                assert!(!revocation.is_finished(), "the revocation waits");
                tokio::task::yield_now().await;
            }
            sqlx::raw_sql(sqlx::AssertSqlSafe(end.to_owned())).execute(&mut *transaction).await.unwrap();
            revocation.await.unwrap().unwrap().len()
        }

        const LIVE: &str = "SELECT COUNT(*) FROM @t WHERE version IS NOT NULL";

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_revocation_that_waits_for_a_renewal_ends_the_renewed_session() {
            let Some(scene) = Scene::migrated().await else { return };
            // With a new key before and after the old one.
            for new in [[0; 32], [0xff; 32]] {
                let (old, _) = cases::place(&scene.store).await;
                let (old, new) = (literal(old.as_bytes()), literal(&new));
                let renewal = format!(
                    "UPDATE @t SET id_hash = {new}, version = 2 WHERE id_hash = {old}; \
                     INSERT INTO @t (id_hash, expires_at, grace_until) VALUES ({old}, 9000000000000, 0)"
                );
                assert_eq!(revoke_meanwhile(&scene, &renewal, "ROLLBACK").await, 1, "the renewal is undone");
                assert_eq!(scene.number("SELECT COUNT(*) FROM @t WHERE handle IS NULL").await, 1, "under the old key");
                scene.run("DELETE FROM @t").await;
                cases::place(&scene.store).await;
                assert_eq!(revoke_meanwhile(&scene, &renewal, "COMMIT").await, 1, "the renewal is done");
                assert_eq!(scene.number(LIVE).await, 0);
                let left = format!("SELECT COUNT(*) FROM @t WHERE id_hash = {new}");
                assert_eq!(scene.number(&left).await, 1, "the session leaves a forward under its new key");
                assert_eq!(scene.number("SELECT COUNT(*) FROM @t").await, 2, "the forward of the renewal stays");
                scene.run("DELETE FROM @t").await;
            }
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_revocation_that_waits_for_a_takeover_or_a_delete_ends_nothing() {
            let Some(scene) = Scene::migrated().await else { return };
            let (old, _) = cases::place(&scene.store).await;
            let (old, new) = (literal(old.as_bytes()), literal(&[7; 32]));
            let delete = format!("DELETE FROM @t WHERE id_hash = {old}");
            let takeover = format!(
                "{delete}; INSERT INTO @t (id_hash, handle, version, expires_at, principal) \
                 VALUES ({new}, {}, 1, 9000000000000, 'alice')",
                literal(&[9; 16])
            );
            assert_eq!(revoke_meanwhile(&scene, &takeover, "COMMIT").await, 0);
            assert_eq!(scene.number(LIVE).await, 1, "the new session has another handle");
            scene.run("DELETE FROM @t").await;
            cases::place(&scene.store).await;
            assert_eq!(revoke_meanwhile(&scene, &delete, "COMMIT").await, 0);
            cases::place(&scene.store).await;
            let logout = format!("UPDATE @t SET principal = NULL WHERE id_hash = {old}");
            assert_eq!(revoke_meanwhile(&scene, &logout, "COMMIT").await, 0);
            assert_eq!(scene.number(LIVE).await, 1, "the session is anonymous then");
        }
    };
}

/// A time at which all sessions in the filled table are live.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(11);

/// Returns the handles of a page of a hundred sessions.
pub(crate) async fn page(store: &impl FindPrincipals, after: Option<Handle>) -> Vec<Handle> {
    let list = store.list("busy", after.as_ref(), 100, NOW).await.unwrap();
    list.iter().map(|record| record.handle).collect()
}

pub(crate) fn sorted(mut handles: Vec<Handle>) -> Vec<Handle> {
    handles.sort();
    handles
}
