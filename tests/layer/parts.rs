//! Parts: typed, each in its place.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_state::{
    ErrorKind, InCookie, InStore, KeyRing, MemoryStore, Part, PartPlace, ServerErrorPolicy, Session, SessionPart,
};

use crate::browser::{App, Browser};
use crate::part_kit::visit;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cart {
    lines: Vec<String>,
    #[serde(default)]
    note: String,
}

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

/// The same part in an older release of the application.
#[derive(Default, Serialize, Deserialize)]
struct OldCart {
    lines: Vec<String>,
}

impl SessionPart for OldCart {
    const NAME: &'static str = "cart";
}

#[derive(Default, Serialize, Deserialize)]
struct OtherType {
    lines: u32,
}

impl SessionPart for OtherType {
    const NAME: &'static str = "cart";
}

async fn cart(browser: &mut Browser, app: &App) -> Cart {
    visit::<Cart, _>(browser, app, |cart| (**cart).clone()).await.value()
}

fn placements() -> Vec<App> {
    let keys = || KeyRing::generate().unwrap();
    let mut apps = Vec::from(App::everywhere());
    apps.push(App::memory().with(|layer| layer.with_part::<Cart>(InCookie::encrypted(keys())).unwrap()));
    apps.push(
        App::memory()
            .with(|layer| layer.with_part::<Cart>(InCookie::encrypted(keys()).with_default_retention()).unwrap()),
    );
    apps.push(
        App::memory().with(|layer| layer.with_part::<Cart>(InCookie::signed(keys()).with_default_retention()).unwrap()),
    );
    apps.push(App::encrypted().with(|layer| layer.with_part::<Cart>(InCookie::signed(keys())).unwrap()));
    let in_store = || InStore::new(MemoryStore::new());
    for app in App::everywhere() {
        apps.push(app.with(|layer| layer.with_part::<Cart>(in_store()).unwrap()));
    }
    apps.push(App::memory().with(|layer| layer.with_part::<Cart>(in_store().with_encryption_at_rest(keys())).unwrap()));
    apps
}

#[tokio::test]
async fn a_part_is_saved_only_if_it_changed() {
    for app in placements() {
        let mut browser = Browser::default();
        assert_eq!(cart(&mut browser, &app).await, Cart::default());
        assert!(browser.jar.is_empty(), "reading stores nothing");
        visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.clear()).await.value();
        assert!(browser.jar.is_empty(), "touched, but the same");
        visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.push("pen".into())).await.value();
        assert!(!browser.jar.is_empty());
        visit::<Cart, _>(&mut browser, &app, |cart| cart.update(|cart| cart.lines.push("ink".into()))).await.value();
        let changed = visit::<Cart, _>(&mut browser, &app, |cart| {
            cart.note = "gift".into();
            cart.update(|cart| cart.lines.push(format!("card: {}", cart.note)));
            cart.lines.push("bag".into());
        });
        changed.await.value();
        let expected = ["pen", "ink", "card: gift", "bag"].map(str::to_owned).into();
        assert_eq!(cart(&mut browser, &app).await, Cart { lines: expected, note: "gift".into() });
        let read = visit::<Cart, _>(&mut browser, &app, |_| ()).await;
        assert!(read.set_cookies().is_empty());
        assert_eq!(read.headers["vary"], "Cookie");
    }
}

#[tokio::test]
async fn a_second_part_of_a_type_is_an_error_while_the_first_is_held() {
    for app in placements() {
        let browser = Browser::default();
        let outcome = browser
            .send_raw(&app, |extensions| async move {
                let mut first = Part::<Cart>::from_extensions(&extensions).await?;
                first.lines.push("pen".into());
                let error = Part::<Cart>::from_extensions(&extensions).await.unwrap_err();
                drop(first);
                let second = Part::<Cart>::from_extensions(&extensions).await?;
                Ok((StatusCode::OK, (error, second.lines.clone())))
            })
            .await;
        let (error, lines) = outcome.value();
        assert_eq!(error.kind(), &ErrorKind::PartInUse { part: "cart" });
        assert_eq!(lines, ["pen"]);
    }
}

#[tokio::test]
async fn unknown_fields_are_preserved() {
    let app = App::memory();
    let mut browser = Browser::default();
    visit::<Cart, _>(&mut browser, &app, |cart| cart.note = "for later".into()).await.value();
    visit::<OldCart, _>(&mut browser, &app, |cart| cart.lines.push("pen".into())).await.value();
    visit::<OldCart, _>(&mut browser, &app, |cart| cart.update(|cart| cart.lines.push("ink".into()))).await.value();
    let expected = Cart { lines: vec!["pen".into(), "ink".into()], note: "for later".into() };
    assert_eq!(cart(&mut browser, &app).await, expected);
}

