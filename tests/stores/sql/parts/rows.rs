//! Which rows are written, and which of two concurrent requests wins.

use std::sync::Arc;

use futures_util::future::join_all;
use http::StatusCode;
use session_state::{ConflictPolicy, ErrorKind, Part, Session};

use super::{Cart, Meal, Seat, Seats, Shop};
use crate::browser::{Browser, Visit};

/// How a request changes a part.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// Through `DerefMut`.
    Directly,
    /// With a closure.
    ByUpdate,
}

const HOWS: [How; 2] = [How::Directly, How::ByUpdate];

impl How {
    fn change(self, cart: &mut Part<Cart>, change: fn(&mut Cart)) {
        match self {
            Self::Directly => change(cart),
            Self::ByUpdate => cart.update(change),
        }
    }

    /// Lets two requests load the cart, and then change it one after the other. Returns the response to the later one.
    async fn meet(self, shop: &Shop, browser: &Browser, earlier: fn(&mut Cart), later: fn(&mut Cart)) -> Visit<()> {
        let one = shop.slow::<Cart>(browser, move |cart| self.change(cart, earlier)).await;
        let other = shop.slow::<Cart>(browser, move |cart| self.change(cart, later)).await;
        let visit = one.finish().await;
        assert_eq!(visit.status, StatusCode::OK, "{self:?}: {:?}", visit.error);
        let Visit { status, headers, error, output } = other.finish().await;
        Visit { status, headers, error, output: output.map(drop) }
    }
}

pub(crate) async fn a_part_survives_a_round_trip_and_reading_writes_nothing(shop: Shop) {
    let mut browser = Browser::default();
    assert_eq!(shop.read::<Cart>(&browser).await, Cart::default());
    assert_eq!((shop.sessions().await, shop.rows().await), (0, [0; 4]));

    let fill = |cart: &mut Part<Cart>| {
        cart.note = Some("na\u{ef}ve \u{1f375} '\"\\\n".to_owned());
        cart.is_gift = true;
        cart.push("tea", 2);
        cart.push("bun", 1);
        cart.line("bun").wish = Some(String::new());
    };
    shop.change(&mut browser, fill).await.value();
    assert_eq!((shop.sessions().await, shop.rows().await), (1, [1, 2, 0, 0]));
    let mut cart: Cart = shop.read(&browser).await;
    assert_eq!((cart.shown().as_str(), cart.is_gift), ("bun 1, tea 2", true));
    assert_eq!(cart.note.as_deref(), Some("na\u{ef}ve \u{1f375} '\"\\\n"));
    assert_eq!(cart.line("bun").wish.as_deref(), Some(""));
    assert_eq!(cart.line("tea").wish, None);

    // The other part consists of collections only, and is in the same session.
    assert_eq!(shop.read::<Seats>(&browser).await, Seats::default());
    let seats = |bench, place: &str, price| Seat { bench, place: place.to_owned(), price };
    let all = vec![seats(2, "a", 0.1), seats(9, "a", -1e-300), seats(9, "b", 12.0), seats(10, "a", 1.0 / 3.0)];
    let expected = Seats { seats: all.clone(), meals: vec![Meal { name: "soup".to_owned(), is_warm: true }] };
    let meals = expected.meals.clone();
    let fill = |part: &mut Part<Seats>| **part = Seats { seats: all.into_iter().rev().collect(), meals };
    shop.change(&mut browser, fill).await.value();
    assert_eq!(shop.read::<Seats>(&browser).await, expected);
    assert_eq!((shop.sessions().await, shop.rows().await), (1, [1, 2, 4, 1]));

    let version = shop.number("SELECT version FROM @t").await;
    shop.change::<Cart>(&mut browser, |cart| cart.is_gift = true).await.value();
    shop.change::<Seats>(&mut browser, |seats| seats.seats.reverse()).await.value();
    assert_eq!(shop.number("SELECT version FROM @t").await, version, "nothing is written without a change");

    shop.change::<Seats>(&mut browser, |seats| seats.seats.retain(|seat| seat.bench == 9)).await.value();
    shop.change::<Cart>(&mut browser, |cart| **cart = Cart::default()).await.value();
    assert_eq!(shop.read::<Cart>(&browser).await, Cart::default());
    assert_eq!(shop.read::<Seats>(&browser).await.seats, expected.seats[1..3]);
}

