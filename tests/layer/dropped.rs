//! Requests that are dropped at any poll, on a store in memory. Other stores are tried in `tests/stores`.

use session_state::MemoryStore;

use crate::drops::{Place, Plan, requests_that_are_dropped_keep_nobody_waiting};

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_at_any_poll_keeps_neither_the_visitor_nor_the_principal_waiting() {
    requests_that_are_dropped_keep_nobody_waiting(MemoryStore::new(), Plan::BASIC, Place::Poll).await;
}

#[tokio::test(start_paused = true)]
async fn a_login_or_a_revocation_that_is_dropped_at_any_poll_keeps_nobody_waiting_and_the_limit_exact() {
    requests_that_are_dropped_keep_nobody_waiting(MemoryStore::new(), Plan::OF_PRINCIPALS, Place::Poll).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_at_any_step_of_its_calls_keeps_nobody_waiting_and_the_limit_exact() {
    let plans = [Plan::BASIC, Plan::OF_PRINCIPALS].concat();
    requests_that_are_dropped_keep_nobody_waiting(MemoryStore::new(), &plans, Place::Step).await;
}
