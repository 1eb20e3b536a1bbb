//! Checkouts in a transaction of the application: a lock statement keeps them exact.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use session_state::{
    ConflictPolicy, Error, ErrorKind, KeyRing, LockStatement, MemoryStore, Part, Session, SessionLayer,
};
use tokio::sync::oneshot;

use super::{Cart, Checkout, End, Gate, Plan, Shop};
use crate::browser::{App, Browser, Visit};

/// How long a waiting request is observed. The test stays valid if the request starts to wait later.
const MOMENT: Duration = Duration::from_millis(100);

/// A value that a database stores as it is.
const TEXT: &str = "it's $1 ? \\ \u{1F600}";

impl Shop {
    /// Returns the statement for a checkout, from a request of its own.
    async fn lock(&self, browser: &Browser) -> Option<LockStatement> {
        lock_of(&self.app, browser).await.value()
    }

    async fn take(&self, lock: &LockStatement, end: End) -> Option<Checkout> {
        self.database.take(lock, Plan { end, gate: None }).await
    }

    /// Checks out as an application would: begins again if the session has changed.
    async fn take_until_locked(&self, cart: &mut Part<Cart>) -> Result<Checkout, Error> {
        loop {
            let Some(lock) = cart.lock_statement().await? else { return Ok(Checkout::Nothing) };
            match self.take(&lock, End::Commit).await {
                None => {}
                Some(Checkout::Ordered(lines)) if lines.is_empty() => return Ok(Checkout::Nothing),
                Some(taken) => return Ok(taken),
            }
        }
    }
}

async fn lock_of(app: &App, browser: &Browser) -> Visit<Option<LockStatement>> {
    let handler = |extensions| async move {
        Ok((StatusCode::OK, Part::<Cart>::from_extensions(&extensions).await?.lock_statement().await?))
    };
    browser.send_raw(app, handler).await
}

pub(crate) async fn a_transaction_of_the_application_turns_a_cart_into_an_order_once(shop: Shop) {
    let sealed = |layer: SessionLayer| layer.with_encryption_at_rest(KeyRing::generate().unwrap()).unwrap();
    let sealed_app = shop.app.clone().with(sealed);
    let other = shop.browser_with(&[("tea", 4)]).await;
    for (round, app) in (1..).zip([shop.app.clone(), sealed_app]) {
        let shop = Shop { app, former: shop.former.clone(), database: Arc::clone(&shop.database) };
        let mut browser = shop.browser_with(&[("bun", 1), ("tea", 2)]).await;
        shop.act(&mut browser, |session| session.insert("text", TEXT).unwrap()).await;
        let lock = shop.lock(&browser).await.expect("a session");
        assert_eq!(shop.take(&lock, End::Drop).await, Some(Checkout::Dropped));
        assert_eq!(shop.cart(&browser).await, "bun 1, tea 2");
        assert_eq!(shop.take(&lock, End::Commit).await, Some(Checkout::of("bun 1, tea 2")));
        assert_eq!(shop.take(&lock, End::Commit).await, None, "the reply to the commit may have been lost");
        assert_eq!((shop.orders().await, shop.cart(&browser).await.as_str()), (2 * round, ""));
        let text = browser.visit(&shop.app, async |session| session.get::<String>("text").unwrap()).await.value();
        assert_eq!((text.as_deref(), browser.get(&shop.app, "n").await), (Some(TEXT), Some(1)));
        shop.change::<Cart>(&mut browser, |cart| cart.push("pie", 1)).await.value();
        assert_eq!(shop.cart(&browser).await, "pie 1");
    }
    assert_eq!(shop.cart(&other).await, "tea 4");
}

pub(crate) async fn a_lock_statement_affects_no_session_that_has_changed_or_ended(shop: Shop) {
    let mut browser = shop.browser_with(&[("tea", 2)]).await;
    let lock = shop.lock(&browser).await.expect("a session");
    shop.change::<Cart>(&mut browser, |cart| cart.push("pie", 1)).await.value();
    assert_eq!(shop.take(&lock, End::Commit).await, None);
    let acts: [fn(&Session); 4] =
        [|session| session.insert("n", 2).unwrap(), Session::renew, |session| session.login("alice"), Session::logout];
    for act in acts {
        let lock = shop.lock(&browser).await.expect("a session");
        shop.act(&mut browser, act).await;
        assert_eq!(shop.take(&lock, End::Commit).await, None);
    }
    // A touch is no change.
    let mut browser = shop.browser_with(&[("tea", 2)]).await;
    let lock = shop.lock(&browser).await.expect("a session");
    shop.app.pass(Duration::from_secs(120));
    assert_eq!(browser.get(&shop.app, "n").await, Some(1));
    assert_eq!(shop.take(&lock, End::Commit).await, Some(Checkout::of("tea 2")));
    assert_eq!((shop.orders().await, shop.rows().await), (1, [0; 4]));
}

