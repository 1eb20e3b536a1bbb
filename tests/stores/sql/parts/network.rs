//! Rows and checkouts under network faults, and the round trips of a request.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use session_state::{Part, Session};
use tokio::time::Instant;

use super::{Cart, Checkout, End, Plan, Shop};
use crate::browser::{Browser, Visit};
use crate::harness::proxy::{Fault, Proxy};

/// How long a call of the store may take while the network is a black hole.
const STORE_TIMEOUT: Duration = Duration::from_millis(300);
/// How long a store may take to notice that the network has recovered.
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);
/// The fault from the lost reply on.
const THEN: [Fault; 3] = [Fault::None, Fault::Reset, Fault::BlackHole];

/// The state of a cart: its tea, the number in its session, and the orders so far.
#[derive(Debug, PartialEq)]
struct Seen {
    tea: i64,
    number: u32,
    orders: i64,
}

impl Shop {
    /// Retries until the store has noticed that the network has recovered.
    async fn answer<T>(&self, mut ask: impl AsyncFnMut() -> Visit<T>) -> T {
        let begun = Instant::now();
        loop {
            let visit = ask().await;
            if visit.status == StatusCode::OK {
                return visit.value();
            }
            assert!(begun.elapsed() < RECOVERY_LIMIT, "the store does not recover: {:?}", visit.error);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn see(&self, browser: &Browser) -> Seen {
        let look = |extensions| async move {
            let number = Session::from_extensions(&extensions)?.load().await?.get("n").unwrap().unwrap_or_default();
            let cart = Part::<Cart>::from_extensions(&extensions).await?;
            let tea = cart.lines.iter().find(|line| line.sku == "tea").map_or(0, |line| line.quantity);
            Ok((StatusCode::OK, (tea, number)))
        };
        let (tea, number) = self.answer(async || browser.send_raw(&self.app, look).await).await;
        Seen { tea, number, orders: self.orders().await }
    }

    /// Makes a session with a tea in its cart.
    async fn begin(&self) -> Browser {
        let mut browser = Browser::default();
        let visit = async || {
            let fill = |extensions| async move {
                Session::from_extensions(&extensions)?.load().await?.insert("n", 1).unwrap();
                Part::<Cart>::from_extensions(&extensions).await?.push("tea", 1);
                Ok((StatusCode::OK, ()))
            };
            let visit = Browser::default().send_raw(&self.app, fill).await;
            browser.receive(&visit);
            visit
        };
        self.answer(visit).await;
        self.run("DELETE FROM @t_orders").await;
        browser
    }
}

pub(crate) async fn a_row_whose_reply_is_lost_is_written_once(shop: Shop, proxy: Proxy) {
    let (shop, proxy) = (shop.with(|layer| layer.with_store_timeout(STORE_TIMEOUT)), Arc::new(proxy));
    for then in THEN {
        for passing in 0.. {
            let story = format!("{then:?} from reply {passing} on");
            let (browser, network) = (shop.begin().await, Arc::clone(&proxy));
            let handler = move |extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
                network.cut_reply_then(passing, 0, then);
                session.update("n", |n: &mut u32| *n += 1).unwrap();
                cart.update(|cart| {
                    cart.add("tea", 1);
                    cart.add("bun", 1);
                });
                Ok((StatusCode::OK, ()))
            };
            let visit = browser.send_raw(&shop.app, handler).await;
            let was_cut = proxy.has_cut();
            proxy.heal();
            let seen = shop.see(&browser).await;
            let (before, after) = (Seen { tea: 1, number: 1, orders: 0 }, Seen { tea: 2, number: 2, orders: 0 });
            if then == Fault::None || !was_cut {
                assert_eq!((visit.status, &seen), (StatusCode::OK, &after), "{story}: {:?}", visit.error);
            } else {
                assert_eq!(visit.status, StatusCode::SERVICE_UNAVAILABLE, "{story}");
                assert!([before, after].contains(&seen), "{story}: {seen:?}");
            }
            if !was_cut {
                assert!(passing >= 4, "the transaction is not {passing} statements");
                break;
            }
        }
    }
}

pub(crate) async fn a_row_can_be_removed_after_the_reply_to_its_insert_was_lost(shop: Shop, proxy: Proxy) {
    let proxy = Arc::new(proxy);
    for passing in 0.. {
        let (mut browser, network) = (Browser::default(), Arc::clone(&proxy));
        let handler = move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            cart.update(|cart| {
                cart.add("tea", 1);
                cart.add("bun", 1);
            });
            network.cut_reply_then(passing, 0, Fault::None);
            session.save().await?;
            cart.lines.retain(|line| line.sku != "bun");
            Ok((StatusCode::OK, ()))
        };
        let visit = browser.send_raw(&shop.app, handler).await;
        browser.receive(&visit);
        visit.value();
        let was_cut = proxy.has_cut();
        proxy.heal();
        assert_eq!(shop.cart(&browser).await, "tea 1", "from reply {passing} on");
        if !was_cut {
            break;
        }
    }
}

