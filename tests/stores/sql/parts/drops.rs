//! Requests that are dropped at any poll, with the rows they write and the orders they make.
//!
//! A statement may have been sent when its request is dropped. So the same visitor first makes another request, which
//! the database lets in before that statement or after it.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use session_state::{ErrorKind, Part, Session};
use tokio::time::Instant;

use super::{Cart, End, Plan, Shop};
use crate::browser::Browser;
use crate::sql::cases;

/// The most that the next request waits.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Where requests are dropped. How often one is polled is not the same every time.
const POLLS: std::ops::Range<usize> = 1..40;

impl Shop {
    /// Makes the next request of a visitor, which has to be served at once. A login that was sent before it was dropped
    /// may end the session between the load and the write of a request, which is told so.
    async fn go_on(&self, browser: &mut Browser, story: &str) {
        let begun = Instant::now();
        let mut visit = browser.set(&self.app, "next", 1).await;
        if visit.error.as_ref().is_some_and(|error| *error.kind() == ErrorKind::Ended) {
            visit = browser.set(&self.app, "next", 1).await;
        }
        assert_eq!(visit.status, StatusCode::OK, "{story}: {:?}", visit.error);
        assert!(begun.elapsed() < AT_ONCE, "{story}: the visitor waited for {:?}", begun.elapsed());
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
            let is_done = if is_login { found == (None, "") } else { found == (Some(2), "bun 1, tea 2") };
            assert!(is_done || found == (Some(1), "bun 1"), "{story}: {found:?}");
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

/// The requests share one connection. A write in a transaction that was left open on it is seen by them, and not by the
/// database, which is asked on another.
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
