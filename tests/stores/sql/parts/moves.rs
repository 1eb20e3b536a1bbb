//! A part that a former release kept in the session's record.

use http::StatusCode;
use session_state::{Part, SessionPart};

use super::{Cart, Checkout, End, Shop};
use crate::browser::Browser;

impl Shop {
    /// Returns a browser whose cart is in the record of its session.
    async fn former_browser(&self) -> Browser {
        let mut browser = Browser::default();
        let visit = browser
            .send_raw(&self.former, |extensions| async move {
                let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
                cart.push("tea", 2);
                cart.push("bun", 1);
                Ok((StatusCode::OK, ()))
            })
            .await;
        browser.receive(&visit);
        browser
    }

    async fn is_in_record(&self) -> bool {
        let key = format!("%\"@{}\"%", Cart::NAME);
        self.number(&format!("SELECT COUNT(*) FROM @t WHERE data LIKE '{key}'")).await > 0
    }
}

pub(crate) async fn a_part_that_leaves_the_record_moves_into_its_tables_with_its_first_change(shop: Shop) {
    let mut browser = shop.former_browser().await;
    assert_eq!(shop.cart(&browser).await, "tea 2, bun 1");
    assert_eq!((shop.rows().await, shop.is_in_record().await), ([0; 4], true));
    shop.change::<Cart>(&mut browser, |cart| cart.push("pie", 1)).await.value();
    assert_eq!((shop.rows().await, shop.is_in_record().await), ([1, 3, 0, 0], false));
    assert_eq!(shop.cart(&browser).await, "bun 1, pie 1, tea 2");
    shop.change::<Cart>(&mut browser, |cart| cart.lines.clear()).await.value();
    assert_eq!(shop.cart(&browser).await, "");
}

pub(crate) async fn a_part_that_is_still_in_the_record_is_checked_out_once(shop: Shop) {
    let browser = shop.former_browser().await;
    assert_eq!(shop.check_out(&browser, End::Commit).await.value(), Checkout::of("bun 1, tea 2"));
    assert_eq!((shop.orders().await, shop.is_in_record().await), (2, false));
    assert_eq!(shop.check_out(&browser, End::Commit).await.value(), Checkout::Nothing);
    assert_eq!(shop.cart(&browser).await, "");
}