pub(crate) async fn a_checkout_whose_reply_is_lost_takes_place_once_or_not_at_all(shop: Shop, proxy: Proxy) {
    let (shop, proxy) = (shop.with(|layer| layer.with_store_timeout(STORE_TIMEOUT)), Arc::new(proxy));
    for then in THEN {
        for passing in 0.. {
            let story = format!("{then:?} from reply {passing} on");
            let (browser, network, database) = (shop.begin().await, Arc::clone(&proxy), Arc::clone(&shop.database));
            let handler = move |extensions| async move {
                let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
                network.cut_reply_then(passing, 0, then);
                let outcome = tokio::time::timeout(RECOVERY_LIMIT, database.check_out(&mut cart, Plan::default()));
                Ok((StatusCode::OK, outcome.await.unwrap_or(Ok(Checkout::Dropped))?))
            };
            let visit = browser.send_raw(&shop.app, handler).await;
            let was_cut = proxy.has_cut();
            proxy.heal();
            let seen = shop.see(&browser).await;
            let has_ordered = visit.output == Some(Checkout::of("tea 1"));
            let (before, after) = (Seen { tea: 1, number: 1, orders: 0 }, Seen { tea: 0, number: 1, orders: 1 });
            if has_ordered || !was_cut {
                assert_eq!((has_ordered, &seen), (true, &after), "{story}: {:?}", visit.error);
            } else if then == Fault::None {
                assert_eq!(seen, before, "{story}: {:?}", visit.error);
            } else {
                assert!([before, after].contains(&seen), "{story}: {seen:?}");
            }
            // A retry gets the one order.
            let again = shop.answer(async || shop.check_out(&browser, End::Commit).await).await;
            assert_eq!(again == Checkout::Nothing, seen.orders == 1, "{story}: {again:?}");
            assert_eq!((shop.orders().await, shop.cart(&browser).await.as_str()), (1, ""), "{story}");
            if !was_cut {
                assert!(passing >= 6, "the transaction is not {passing} statements");
                break;
            }
        }
    }
}

/// Connections that die between two requests, or between a request's read of the cart and its checkout.
pub(crate) async fn dead_connections_fail_no_checkout(shop: Shop, proxy: Proxy) {
    let proxy = Arc::new(proxy);
    for dies_within in [false, true] {
        let browser = shop.begin().await;
        // Several connections are idle.
        let (app, former) = (shop.app.clone(), shop.former.clone());
        let shop = Arc::new(Shop { app, former, database: Arc::clone(&shop.database) });
        let looks = (0..6).map(|_| {
            let (shop, browser) = (Arc::clone(&shop), browser.clone());
            tokio::spawn(async move { shop.cart(&browser).await })
        });
        futures_util::future::join_all(looks).await.into_iter().for_each(|look| assert_eq!(look.unwrap(), "tea 1"));
        if !dies_within {
            proxy.reset_connections().await;
        }
        let (network, database) = (Arc::clone(&proxy), Arc::clone(&shop.database));
        let handler = move |extensions| async move {
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            if dies_within {
                network.reset_connections().await;
            }
            Ok((StatusCode::OK, database.check_out(&mut cart, Plan::default()).await?))
        };
        let visit = browser.send_raw(&shop.app, handler).await;
        assert_eq!(visit.value(), Checkout::of("tea 1"), "within the request: {dies_within}");
    }
}

