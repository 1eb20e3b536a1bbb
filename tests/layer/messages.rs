//! The messages of errors: they name the thing, and the remedy.

use axum::extract::FromRequestParts;
use http::{Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use session_state::{
    CookieConfig, Error, ErrorKind, InCookie, KeyRing, MemoryStore, Part, Session, SessionLayer, SessionLoader,
    SessionPart,
};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::browser::{App, Browser};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Cart {
    lines: Vec<String>,
}

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

/// Another type under the same name, by mistake.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Basket {
    lines: Vec<u32>,
}

impl SessionPart for Basket {
    const NAME: &'static str = "cart";
}

/// Takes both parts in one request.
async fn take_both(app: &App) -> Error {
    let browser = Browser::default();
    let visit = browser.send_raw(app, |extensions| async move {
        let _cart = Part::<Cart>::from_extensions(&extensions).await?;
        let _basket = Part::<Basket>::from_extensions(&extensions).await?;
        Ok((StatusCode::OK, ()))
    });
    visit.await.error.expect("the second part cannot be taken")
}

#[tokio::test]
async fn two_types_of_parts_with_one_name_are_an_error_that_names_both() {
    let keys = KeyRing::generate().unwrap();
    let placed = App::memory().with(|layer| layer.with_part::<Cart>(InCookie::encrypted(keys.clone())).unwrap());
    let placed_second = App::memory().with(|layer| layer.with_part::<Basket>(InCookie::encrypted(keys)).unwrap());
    for app in [App::memory(), placed, placed_second] {
        let error = take_both(&app).await;
        assert!(matches!(error.kind(), ErrorKind::DuplicatePartName { part: "cart", .. }), "{error:?}");
        let message = error.to_string();
        for piece in ["layer::messages::Cart", "layer::messages::Basket", "\"cart\"", "another `NAME`"] {
            assert!(message.contains(piece), "{piece} is missing: {message}");
        }
    }
}

#[test]
fn two_types_of_parts_with_one_name_are_refused_when_the_layer_is_built() {
    let keys = KeyRing::generate().unwrap();
    let layer = SessionLayer::server(MemoryStore::new()).with_part::<Cart>(InCookie::encrypted(keys.clone())).unwrap();
    let message = layer.with_part::<Basket>(InCookie::encrypted(keys)).unwrap_err().to_string();
    assert_eq!(
        message,
        "the part types `layer::messages::Cart` and `layer::messages::Basket` are both named \"cart\": \
         give one of them another `NAME`"
    );
}

#[tokio::test]
async fn one_part_taken_twice_is_an_error_that_says_to_drop_the_first() {
    let (app, browser) = (App::memory(), Browser::default());
    let visit = browser.send_raw(&app, |extensions| async move {
        let _one = Part::<Cart>::from_extensions(&extensions).await?;
        let _two = Part::<Cart>::from_extensions(&extensions).await?;
        Ok((StatusCode::OK, ()))
    });
    let error = visit.await.error.unwrap();
    assert_eq!(
        error.to_string(),
        "part \"cart\" is already in use by this request: drop the first before taking a second"
    );
}

#[tokio::test]
async fn values_that_cannot_be_decoded_or_encoded_are_named_with_their_type() {
    let messages = |session: Session| async move {
        session.insert("n", "text").unwrap();
        [
            session.get::<u64>("n").unwrap_err().to_string(),
            session.update("n", |n: &mut u64| *n += 1).unwrap_err().to_string(),
            session.insert("f", f64::NAN).unwrap_err().to_string(),
        ]
    };
    let [read, updated, written] = Browser::default().visit(&App::memory(), messages).await.value();
    assert_eq!(read, "the session's value \"n\" cannot be decoded as `u64`");
    assert_eq!(updated, read);
    assert_eq!(written, "the value for \"f\", a `f64`, cannot be written as json");

    let (app, mut browser) = (App::memory(), Browser::default());
    let visit = browser.send_raw(&app, |extensions| async move {
        Part::<Cart>::from_extensions(&extensions).await?.lines.push("biscuits".to_owned());
        Ok((StatusCode::OK, ()))
    });
    let visit = visit.await;
    browser.receive(&visit);
    let visit = browser.send_raw(&app, |extensions| async move {
        Part::<Basket>::from_extensions(&extensions).await?;
        Ok((StatusCode::OK, ()))
    });
    let message = visit.await.error.unwrap().to_string();
    assert_eq!(message, "the session's value \"cart\" cannot be decoded as `layer::messages::Basket`");
}

enum Admin {}

#[tokio::test]
async fn the_extractors_can_be_called_by_their_plain_names() {
    let cookie = CookieConfig::new().with_name("__Host-Http-admin").unwrap();
    let main = SessionLayer::server(MemoryStore::new());
    let admin = SessionLayer::server(MemoryStore::new()).with_cookie(cookie).unwrap().with_marker::<Admin>();
    let handler = service_fn(|request: Request<()>| async move {
        let (parts, state) = (&mut request.into_parts().0, &());
        let session = Session::from_request_parts(parts, state).await?;
        let admin = Session::<Admin>::from_request_parts(parts, state).await?;
        let loader = SessionLoader::from_request_parts(parts, state).await?;
        let part = Part::<Cart>::from_request_parts(parts, state).await?;
        assert!(session.is_new() && admin.is_new() && loader.load().await?.is_new() && part.lines.is_empty());
        Ok::<_, Error>(Response::new(()))
    });
    admin.layer(main.layer(handler)).oneshot(Request::new(())).await.unwrap();
}
