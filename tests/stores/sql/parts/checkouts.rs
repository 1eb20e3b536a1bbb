//! Checkouts: a cart becomes an order exactly once or not at all.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use session_state::{ErrorKind, InStore, KeyRing, MemoryStore, Part, Session};

use super::{Cart, Checkout, End, Meal, Plan, Seats, Shop};
use crate::browser::{App, Browser};

/// How long a waiting request is observed. The test stays valid if the request starts to wait later.
const MOMENT: Duration = Duration::from_millis(100);

impl Shop {
    async fn ordered(&self, sku: &str, quantity: i64) -> i64 {
        let of_line = format!("SELECT COUNT(*) FROM @t_orders WHERE sku = '{sku}' AND quantity = {quantity}");
        self.number(&of_line).await
    }
}

pub(crate) async fn a_checkout_takes_place_once(shop: Shop) {
    let mut browser = shop.browser_with(&[("bun", 1), ("tea", 2)]).await;
    let other = shop.browser_with(&[("tea", 4)]).await;
    shop.change::<Seats>(&mut browser, |seats| seats.meals.push(Meal { name: "soup".into(), is_warm: true }))
        .await
        .value();
    let visit = shop.check_out(&browser, End::Commit).await;
    assert!(visit.set_cookies().is_empty());
    assert_eq!(visit.value(), Checkout::of("bun 1, tea 2"));
    assert_eq!((shop.orders().await, shop.ordered("bun", 1).await, shop.ordered("tea", 2).await), (2, 1, 1));
    assert_eq!(shop.rows().await, [1, 1, 0, 1], "those of the other session and the other part are left");
    assert_eq!((shop.cart(&browser).await.as_str(), shop.cart(&other).await.as_str()), ("", "tea 4"));
    assert_eq!(shop.check_out(&browser, End::Commit).await.value(), Checkout::Nothing);
    assert_eq!((shop.orders().await, browser.get(&shop.app, "n").await), (2, Some(1)));
    shop.change::<Cart>(&mut browser, |cart| cart.push("pie", 1)).await.value();
    assert_eq!(shop.check_out(&browser, End::Commit).await.value(), Checkout::of("pie 1"), "the next one");
}

pub(crate) async fn without_rows_there_is_no_checkout(shop: Shop) {
    assert_eq!(shop.check_out(&Browser::default(), End::Commit).await.value(), Checkout::Nothing);
    let mut browser = shop.browser_with(&[]).await;
    assert_eq!(shop.check_out(&browser, End::Commit).await.value(), Checkout::Nothing);
    shop.change::<Cart>(&mut browser, |cart| cart.push("tea", 1)).await.value();
    let database = Arc::clone(&shop.database);
    // The session ends while the request holds the part.
    let (shop, ended) = (Arc::new(shop), browser.clone());
    let handler = {
        let shop = Arc::clone(&shop);
        |extensions| async move {
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            shop.act(&mut ended.clone(), Session::logout).await;
            Ok((StatusCode::OK, database.check_out(&mut cart, Plan::default()).await?))
        }
    };
    assert_eq!(browser.send_raw(&shop.app, handler).await.value(), Checkout::Nothing);
    assert_eq!((shop.orders().await, shop.rows().await, shop.sessions().await), (0, [0; 4], 0));
}

pub(crate) async fn a_checkout_that_is_dropped_or_fails_changes_nothing(shop: Shop) {
    let browser = shop.browser_with(&[("bun", 1), ("tea", 2)]).await;
    let version = shop.number("SELECT version FROM @t").await;
    for end in [End::Drop, End::Fail, End::Drop] {
        assert_eq!(shop.check_out(&browser, end).await.value(), Checkout::Dropped);
        assert_eq!((shop.orders().await, shop.cart(&browser).await.as_str()), (0, "bun 1, tea 2"), "{end:?}");
        assert_eq!(shop.number("SELECT version FROM @t").await, version, "{end:?}");
    }
    // The request is dropped while the transaction is open.
    let open = shop.open_checkout(&browser, End::Commit).await;
    open.visit.abort();
    assert!(open.visit.await.expect_err("it was aborted").is_cancelled());
    assert_eq!(shop.check_out(&browser, End::Commit).await.value(), Checkout::of("bun 1, tea 2"));
    assert_eq!(shop.orders().await, 2);
}

pub(crate) async fn one_of_eight_concurrent_checkouts_succeeds(shop: Shop) {
    let shop = Arc::new(shop);
    for round in 1..=5 {
        let browser = shop.browser_with(&[("tea", 2)]).await;
        let checkouts = (0..8).map(|_| {
            let (shop, browser) = (Arc::clone(&shop), browser.clone());
            tokio::spawn(async move { shop.check_out(&browser, End::Commit).await.value() })
        });
        let outcomes: Vec<_> = join_all(checkouts).await.into_iter().map(Result::unwrap).collect();
        let count = |outcome| outcomes.iter().filter(|found| **found == outcome).count();
        assert_eq!((count(Checkout::of("tea 2")), count(Checkout::Nothing)), (1, 7), "{outcomes:?}");
        assert_eq!((shop.orders().await, shop.cart(&browser).await.as_str()), (round, ""));
    }
}