#[tokio::test]
async fn a_part_that_does_not_decode_is_an_error_for_its_handler_alone() {
    let app = App::memory();
    let mut browser = Browser::default();
    visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.push("pen".into())).await.value();
    let failed = visit::<OtherType, _>(&mut browser, &app, |_| ()).await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(failed.error.unwrap().kind(), &ErrorKind::Decode { key: "cart".into() });
    assert_eq!(browser.set(&app, "n", 1).await.status, StatusCode::OK);
    assert_eq!(cart(&mut browser, &app).await.lines, ["pen"]);
}

#[tokio::test]
async fn parts_and_values_do_not_share_names() {
    let app = App::memory();
    let mut browser = Browser::default();
    visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.push("pen".into())).await.value();
    let seen = browser.visit(&app, |session| async move {
        session.insert("cart", 1).unwrap();
        session.insert("@cart", 2).unwrap();
        (session.keys(), session.len())
    });
    assert_eq!(seen.await.value(), (vec!["cart".to_owned(), "@cart".to_owned()], 2));
    assert_eq!(cart(&mut browser, &app).await.lines, ["pen"]);
    assert_eq!(browser.get(&app, "@cart").await, Some(2));
}

#[tokio::test]
async fn updates_of_two_requests_at_once_are_both_kept() {
    let app = App::memory();
    let mut browser = Browser::default();
    visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.push("pen".into())).await.value();
    let (mut other, other_app) = (browser.clone(), app.clone());
    let slow = browser
        .send_raw(&app, |extensions| async move {
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            visit::<Cart, _>(&mut other, &other_app, |cart| cart.update(|cart| cart.lines.push("ink".into()))).await;
            cart.update(|cart| cart.lines.push("bag".into()));
            Ok((StatusCode::OK, ()))
        })
        .await;
    slow.value();
    assert_eq!(cart(&mut browser, &app).await.lines, ["pen", "ink", "bag"]);
}

#[tokio::test]
async fn a_bound_part_opens_only_in_its_session_and_ends_with_it() {
    let keys = KeyRing::generate().unwrap();
    let app = App::memory().with(|layer| layer.with_part::<Cart>(InCookie::encrypted(keys)).unwrap());
    let (mut alice, mut bob) = (Browser::default(), Browser::default());
    for browser in [&mut alice, &mut bob] {
        visit::<Cart, _>(browser, &app, |cart| cart.lines.push("pen".into())).await.value();
        assert_eq!(browser.jar.keys().collect::<Vec<_>>(), ["__Host-Http-cart", "__Host-Http-id"]);
    }
    let mut swapped = bob.clone();
    swapped.jar.insert("__Host-Http-cart".into(), alice.jar["__Host-Http-cart"].clone());
    assert_eq!(cart(&mut swapped, &app).await, Cart::default());
    alice.visit(&app, |session| async move { session.renew() }).await.value();
    assert_eq!(cart(&mut alice, &app).await.lines, ["pen"], "a renewal keeps it");
    let cookie = alice.jar["__Host-Http-cart"].clone();
    alice.visit(&app, |session| async move { session.logout() }).await.value();
    assert!(alice.jar.is_empty());
    alice.set(&app, "n", 1).await;
    alice.jar.insert("__Host-Http-cart".into(), cookie);
    assert_eq!(cart(&mut alice, &app).await, Cart::default(), "replayed into another session");
}

#[tokio::test]
async fn a_bound_part_ends_with_its_session_when_the_handler_saves_the_logout() {
    let keys = KeyRing::generate().unwrap();
    let app = App::memory().with(|layer| layer.with_part::<Cart>(InCookie::encrypted(keys)).unwrap());
    let mut browser = Browser::default();
    visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.push("pen".into())).await.value();
    let logout = |session: Session| async move {
        session.logout();
        session.save().await.unwrap();
    };
    browser.visit(&app, logout).await.value();
    assert!(browser.jar.is_empty());
}

