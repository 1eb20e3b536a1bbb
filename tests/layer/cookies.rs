//! Headers of requests and responses.

use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE, VARY};
use http::{Request, StatusCode};
use session_state::{CookieConfig, CookieState, KeyRing, MemoryStore, Session, SessionLayer};

use crate::browser::{App, Browser, send_request};

const ATTRIBUTES: &str = "; HttpOnly; SameSite=Lax; Secure; Path=/";

#[tokio::test]
async fn a_new_session_has_a_cookie_that_browsers_guard() {
    for app in App::everywhere() {
        let visit = Browser::default().set(&app, "n", 1).await;
        let [cookie] = visit.set_cookies()[..] else { panic!("one cookie: {:?}", visit.set_cookies()) };
        assert!(cookie.starts_with("__Host-Http-id="));
        assert!(cookie.ends_with(ATTRIBUTES), "{cookie}");
        assert_eq!(visit.headers[CACHE_CONTROL], "no-store");
        assert_eq!(visit.headers[VARY], "Cookie");
    }
}

#[tokio::test]
async fn a_logout_removes_the_cookie_with_the_attributes_it_was_set_with() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let visit = browser.visit(&app, |session| async move { session.logout() }).await;
        let expected = format!("__Host-Http-id={ATTRIBUTES}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
        let [removal] = visit.set_cookies()[..] else { panic!("one cookie") };
        let sorted = |cookie: &str| {
            let mut attributes: Vec<_> = cookie.split("; ").map(str::to_owned).collect();
            attributes.sort();
            attributes
        };
        assert_eq!(sorted(removal), sorted(&expected));
        assert!(browser.jar.is_empty());
    }
}

#[tokio::test]
async fn a_handler_without_the_session_leaves_the_response_unchanged() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let visit = browser.send_raw(&app, |_| async { Ok((StatusCode::OK, ())) }).await;
        assert!(visit.headers.is_empty(), "{:?}", visit.headers);
    }
}

#[tokio::test]
async fn an_id_that_the_server_did_not_make_is_never_adopted() {
    let app = App::memory();
    let planted = "A".repeat(43);
    let mut browser = Browser::default();
    browser.jar.insert("__Host-Http-id".into(), planted.clone());
    browser.set(&app, "n", 1).await;
    assert_ne!(browser.id(), Some(&*planted));
    let mut attacker = Browser::default();
    attacker.jar.insert("__Host-Http-id".into(), planted);
    assert_eq!(attacker.get(&app, "n").await, None);
}

#[tokio::test]
async fn a_session_cookie_with_two_values_is_anonymous_and_one_event() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let id = browser.id().unwrap();
        let _ = app.events();
        for (headers, value, events) in [
            (vec![format!("__Host-Http-id={id}; __Host-Http-id={id}")], Some(1), &[][..]),
            (vec![format!("__Host-Http-id={id}"), "__Host-Http-id=".to_owned()], None, &["DuplicateCookie"]),
        ] {
            let mut request = Request::new(());
            for header in headers {
                request.headers_mut().append(COOKIE, header.try_into().unwrap());
            }
            let visit = send_request(&app, request, |extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                Ok((StatusCode::OK, session.get::<u32>("n")?))
            })
            .await;
            assert_eq!(visit.value(), value);
            assert_eq!(app.events(), events);
        }
    }
}

#[tokio::test]
async fn every_changed_character_of_a_seal_makes_it_anonymous() {
    for app in [App::encrypted(), App::signed()] {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let sealed = browser.id().unwrap().to_owned();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let mut thief = Browser::default();
            thief.jar.insert("__Host-Http-id".into(), String::from_utf8(changed).unwrap());
            assert_eq!(thief.get(&app, "n").await, None, "character {index}");
        }
    }
}

#[tokio::test]
async fn a_seal_opens_under_no_other_name_application_or_kind() {
    let keys = KeyRing::generate().unwrap();
    let app = |state: CookieState| App::new(SessionLayer::client(state));
    let encrypted = app(CookieState::encrypted(keys.clone()));
    let mut browser = Browser::default();
    browser.set(&encrypted, "n", 1).await;
    let renamed = CookieConfig::new().with_name("__Host-Http-other").unwrap();
    let others = [
        app(CookieState::signed(keys.clone())),
        app(CookieState::encrypted(keys.clone()).with_application("shop")),
        app(CookieState::encrypted(keys)).with(|layer| layer.with_cookie(renamed).unwrap()),
    ];
    browser.jar.insert("__Host-Http-other".into(), browser.id().unwrap().to_owned());
    for other in &others {
        assert_eq!(browser.clone().get(other, "n").await, None);
        assert_eq!(other.events(), ["InvalidCookie"]);
    }
    assert_eq!(browser.get(&encrypted, "n").await, Some(1));
}

#[tokio::test]
async fn a_rotated_key_still_opens_and_the_response_is_sealed_with_the_new_one() {
    use session_state::Key;
    let (old, new) = (Key::generate().unwrap(), Key::generate().unwrap());
    let app = |keys: KeyRing| App::new(SessionLayer::client(CookieState::encrypted(keys)));
    let before = app(KeyRing::new(old.clone()));
    let during = app(KeyRing::new(old).rotate(new.clone()).unwrap());
    let after = app(KeyRing::new(new));
    let mut browser = Browser::default();
    browser.set(&before, "n", 1).await;
    assert_eq!(browser.clone().get(&after, "n").await, None);
    assert_eq!(browser.get(&during, "n").await, Some(1));
    assert_eq!(browser.get(&after, "n").await, Some(1));
    let visit = browser.visit(&after, |_| async {}).await;
    assert!(visit.set_cookies().is_empty(), "sealed with the newest key already");
}

