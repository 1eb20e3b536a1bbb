//! Commits that keep losing conflicts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use session_state::store::StoreError;
use session_state::test_kit::Call;
use session_state::{MemoryStore, SessionLayer};

use crate::browser::{App, Browser};
use crate::paused::{Paused, Pauses, Side};

tokio::task_local! {
    /// Set in a request that is slower than the others.
    static IS_SLOW: bool;
}

/// How much longer an update of the slow request takes than one of the others.
const LONGER: usize = 100;

#[derive(Clone, Debug)]
struct SlowUpdates;

impl Pauses for SlowUpdates {
    async fn at(&self, call: Call, side: Side) -> Result<(), StoreError> {
        let is_slow = IS_SLOW.try_with(|is_slow| *is_slow).unwrap_or_default();
        for _ in 0..if is_slow && call == Call::Update && side == Side::Before { LONGER } else { 1 } {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_request_that_is_slower_than_a_stream_of_others_takes_its_turn() {
    let app = App::new(SessionLayer::server(Paused::new(MemoryStore::new(), SlowUpdates)));
    let mut browser = Browser::default();
    browser.set(&app, "n", 0).await.value();
    let is_over = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..2)
        .map(|_| {
            let (app, browser, is_over) = (app.clone(), browser.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut made = 0;
                while !is_over.load(Ordering::Relaxed) {
                    add(&app, &browser).await;
                    made += 1;
                }
                made
            })
        })
        .collect();
    IS_SLOW.scope(true, add(&app, &browser)).await;
    is_over.store(true, Ordering::Relaxed);
    let mut made = 1;
    for other in others {
        made += other.await.unwrap();
    }
    assert_eq!(browser.get(&app, "n").await, Some(made));
}

async fn add(app: &App, browser: &Browser) {
    let add = |session: session_state::Session| async move { session.update("n", |n: &mut u32| *n += 1).map(drop) };
    browser.send(app, add).await.value().unwrap();
}

/// Each call takes a while, such as in a store under load.
#[derive(Clone, Debug)]
struct SlowCalls;

impl Pauses for SlowCalls {
    async fn at(&self, _: Call, side: Side) -> Result<(), StoreError> {
        if side == Side::Before {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    }
}

/// The last one waits for its turn much longer than for any holder of it.
#[tokio::test(start_paused = true)]
async fn a_hundred_requests_at_once_all_get_their_turn_in_a_slow_store() {
    let app = App::new(SessionLayer::server(Paused::new(MemoryStore::new(), SlowCalls)));
    let mut browser = Browser::default();
    browser.set(&app, "n", 0).await.value();
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let (app, browser) = (app.clone(), browser.clone());
            tokio::spawn(async move { add(&app, &browser).await })
        })
        .collect();
    for request in requests {
        request.await.unwrap();
    }
    assert_eq!(browser.get(&app, "n").await, Some(100));
}