#[tokio::test]
async fn a_bound_part_does_not_pass_from_one_principal_to_another() {
    let keys = KeyRing::generate().unwrap();
    let app = App::memory().with(|layer| layer.with_part::<Cart>(InCookie::encrypted(keys)).unwrap());
    let mut browser = Browser::default();
    visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.push("pen".into())).await.value();
    browser.visit(&app, |session| async move { session.login("alice") }).await.value();
    assert_eq!(cart(&mut browser, &app).await.lines, ["pen"]);
    browser.visit(&app, |session| async move { session.login("bob") }).await.value();
    let _ = app.events();
    assert_eq!(browser.jar.keys().collect::<Vec<_>>(), ["__Host-Http-id"]);
    assert_eq!(cart(&mut browser, &app).await, Cart::default());
    assert!(app.events().is_empty());
}

/// However a session ends in a request, its bound part does not get into the next session.
#[tokio::test]
async fn a_bound_part_held_during_a_takeover_keeps_nothing() {
    let ends: [fn(&Session); 3] =
        [|session| session.login("bob"), |session| session.login_fresh("alice"), |session| session.logout()];
    for end in ends {
        let keys = KeyRing::generate().unwrap();
        let app = App::memory().with(|layer| layer.with_part::<Cart>(InCookie::encrypted(keys)).unwrap());
        let mut browser = Browser::default();
        visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.push("pen".into())).await.value();
        browser.visit(&app, |session| async move { session.login("alice") }).await.value();
        let changed = browser
            .send_raw(&app, move |extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                let mut before = Part::<Cart>::from_extensions(&extensions).await?;
                before.note = "written before".into();
                drop(before);
                let held = Part::<Cart>::from_extensions(&extensions).await?;
                end(&session);
                drop(held);
                let mut after = Part::<Cart>::from_extensions(&extensions).await?;
                assert_eq!(*after, Cart::default());
                after.note = "written after".into();
                drop(after);
                session.insert("more", 1)?;
                Ok((StatusCode::OK, ()))
            })
            .await;
        browser.receive(&changed);
        assert_eq!(changed.set_cookies().len(), 2);
        assert_eq!(cart(&mut browser, &app).await, Cart { lines: Vec::new(), note: "written after".into() });
    }
}

/// A part without optional fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Form {
    name: String,
    page: u32,
}

impl SessionPart for Form {
    const NAME: &'static str = "form";
}

#[tokio::test]
async fn a_part_written_after_its_session_ended_or_was_cleared_is_readable() {
    let ends: [fn(&Session); 2] = [Session::logout, Session::clear];
    for (app, end) in App::everywhere().into_iter().flat_map(|app| ends.map(|end| (app.clone(), end))) {
        let mut browser = Browser::default();
        visit::<Form, _>(&mut browser, &app, |form| form.name = "alice".into()).await.value();
        let changed = browser
            .send_raw(&app, move |extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                let mut form = Part::<Form>::from_extensions(&extensions).await?;
                end(&session);
                form.page = 2;
                Ok((StatusCode::OK, ()))
            })
            .await;
        browser.receive(&changed);
        let form = visit::<Form, _>(&mut browser, &app, |form| (**form).clone()).await.value();
        assert_eq!(form, Form { name: String::new(), page: 2 });
    }
}

/// Panics when it is serialized, like a `RefCell` in use.
#[derive(Default, Deserialize)]
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("the test panics here")
    }
}

impl SessionPart for Unwritable {
    const NAME: &'static str = "unwritable";
}

#[tokio::test]
async fn a_part_that_panics_while_it_is_written_commits_nothing() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let visit = browser
            .send_raw(&app, |extensions| async move {
                let loaded = Session::from_extensions(&extensions)?;
                loaded.load().await?.insert("n", 2)?;
                let mut part = Part::<Unwritable>::from_extensions(&extensions).await?;
                let handler = async move {
                    let _ = &mut *part;
                    drop(part);
                };
                assert!(AssertUnwindSafe(handler).catch_unwind().await.is_err());
                Ok((StatusCode::INTERNAL_SERVER_ERROR, ()))
            })
            .await;
        assert!(visit.set_cookies().is_empty());
        assert_eq!(browser.get(&app, "n").await, Some(1));
    }
}

#[tokio::test]
async fn a_part_with_a_retention_needs_no_session_and_survives_a_logout() {
    let keys = KeyRing::generate().unwrap();
    let app = App::memory()
        .with(|layer| layer.with_part::<Cart>(InCookie::encrypted(keys).with_default_retention()).unwrap());
    let mut browser = Browser::default();
    let stored = visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.push("pen".into())).await;
    let [cookie] = stored.set_cookies()[..] else { panic!("one cookie") };
    assert!(cookie.starts_with("__Host-Http-cart=") && cookie.ends_with("; Max-Age=15552000"), "{cookie}");
    browser.set(&app, "n", 1).await;
    browser.visit(&app, |session| async move { session.logout() }).await.value();
    assert_eq!(cart(&mut browser, &app).await.lines, ["pen"]);
    app.pass(std::time::Duration::from_secs(179 * 24 * 60 * 60));
    assert_eq!(cart(&mut browser, &app).await.lines, ["pen"]);
    app.pass(std::time::Duration::from_secs(180 * 24 * 60 * 60));
    assert_eq!(cart(&mut browser, &app).await, Cart::default());
}