pub(crate) async fn only_the_changed_of_two_hundred_rows_are_written(shop: Shop) {
    let mut browser = shop.browser_with(&[]).await;
    let fill = |cart: &mut Part<Cart>| (0..200).for_each(|n| cart.push(format!("sku {n:03}"), 1));
    shop.change(&mut browser, fill).await.value();
    shop.database.watch().await;
    let written = async || {
        let mut counts = [0; 3];
        for (count, what) in counts.iter_mut().zip(["INSERT", "UPDATE", "DELETE"]) {
            *count = shop.number(&format!("SELECT COUNT(*) FROM @t_log WHERE what = '{what}'")).await;
        }
        shop.run("DELETE FROM @t_log").await;
        counts
    };
    shop.change::<Cart>(&mut browser, |cart| cart.line("sku 123").quantity = 2).await.value();
    let of_other = shop.number("SELECT COUNT(*) FROM @t_log WHERE sku <> 'sku 123'").await;
    assert_eq!((of_other, written().await), (0, [0, 1, 0]));
    shop.change::<Cart>(&mut browser, |cart| cart.update(|cart| cart.add("sku 007", 3))).await.value();
    assert_eq!(written().await, [0, 1, 0]);
    shop.change::<Cart>(&mut browser, |cart| cart.push("tea", 1)).await.value();
    assert_eq!(written().await, [1, 0, 0]);
    shop.change::<Cart>(&mut browser, |cart| cart.remove("sku 050")).await.value();
    assert_eq!(written().await, [0, 0, 1]);
    let all = |cart: &mut Part<Cart>| {
        cart.remove("tea");
        cart.line("sku 001").quantity = 9;
        cart.push("bun", 1);
        cart.note = Some("the row of the part".to_owned());
    };
    shop.change(&mut browser, all).await.value();
    assert_eq!(written().await, [1, 1, 1]);
    // A request that conflicts does not write the rows of the other request again.
    let late = shop.slow::<Cart>(&browser, |cart| cart.line("sku 001").quantity = 4).await;
    shop.change::<Cart>(&mut browser, |cart| cart.line("sku 002").quantity = 4).await.value();
    assert_eq!(late.finish().await.status, StatusCode::OK);
    assert_eq!(written().await, [0, 2, 0]);
    shop.act(&mut browser, |session| session.insert("n", 2).unwrap()).await;
    assert_eq!(written().await, [0, 0, 0]);
}

pub(crate) async fn two_requests_that_change_different_rows_both_win(shop: Shop) {
    for how in HOWS {
        // Neither of them finds a row.
        let browser = shop.browser_with(&[]).await;
        how.meet(&shop, &browser, |cart| cart.push("tea", 1), |cart| cart.push("bun", 2)).await.value();
        assert_eq!(shop.cart(&browser).await, "bun 2, tea 1", "{how:?}");
        how.meet(&shop, &browser, |cart| cart.line("tea").quantity = 5, |cart| cart.line("bun").quantity = 6)
            .await
            .value();
        assert_eq!(shop.cart(&browser).await, "bun 6, tea 5", "{how:?}");
        how.meet(&shop, &browser, |cart| cart.remove("tea"), |cart| cart.push("pie", 1)).await.value();
        assert_eq!(shop.cart(&browser).await, "bun 6, pie 1", "{how:?}");
        how.meet(&shop, &browser, |cart| cart.push("jam", 1), |cart| cart.remove("bun")).await.value();
        assert_eq!(shop.cart(&browser).await, "jam 1, pie 1", "{how:?}");
        how.meet(&shop, &browser, |cart| cart.note = Some("soon".into()), |cart| cart.remove("jam")).await.value();
        let cart: Cart = shop.read(&browser).await;
        assert_eq!((cart.shown().as_str(), cart.note.as_deref()), ("pie 1", Some("soon")), "{how:?}");
    }
    // Two parts of one session do not conflict.
    let browser = shop.browser_with(&[]).await;
    let one = shop.slow::<Cart>(&browser, |cart| cart.push("tea", 1)).await;
    let meal = || Meal { name: "soup".to_owned(), is_warm: true };
    let other = shop.slow::<Seats>(&browser, move |seats| seats.meals.push(meal())).await;
    assert_eq!([one.finish().await.status, other.finish().await.status], [StatusCode::OK; 2]);
    assert_eq!((shop.cart(&browser).await.as_str(), shop.read::<Seats>(&browser).await.meals), ("tea 1", vec![meal()]));
}

