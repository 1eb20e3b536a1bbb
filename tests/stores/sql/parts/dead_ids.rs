//! Rows of a session whose ID died during a request with that ID, and rows of rejected requests.

use std::future::Future;

use http::StatusCode;
use session_state::{ConflictPolicy, Error, ErrorKind, Part, Session, SessionLimitPolicy};

use super::{Cart, Shop};
use crate::browser::{App, Browser};

/// How the ID dies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    Login,
    FreshLogin,
    Takeover,
    Reauthentication,
    Logout,
}

impl Death {
    const ALL: [Self; 5] = [Self::Login, Self::FreshLogin, Self::Takeover, Self::Reauthentication, Self::Logout];

    /// The principal before.
    fn principal(self) -> Option<&'static str> {
        matches!(self, Self::Takeover | Self::Reauthentication | Self::Logout).then_some("alice")
    }

    /// Makes the ID die by a request of the victim, which then puts a secret into the cart.
    async fn happen(self, app: &App, victim: &mut Browser) {
        let visit = victim.send_raw(app, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            match self {
                Self::Login => session.login("alice"),
                Self::FreshLogin => session.login_fresh("alice"),
                Self::Takeover => session.login("bob"),
                Self::Reauthentication => session.mark_reauthenticated()?,
                Self::Logout => session.logout(),
            }
            Part::<Cart>::from_extensions(&extensions).await?.push("secret", 1);
            Ok((StatusCode::OK, ()))
        });
        let visit = visit.await;
        victim.receive(&visit);
        visit.value();
    }
}

impl Shop {
    async fn browser_before(&self, death: Death) -> Browser {
        let mut browser = self.browser_with(&[("bun", 1)]).await;
        if let Some(principal) = death.principal() {
            self.act(&mut browser, move |session| session.login(principal)).await;
        }
        browser
    }

    /// Sends a request that runs `act` after its ID has died. Returns its status, and the victim's browser.
    async fn after_death<T: Send + 'static, F, Fut>(&self, death: Death, act: F) -> (StatusCode, T, Browser)
    where
        F: FnOnce(http::Extensions) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let browser = self.browser_before(death).await;
        let (app, mut victim) = (self.app.clone(), browser.clone());
        let visit = browser.send_raw(&self.app, move |extensions| async move {
            Session::from_extensions(&extensions)?.load().await?;
            death.happen(&app, &mut victim).await;
            Ok((StatusCode::OK, (act(extensions).await?, victim)))
        });
        let visit = visit.await;
        assert!(visit.set_cookies().is_empty(), "{death:?}: {:?}", visit.set_cookies());
        let (acted, victim) = visit.output.expect("the handler has returned");
        (visit.status, acted, victim)
    }
}

pub(crate) async fn a_request_with_a_dead_id_sees_no_newer_row(shop: Shop) {
    for death in Death::ALL {
        let look = |extensions| async move { Ok(Part::<Cart>::from_extensions(&extensions).await?.shown()) };
        let (status, shown, _) = shop.after_death(death, look).await;
        assert_eq!(status, StatusCode::OK, "{death:?}");
        assert!(!shown.contains("secret"), "{death:?}: {shown:?}");
    }
}

pub(crate) async fn a_request_with_a_dead_id_writes_no_row(shop: Shop) {
    for death in Death::ALL {
        let forge = |extensions| async move {
            Part::<Cart>::from_extensions(&extensions).await?.push("forged", 1);
            Ok(())
        };
        let (status, (), victim) = shop.after_death(death, forge).await;
        assert_eq!(status, StatusCode::CONFLICT, "{death:?}");
        let cart = shop.cart(&victim).await;
        assert!(cart.contains("secret") && !cart.contains("forged"), "{death:?}: {cart}");
    }
}

pub(crate) async fn a_request_with_a_dead_id_removes_no_row(shop: Shop) {
    for death in [Death::Login, Death::Reauthentication] {
        for is_logout in [true, false] {
            let end = move |extensions: http::Extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                if is_logout {
                    session.logout();
                } else {
                    session.login_fresh("mallory");
                }
                Ok(())
            };
            let (_, (), victim) = shop.after_death(death, end).await;
            assert_eq!(shop.cart(&victim).await, "bun 1, secret 1", "{death:?}");
        }
    }
}

pub(crate) async fn a_rejected_request_writes_no_row(shop: Shop) {
    let shop = shop.with(|layer| {
        let layer = layer.with_conflict_policy(ConflictPolicy::Fail).with_max_record_size(1000);
        layer.with_max_sessions(1, SessionLimitPolicy::RefuseLogin).unwrap()
    });
    shop.act(&mut Browser::default(), |session| session.login("bob")).await;
    for refusal in ["conflict", "large", "login"] {
        let browser = shop.browser_with(&[("bun", 1)]).await;
        let (app, mut tab) = (shop.app.clone(), browser.clone());
        let visit = browser.send_raw(&shop.app, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            Part::<Cart>::from_extensions(&extensions).await?.push("late", 1);
            match refusal {
                "conflict" => {
                    session.insert("n", 2)?;
                    tab.set(&app, "n", 3).await.value();
                }
                // An oversized value would fail at once, and not with the request.
                "large" => session.login("x".repeat(2000)),
                _ => session.login("bob"),
            }
            Ok((StatusCode::OK, ()))
        });
        let visit = visit.await;
        let kind = visit.error.as_ref().map(|error| error.kind().clone());
        let is_right = match refusal {
            "conflict" => kind == Some(ErrorKind::Conflict),
            "large" => matches!(kind, Some(ErrorKind::TooLarge { .. })),
            _ => matches!(kind, Some(ErrorKind::TooManySessions { .. })),
        };
        assert!(is_right, "{refusal}: {} {kind:?}", visit.status);
        assert_eq!(shop.cart(&browser).await, "bun 1", "{refusal}");
    }
}

pub(crate) async fn a_part_held_during_a_takeover_writes_no_row_into_the_new_session(shop: Shop) {
    for next in [Some(("bob", false)), Some(("bob", true)), Some(("alice", true)), None] {
        for (before, after) in [(false, false), (false, true), (true, false), (true, true)] {
            let (rows, mut browser) = (shop.rows().await, shop.browser_before(Death::Takeover).await);
            let visit = browser.send_raw(&shop.app, move |extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
                if before {
                    cart.push("of alice", 1);
                }
                match next {
                    Some((principal, false)) => session.login(principal),
                    Some((principal, true)) => session.login_fresh(principal),
                    None => session.logout(),
                }
                if after {
                    cart.push("new", 1);
                }
                Ok((StatusCode::OK, ()))
            });
            let visit = visit.await;
            browser.receive(&visit);
            visit.value();
            let story = format!("{next:?}, changed before: {before}, and after: {after}");
            assert_eq!(shop.cart(&browser).await, if after { "new 1" } else { "" }, "{story}");
            assert_eq!(shop.rows().await[1], rows[1] + i64::from(after), "{story}");
        }
    }
}