/// Requests are dropped at all stages, and other requests reuse their connections. The writes of the latter must be
/// visible to every connection.
pub(crate) async fn a_request_that_is_dropped_leaves_no_transaction_on_its_connection(shop: Shop, proxy: Proxy) {
    const STEP: Duration = Duration::from_millis(3);
    let shop = Arc::new(shop);
    let browser = shop.begin().await;
    proxy.set(Fault::Delay(STEP));
    for stage in 0..96 {
        let dropped = shop.send::<Cart>(&browser, |cart| cart.add("bun", 1));
        // After the response at the latest.
        let _ = tokio::time::timeout(STEP * stage / 8, dropped).await;
    }
    proxy.heal();
    let (sessions, teas) = (shop.sessions().await, shop.teas().await);
    // On all connections, of which there are eight.
    let writes = (0..40).map(|_| {
        let shop = Arc::clone(&shop);
        tokio::spawn(async move {
            let (mut plain, mut browser) = (Browser::default(), shop.begin_with_tea().await);
            plain.set(&shop.app, "n", 1).await.value();
            shop.change::<Cart>(&mut browser, |cart| cart.add("tea", 1)).await.value();
        })
    });
    futures_util::future::join_all(writes).await.into_iter().for_each(Result::unwrap);
    let written = (shop.sessions().await - sessions, shop.teas().await - teas);
    assert_eq!(written, (80, 40), "something was written and never committed");
}

impl Shop {
    async fn begin_with_tea(&self) -> Browser {
        let mut browser = Browser::default();
        self.change::<Cart>(&mut browser, |cart| cart.push("tea", 1)).await.value();
        browser
    }

    /// How many carts have two teas.
    async fn teas(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM @t_lines WHERE sku = 'tea' AND quantity = 2").await
    }
}

/// A kind of request, and its round trips.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Read,
    Write,
    WriteAll,
    Checkout,
}

const COSTS: [(Kind, usize); 4] = [
    // The session, and all tables of the part.
    (Kind::Read, 2),
    // The same, and a transaction: begin, session, rows, commit.
    (Kind::Write, 6),
    // The same, however many rows change.
    (Kind::WriteAll, 6),
    // The same, but with a lock on the session, another read of the rows, and a delete in each of the two tables; one
    // statement is the application's.
    (Kind::Checkout, 10),
];

impl Kind {
    async fn request(self, shop: &Shop, browser: &mut Browser) {
        match self {
            Self::Read => assert_eq!(shop.read::<Cart>(browser).await.lines.len(), 20),
            Self::Write => shop.change::<Cart>(browser, |cart| cart.line("sku 7").quantity += 1).await.value(),
            Self::WriteAll => {
                let all = |cart: &mut Part<Cart>| cart.lines.iter_mut().for_each(|line| line.quantity += 1);
                shop.change::<Cart>(browser, all).await.value();
            }
            Self::Checkout => {
                let outcome = shop.check_out(browser, End::Commit).await.value();
                assert!(matches!(outcome, Checkout::Ordered(_)), "{outcome:?}");
            }
        }
    }
}

pub(crate) async fn a_request_takes_the_minimum_of_round_trips(shop: Shop, proxy: Proxy) {
    const STEADY: usize = 10;
    for (kind, most) in COSTS {
        let (mut steady, mut costs) = (0, Vec::new());
        while steady < STEADY {
            let mut browser = Browser::default();
            let fill = |cart: &mut Part<Cart>| (0..20).for_each(|n| cart.push(format!("sku {n}"), 1));
            shop.change(&mut browser, fill).await.value();
            let before = proxy.round_trips();
            kind.request(&shop, &mut browser).await;
            costs.push(proxy.round_trips() - before);
            steady = if costs.last() == Some(&most) { steady + 1 } else { 0 };
            assert!(costs.len() < 100, "{kind:?} took {costs:?} round trips, not {most}");
        }
        println!("{kind:?}: {most} round trips");
        assert!(costs.iter().all(|cost| *cost >= most), "{kind:?} is cheaper than expected: {costs:?}");
    }
}