pub(crate) async fn the_later_change_of_one_row_wins_field_by_field(shop: Shop) {
    let browser = shop.browser_with(&[("tea", 1)]).await;
    let earlier = |cart: &mut Cart| {
        cart.line("tea").quantity = 2;
        cart.line("tea").wish = Some("hot".to_owned());
        (cart.is_gift, cart.note) = (true, Some("earlier".to_owned()));
    };
    let later = |cart: &mut Cart| {
        cart.line("tea").quantity = 3;
        cart.note = Some("later".to_owned());
    };
    How::Directly.meet(&shop, &browser, earlier, later).await.value();
    let mut cart: Cart = shop.read(&browser).await;
    assert_eq!((cart.line("tea").quantity, cart.line("tea").wish.as_deref()), (3, Some("hot")));
    assert_eq!((cart.is_gift, cart.note.as_deref()), (true, Some("later")));
    // Both insert a row.
    How::Directly.meet(&shop, &browser, |cart| cart.push("bun", 4), |cart| cart.push("bun", 5)).await.value();
    assert_eq!(shop.cart(&browser).await, "bun 5, tea 3");
}

pub(crate) async fn a_closure_runs_again_on_the_row_written_by_another_request(shop: Shop) {
    let browser = shop.browser_with(&[]).await;
    How::ByUpdate.meet(&shop, &browser, |cart| cart.add("tea", 1), |cart| cart.add("tea", 2)).await.value();
    assert_eq!(shop.cart(&browser).await, "tea 3");
    How::ByUpdate.meet(&shop, &browser, |cart| cart.add("tea", 4), |cart| cart.add("tea", 5)).await.value();
    assert_eq!(shop.cart(&browser).await, "tea 12");
    How::ByUpdate.meet(&shop, &browser, |cart| cart.remove("tea"), |cart| cart.add("tea", 5)).await.value();
    assert_eq!(shop.cart(&browser).await, "tea 5", "the closure has found no row and inserted one");
}

pub(crate) async fn a_removed_row_is_not_revived_by_a_change(shop: Shop) {
    let browser = shop.browser_with(&[("bun", 1), ("tea", 1)]).await;
    let change = |cart: &mut Cart| cart.line("tea").quantity = 9;
    How::Directly.meet(&shop, &browser, |cart| cart.remove("tea"), change).await.value();
    assert_eq!(shop.cart(&browser).await, "bun 1");
    How::Directly.meet(&shop, &browser, |cart| cart.line("bun").quantity = 7, |cart| cart.remove("bun")).await.value();
    assert_eq!((shop.cart(&browser).await.as_str(), shop.rows().await[1]), ("", 0));
    // A row that was removed and inserted again is another row.
    let browser = shop.browser_with(&[("tea", 1)]).await;
    How::Directly.meet(&shop, &browser, |cart| cart.remove("tea"), |cart| cart.push("bun", 2)).await.value();
    assert_eq!(shop.cart(&browser).await, "bun 2");
}

pub(crate) async fn with_the_fail_policy_requests_conflict_by_row_and_not_by_part(shop: Shop) {
    let shop = shop.with(|layer| layer.with_conflict_policy(ConflictPolicy::Fail));
    for how in HOWS {
        let browser = shop.browser_with(&[("tea", 1)]).await;
        let meet = async |earlier, later| {
            let visit = how.meet(&shop, &browser, earlier, later).await;
            let kind = visit.error.as_ref().map(|error| error.kind().clone());
            assert_eq!(visit.status == StatusCode::CONFLICT, kind == Some(ErrorKind::Conflict), "{how:?}: {kind:?}");
            visit.status
        };
        let both = meet(|cart| cart.push("bun", 1), |cart| cart.push("pie", 1)).await;
        assert_eq!((both, shop.cart(&browser).await.as_str()), (StatusCode::OK, "bun 1, pie 1, tea 1"), "{how:?}");
        let same = meet(|cart| cart.add("tea", 1), |cart| cart.add("tea", 5)).await;
        assert_eq!(
            (same, shop.cart(&browser).await.as_str()),
            (StatusCode::CONFLICT, "bun 1, pie 1, tea 2"),
            "{how:?}"
        );
        let new = meet(|cart| cart.push("jam", 1), |cart| cart.add("jam", 2)).await;
        assert_eq!(new, StatusCode::CONFLICT, "{how:?}");
        let removed = meet(|cart| cart.remove("pie"), |cart| cart.add("pie", 5)).await;
        let left = "bun 1, jam 1, tea 2";
        assert_eq!((removed, shop.cart(&browser).await.as_str()), (StatusCode::CONFLICT, left), "{how:?}");
        let other_fields = meet(|cart| cart.is_gift = true, |cart| cart.note = Some("for you".to_owned())).await;
        assert_eq!(other_fields, StatusCode::OK, "{how:?}");
    }
}

