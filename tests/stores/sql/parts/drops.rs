//! Requests dropped at any poll, with their rows and orders.
//!
//! A statement may be in flight when its request is dropped. So the same client first makes another request, which the
//! database serializes with that statement.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use session_state::{ErrorKind, Part, Session};
use tokio::time::Instant;

use super::{Cart, End, Plan, Shop};
use crate::browser::Browser;
use crate::sql::cases;

/// The longest wait of the next request.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The polls at which requests are dropped. The number of polls varies.
const POLLS: std::ops::Range<usize> = 1..40;

impl Shop {
    /// Sends the next request of a client, which must be served at once. A dropped login that was already sent leaves
    /// the client with a replaced ID: its writes are rejected, and another login continues the session.
    async fn go_on(&self, browser: &mut Browser, story: &str) {
        let begun = Instant::now();
        let mut visit = browser.set(&self.app, "next", 1).await;
        if visit.error.as_ref().is_some_and(|error| *error.kind() == ErrorKind::Ended) {
            visit = browser.visit(&self.app, async |session| session.login("alice")).await;
        }
        assert_eq!(visit.status, StatusCode::OK, "{story}: {:?}", visit.error);
        assert!(begun.elapsed() < AT_ONCE, "{story}: the request waited for {:?}", begun.elapsed());
    }
}

pub(crate) async fn a_request_that_is_dropped_leaves_its_rows_and_its_session_in_step(shop: Shop) {
    for is_login in [false, true] {
        let mut dropped = 0;
        for poll in POLLS {
            let mut browser = shop.browser_with(&[("bun", 1)]).await;
            let request = browser.send_raw(&shop.app, move |extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                session.insert("n", 2)?;
                if is_login {
                    session.login("alice");
                }
                Part::<Cart>::from_extensions(&extensions).await?.push("tea", 2);
                Ok((StatusCode::OK, ()))
            });
            dropped += usize::from(cases::drop_at(poll, request).await);
            let story = format!("logs in: {is_login}, dropped at poll {poll}");
            shop.go_on(&mut browser, &story).await;
            let (n, cart) = (browser.get(&shop.app, "n").await, shop.cart(&browser).await);
            let found = (n, cart.as_str());
            let is_whole = [(Some(2), "bun 1, tea 2"), (Some(1), "bun 1")].contains(&found);
            assert!(is_whole, "{story}: {found:?}");
        }
        assert!(dropped > 0, "the request asks the database");
    }
}

pub(crate) async fn a_checkout_that_is_dropped_takes_place_whole_or_not_at_all(shop: Shop) {
    let mut dropped = 0;
    for poll in POLLS {
        let (orders, mut browser) = (shop.orders().await, shop.browser_with(&[("bun", 1), ("tea", 2)]).await);
        let database = Arc::clone(&shop.database);
        let request = browser.send_raw(&shop.app, |extensions| async move {
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            Ok((StatusCode::OK, database.check_out(&mut cart, Plan { end: End::Commit, gate: None }).await?))
        });
        dropped += usize::from(cases::drop_at(poll, request).await);
        let story = format!("dropped at poll {poll}");
        shop.go_on(&mut browser, &story).await;
        let found = (shop.cart(&browser).await, shop.orders().await - orders);
        let is_whole = found == (String::new(), 2) || found == ("bun 1, tea 2".to_owned(), 0);
        assert!(is_whole, "{story}: {found:?}");
    }
    assert!(dropped > 0, "the checkout asks the database");
}

/// The requests share one connection. They would see a write in a transaction left open on it, but a query on another
/// connection does not.
pub(crate) async fn a_request_that_is_dropped_leaves_no_transaction_on_the_only_connection(shop: Shop) {
    let mut dropped = 0;
    for poll in POLLS {
        for is_checkout in [false, true] {
            let browser = shop.browser_with(&[("bun", 1)]).await;
            let database = Arc::clone(&shop.database);
            let request = browser.send_raw(&shop.app, move |extensions| async move {
                let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
                if is_checkout {
                    database.check_out(&mut cart, Plan { end: End::Commit, gate: None }).await?;
                } else {
                    cart.push("tea", 2);
                }
                Ok((StatusCode::OK, ()))
            });
            dropped += usize::from(cases::drop_at(poll, request).await);
            let sessions = shop.sessions().await;
            shop.browser_with(&[]).await;
            let story = format!("checks out: {is_checkout}, dropped at poll {poll}");
            assert_eq!(shop.sessions().await, sessions + 1, "{story}: a write was never committed");
        }
    }
    assert!(dropped > 0, "the requests ask the database");
}
