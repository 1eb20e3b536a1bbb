//! A browser with two cookies of one name, which another domain, path or partition keeps apart: one request is
//! anonymous, and its response leaves the browser with one.

use http::header::{CACHE_CONTROL, VARY};
use http::{Extensions, StatusCode};
use session_state::{CookieConfig, CookieState, InCookie, KeyRing, MemoryStore, Part, SameSite, Session, SessionLayer};

use crate::browser::App;
use crate::deploy_cookies::{
    PAGE, Place, Theme, at, length, logs_in_and_out, named, theme, under, visitor, write_large,
};
use crate::jar::{Jar, Sender};

const HOME: &str = "https://app.example.com/";
const LOGIN: &str = "https://app.example.com/login";

fn embedded() -> CookieConfig {
    CookieConfig::new().with_same_site(SameSite::None)
}

/// A browser with the cookies of two releases: alice's and bob's.
async fn with_both(before: &App, after: &App) -> Jar {
    let mut jar = visitor(before, PAGE).await;
    let mut other = Jar::default();
    other.log_in(after, PAGE, "bob").await;
    jar.cookies.extend(other.cookies);
    jar
}

/// A login removes only variants with one change, or its response would be large. The next read removes all.
#[tokio::test]
async fn after_several_changes_at_once_the_first_login_takes_from_the_second_page_on() {
    let partitioned = embedded().with_partitioned(true);
    for (former, present) in [
        (at("/shop"), under("example.com")),
        (at("/shop/"), at("/")),
        (at("/shop/cart"), at("/")),
        (under("example.com").with_path("/shop").unwrap(), at("/")),
        (partitioned, embedded()),
    ] {
        for place in Place::both() {
            for sender in [Sender::Page, Sender::Script] {
                let (before, after) = (place.release(&former), place.release(&present));
                let mut jar = visitor(&before, PAGE).await;
                jar.sender = sender;
                assert_eq!(jar.principal(&after, PAGE).await.as_deref(), Some("alice"));
                jar.log_in(&after, PAGE, "bob").await;
                let _ = after.events();
                assert_eq!(jar.principal(&after, PAGE).await, None, "{former:?} to {present:?}");
                assert_eq!(after.events(), ["DuplicateCookie"]);
                assert_eq!(jar.principal(&after, PAGE).await.as_deref(), Some("bob"), "{former:?} to {present:?}");
                logs_in_and_out(jar, &after, &present, PAGE, "later").await;
            }
        }
    }
}

/// The login page never gets the former cookie, so it cannot know of it.
#[tokio::test]
async fn after_a_login_outside_the_former_path_the_first_page_under_it_is_anonymous() {
    for (former, present) in [(at("/shop"), at("/")), (at("/"), at("/shop")), (at("/shop"), under("example.com"))] {
        for place in Place::both() {
            for sender in [Sender::Page, Sender::Script] {
                let (before, after) = (place.release(&former), place.release(&present));
                let mut jar = visitor(&before, PAGE).await;
                jar.sender = sender;
                jar.log_in(&after, LOGIN, "bob").await;
                if present.path() == "/" {
                    assert_eq!(jar.principal(&after, HOME).await.as_deref(), Some("bob"));
                }
                assert_eq!(jar.principal(&after, PAGE).await, None);
                assert_eq!(jar.principal(&after, PAGE).await.as_deref(), Some("bob"));
                logs_in_and_out(jar, &after, &present, PAGE, "later").await;
            }
        }
    }
}

#[tokio::test]
async fn a_read_removes_all_variants_and_never_the_configured_cookie() {
    let in_shop = |config: CookieConfig| config.with_path("/shop").unwrap();
    let plain = [named("sid"), under("example.com"), under("app.example.com"), at("/shop"), at("/shop/")];
    let plain = [&plain[..], &[in_shop(under("example.com")), in_shop(under("app.example.com"))]].concat();
    for configs in [plain, vec![embedded(), embedded().with_partitioned(true)]] {
        for (former, present) in configs.iter().flat_map(|former| configs.iter().map(move |present| (former, present)))
        {
            if former == present {
                continue;
            }
            for place in Place::both() {
                let case = format!("{former:?} to {present:?}");
                let (before, after) = (place.release(former), place.release(present));
                let mut jar = with_both(&before, &after).await;
                let kept = jar.cookies.last().unwrap().value.clone();
                let read = jar.visit(&after, PAGE, |session| async move { session.principal() }).await;
                assert!(read.set_cookies().iter().all(|line| line.contains("=; ") && line.contains("; Max-Age=0")));
                assert_eq!(read.headers[CACHE_CONTROL], "no-store");
                assert_eq!(read.headers[VARY], "Cookie");
                assert_eq!(read.value(), None, "{case}");
                let [cookie] = &jar.cookies[..] else { panic!("{case}: {jar:?}") };
                assert_eq!(cookie.value, kept, "{case}");
                assert_eq!(jar.principal(&after, PAGE).await.as_deref(), Some("bob"), "{case}");
                let again = jar.visit(&after, PAGE, |session| async move { session.principal() }).await;
                assert!(again.set_cookies().is_empty(), "{case}: {:?}", again.set_cookies());
            }
        }
    }
}