/// They write the session and rows of its part.
#[cfg(feature = "postgres")]
pub(crate) async fn a_hundred_requests_at_once_all_take_place(shop: Shop) {
    const REQUESTS: i64 = 100;
    let browser = shop.browser_with(&[("tea", 0)]).await;
    let shop = Arc::new(shop);
    let tasks: Vec<_> = (0..REQUESTS)
        .map(|n| {
            let (shop, mut browser) = (Arc::clone(&shop), browser.clone());
            tokio::spawn(async move {
                shop.change::<Cart>(&mut browser, move |cart| cart.push(format!("sku {n}"), 1)).await.value();
                shop.act(&mut browser, |session| drop(session.update("n", |n: &mut i64| *n += 1))).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let n = browser.clone().get(&shop.app, "n").await;
    assert_eq!((n, shop.read::<Cart>(&browser).await.lines.len()), (Some(101), 101));
}

pub(crate) async fn twenty_requests_at_once_lose_no_row(shop: Shop) {
    let (shop, browser) = (Arc::new(shop), Browser::default());
    let mut first = browser;
    shop.act(&mut first, |session| session.insert("n", 1).unwrap()).await;
    let requests = (0..20).map(|n| {
        let (shop, mut browser) = (Arc::clone(&shop), first.clone());
        tokio::spawn(async move {
            let sku = format!("sku {n:02}");
            let change = move |cart: &mut Part<Cart>| {
                if n % 2 == 0 {
                    cart.push(sku, n);
                } else {
                    cart.update(move |cart| {
                        cart.add(&sku, n);
                        cart.add("all", 1);
                    });
                }
            };
            shop.change(&mut browser, change).await.value();
        })
    });
    join_all(requests).await.into_iter().for_each(Result::unwrap);
    let cart: Cart = shop.read(&first).await;
    assert_eq!((cart.lines.len(), cart.lines[0].quantity), (21, 10), "{}", cart.shown());
    for (n, line) in cart.lines[1..].iter().enumerate() {
        assert_eq!((line.sku.as_str(), line.quantity), (format!("sku {n:02}").as_str(), i64::try_from(n).unwrap()));
    }
}

pub(crate) async fn a_row_that_violates_a_constraint_is_409_and_the_request_saves_nothing(shop: Shop) {
    let mut browser = shop.browser_with(&[("tea", 1)]).await;
    let greedy = |extensions| async move {
        let session = Session::from_extensions(&extensions)?.load().await?;
        session.insert("n", 2).unwrap();
        let mut seats = Part::<Seats>::from_extensions(&extensions).await?;
        seats.meals.push(Meal { name: "soup".to_owned(), is_warm: true });
        let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
        cart.is_gift = true;
        cart.push("bun", 1);
        cart.line("tea").quantity = 25;
        Ok((StatusCode::OK, ()))
    };
    let refused = browser.send_raw(&shop.app, greedy).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(refused.error.as_ref().map(session_state::Error::kind), Some(&ErrorKind::Constraint));
    assert!(refused.set_cookies().is_empty());
    assert_eq!(browser.get(&shop.app, "n").await, Some(1), "a value of the session was saved");
    assert_eq!((shop.cart(&browser).await.as_str(), shop.rows().await), ("tea 1", [1, 1, 0, 0]));
    // A session is not created for it either.
    let refused = shop.change::<Cart>(&mut Browser::default(), |cart| cart.push("tea", 25)).await;
    assert_eq!((refused.status, refused.set_cookies().len(), shop.sessions().await), (StatusCode::CONFLICT, 0, 1));
    // A renewal in the same request does not take effect.
    let id = browser.id().map(str::to_owned);
    let renew = |extensions| async move {
        Session::from_extensions(&extensions)?.load().await?.renew();
        Part::<Cart>::from_extensions(&extensions).await?.update(|cart| cart.add("tea", 24));
        Ok((StatusCode::OK, ()))
    };
    let refused = browser.send_raw(&shop.app, renew).await;
    assert_eq!((refused.status, refused.set_cookies().len()), (StatusCode::CONFLICT, 0));
    shop.change::<Cart>(&mut browser, |cart| cart.line("tea").quantity = 24).await.value();
    assert_eq!((shop.cart(&browser).await.as_str(), browser.id().map(str::to_owned)), ("tea 24", id));
}
