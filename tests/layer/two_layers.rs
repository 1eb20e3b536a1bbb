//! Two layers over one store, such as for customers and for staff of a shop: the cookie of one layer is invalid in the
//! other.

use session_state::{
    CookieConfig, CookieState, InStore, KeyRing, MemoryStore, Part, Session, SessionLayer, SessionPart,
};

use crate::browser::{App, Browser};

const ADMIN: &str = "__Host-Http-admin";

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Notes {
    text: String,
}

impl SessionPart for Notes {
    const NAME: &'static str = "notes";
}

/// A layer for customers and one for staff, which differ only in the name of the cookie.
fn pairs() -> Vec<(&'static str, App, App)> {
    let (store, parts, keys) = (MemoryStore::new(), MemoryStore::new(), KeyRing::generate().unwrap());
    let pair = |name, layer: &dyn Fn() -> SessionLayer| {
        let cookie = CookieConfig::new().with_name(ADMIN).unwrap();
        (name, App::new(layer()), App::new(layer().with_cookie(cookie).unwrap()))
    };
    vec![
        pair("store", &|| SessionLayer::server(store.clone())),
        pair("sealed store", &|| SessionLayer::server(store.clone()).with_encryption_at_rest(keys.clone()).unwrap()),
        pair("store of parts", &|| {
            SessionLayer::server(store.clone()).with_part::<Notes>(InStore::new(parts.clone())).unwrap()
        }),
        pair("cookie", &|| SessionLayer::client(CookieState::encrypted(keys.clone()))),
        pair("signed cookie", &|| SessionLayer::client(CookieState::signed(keys.clone()))),
        pair("cookie with revocation", &|| {
            SessionLayer::client(CookieState::encrypted(keys.clone()).with_revocation(store.clone()))
        }),
    ]
}

/// The same browser, with the customer's cookies under the name of the other layer.
fn renamed(browser: &Browser) -> Browser {
    let rename = |(name, value): (&String, &String)| (name.replace("__Host-Http-id", ADMIN), value.clone());
    Browser { jar: browser.jar.iter().map(rename).collect() }
}

async fn logged_in(app: &App) -> Browser {
    let mut browser = Browser::default();
    let begin = |session: Session| async move {
        session.login("root");
        session.insert("n", 1).unwrap();
    };
    browser.visit(app, begin).await.value();
    browser
}

async fn seen(app: &App, browser: &Browser) -> (bool, Option<String>, Option<u32>) {
    let look = |session: Session| async move { (session.is_new(), session.principal(), session.get("n").unwrap()) };
    browser.send(app, look).await.value()
}

#[tokio::test]
async fn a_cookie_of_one_layer_opens_nothing_in_another() {
    for (name, shop, admin) in pairs() {
        let browser = logged_in(&shop).await;
        assert_eq!(seen(&shop, &browser).await, (false, Some("root".to_owned()), Some(1)), "{name}");
        assert_eq!(seen(&admin, &renamed(&browser)).await, (true, None, None), "{name}");
    }
}

#[tokio::test]
async fn a_cookie_that_is_renewed_opens_nothing_in_another_layer_before_and_after() {
    for (name, shop, admin) in pairs() {
        let mut browser = logged_in(&shop).await;
        let old = browser.clone();
        browser.visit(&shop, |session| async move { session.renew() }).await.value();
        // Within the grace period the old one leads to its successor.
        for browser in [&old, &browser] {
            assert_eq!(seen(&shop, browser).await.1.as_deref(), Some("root"), "{name}");
            assert_eq!(seen(&admin, &renamed(browser)).await, (true, None, None), "{name}");
        }
    }
}

#[tokio::test]
async fn using_a_cookie_of_another_layer_does_not_affect_its_session() {
    for (name, shop, admin) in pairs() {
        for act in ["insert", "logout", "login", "renew"] {
            let browser = logged_in(&shop).await;
            let mut intruder = renamed(&browser);
            let change = move |session: Session| async move {
                match act {
                    "insert" => session.insert("n", 2).unwrap(),
                    "logout" => session.logout(),
                    "login" => session.login("mallory"),
                    _ => session.renew(),
                }
            };
            intruder.visit(&admin, change).await.value();
            assert_eq!(seen(&shop, &browser).await, (false, Some("root".to_owned()), Some(1)), "{name}, {act}");
            if intruder.jar.contains_key(ADMIN) {
                let principal = seen(&admin, &intruder).await.1;
                assert_eq!(principal.as_deref(), (act == "login").then_some("mallory"), "{name}, {act}");
            }
        }
    }
}

/// Nodes of one application share their sessions, even if other settings differ.
#[tokio::test]
async fn a_cookie_of_one_layer_opens_its_session_in_a_layer_with_the_same_name() {
    let store = MemoryStore::new();
    let node = || App::new(SessionLayer::server(store.clone()));
    let (one, other) =
        (node(), node().with(|layer| layer.with_idle_timeout(None).with_marker::<session_state::Main>()));
    let browser = logged_in(&one).await;
    assert_eq!(seen(&other, &browser).await, (false, Some("root".to_owned()), Some(1)));
}

#[tokio::test]
async fn a_part_of_one_layer_is_not_found_in_another() {
    let (name, shop, admin) = pairs().swap_remove(2);
    let text = |app: &App, browser: &Browser| {
        let (app, browser) = (app.clone(), browser.clone());
        async move {
            let look = |extensions| async move {
                Ok((http::StatusCode::OK, Part::<Notes>::from_extensions(&extensions).await?.text.clone()))
            };
            browser.send_raw(&app, look).await.value()
        }
    };
    let mut browser = logged_in(&shop).await;
    let visit = browser.send_raw(&shop, |extensions| async move {
        Part::<Notes>::from_extensions(&extensions).await?.text.push_str("secret");
        Ok((http::StatusCode::OK, ()))
    });
    browser.receive(&visit.await);
    assert_eq!(text(&shop, &browser).await, "secret", "{name}");
    assert_eq!(text(&admin, &renamed(&browser)).await, "", "{name}");
}
