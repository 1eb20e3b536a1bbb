//! Removals of values: they act on the value that the request has seen.

use http::StatusCode;
use session_state::{ConflictPolicy, Session};

use crate::browser::{App, Browser};

/// The stores, where concurrent changes merge.
fn apps() -> [App; 2] {
    let [memory, at_rest, ..] = App::everywhere();
    [memory, at_rest]
}

/// How the other request, which saves first, changes the value `["one"]`.
const OTHERS: [fn(&Session); 5] = [
    |session| drop(session.update("notices", |notices: &mut Vec<String>| notices.push("two".into()))),
    |session| session.insert("notices", ["two"]).unwrap(),
    |session| session.insert("notices", 2).unwrap(),
    |session| assert!(session.remove("notices")),
    |session| session.insert("other", 1).unwrap(),
];

/// Removes the value in a request, during which another one makes its change. Returns the JSON text that is left.
async fn left(app: &App, removal: fn(&Session), other: fn(&Session)) -> Option<serde_json::Value> {
    let mut browser = Browser::default();
    browser.visit(app, |session| async move { session.insert("notices", ["one"]).unwrap() }).await.value();
    let (inner, mut rival) = (app.clone(), browser.clone());
    let visit = browser.send(app, move |session| async move {
        removal(&session);
        rival.visit(&inner, move |session| async move { other(&session) }).await.value();
    });
    visit.await.value();
    browser.visit(app, |session| async move { session.get("notices").unwrap() }).await.value()
}

#[tokio::test]
async fn a_value_that_another_request_has_changed_meanwhile_is_not_removed() {
    let removals: [fn(&Session); 4] = [
        |session| assert_eq!(session.take::<Vec<String>>("notices").unwrap().unwrap(), ["one"]),
        |session| assert!(session.take::<u8>("notices").is_err()),
        |session| assert!(session.remove("notices")),
        |session| {
            // Not there a second time, and set and taken again.
            assert!(session.remove("notices") && !session.remove("notices"));
            session.insert("more", ["one"]).unwrap();
            assert_eq!(session.take::<Vec<String>>("more").unwrap().unwrap(), ["one"]);
        },
    ];
    for app in apps() {
        for removal in removals {
            let mut found = Vec::new();
            for other in OTHERS {
                found.push(left(&app, removal, other).await);
            }
            let expected = [
                Some(serde_json::json!(["one", "two"])),
                Some(serde_json::json!(["two"])),
                Some(serde_json::json!(2)),
                None,
                None,
            ];
            assert_eq!(found, expected);
        }
    }
}

#[tokio::test]
async fn a_value_that_was_not_there_is_not_removed_when_another_request_sets_it() {
    for app in apps() {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let (inner, mut rival) = (app.clone(), browser.clone());
        let visit = browser.send(&app, move |session| async move {
            assert!(!session.remove("late"));
            assert_eq!(session.take::<i32>("late").unwrap(), None);
            session.insert("n", 2).unwrap();
            rival.set(&inner, "late", 1).await;
        });
        visit.await.value();
        assert_eq!((browser.get(&app, "n").await, browser.get(&app, "late").await), (Some(2), Some(1)));
    }
}

#[tokio::test]
async fn a_value_that_the_request_itself_has_set_is_removed_on_a_newer_record_too() {
    for app in apps() {
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let (inner, mut rival) = (app.clone(), browser.clone());
        let visit = browser.send(&app, move |session| async move {
            session.insert("n", 2).unwrap();
            assert!(session.remove("n"));
            rival.set(&inner, "n", 3).await;
        });
        visit.await.value();
        assert_eq!(browser.get(&app, "n").await, None);
    }
}

#[tokio::test]
async fn with_the_policy_to_fail_a_removal_of_a_changed_value_is_a_conflict() {
    for app in apps() {
        let app = app.with(|layer| layer.with_conflict_policy(ConflictPolicy::Fail));
        let mut browser = Browser::default();
        browser.set(&app, "n", 1).await;
        let (inner, mut rival) = (app.clone(), browser.clone());
        let visit = browser.send(&app, move |session| async move {
            assert!(session.remove("n"));
            rival.set(&inner, "n", 2).await;
        });
        assert_eq!(visit.await.status, StatusCode::CONFLICT);
        assert_eq!(browser.get(&app, "n").await, Some(2));
    }
}