#[tokio::test]
async fn a_planted_cookie_makes_one_page_anonymous() {
    for place in Place::both() {
        let app = place.release(&named("sid"));
        let mut jar = visitor(&app, PAGE).await;
        jar.log_in(&place.release(&under("example.com")), "https://evil.example.com/", "mallory").await;
        assert_eq!(jar.principal(&app, PAGE).await, None);
        assert_eq!(jar.principal(&app, PAGE).await.as_deref(), Some("alice"));
    }
}

/// What the request carries is all that the server knows: two values, and nothing of their domains and paths.
#[tokio::test]
async fn a_client_other_than_a_browser_gets_no_cookie_from_a_read() {
    for place in Place::both() {
        let (before, after) = (place.release(&under("example.com")), place.release(&named("sid")));
        let mut jar = with_both(&before, &after).await;
        jar.sender = Sender::Program;
        let _ = after.events();
        for _ in 0..2 {
            let read = jar.visit(&after, PAGE, |session| async move { session.principal() }).await;
            assert!(read.set_cookies().is_empty(), "a removal comes only with a cookie that is set");
            assert_eq!(read.value(), None);
            assert_eq!(after.events(), ["DuplicateCookie"]);
        }
        assert_eq!(jar.cookies.len(), 2);
    }
}

#[tokio::test]
async fn a_login_with_two_cookies_sends_the_removals_before_its_own() {
    for place in Place::both() {
        for sender in [Sender::Page, Sender::Program] {
            let (before, after) = (place.release(&under("example.com")), place.release(&named("sid")));
            let mut jar = with_both(&before, &after).await;
            jar.sender = sender;
            let login = jar.log_in(&after, PAGE, "carol").await;
            let lines = login.set_cookies();
            let (set, removals) = lines.split_last().unwrap();
            let is_removal = |line: &&str| line.starts_with("sid=; ") && line.contains("; Max-Age=0");
            assert!(!set.contains("Max-Age=0") && !removals.is_empty(), "{lines:?}");
            assert!(removals.iter().all(is_removal), "{lines:?}");
            assert_eq!(login.headers[CACHE_CONTROL], "no-store");
            assert_eq!(jar.named("sid").len(), 1);
            assert_eq!(jar.principal(&after, PAGE).await.as_deref(), Some("carol"));
        }
    }
}

#[tokio::test]
async fn over_plain_http_the_load_of_a_page_leaves_one_cookie_and_a_fetch_both() {
    const PLAIN: &str = "http://app.example.com/shop/cart";
    for place in Place::both() {
        let release = |cookie: CookieConfig| place.release(&cookie.with_insecure_http());
        let (before, after) = (release(under("example.com")), release(named("sid")));
        let mut jar = with_both(&before, &after).await;
        jar.sender = Sender::Script;
        assert_eq!(jar.principal(&after, PLAIN).await, None);
        assert_eq!(jar.principal(&after, PLAIN).await, None);
        jar.sender = Sender::Page;
        assert_eq!(jar.principal(&after, PLAIN).await, None);
        assert_eq!(jar.principal(&after, PLAIN).await.as_deref(), Some("bob"));
    }
}

#[tokio::test]
async fn a_response_whose_handler_used_no_session_removes_nothing() {
    let place = Place::Store(MemoryStore::new());
    let (before, after) = (place.release(&under("example.com")), place.release(&named("sid")));
    let mut jar = with_both(&before, &after).await;
    let visit = jar.send(&after, PAGE, |_: Extensions| async move { Ok(()) }).await;
    assert!(visit.set_cookies().is_empty(), "{:?}", visit.set_cookies());
    let peek = |extensions: Extensions| async move { Session::from_extensions(&extensions)?.peek().await.map(drop) };
    assert!(!jar.send(&after, PAGE, peek).await.set_cookies().is_empty());
    assert_eq!(jar.principal(&after, PAGE).await.as_deref(), Some("bob"));
}

/// During a rollout each node keeps the cookie of its own release.
#[tokio::test]
async fn with_nodes_of_two_releases_the_first_page_with_both_cookies_decides() {
    for place in Place::both() {
        let (before, after) = (place.release(&at("/shop")), place.release(&at("/")));
        let mut both = visitor(&before, PAGE).await;
        both.log_in(&after, LOGIN, "bob").await;
        assert_eq!(both.cookies.len(), 2);

        for (first, principal) in [(&before, "alice"), (&after, "bob")] {
            let mut jar = both.clone();
            assert_eq!(jar.principal(first, PAGE).await, None);
            for node in [&before, &after] {
                assert_eq!(jar.principal(node, PAGE).await.as_deref(), Some(principal));
            }
        }

        // At once: both cookies are removed, and the visitor begins anew.
        let (mut jar, mut tab) = (both.clone(), both);
        assert_eq!(jar.principal(&before, PAGE).await, None);
        assert_eq!(tab.principal(&after, PAGE).await, None);
        jar.cookies.retain(|cookie| tab.cookies.iter().any(|other| other.value == cookie.value));
        assert!(jar.cookies.is_empty(), "{jar:?}");
        assert_eq!(jar.principal(&after, PAGE).await, None);
        jar.log_in(&after, LOGIN, "bob").await;
        for node in [&before, &after] {
            assert_eq!(jar.principal(node, PAGE).await.as_deref(), Some("bob"));
        }
    }
}

