//! Limits on the size and the number of keys of a session.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_state::{Error, ErrorKind, Part, Session, SessionPart};

use crate::browser::{App, Browser};

#[derive(Default, Serialize, Deserialize)]
struct Notes {
    text: String,
}

impl SessionPart for Notes {
    const NAME: &'static str = "notes";
}

fn limited(limit: usize) -> [App; 4] {
    App::everywhere().map(|app| app.with(|layer| layer.with_max_record_size(limit)))
}

fn assert_too_large<T: std::fmt::Debug>(result: Result<T, Error>, limit: usize) {
    let error = result.unwrap_err();
    let ErrorKind::TooLarge { what, size, limit: told } = error.kind() else { panic!("{error}") };
    assert_eq!((what.as_ref(), *told), ("session", limit));
    assert!(*size > limit, "{size}");
}

#[tokio::test]
async fn a_value_that_makes_a_session_too_large_is_rejected_and_the_rest_is_saved() {
    for app in limited(1000) {
        let mut browser = Browser::default();
        let visit = browser.visit(&app, |session| async move {
            let mut inserted = 0;
            let refused = loop {
                match session.insert(&format!("key {inserted}"), "x".repeat(90)) {
                    Ok(()) => inserted += 1,
                    Err(error) => break error,
                }
            };
            assert_too_large(Err::<(), _>(refused), 1000);
            assert!(!session.contains(&format!("key {inserted}")) && session.len() == inserted);
            session.save().await.unwrap();
            session.insert("last", 1).unwrap();
            inserted
        });
        // Each has 5 bytes for its key, 92 for its text, and two for their lengths.
        assert_eq!(visit.await.value(), 10);
        let kept = |session: Session| async move { (session.len(), session.get("last").unwrap()) };
        assert_eq!(browser.visit(&app, kept).await.value(), (11, Some(1)));
    }
}

#[tokio::test]
async fn an_update_that_makes_a_session_too_large_leaves_the_value_unchanged() {
    for app in limited(100) {
        let mut browser = Browser::default();
        let grow = |session: &Session, by: usize| {
            session.update("list", move |list: &mut Vec<u8>| list.extend(vec![1; by])).map(|list| list.len())
        };
        let visit = browser.visit(&app, move |session| async move {
            assert_eq!(grow(&session, 10).unwrap(), 10);
            assert_too_large(grow(&session, 100), 100);
            assert_eq!(grow(&session, 1).unwrap(), 11);
        });
        visit.await.value();
        let visit = browser.visit(&app, move |session| async move {
            assert_too_large(grow(&session, 100), 100);
            grow(&session, 1).unwrap()
        });
        assert_eq!(visit.await.value(), 12);
    }
}

#[tokio::test]
async fn the_principal_counts_and_a_takeover_makes_room() {
    for app in limited(100) {
        let mut browser = Browser::default();
        let fill = |session: &Session, bytes: usize| session.insert("k", "x".repeat(bytes));
        let visit = browser.visit(&app, move |session| async move {
            session.login("a".repeat(50));
            assert_too_large(fill(&session, 50), 100);
            fill(&session, 40).unwrap();
        });
        visit.await.value();
        let visit = browser.visit(&app, move |session| async move {
            session.login("bob");
            assert!(session.is_empty());
            fill(&session, 90).unwrap();
            assert_too_large(session.insert("l", 1), 100);
        });
        visit.await.value();
    }
}

#[tokio::test]
async fn a_session_larger_than_a_new_limit_may_become_smaller() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        let fill = |session: Session| async move {
            session.insert("big", "x".repeat(1000)).unwrap();
            session.insert("n", 1).unwrap();
        };
        browser.visit(&app, fill).await.value();
        let app = app.with(|layer| layer.with_max_record_size(500));
        let visit = browser.visit(&app, |session| async move {
            assert_too_large(session.insert("more", 1), 500);
            session.insert("n", 2).unwrap();
            session.insert("big", "y".repeat(900)).unwrap();
            assert_too_large(session.insert("big", "z".repeat(1000)), 500);
        });
        visit.await.value();
        let visit = browser.visit(&app, |session| async move {
            session.remove("big");
            session.insert("more", 1).unwrap();
            session.get::<u32>("n").unwrap()
        });
        assert_eq!(visit.await.value(), Some(2));
        let keys = browser.visit(&app, |session| async move { session.keys() }).await.value();
        assert_eq!(keys, ["n", "more"]);
    }
}

#[tokio::test]
async fn a_part_too_large_for_its_session_is_an_error_and_nothing_is_stored() {
    for app in limited(500) {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await.value();
        for by_update in [true, false] {
            let failed = browser
                .send_raw(&app, move |extensions| async move {
                    let session = Session::from_extensions(&extensions)?.load().await?;
                    session.insert("n", 2)?;
                    let mut notes = Part::<Notes>::from_extensions(&extensions).await?;
                    if by_update {
                        notes.update(|notes| notes.text = "x".repeat(500));
                    } else {
                        notes.text = "x".repeat(500);
                    }
                    Ok((StatusCode::OK, ()))
                })
                .await;
            assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert_too_large(Err::<(), _>(failed.error.unwrap()), 500);
            assert_eq!(browser.get(&app, "n").await, Some(1));
        }
    }
}

#[tokio::test]
async fn a_session_may_have_as_many_keys_as_fit() {
    const KEYS: usize = 32_000;
    fn key(n: usize) -> String {
        format!("key {n}")
    }
    for app in &App::everywhere()[..2] {
        let mut browser = Browser::default();
        let fill = |session: Session| async move { (0..KEYS).try_for_each(|n| session.insert(&key(n), n)) };
        browser.visit(app, fill).await.value().unwrap();
        let change = |session: Session| async move {
            assert_eq!((session.len(), session.contains(&key(KEYS))), (KEYS, false));
            for n in (0..KEYS).rev() {
                assert_eq!(session.get(&key(n)).unwrap(), Some(n));
                match n % 4 {
                    0 => assert!(session.remove(&key(n))),
                    1 => session.insert(&key(n), n + 1).unwrap(),
                    2 => assert_eq!(session.update(&key(n), |n: &mut usize| *n += 2).unwrap(), n + 2),
                    _ => {}
                }
            }
        };
        browser.visit(app, change).await.value();
        let read = |session: Session| async move {
            assert_eq!(session.keys().first().map(String::as_str), Some("key 1"));
            (0..KEYS).all(|n| session.get(&key(n)).unwrap() == [None, Some(n + 1), Some(n + 2), Some(n)][n % 4])
        };
        assert!(browser.visit(app, read).await.value());
    }
}
