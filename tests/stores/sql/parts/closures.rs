//! Closures of the application that use the session while a checkout is open.

use std::sync::Arc;

use http::StatusCode;
use session_state::{Part, Session};
use tokio::sync::oneshot;

use super::{Cart, Checkout, End, Gate, Meal, Plan, Seats, Shop};

pub(crate) async fn a_closure_may_use_the_session_while_a_checkout_is_open(shop: Shop) {
    for of_part in [false, true] {
        let browser = shop.browser_with(&[("bun", 1)]).await;
        let database = Arc::clone(&shop.database);
        let visit = browser.send_raw(&shop.app, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            let inner = session.clone();
            let look = move || inner.get::<u32>("n").unwrap().unwrap_or(0);
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            let mut seats = Part::<Seats>::from_extensions(&extensions).await?;
            let ((is_open, opened), (go_on, may_go_on)) = (oneshot::channel(), oneshot::channel());
            let plan = Plan { end: End::Commit, gate: Some(Gate { is_open, go_on: may_go_on }) };
            let meanwhile = async {
                opened.await.unwrap();
                if of_part {
                    let soup = move || Meal { name: look().to_string(), is_warm: true };
                    seats.update(move |seats| seats.meals.push(soup()));
                } else {
                    session.update("orders", move |n: &mut u32| *n += look()).unwrap();
                }
                go_on.send(()).unwrap();
            };
            let (checkout, ()) = tokio::join!(database.check_out(&mut cart, plan), meanwhile);
            Ok((StatusCode::OK, checkout?))
        });
        assert_eq!(visit.await.value(), Checkout::of("bun 1"), "of a part: {of_part}");
        let look = |session: Session| async move { session.get::<u32>("orders").unwrap() };
        assert_eq!(browser.send(&shop.app, look).await.value(), (!of_part).then_some(1));
        assert_eq!(shop.read::<Seats>(&browser).await.meals.len(), usize::from(of_part));
    }
}