#[tokio::test]
async fn chunks_of_two_releases_leave_one_cookie_each() {
    let keys = KeyRing::generate().unwrap();
    let release = |cookie: CookieConfig| {
        let state = CookieState::encrypted(keys.clone()).with_chunks(3);
        App::new(SessionLayer::client(state).with_cookie(cookie).unwrap())
    };
    let (before, after) = (release(under("example.com")), release(named("sid")));
    for size in [10, 4000, 8000] {
        for sender in [Sender::Page, Sender::Program] {
            let mut jar = Jar::default();
            assert_eq!(write_large(&mut jar, &before, 8000).await, StatusCode::OK);
            let mut other = Jar::default();
            assert_eq!(write_large(&mut other, &after, size).await, StatusCode::OK);
            jar.cookies.extend(other.cookies);
            jar.sender = sender;
            assert_eq!(length(&mut jar, &after).await, None, "two cookies of a name");
            if sender == Sender::Program {
                assert_eq!(write_large(&mut jar, &after, size).await, StatusCode::OK);
            }
            assert_eq!(length(&mut jar, &after).await, Some(size), "{jar:?}");
            let mut names: Vec<_> = jar.cookies.iter().map(|cookie| &cookie.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), jar.cookies.len(), "{names:?}");
        }
    }
}

/// A chunk beyond those of a smaller value does not count, nor may it cost the session its cookie.
#[tokio::test]
async fn chunks_that_do_not_count_cost_no_session() {
    let keys = KeyRing::generate().unwrap();
    let release = |cookie: CookieConfig, chunks| {
        let state = CookieState::encrypted(keys.clone()).with_chunks(chunks);
        App::new(SessionLayer::client(state).with_cookie(cookie).unwrap())
    };
    let mut jar = Jar::default();
    for cookie in [under("example.com"), named("sid")] {
        let mut other = Jar::default();
        write_large(&mut other, &release(cookie, 3), 8000).await;
        jar.cookies.extend(other.cookies.into_iter().filter(|cookie| cookie.name != "sid"));
    }
    jar.cookies.extend(visitor(&release(under("example.com"), 1), PAGE).await.cookies);
    let after = release(named("sid"), 1);
    for _ in 0..2 {
        assert_eq!(jar.principal(&after, PAGE).await.as_deref(), Some("alice"), "{jar:?}");
    }
}

#[tokio::test]
async fn a_read_leaves_one_cookie_of_a_part_also_if_the_response_sets_another() {
    let keys = KeyRing::generate().unwrap();
    let place = InCookie::encrypted(keys).with_default_retention();
    let release = |cookie: &CookieConfig| {
        let placed = |layer: SessionLayer| layer.with_part::<Theme>(place.clone()).unwrap();
        Place::Store(MemoryStore::new()).release(cookie).with(placed)
    };
    let (before, after) = (release(&under("example.com")), release(&named("sid")));
    for (logs_in, uses_part) in [(false, true), (true, false), (true, true)] {
        let mut jar = Jar::default();
        theme(&mut jar, &before, Some("dark")).await;
        let mut other = Jar::default();
        theme(&mut other, &after, Some("light")).await;
        jar.cookies.extend(other.cookies);
        let visit = jar.send(&after, PAGE, move |extensions| async move {
            if logs_in {
                Session::from_extensions(&extensions)?.load().await?.login("alice");
            }
            let theme = Part::<Theme>::from_extensions(&extensions);
            Ok(if uses_part { theme.await?.name.clone() } else { String::new() })
        });
        assert_eq!(visit.await.value(), "", "two cookies of a part");
        assert_eq!(theme(&mut jar, &after, None).await, "light");
        assert_eq!((jar.named("theme").len(), jar.named("sid").len()), (1, usize::from(logs_in)), "{jar:?}");
    }
}

/// No removal could help: a browser has one cookie of such a name, and two come from no browser.
#[tokio::test]
async fn a_name_that_is_bound_to_the_host_has_nothing_to_remove() {
    for place in Place::both() {
        let app = place.release(&CookieConfig::new());
        let mut jar = visitor(&app, PAGE).await;
        jar.cookies.extend(visitor(&app, PAGE).await.cookies);
        let read = jar.visit(&app, PAGE, |session| async move { session.principal() }).await;
        assert!(read.set_cookies().is_empty(), "{:?}", read.set_cookies());
        assert_eq!(read.value(), None);
    }
}
