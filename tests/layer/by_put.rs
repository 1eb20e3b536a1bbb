//! A store that has only a conditional write keeps the promises of the layer, also if any of its calls fails.

use std::sync::{Arc, Mutex};

use http::StatusCode;
use session_state::store::{Entry, Store, StoreError, StoreKey, Version};
use session_state::test_kit::Call;
use session_state::{MemoryStore, Session, SessionLayer, Timestamp};

use crate::browser::{App, Browser};
use crate::paused::{Paused, Pauses, Side};

/// A store without the calls that follow from `put`.
#[derive(Clone, Debug)]
struct PutOnly<S>(S);

impl<S: Store> Store for PutOnly<S> {
    fn name(&self) -> &'static str {
        "put only"
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        self.0.load(key, now).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.0.put(key, expected, entry, now).await
    }
}

/// Fails `count` calls from number `from` on, before or after they take effect.
#[derive(Clone, Debug, Default)]
struct Failing(Arc<Mutex<Plan>>);

#[derive(Debug, Default)]
struct Plan {
    calls: usize,
    faults: Option<(usize, usize, Side)>,
}

impl Failing {
    fn plan(&self, from: usize, count: usize, side: Side) {
        *self.0.lock().unwrap() = Plan { calls: 0, faults: Some((from, count, side)) };
    }

    /// Ends the faults. Returns the number of calls since they were planned.
    fn heal(&self) -> usize {
        std::mem::take(&mut *self.0.lock().unwrap()).calls
    }
}

impl Pauses for Failing {
    async fn at(&self, _: Call, side: Side) -> Result<(), StoreError> {
        let mut plan = self.0.lock().unwrap();
        plan.calls += usize::from(side == Side::Before);
        match plan.faults {
            Some((from, count, fails)) if fails == side && (from..from + count).contains(&(plan.calls - 1)) => {
                Err(StoreError::failed("put only", "a planned fault"))
            }
            _ => Ok(()),
        }
    }
}

fn app(failing: &Failing) -> App {
    App::new(SessionLayer::server(PutOnly(Paused::new(MemoryStore::new(), failing.clone()))))
}

/// Makes two changes, and saves after each. The first save may fail.
async fn change_twice(session: Session, change: fn(&Session)) -> bool {
    session.insert("n", 2).unwrap();
    change(&session);
    let is_saved = session.save().await.is_ok();
    session.insert("n", 3).unwrap();
    is_saved
}

#[tokio::test(start_paused = true)]
async fn a_fault_at_any_call_of_a_store_by_put_loses_nothing_that_was_answered() {
    const CHANGES: [fn(&Session); 3] = [|_| {}, Session::renew, |session| session.login("alice")];
    let mut faults = 0;
    for (index, change) in CHANGES.into_iter().enumerate() {
        for (count, side) in (1..=5).flat_map(|count| Side::BOTH.map(|side| (count, side))) {
            for from in 0.. {
                let failing = Failing::default();
                let app = app(&failing);
                let mut browser = Browser::default();
                browser.set(&app, "n", 1).await.value();
                failing.plan(from, count, side);
                let visit = browser.visit(&app, move |session| change_twice(session, change)).await;
                if failing.heal() <= from {
                    break;
                }
                faults += 1;
                let story = format!("change {index}, {count} faults {side:?} call {from}: {:?}", visit.error);
                let n = browser.get(&app, "n").await;
                match visit.status {
                    StatusCode::OK => assert_eq!(n, Some(3), "{story}"),
                    // A login that has taken place ends the ID that the browser has.
                    _ if index == 2 => assert!(matches!(n, None | Some(1..=3)), "{n:?}, {story}"),
                    _ => assert!(matches!(n, Some(1..=3)), "{n:?}, {story}"),
                }
            }
        }
    }
    assert!(faults > 100, "{faults}");
}

#[tokio::test(start_paused = true)]
async fn a_logout_with_a_store_by_put_ends_the_session_or_fails() {
    for (count, side) in (1..=3).flat_map(|count| Side::BOTH.map(|side| (count, side))) {
        for from in 0.. {
            let failing = Failing::default();
            let app = app(&failing);
            let mut browser = Browser::default();
            browser.set(&app, "n", 1).await.value();
            let copy = browser.clone();
            failing.plan(from, count, side);
            let visit = browser.visit(&app, |session| async move { session.logout() }).await;
            if failing.heal() <= from {
                break;
            }
            let n = copy.clone().get(&app, "n").await;
            let story = format!("{count} faults {side:?} call {from}: {n:?}, {:?}", visit.error);
            assert!(n.is_none() || visit.status == StatusCode::SERVICE_UNAVAILABLE, "{story}");
        }
    }
}
