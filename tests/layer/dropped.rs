//! Requests dropped at any poll, on the memory store. `tests/stores` covers other stores.

use session_state::MemoryStore;

use crate::drops::{Place, Plan, requests_that_are_dropped_keep_nobody_waiting};

#[tokio::test(start_paused = true)]
async fn a_request_dropped_at_any_poll_blocks_neither_its_client_nor_its_principal() {
    requests_that_are_dropped_keep_nobody_waiting(MemoryStore::new(), Plan::BASIC, Place::Poll).await;
}

#[tokio::test(start_paused = true)]
async fn a_login_or_revocation_dropped_at_any_poll_blocks_no_request_and_keeps_the_limit_exact() {
    requests_that_are_dropped_keep_nobody_waiting(MemoryStore::new(), Plan::OF_PRINCIPALS, Place::Poll).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_at_any_step_of_its_calls_blocks_no_request_and_keeps_the_limit_exact() {
    let plans = [Plan::BASIC, Plan::OF_PRINCIPALS].concat();
    requests_that_are_dropped_keep_nobody_waiting(MemoryStore::new(), &plans, Place::Step).await;
}
