//! Nodes with a clock skew of up to the accepted minute: the session limit holds, and a dead node blocks logins only
//! briefly.

use std::time::Duration;

use http::StatusCode;
use session_state::test_kit::Call;
use session_state::{Clock, MemoryStore, Session, SessionLayer, SessionLimitPolicy, Timestamp};
use tokio::time::Instant;

use crate::browser::{App, Browser};
use crate::paused::{Gates, Paused, Side};

/// 2025-01-01 00:00:00 UTC.
const START: u64 = 1_735_689_600_000;

/// The longest wait of logins for a dead node: its lease, plus the clock skew.
const BOUND: Duration = Duration::from_secs(3 * 60);

/// The skew of the second node's clock, in seconds.
const AHEAD: [i64; 9] = [-60, -45, -25, -1, 0, 1, 25, 45, 60];

/// A clock that follows tokio's paused time, with an offset.
#[derive(Clone, Copy, Debug)]
struct Skewed {
    begun: Instant,
    ahead: i64,
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap();
        Timestamp::from_millis((START + millis).saturating_add_signed(self.ahead * 1000))
    }
}

/// Two nodes with one store. The first can be stopped in any call.
struct Nodes {
    one: App,
    other: App,
    gates: Gates,
}

impl Nodes {
    fn new(ahead: i64, most: usize, when_full: SessionLimitPolicy) -> Self {
        let (store, gates, begun) = (MemoryStore::new(), Gates::default(), Instant::now());
        let node = |layer: SessionLayer, ahead| {
            let layer = layer.with_max_sessions(most, when_full).unwrap();
            App::unobserved(layer).with(|layer| layer.with_clock(Skewed { begun, ahead }))
        };
        let one = node(SessionLayer::server(Paused::new(store.clone(), gates.clone())), 0);
        Self { one, other: node(SessionLayer::server(store), ahead), gates }
    }
}

async fn log_in(app: App) -> (StatusCode, Browser) {
    let mut browser = Browser::default();
    let visit = browser.visit(&app, |session: Session| async move { session.login("alice") }).await;
    (visit.status, browser)
}

#[tokio::test(start_paused = true)]
async fn logins_on_two_nodes_whose_clocks_differ_keep_to_the_limit() {
    for when_full in [SessionLimitPolicy::EvictOldest, SessionLimitPolicy::RefuseLogin] {
        for ahead in AHEAD {
            for (call, side) in [(Call::List, Side::Before), (Call::List, Side::After), (Call::Create, Side::After)] {
                let nodes = Nodes::new(ahead, 1, when_full);
                // The lease is a record too, and is created first.
                let nth = if call == Call::Create { 2 } else { 1 };
                let stop = nodes.gates.stop_nth(call, side, nth);
                let first = tokio::spawn(log_in(nodes.one.clone()));
                stop.reached().await;
                let second = tokio::spawn(log_in(nodes.other.clone()));
                // A slow call, within the time limit of the store.
                tokio::time::sleep(Duration::from_secs(3)).await;
                stop.open();
                let statuses = [first.await.unwrap().0, second.await.unwrap().0];
                let count = nodes.other.layer.sessions().unwrap().count("alice").await.unwrap();
                let story = format!("{when_full:?}, {ahead} s ahead, {call:?} stopped {side:?}: {statuses:?}");
                assert_eq!(count, 1, "{story}");
                let answered = statuses.iter().filter(|status| **status == StatusCode::OK).count();
                assert_eq!(answered, if when_full == SessionLimitPolicy::RefuseLogin { 1 } else { 2 }, "{story}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_in_a_login_blocks_the_principal_for_a_bounded_time() {
    for ahead in AHEAD {
        for (call, side) in [(Call::List, Side::Before), (Call::List, Side::After), (Call::Create, Side::After)] {
            let nodes = Nodes::new(ahead, 2, SessionLimitPolicy::EvictOldest);
            let stop = nodes.gates.stop_nth(call, side, if call == Call::Create { 2 } else { 1 });
            let first = tokio::spawn(log_in(nodes.one.clone()));
            stop.reached().await;
            // The node is dead: its later calls do not reach the store.
            nodes.gates.take_down();
            first.abort();
            let _ = first.await;
            let begun = Instant::now();
            while log_in(nodes.other.clone()).await.0 != StatusCode::OK {
                let took = begun.elapsed();
                assert!(took < BOUND, "{ahead} s ahead, {call:?} stopped {side:?}: no login succeeds for {took:?}");
            }
            assert!(begun.elapsed() < BOUND, "{ahead} s ahead: {:?}", begun.elapsed());
        }
    }
}