pub(crate) async fn rows_added_during_a_checkout_are_in_the_next_cart(shop: Shop) {
    let adds: [fn(&mut Part<Cart>); 3] = [
        |cart| cart.push("pie", 1),
        |cart| cart.update(|cart| cart.add("pie", 1)),
        |cart| cart.update(|cart| cart.add("tea", 1)),
    ];
    for (add, expected) in adds.into_iter().zip(["pie 1", "pie 1", "tea 1"]) {
        for end in [End::Commit, End::Drop] {
            let browser = shop.browser_with(&[("tea", 2)]).await;
            let before = shop.orders().await;
            let adding = shop.slow::<Cart>(&browser, add).await;
            let open = shop.open_checkout(&browser, end).await;
            let mut adding = tokio::spawn(adding.finish());
            let is_answered = tokio::time::timeout(MOMENT, &mut adding).await.is_ok();
            assert!(!is_answered, "a request that writes has not waited for the checkout");
            let outcome = open.finish().await.value();
            adding.await.unwrap().value();
            let cart = shop.cart(&browser).await;
            if end == End::Commit {
                assert_eq!((outcome, cart.as_str()), (Checkout::of("tea 2"), expected));
                assert_eq!(shop.orders().await, before + 1);
            } else {
                let both = if expected == "tea 1" { "tea 3" } else { "pie 1, tea 2" };
                assert_eq!((outcome, cart.as_str(), shop.orders().await), (Checkout::Dropped, both, before));
            }
        }
    }
}

pub(crate) async fn an_order_includes_rows_added_just_before(shop: Shop) {
    let browser = shop.browser_with(&[("tea", 2)]).await;
    let (shop, other) = (Arc::new(shop), browser.clone());
    let handler = {
        let shop = Arc::clone(&shop);
        |extensions| async move {
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            shop.change::<Cart>(&mut other.clone(), |cart| cart.push("pie", 1)).await.value();
            // The request's own changes are saved first.
            cart.update(|cart| cart.add("bun", 3));
            cart.line("tea").quantity = 4;
            let outcome = shop.database.check_out(&mut cart, Plan::default()).await?;
            assert_eq!(*cart, Cart::default());
            Ok((StatusCode::OK, outcome))
        }
    };
    let outcome = browser.send_raw(&shop.app, handler).await.value();
    assert_eq!(outcome, Checkout::of("bun 3, pie 1, tea 4"));
    assert_eq!((shop.orders().await, shop.rows().await), (3, [0; 4]));
}

pub(crate) async fn a_checkout_follows_renewals_before_and_during_it(shop: Shop) {
    let shop = Arc::new(shop);
    // Before: the session is renewed between the request's load and its checkout.
    let mut browser = shop.browser_with(&[("tea", 2)]).await;
    let (renewing, old) = (Arc::clone(&shop), browser.clone());
    let handler = |extensions| async move {
        let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
        let mut browser = old.clone();
        renewing.act(&mut browser, Session::renew).await;
        let outcome = renewing.database.check_out(&mut cart, Plan::default()).await?;
        assert_eq!(outcome, Checkout::of("tea 2"));
        Ok((StatusCode::OK, browser))
    };
    let visit = browser.send_raw(&shop.app, handler).await;
    browser.receive(&visit);
    let renewed = visit.value();
    assert_eq!((browser.id(), shop.cart(&renewed).await.as_str()), (renewed.id(), ""), "it learns the new ID");
    assert_eq!(renewed.clone().get(&shop.app, "n").await, Some(1));

    // During: the renewal waits, and copies the result of the checkout.
    let mut browser = shop.browser_with(&[("tea", 2)]).await;
    let open = shop.open_checkout(&browser, End::Commit).await;
    let (renewing, app, old) = (browser.clone(), shop.app.clone(), browser.clone());
    let mut renewal = tokio::spawn(async move { renewing.send(&app, async |session| session.renew()).await });
    assert!(tokio::time::timeout(MOMENT, &mut renewal).await.is_err(), "a renewal has not waited for the checkout");
    assert_eq!(open.finish().await.value(), Checkout::of("tea 2"));
    let visit = renewal.await.unwrap();
    browser.receive(&visit);
    visit.value();
    assert_ne!(browser.id(), old.id());
    assert_eq!((shop.cart(&browser).await.as_str(), browser.get(&shop.app, "n").await), ("", Some(1)));

    // By the request itself, which renews and logs in during its checkout.
    let mut browser = shop.browser_with(&[("tea", 2)]).await;
    let (database, old) = (Arc::clone(&shop.database), browser.clone());
    let handler = |extensions| async move {
        Session::from_extensions(&extensions)?.load().await?.login("alice");
        let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
        Ok((StatusCode::OK, database.check_out(&mut cart, Plan::default()).await?))
    };
    let visit = browser.send_raw(&shop.app, handler).await;
    browser.receive(&visit);
    assert_eq!(visit.value(), Checkout::of("tea 2"));
    let principal = browser.visit(&shop.app, async |session| session.principal()).await.value();
    assert_eq!((principal.as_deref(), browser.id() == old.id()), (Some("alice"), false));
    assert_eq!((shop.orders().await, shop.rows().await), (3, [0; 4]));
}

