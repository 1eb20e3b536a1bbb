//! Rows live exactly as long as their session, through renewals, logins and takeovers.

use std::time::Duration;

use http::StatusCode;
use session_state::{Clock as _, Part, Session};

use super::{Cart, Meal, Seats, Shop};
use crate::browser::Browser;
use crate::sql::cases::HOUR;

/// Rows in each of the tables.
const ALL: [i64; 4] = [1, 2, 0, 1];

impl Shop {
    /// Returns a browser whose session has rows in each kind of table.
    async fn browser_with_all(&self) -> Browser {
        let mut browser = self.browser_with(&[("bun", 1), ("tea", 2)]).await;
        let soup = |seats: &mut Part<Seats>| seats.meals.push(Meal { name: "soup".to_owned(), is_warm: true });
        self.change(&mut browser, soup).await.value();
        browser
    }
}

pub(crate) async fn rows_go_with_their_session(shop: Shop) {
    let mut browser = shop.browser_with_all().await;
    let other = shop.browser_with_all().await;
    assert_eq!(shop.rows().await, ALL.map(|rows| rows * 2));
    shop.act(&mut browser, Session::logout).await;
    assert_eq!(shop.rows().await, ALL, "after a logout only those of the other session are left");
    assert_eq!(shop.cart(&other).await, "bun 1, tea 2");

    let mut browser = shop.browser_with_all().await;
    shop.act(&mut browser, |session| session.login("alice")).await;
    shop.act(&mut browser, |session| session.login("bob")).await;
    assert_eq!(shop.rows().await, ALL, "after a takeover");
    assert_eq!((shop.cart(&browser).await.as_str(), shop.cart(&other).await.as_str()), ("", "bun 1, tea 2"));

    let mut browser = shop.browser_with_all().await;
    shop.act(&mut browser, |session| session.login_fresh("alice")).await;
    let left = (shop.cart(&browser).await, shop.read::<Seats>(&browser).await);
    assert_eq!(left, (String::new(), Seats::default()), "a login that keeps nothing keeps no rows");
    assert_eq!(shop.rows().await, ALL);
}

pub(crate) async fn abandoned_carts_leave_no_row(shop: Shop) {
    for _ in 0..15 {
        shop.browser_with_all().await;
    }
    // Some were renewed before they were abandoned.
    for _ in 0..5 {
        shop.act(&mut shop.browser_with_all().await, Session::renew).await;
    }
    assert_eq!((shop.sessions().await, shop.rows().await), (20, ALL.map(|rows| rows * 20)));
    shop.app.pass(HOUR * 24);
    let stays = shop.browser_with_all().await;
    // Expired rows are not read, even before the sweep.
    assert_eq!(shop.database.sweep(shop.app.clock.now()).await, 25);
    assert_eq!((shop.sessions().await, shop.rows().await), (1, ALL));
    assert_eq!(shop.cart(&stays).await, "bun 1, tea 2");
    shop.app.pass(HOUR * 24);
    assert_eq!(shop.database.sweep(shop.app.clock.now()).await, 1);
    assert_eq!((shop.sessions().await, shop.rows().await), (0, [0; 4]));
    assert_eq!(shop.cart(&stays).await, "");
}

pub(crate) async fn rows_stay_through_renewals_and_a_login(shop: Shop) {
    let shop = shop.with(|layer| layer.with_renewal(Duration::from_secs(60)));
    let mut browser = shop.browser_with_all().await;
    let mut ids = vec![browser.id().map(str::to_owned)];
    let mut note_id = |browser: &Browser| {
        let id = browser.id().map(str::to_owned);
        assert!(!ids.contains(&id), "the ID has changed");
        ids.push(id);
    };
    shop.app.pass(Duration::from_secs(61));
    // The renewal is due, and a row is written along with it.
    shop.change::<Cart>(&mut browser, |cart| cart.line("tea").quantity = 3).await.value();
    note_id(&browser);
    assert_eq!(shop.cart(&browser).await, "bun 1, tea 3", "after a periodic renewal");
    shop.act(&mut browser, Session::renew).await;
    note_id(&browser);
    assert_eq!(shop.cart(&browser).await, "bun 1, tea 3", "after a renewal");
    shop.act(&mut browser, |session| session.login("alice")).await;
    note_id(&browser);
    assert_eq!(shop.cart(&browser).await, "bun 1, tea 3", "after the visitor has logged in");
    let login = |extensions| async move {
        Session::from_extensions(&extensions)?.load().await?.login("alice");
        Part::<Cart>::from_extensions(&extensions).await?.update(|cart| cart.add("bun", 1));
        Ok((StatusCode::OK, ()))
    };
    let visit = browser.send_raw(&shop.app, login).await;
    browser.receive(&visit);
    visit.value();
    note_id(&browser);
    assert_eq!(shop.cart(&browser).await, "bun 2, tea 3", "after a login of the same principal, and a write with it");
    assert_eq!((shop.sessions().await, shop.rows().await), (1, ALL));
}