pub(crate) async fn changes_during_a_locked_transaction_are_replayed_on_what_it_leaves(shop: Shop) {
    let shop = Arc::new(shop);
    let adds: [fn(&mut Part<Cart>); 3] = [
        |cart| cart.push("pie", 1),
        |cart| cart.update(|cart| cart.add("pie", 1)),
        |cart| cart.update(|cart| cart.add("tea", 1)),
    ];
    for (add, expected) in adds.into_iter().zip(["pie 1", "pie 1", "tea 1"]) {
        for end in [End::Commit, End::Drop] {
            let browser = shop.browser_with(&[("tea", 2)]).await;
            let lock = shop.lock(&browser).await.expect("a session");
            let adding = shop.slow::<Cart>(&browser, add).await;
            let ((is_open, opened), (go_on, may_go_on)) = (oneshot::channel(), oneshot::channel());
            let plan = Plan { end, gate: Some(Gate { is_open, go_on: may_go_on }) };
            let database = Arc::clone(&shop.database);
            let taking = tokio::spawn(async move { database.take(&lock, plan).await });
            opened.await.expect("the session is locked");
            let mut adding = tokio::spawn(adding.finish());
            let is_answered = tokio::time::timeout(MOMENT, &mut adding).await.is_ok();
            assert!(!is_answered, "a request that writes has not waited for the transaction");
            go_on.send(()).expect("it is waiting");
            let taken = taking.await.unwrap();
            adding.await.unwrap().value();
            let cart = shop.cart(&browser).await;
            if end == End::Commit {
                assert_eq!((taken, cart.as_str()), (Some(Checkout::of("tea 2")), expected));
            } else {
                let both = if expected == "tea 1" { "tea 3" } else { "pie 1, tea 2" };
                assert_eq!((taken, cart.as_str()), (Some(Checkout::Dropped), both));
            }
        }
    }
    assert_eq!(shop.orders().await, 3);
}

pub(crate) async fn one_of_eight_concurrent_transactions_takes_the_cart(shop: Shop) {
    let shop = Arc::new(shop);
    for round in 1..=3 {
        let browser = shop.browser_with(&[("tea", 2)]).await;
        let checkouts = (0..8).map(|_| {
            let (shop, browser) = (Arc::clone(&shop), browser.clone());
            tokio::spawn(async move {
                let app = shop.app.clone();
                let handler = |extensions| async move {
                    let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
                    Ok((StatusCode::OK, shop.take_until_locked(&mut cart).await?))
                };
                browser.send_raw(&app, handler).await.value()
            })
        });
        let outcomes: Vec<_> = join_all(checkouts).await.into_iter().map(Result::unwrap).collect();
        let count = |outcome| outcomes.iter().filter(|found| **found == outcome).count();
        assert_eq!((count(Checkout::of("tea 2")), count(Checkout::Nothing)), (1, 7), "{outcomes:?}");
        assert_eq!((shop.orders().await, shop.cart(&browser).await.as_str()), (round, ""));
    }
}

pub(crate) async fn after_a_transaction_of_the_application_the_request_goes_on(shop: Shop) {
    let shop = Arc::new(shop);
    let failing = shop.app.clone().with(|layer| layer.with_conflict_policy(ConflictPolicy::Fail));
    for app in [shop.app.clone(), failing] {
        let mut browser = shop.browser_with(&[("tea", 2)]).await;
        let taking = Arc::clone(&shop);
        let handler = |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            // The request's own changes are saved first.
            cart.update(|cart| cart.add("bun", 3));
            cart.line("tea").quantity = 4;
            let taken = taking.take_until_locked(&mut cart).await?;
            session.insert("last", "order 1").unwrap();
            drop(cart);
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            cart.update(|cart| cart.add("jam", 1));
            Ok((StatusCode::OK, taken))
        };
        let visit = browser.send_raw(&app, handler).await;
        browser.receive(&visit);
        assert_eq!((visit.value(), shop.cart(&browser).await.as_str()), (Checkout::of("bun 3, tea 4"), "jam 1"));
        let last = browser.visit(&shop.app, async |session| session.get::<String>("last").unwrap()).await.value();
        assert_eq!((last.as_deref(), browser.get(&shop.app, "n").await), (Some("order 1"), Some(1)));
    }
    assert_eq!(shop.orders().await, 4);
}

pub(crate) async fn a_part_that_is_still_in_the_record_is_locked_with_its_rows(shop: Shop) {
    let mut browser = shop.browser_with(&[]).await;
    let fill = |extensions| async move {
        Part::<Cart>::from_extensions(&extensions).await?.push("tea", 2);
        Ok((StatusCode::OK, ()))
    };
    let visit = browser.send_raw(&shop.former, fill).await;
    browser.receive(&visit);
    visit.value();
    let lock = shop.lock(&browser).await.expect("a session");
    assert_eq!(shop.take(&lock, End::Commit).await, Some(Checkout::of("tea 2")));
    assert_eq!((shop.orders().await, shop.cart(&browser).await.as_str()), (1, ""));
}

pub(crate) async fn there_is_no_lock_statement_without_a_session_or_without_tables(shop: Shop) {
    assert!(shop.lock(&Browser::default()).await.is_none());
    let browser = shop.browser_with(&[("tea", 2)]).await;
    // The session ends while the request holds the part.
    let (shop, ended) = (Arc::new(shop), browser.clone());
    let handler = {
        let shop = Arc::clone(&shop);
        |extensions| async move {
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            shop.act(&mut ended.clone(), Session::logout).await;
            Ok((StatusCode::OK, cart.lock_statement().await?.is_none()))
        }
    };
    assert!(browser.send_raw(&shop.app, handler).await.value());
    let in_record = App::new(SessionLayer::server(MemoryStore::new()));
    let visit = lock_of(&in_record, &Browser::default()).await;
    let kind = visit.error.as_ref().map(|error| error.kind().clone());
    assert!(matches!(kind, Some(ErrorKind::NoTables { .. })), "{kind:?}");
}