pub(crate) async fn a_checkout_works_on_sessions_that_are_sealed(shop: Shop) {
    let shop = shop.with(|layer| layer.with_encryption_at_rest(KeyRing::generate().unwrap()).unwrap());
    let mut browser = shop.browser_with(&[("tea", 2)]).await;
    let database = Arc::clone(&shop.database);
    let handler = |extensions| async move {
        let session = Session::from_extensions(&extensions)?.load().await?;
        session.insert("n", 5).unwrap();
        let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
        let outcome = database.check_out(&mut cart, Plan::default()).await?;
        session.update("n", |n: &mut u32| *n += 1).unwrap();
        Ok((StatusCode::OK, outcome))
    };
    assert_eq!(browser.send_raw(&shop.app, handler).await.value(), Checkout::of("tea 2"));
    assert_eq!((browser.get(&shop.app, "n").await, shop.cart(&browser).await.as_str()), (Some(6), ""));
    assert_eq!(shop.number("SELECT COUNT(*) FROM @t WHERE data LIKE '%\"n\"%'").await, 0, "the values are sealed");
    shop.act(&mut browser, Session::renew).await;
    shop.change::<Cart>(&mut browser, |cart| cart.push("bun", 1)).await.value();
    assert_eq!(shop.check_out(&browser, End::Drop).await.value(), Checkout::Dropped);
    assert_eq!(shop.check_out(&browser, End::Commit).await.value(), Checkout::of("bun 1"));
    assert_eq!(browser.get(&shop.app, "n").await, Some(6));
}

pub(crate) async fn after_a_checkout_the_request_goes_on(shop: Shop) {
    let mut browser = shop.browser_with(&[("tea", 2)]).await;
    let database = Arc::clone(&shop.database);
    let handler = |extensions| async move {
        let session = Session::from_extensions(&extensions)?.load().await?;
        let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
        cart.push("bun", 1);
        cart.update(|cart| cart.add("tea", 1));
        session.save().await?;
        cart.line("bun").quantity = 2;
        let first = database.check_out(&mut cart, Plan::default()).await?;
        session.insert("last", "order 1").unwrap();
        cart.push("pie", 5);
        session.save().await?;
        cart.update(|cart| cart.add("pie", 1));
        let second = database.check_out(&mut cart, Plan::default()).await?;
        let third = database.check_out(&mut cart, Plan::default()).await?;
        cart.push("jam", 1);
        Ok((StatusCode::OK, [first, second, third]))
    };
    let visit = browser.send_raw(&shop.app, handler).await;
    browser.receive(&visit);
    let expected = [Checkout::of("bun 2, tea 3"), Checkout::of("pie 6"), Checkout::Nothing];
    assert_eq!((visit.value(), shop.cart(&browser).await.as_str()), (expected, "jam 1"));
    let last = browser.visit(&shop.app, async |session| session.get::<String>("last").unwrap()).await.value();
    assert_eq!((last.as_deref(), shop.orders().await, shop.rows().await), (Some("order 1"), 3, [1, 1, 0, 0]));
}

pub(crate) async fn a_part_that_has_no_tables_cannot_become_an_order(shop: Shop) {
    let in_record = App::new(session_state::SessionLayer::server(MemoryStore::new()));
    let in_store = session_state::SessionLayer::server(MemoryStore::new());
    let in_store = App::new(in_store.with_part::<Cart>(InStore::new(MemoryStore::new())).unwrap());
    for app in [in_record, in_store] {
        let database = Arc::clone(&shop.database);
        let handler = |extensions| async move {
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            cart.push("tea", 1);
            Ok((StatusCode::OK, database.check_out(&mut cart, Plan::default()).await?))
        };
        let visit = Browser::default().send_raw(&app, handler).await;
        let kind = visit.error.as_ref().map(|error| error.kind().clone());
        assert!(matches!(kind, Some(ErrorKind::NoTables { .. })), "{kind:?}");
        assert!(visit.status.is_server_error());
    }
}
