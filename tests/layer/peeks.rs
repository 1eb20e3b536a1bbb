//! A request that peeks at its session sees it, and how much time is left, and does not use it.

use std::time::Duration;

use http::StatusCode;
use session_state::test_kit::{Call, FaultyStore};
use session_state::{Error, MemoryStore, Session, SessionLayer, SessionLoader};

use crate::browser::{App, Browser, Visit};

const MINUTE: Duration = Duration::from_secs(60);

/// Sends a request to a handler that gets the loader, and keeps the cookies of the response.
async fn visit<T, F, Fut>(browser: &mut Browser, app: &App, handler: F) -> Visit<T>
where
    F: FnOnce(SessionLoader) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, Error>> + Send + 'static,
    T: Send + 'static,
{
    let visit = browser
        .send_raw(app, |extensions| async move {
            let loader = Session::from_extensions(&extensions)?;
            Ok((StatusCode::OK, handler(loader).await?))
        })
        .await;
    browser.receive(&visit);
    visit
}

/// Peeks, and returns how much is left of the idle timeout and the value of `n`.
async fn peek(browser: &mut Browser, app: &App) -> (Option<Duration>, Option<u32>) {
    let before = browser.jar.clone();
    let look = |loader: SessionLoader| async move {
        let session = loader.peek().await?;
        Ok((session.lifetime().idle_remaining, session.get("n")?))
    };
    let seen = visit(browser, app, look).await;
    assert_eq!(seen.set_cookies(), [""; 0]);
    assert_eq!(browser.jar, before);
    seen.value()
}

#[tokio::test]
async fn a_peek_shows_what_is_left_and_leaves_it() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        for left in [30, 20, 10] {
            assert_eq!(peek(&mut browser, &app).await, (Some(left * MINUTE), Some(1)));
            app.pass(10 * MINUTE);
        }
        assert_eq!(browser.get(&app, "n").await, None);
    }
}

#[tokio::test]
async fn the_end_that_a_peek_shows_is_the_end_of_the_session() {
    let (app, mut browser) = (App::memory(), Browser::default());
    browser.set(&app, "n", 1).await;
    app.pass(20 * MINUTE);
    let expiry = async |session: Session| Ok((session.expires_at(), session.lifetime().absolute_remaining));
    let (peeked, rest) =
        visit(&mut browser, &app, move |loader| async move { expiry(loader.peek().await?).await }).await.value();
    let (used, same) =
        visit(&mut browser, &app, move |loader| async move { expiry(loader.load().await?).await }).await.value();
    assert_eq!(used.duration_since(peeked).unwrap(), 20 * MINUTE);
    assert_eq!(rest, same, "use does not move the absolute timeout");
}

#[tokio::test]
async fn a_request_that_also_uses_the_session_extends_it() {
    type Use = fn(SessionLoader) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;
    let uses: [Use; 4] = [
        |loader| Box::pin(async move { loader.peek().await.and(loader.load().await).map(drop) }),
        |loader| Box::pin(async move { loader.load().await.and(loader.peek().await).map(drop) }),
        |loader| Box::pin(async move { loader.peek().await?.insert("n", 2) }),
        |loader| Box::pin(async move { loader.peek().await.map(|session| session.login("alice")) }),
    ];
    for app in App::everywhere() {
        for used in uses {
            let mut browser = Browser::default();
            browser.set(&app, "n", 1).await;
            app.pass(20 * MINUTE);
            visit(&mut browser, &app, used).await.value();
            app.pass(20 * MINUTE);
            assert!(browser.get(&app, "n").await.is_some());
        }
    }
}

#[tokio::test]
async fn a_peek_writes_nothing_and_renews_no_id() {
    let store = FaultyStore::new(MemoryStore::new());
    let faults = store.faults();
    let app = App::new(SessionLayer::server(store).with_renewal(5 * MINUTE));
    let mut browser = Browser::default();
    browser.set(&app, "n", 1).await;
    app.pass(10 * MINUTE);
    assert_eq!(peek(&mut browser, &app).await.1, Some(1));
    let saved = |loader: SessionLoader| async move { loader.peek().await?.save().await };
    visit(&mut browser, &app, saved).await.value();
    let writes = [Call::Touch, Call::Update, Call::Renew].map(|call| faults.calls(call));
    assert_eq!(writes, [0, 0, 0]);

    let before = browser.jar.clone();
    browser.get(&app, "n").await;
    assert_ne!(browser.jar, before, "a request that uses the session gets the new id");
}

#[tokio::test]
async fn a_visitor_without_a_session_may_peek() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        let look = |loader: SessionLoader| async move { Ok(loader.peek().await?.is_new()) };
        assert!(visit(&mut browser, &app, look).await.value());
        assert!(browser.jar.is_empty());
    }
}
