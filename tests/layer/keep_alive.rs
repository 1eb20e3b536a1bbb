//! A task that holds a session longer than its request, such as a WebSocket, uses it by saving it.

use std::time::Duration;

use session_state::Session;

use crate::browser::{App, Browser};

const MINUTE: Duration = Duration::from_secs(60);

/// What another request of the visitor does meanwhile.
#[derive(Clone, Copy, Debug)]
enum Other {
    Nothing,
    Update,
    Renew,
}

/// A visitor with a socket open, which holds the session.
async fn opened(app: &App) -> (Browser, Session) {
    let mut browser = Browser::default();
    browser.set(app, "n", 1).await;
    let socket = browser.visit(app, |session| async move { session }).await.value();
    (browser, socket)
}

#[tokio::test]
async fn saving_keeps_a_session_alive_whatever_other_requests_do() {
    for app in [App::memory(), App::everywhere()[1].clone()] {
        for other in [Other::Nothing, Other::Update, Other::Renew] {
            let (mut browser, socket) = opened(&app).await;
            match other {
                Other::Nothing => {}
                Other::Update => drop(browser.set(&app, "m", 2).await),
                Other::Renew => browser.visit(&app, |session| async move { session.renew() }).await.value(),
            }
            for _ in 0..12 {
                app.pass(10 * MINUTE);
                socket.save().await.unwrap();
                assert!(!socket.is_new(), "{other:?}");
            }
            assert_eq!(browser.get(&app, "n").await, Some(1), "{other:?}");
            assert_eq!(socket.get::<u32>("n").unwrap(), Some(1), "{other:?}");
        }
    }
}

#[tokio::test]
async fn a_session_that_is_not_saved_ends_under_the_task_that_holds_it() {
    let app = App::memory();
    let (_browser, socket) = opened(&app).await;
    app.pass(31 * MINUTE);
    socket.save().await.unwrap();
    assert!(socket.is_new());
}

#[tokio::test]
async fn a_save_finds_out_that_the_session_has_ended() {
    for app in [App::memory(), App::everywhere()[1].clone()] {
        for ends in [Session::logout, |session: &Session| session.login("alice")] {
            let (mut browser, socket) = opened(&app).await;
            browser.visit(&app, move |session| async move { ends(&session) }).await.value();
            app.pass(MINUTE);
            socket.save().await.unwrap();
            assert!(socket.is_new());
            assert_eq!(socket.get::<u32>("n").unwrap(), None);
        }
    }
}