#[tokio::test]
async fn state_in_chunks_takes_as_many_cookies_as_it_needs_and_clears_the_rest() {
    let state = CookieState::encrypted(KeyRing::generate().unwrap()).with_chunks(3);
    let app = App::new(SessionLayer::client(state));
    let mut browser = Browser::default();
    let store = |length: usize| move |session: Session| async move { session.insert("v", "x".repeat(length)).unwrap() };
    for (length, cookies) in [(100, 1), (8000, 3), (4000, 2), (10, 1)] {
        browser.visit(&app, store(length)).await.value();
        assert_eq!(browser.jar.len(), cookies, "{length}");
        let value = browser.visit(&app, |session| async move { session.get::<String>("v").unwrap() }).await.value();
        assert_eq!(value.map(|value| value.len()), Some(length));
    }
    let too_much = browser.visit(&app, store(12_000)).await;
    assert_eq!(too_much.status, StatusCode::INTERNAL_SERVER_ERROR);
    browser.visit(&app, store(8000)).await.value();
    browser.visit(&app, |session| async move { session.logout() }).await.value();
    assert!(browser.jar.is_empty());
}

#[tokio::test]
async fn chunks_are_cleared_even_if_they_are_invalid_or_were_saved_before() {
    let state = CookieState::encrypted(KeyRing::generate().unwrap()).with_chunks(3);
    let app = App::new(SessionLayer::client(state));
    let mut browser = Browser::default();
    let large = |session: Session| async move { session.insert("v", "x".repeat(8000)).unwrap() };
    browser.visit(&app, large).await.value();
    let id = browser.jar.get_mut("__Host-Http-id.1").unwrap();
    id.replace_range(..1, if id.starts_with('A') { "B" } else { "A" });
    browser.set(&app, "n", 1).await;
    assert_eq!(browser.jar.len(), 1);
    browser.visit(&app, large).await.value();
    let saved = browser.visit(&app, |session| async move {
        session.logout();
        session.save().await.unwrap();
        session.insert("n", 2).unwrap();
    });
    saved.await.value();
    assert_eq!(browser.jar.len(), 1);
    assert_eq!(browser.get(&app, "n").await, Some(2));
}

#[tokio::test]
async fn headers_of_the_handler_are_kept_and_completed() {
    use std::convert::Infallible;
    use tower::{Layer, ServiceExt, service_fn};
    let app = App::memory();
    let service = app.layer.layer(service_fn(|request: Request<()>| async move {
        let session = Session::from_extensions(request.extensions()).unwrap().load().await.unwrap();
        session.insert("n", 1).unwrap();
        let response = http::Response::builder()
            .header(SET_COOKIE, "theme=dark; Path=/")
            .header(SET_COOKIE, "__Host-Http-id=forged; Path=/")
            .header(VARY, "Accept-Encoding")
            .header(CACHE_CONTROL, "max-age=60");
        Ok::<_, Infallible>(response.body(()).unwrap())
    }));
    let response = service.oneshot(Request::new(())).await.unwrap();
    let cookies: Vec<_> = response.headers().get_all(SET_COOKIE).iter().map(|c| c.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 2);
    assert_eq!(cookies[0], "theme=dark; Path=/");
    assert!(cookies[1].starts_with("__Host-Http-id=") && !cookies[1].contains("forged"));
    let vary: Vec<_> = response.headers().get_all(VARY).iter().collect();
    assert_eq!(vary, ["Accept-Encoding", "Cookie"]);
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn two_layers_with_different_markers_are_isolated() {
    use std::convert::Infallible;
    use tower::{Layer, ServiceExt, service_fn};
    enum Admin {}
    let cookie = CookieConfig::new().with_name("__Host-Http-admin").unwrap();
    let visitors = SessionLayer::server(MemoryStore::new());
    let admins = SessionLayer::server(MemoryStore::new()).with_cookie(cookie).unwrap().with_marker::<Admin>();
    let service = admins.layer(visitors.layer(service_fn(|request: Request<()>| async move {
        let visitor = Session::from_extensions(request.extensions()).unwrap().load().await.unwrap();
        let admin = Session::<Admin>::with_marker_from_extensions(request.extensions()).unwrap().load().await.unwrap();
        let seen = (visitor.get::<u32>("n").unwrap(), admin.get::<u32>("n").unwrap());
        visitor.insert("n", 1).unwrap();
        admin.insert("n", 2).unwrap();
        let mut response = http::Response::new(());
        response.extensions_mut().insert(seen);
        Ok::<_, Infallible>(response)
    })));
    let response = service.clone().oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&(None::<u32>, None::<u32>)));
    let cookies = response.headers().get_all(SET_COOKIE).iter();
    let cookies: Vec<_> = cookies.map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap()).collect();
    let mut names: Vec<_> = cookies.iter().map(|cookie| cookie.split('=').next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["__Host-Http-admin", "__Host-Http-id"]);
    let request = Request::builder().header(COOKIE, cookies.join("; ")).body(()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&(Some(1_u32), Some(2_u32))));
}

#[tokio::test]
async fn a_route_outside_the_layer_gets_a_missing_layer_error() {
    let error = Session::from_extensions(Request::new(()).extensions()).unwrap_err();
    assert_eq!(error.kind(), &session_state::ErrorKind::MissingLayer);
    assert!(error.to_string().contains(".layer(sessions)"));
}
