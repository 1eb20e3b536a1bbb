//! The number of store calls of a node, and the delay until it rejects sessions ended by another node.

use std::time::Duration;

use http::StatusCode;
use session_state::test_kit::{Call, Fault};

use super::support::{Node, SECOND, assert_is_503, is_live, log_in, log_out, logged_in, nodes, nodes_with_delay};
use crate::browser::Browser;

#[tokio::test]
async fn a_load_takes_one_round_trip_and_none_without_a_session() {
    let [node] = nodes();
    let (browser, mut anonymous) = (logged_in(&node.app).await, Browser::default());
    anonymous.set(&node.app, "n", 1).await;
    for (visitor, calls) in [(&browser, 2), (&anonymous, 1), (&Browser::default(), 0)] {
        node.faults.reset_calls();
        is_live(&node.app, visitor).await;
        assert_eq!((node.faults.calls(Call::Load), node.faults.all_calls()), (calls, calls));
    }
    let mut forger = Browser::default();
    forger.jar.insert("__Host-Http-id".into(), "A".repeat(200));
    node.faults.reset_calls();
    is_live(&node.app, &forger).await;
    browser.send_raw(&node.app, |_| async { Ok((StatusCode::OK, ())) }).await;
    assert_eq!(node.faults.all_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn both_calls_of_a_load_run_concurrently() {
    let [node] = nodes();
    let node = node.with(|layer| layer.with_store_timeout(5 * SECOND));
    let browser = logged_in(&node.app).await;
    // Neither is answered, and both time out at the same time.
    node.faults.next_of(Call::Load, 2, Fault::Hang);
    node.faults.reset_calls();
    let begin = tokio::time::Instant::now();
    let asking = browser.send(&node.app, |session| async move { session.principal() });
    assert_is_503(&asking.await);
    assert_eq!((node.faults.calls(Call::Load), begin.elapsed().as_secs()), (2, 5));
}

#[tokio::test]
async fn another_node_rejects_within_the_delay_and_this_one_at_once() {
    let [one, other] = nodes_with_delay(10 * SECOND);
    type End = fn(&Node, Browser) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>>;
    let ends: [End; 2] = [
        |node, mut browser| Box::pin(async move { drop(log_out(&node.app, &mut browser).await) }),
        |node, _| Box::pin(async move { node.revocations().revoke_all("alice").await.unwrap() }),
    ];
    for end in ends {
        let browser = logged_in(&one.app).await;
        for node in [&one, &other] {
            assert!(is_live(&node.app, &browser).await);
        }
        other.app.pass(SECOND);
        end(&one, browser.clone()).await;
        assert!(!is_live(&one.app, &browser).await);
        assert!(is_live(&other.app, &browser).await, "its cached answer is a second old");
        other.app.pass(9 * SECOND - Duration::from_millis(1));
        assert!(is_live(&other.app, &browser).await);
        other.app.pass(Duration::from_millis(1));
        assert!(!is_live(&other.app, &browser).await, "the delay is over");
        one.app.pass(10 * SECOND);
        assert!(!is_live(&one.app, &browser).await);
    }
}

#[tokio::test]
async fn with_a_delay_a_session_makes_one_call_within_it() {
    let [_, node] = nodes_with_delay(10 * SECOND);
    let browser = logged_in(&node.app).await;
    node.app.pass(10 * SECOND);
    node.faults.reset_calls();
    for _ in 0..10 {
        assert!(is_live(&node.app, &browser).await);
        node.app.pass(SECOND - Duration::from_millis(1));
    }
    assert_eq!(node.faults.all_calls(), 2);
    // A failing store has no effect before that.
    node.faults.next(usize::MAX, Fault::Refuse);
    assert!(is_live(&node.app, &browser).await);
    node.app.pass(SECOND);
    assert_is_503(&browser.send(&node.app, |session| async move { session.principal() }).await);
}

#[tokio::test]
async fn with_a_delay_a_login_works_on_a_node_with_a_stale_cache() {
    let [one, other] = nodes_with_delay(10 * SECOND);
    let mut browser = logged_in(&other.app).await;
    assert!(is_live(&other.app, &browser).await);
    one.revocations().revoke_all("alice").await.unwrap();
    // The other node's cache is stale, but a login asks the store.
    log_in(&other.app, &mut browser).await;
    for node in [&one, &other] {
        assert!(is_live(&node.app, &browser).await);
        node.app.pass(11 * SECOND);
        assert!(is_live(&node.app, &browser).await);
    }
}