#[tokio::test]
async fn a_part_too_large_for_its_cookie_is_named_and_nothing_is_stored() {
    let keys = KeyRing::generate().unwrap();
    let app = App::memory().with(|layer| layer.with_part::<Cart>(InCookie::encrypted(keys)).unwrap());
    let mut browser = Browser::default();
    visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.push("pen".into())).await.value();
    let before = browser.clone();
    let failed = browser
        .send_raw(&app, |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            session.insert("n", 1)?;
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            cart.note = "x".repeat(5000);
            Ok((StatusCode::OK, ()))
        })
        .await;
    assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(matches!(failed.error.unwrap().kind(), ErrorKind::TooLarge { what, .. } if what == "cart"));
    browser = before;
    assert_eq!(browser.get(&app, "n").await, None);
    assert_eq!(cart(&mut browser, &app).await.lines, ["pen"]);
}

#[tokio::test]
async fn a_discarded_change_of_a_part_leaves_the_clients_cookie() {
    let keys = KeyRing::generate().unwrap();
    let app = App::memory().with(|layer| {
        layer.with_part::<Cart>(InCookie::encrypted(keys)).unwrap().with_server_error_policy(ServerErrorPolicy::Discard)
    });
    let mut browser = Browser::default();
    visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.push("pen".into())).await.value();
    let failed = browser
        .send_raw(&app, |extensions| async move {
            Part::<Cart>::from_extensions(&extensions).await?.lines.clear();
            Ok((StatusCode::INTERNAL_SERVER_ERROR, ()))
        })
        .await;
    assert!(failed.set_cookies().is_empty());
    assert_eq!(cart(&mut browser, &app).await.lines, ["pen"]);
}

#[tokio::test]
async fn a_part_tells_where_it_lives() {
    for (index, app) in placements().into_iter().enumerate() {
        // Two stores and two cookies hold the session, then four cookies hold the part, and then separate records.
        let place = match index {
            0..4 => PartPlace::Session,
            4..8 => PartPlace::Cookie,
            _ => PartPlace::Store,
        };
        let mut browser = Browser::default();
        let info = visit::<Cart, _>(&mut browser, &app, |cart| cart.info()).await.value();
        assert_eq!((info.place, info.size, info.expires_at), (place, 0, None));
        visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.push("pen".into())).await.value();
        let info = visit::<Cart, _>(&mut browser, &app, |cart| cart.info()).await.value();
        assert_eq!((info.place, info.size), (place, r#"{"lines":["pen"],"note":""}"#.len()));
        assert!(info.created_at.unwrap() < info.expires_at.unwrap());
    }
}

#[tokio::test]
async fn a_browser_keeps_a_bound_part_as_long_as_the_session_can_last() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    for app in [App::memory(), App::encrypted()] {
        let place = InCookie::encrypted(KeyRing::generate().unwrap());
        let app = app.with(|layer| layer.with_part::<Cart>(place).unwrap());
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let stored = visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.push("pen".into())).await;
        let of_part = |cookies: Vec<&str>| {
            let mut of_part = cookies.into_iter().filter(|cookie| cookie.starts_with("__Host-Http-cart="));
            of_part.next().expect("a cookie of the part").to_owned()
        };
        assert!(!of_part(stored.set_cookies()).contains("Max-Age"), "{stored:?}");
        let login = browser.visit(&app, |session| async move {
            session.login("alice");
            session.set_idle_timeout(14 * DAY);
            session.set_absolute_timeout(90 * DAY);
        });
        let login = login.await;
        assert!(of_part(login.set_cookies()).ends_with("; Max-Age=7776000"), "{login:?}");
        app.pass(DAY);
        let stored = visit::<Cart, _>(&mut browser, &app, |cart| cart.lines.push("ink".into())).await;
        assert!(of_part(stored.set_cookies()).ends_with("; Max-Age=7689600"), "{stored:?}");
        assert_eq!(cart(&mut browser, &app).await.lines, ["pen", "ink"]);
    }
}
