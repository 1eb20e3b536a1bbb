//! Guarantees for tables of the application whose rows reference a session.

use std::sync::Arc;

use session_state::store::{Forward, Outcome, Record, Renewal, Store, StoreKey, Version};

use crate::sql::cases::{self, HOUR};

/// Makes the tests that all engines share, in a module that has those of `tests_of_sql_store`, and in it
/// `const HANDLE: &str`, the type of a column that refers to a handle.
macro_rules! tests_of_references {
    () => {
        use crate::browser::{App, Browser};
        use crate::sql::references::{self, MAKE_LINES};

        impl Scene {
            /// A table of lines, each of which belongs to a session.
            async fn with_lines() -> Option<Self> {
                let scene = Self::migrated().await?;
                scene.run(&MAKE_LINES.replace("@handle", HANDLE)).await;
                Some(scene)
            }

            fn app(&self) -> App {
                App::new(session_state::SessionLayer::server(self.store.clone()))
            }

            /// Adds three lines to each session.
            async fn add_lines(&self) {
                self.run(
                    "INSERT INTO @t_lines (session, n) SELECT handle, n FROM @t, \
                     (SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3) AS numbers WHERE handle IS NOT NULL",
                )
                .await;
            }

            /// Counts the lines of live sessions, and checks that there are no others.
            async fn lines(&self) -> i64 {
                let lines = self.number("SELECT COUNT(*) FROM @t_lines").await;
                let of_live = "SELECT COUNT(*) FROM @t_lines AS line JOIN @t AS live ON live.handle = line.session \
                               WHERE live.version IS NOT NULL";
                assert_eq!(self.number(of_live).await, lines);
                lines
            }
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn referencing_rows_survive_renewals_and_a_login() {
            let Some(scene) = Scene::with_lines().await else { return };
            let (app, mut browser) = (scene.app(), Browser::default());
            browser.set(&app, "n", 1).await.value();
            scene.add_lines().await;
            browser.visit(&app, async |session| session.renew()).await.value();
            assert_eq!(scene.lines().await, 3, "after a renewal");
            browser.visit(&app, async |session| session.login("alice")).await.value();
            assert_eq!(scene.lines().await, 3, "after a login");
            browser.set(&app, "n", 2).await.value();
            browser.visit(&app, async |session| session.login("alice")).await.value();
            assert_eq!(scene.lines().await, 3, "after the same principal has logged in again");
            assert_eq!(browser.get(&app, "n").await, Some(2));
            assert_eq!(scene.number("SELECT COUNT(*) FROM @t").await, 4, "one session and three forwards");
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn referencing_rows_are_deleted_by_a_delete_or_a_sweep() {
            let Some(scene) = Scene::with_lines().await else { return };
            let (app, mut browser, mut other) = (scene.app(), Browser::default(), Browser::default());
            browser.set(&app, "n", 1).await.value();
            other.set(&app, "n", 1).await.value();
            browser.visit(&app, async |session| session.renew()).await.value();
            scene.add_lines().await;
            browser.visit(&app, async |session| session.logout()).await.value();
            assert_eq!(scene.lines().await, 3, "those of the other session are left");
            assert_eq!(scene.number("SELECT COUNT(*) FROM @t").await, 3, "one session and two forwards");
            let now = session_state::Clock::now(&app.clock);
            assert_eq!(scene.store.sweep(now.after(HOUR * 24 * 1_000), 10).await.unwrap(), 3);
            assert_eq!(scene.lines().await, 0);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn referencing_rows_are_deleted_by_a_takeover() {
            let Some(scene) = Scene::with_lines().await else { return };
            let (app, mut browser) = (scene.app(), Browser::default());
            browser.set(&app, "n", 1).await.value();
            browser.visit(&app, async |session| session.login("alice")).await.value();
            scene.add_lines().await;
            browser.visit(&app, async |session| session.login("bob")).await.value();
            assert_eq!(scene.lines().await, 0);
            assert_eq!(scene.number("SELECT COUNT(*) FROM @t").await, 3, "one session and two forwards");
            let principal = browser.visit(&app, async |session| session.principal());
            assert_eq!(principal.await.value().as_deref(), Some("bob"));
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn referencing_rows_of_an_expired_session_are_deleted_by_its_replacement() {
            let Some(scene) = Scene::with_lines().await else { return };
            let key = cases::create(&scene.store, 1, cases::now().after(HOUR)).await;
            scene.add_lines().await;
            let (later, record) = (cases::now().after(2 * HOUR), references::record(2));
            assert!(scene.store.create(&key, record.clone(), later).await.unwrap());
            assert_eq!(scene.lines().await, 0);
            scene.add_lines().await;
            assert!(!scene.store.create(&key, record, later).await.unwrap());
            assert_eq!(scene.lines().await, 3);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_late_or_repeated_takeover_changes_nothing() {
            let Some(scene) = Scene::with_lines().await else { return };
            let key = cases::create(&scene.store, 1, cases::now().after(HOUR)).await;
            scene.add_lines().await;
            references::take_over_late(&scene.store, key).await;
            assert_eq!(scene.lines().await, 3);
            references::take_over_again(&scene.store, key).await;
            assert_eq!(scene.lines().await, 0);
            assert_eq!(scene.number("SELECT COUNT(*) FROM @t").await, 2);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn one_of_concurrent_takeovers_renewals_and_updates_succeeds() {
            let Some(scene) = Scene::with_lines().await else { return };
            for n in 0..15 {
                let key = cases::create(&scene.store, 100 * n, cases::now().after(HOUR)).await;
                scene.add_lines().await;
                let stays = references::race(&scene.store, 100 * n, key).await;
                assert_eq!(scene.lines().await, if stays { 3 } else { 0 });
                assert_eq!(scene.number("SELECT COUNT(*) FROM @t WHERE version IS NOT NULL").await, 1);
                scene.run("DELETE FROM @t").await;
            }
        }
    };
}

pub(crate) const MAKE_LINES: &str = "CREATE TABLE @t_lines (session @handle NOT NULL, n INTEGER NOT NULL, \
    PRIMARY KEY (session, n), FOREIGN KEY (session) REFERENCES @t (handle) ON DELETE CASCADE)";

/// Returns a record that lives for three hours.
pub(crate) fn record(n: u64) -> Arc<Record> {
    record_of_version(n, 1)
}

fn record_of_version(n: u64, version: u64) -> Arc<Record> {
    let mut record = cases::record(n, cases::now().after(3 * HOUR));
    record.version = Version::from_u64(version);
    Arc::new(record)
}

/// Returns a renewal of a session to a new key, with the record `n`.
fn renewal(old: StoreKey, new: u64, n: u64) -> Renewal {
    let successor = Some([u8::try_from(new % 251).unwrap(); 32]);
    let forward = Forward { successor, grace_until: cases::now(), expires_at: cases::now().after(HOUR) };
    Renewal { old, expected: Version::FIRST, new: cases::key(new), record: record_of_version(n, 2), forward }
}

/// Takes over a session with another version than the stored one, and a missing session.
pub(crate) async fn take_over_late(store: &impl Store, key: StoreKey) {
    let late = Renewal { expected: Version::from_u64(7), ..renewal(key, 2, 2) };
    assert!(matches!(store.renew(late, cases::now()).await, Ok(Outcome::Conflict(_))));
    let nowhere = renewal(cases::key(3), 2, 2);
    assert_eq!(store.renew(nowhere, cases::now()).await.unwrap(), Outcome::Gone);
    let expired = store.renew(renewal(key, 2, 2), cases::now().after(2 * HOUR)).await;
    assert_eq!(expired.unwrap(), Outcome::Gone);
    assert_eq!(store.load(&cases::key(2), cases::now()).await.unwrap(), None);
}

pub(crate) async fn take_over_again(store: &impl Store, key: StoreKey) {
    let takeover = renewal(key, 2, 2);
    assert_eq!(store.renew(takeover.clone(), cases::now()).await.unwrap(), Outcome::Done);
    for _ in 0..2 {
        let again = store.renew(takeover.clone(), cases::now()).await;
        assert_eq!(again.unwrap(), Outcome::Retired(takeover.forward.clone()));
    }
}

/// Renews the session `n`, takes it over and updates it concurrently. Exactly one succeeds, and the others have no
/// effect. Returns whether the session stays.
pub(crate) async fn race<S: Store + Clone>(store: &S, n: u64, key: StoreKey) -> bool {
    let tasks = (1..=6).map(|i| {
        let store = store.clone();
        tokio::spawn(async move {
            if i == 1 {
                return (i, store.update(&key, Version::FIRST, record_of_version(n, 2), cases::now()).await);
            }
            let handle = if i < 4 { n } else { n + i };
            (i, store.renew(renewal(key, n + i, handle), cases::now()).await)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut done = Vec::new();
    for task in tasks {
        let (i, outcome) = task.await.unwrap();
        if outcome.unwrap() == Outcome::Done {
            done.push(i);
        }
    }
    assert_eq!(done.len(), 1, "{done:?}");
    done[0] < 4
}