pub(crate) async fn rows_written_after_the_end_of_a_session_belong_to_a_new_one(shop: Shop) {
    let ends: [fn(&Session); 4] =
        [Session::logout, Session::destroy, |session| session.login_fresh("alice"), |session| session.login("carol")];
    for (number, end) in ends.into_iter().enumerate() {
        // The part is loaded before the end, after it, or not at all.
        for order in 0..3 {
            let mut browser = shop.browser_with_all().await;
            shop.act(&mut browser, |session| session.login("bob")).await;
            let handler = move |extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                if order == 0 {
                    assert_eq!(Part::<Cart>::from_extensions(&extensions).await?.lines.len(), 2);
                }
                end(&session);
                let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
                assert_eq!(*cart, Cart::default(), "end {number}, order {order}: the part is still there");
                if order < 2 {
                    cart.update(|cart| cart.add("tea", 7));
                } else {
                    cart.push("tea", 7);
                }
                Ok((StatusCode::OK, ()))
            };
            let visit = browser.send_raw(&shop.app, handler).await;
            let old = browser.clone();
            browser.receive(&visit);
            visit.value();
            assert_eq!(shop.cart(&browser).await, "tea 7", "end {number}, order {order}");
            assert_eq!(shop.cart(&old).await, "", "end {number}, order {order}");
            assert_eq!(shop.rows().await, [1, 1, 0, 0], "end {number}, order {order}");
            shop.act(&mut browser, Session::logout).await;
            assert_eq!((shop.sessions().await, shop.rows().await), (0, [0; 4]), "end {number}, order {order}");
        }
    }
}

pub(crate) async fn a_late_request_revives_no_row(shop: Shop) {
    let ends: [fn(&Session); 3] =
        [Session::logout, |session| session.login("bob"), |session| session.login_fresh("bob")];
    for (number, end) in ends.into_iter().enumerate() {
        let mut browser = shop.browser_with_all().await;
        shop.act(&mut browser, |session| session.login("alice")).await;
        let late = [
            shop.slow::<Cart>(&browser, |cart| cart.push("pie", 1)).await,
            shop.slow::<Cart>(&browser, |cart| cart.update(|cart| cart.add("tea", 1))).await,
            shop.slow::<Seats>(&browser, |seats| seats.meals.clear()).await,
        ];
        let mut old = browser.clone();
        shop.act(&mut browser, end).await;
        for late in late {
            let visit = late.finish().await;
            assert!(visit.set_cookies().is_empty(), "end {number}: {visit:?}");
        }
        assert_eq!((shop.cart(&browser).await.as_str(), shop.rows().await), ("", [0; 4]), "end {number}");
        // A new request with the old cookie has no session, and begins none under an ID that has just died.
        let visit = shop.change::<Cart>(&mut old, |cart| cart.push("jam", 1)).await;
        assert_eq!(visit.status, StatusCode::CONFLICT, "end {number}");
        assert_eq!((shop.cart(&old).await.as_str(), shop.cart(&browser).await.as_str()), ("", ""), "end {number}");
    }
    // Neither has one after the session expired during the request.
    let browser = shop.browser_with_all().await;
    let late = shop.slow::<Cart>(&browser, |cart| cart.push("pie", 1)).await;
    shop.app.pass(HOUR * 24);
    shop.database.sweep(shop.app.clock.now()).await;
    late.finish().await;
    assert_eq!((shop.sessions().await, shop.rows().await), (0, [0; 4]));
}

pub(crate) async fn another_principal_never_gets_the_rows(shop: Shop) {
    let mut browser = shop.browser_with_all().await;
    shop.act(&mut browser, |session| session.login("alice")).await;
    let handler = |extensions| async move {
        let session = Session::from_extensions(&extensions)?.load().await?;
        {
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            cart.push("secret of alice", 1);
            cart.update(|cart| cart.add("tea", 1));
        }
        session.login("bob");
        let cart = Part::<Cart>::from_extensions(&extensions).await?;
        Ok((StatusCode::OK, cart.clone()))
    };
    let visit = browser.send_raw(&shop.app, handler).await;
    browser.receive(&visit);
    assert_eq!(visit.value(), Cart::default());
    assert_eq!((shop.cart(&browser).await.as_str(), shop.rows().await), ("", [0; 4]));
    // Requests of the previous principal, in flight during the takeover.
    shop.change::<Cart>(&mut browser, |cart| cart.push("of bob", 1)).await.value();
    let late = shop.slow::<Cart>(&browser, |cart| cart.push("later of bob", 1)).await;
    shop.act(&mut browser, |session| session.login("carol")).await;
    shop.change::<Cart>(&mut browser, |cart| cart.push("of carol", 1)).await.value();
    late.finish().await;
    assert_eq!((shop.cart(&browser).await.as_str(), shop.rows().await), ("of carol 1", [1, 1, 0, 0]));
}
