//! A part that a former release kept in the session's record, and that lives elsewhere now.

use std::time::Duration;

use http::StatusCode;
use session_state::test_kit::{Call, Fault, Faults, FaultyStore};
use session_state::{
    ConflictPolicy, CookieState, ErrorKind, InCookie, InStore, KeyRing, MemoryStore, Part, PartOrDefault, Placement,
    SessionLayer,
};

use crate::browser::{App, Browser};
use crate::part_kit::{Having as _, Notes, login, read, remove, session, write};

/// The former and the present release over one store.
struct Releases {
    name: String,
    former: App,
    present: App,
    parts: Faults,
    /// How many records the store of parts has.
    stored: MemoryStore,
}

/// Session in a store or a cookie, part moved to a store or a cookie.
fn releases() -> Vec<Releases> {
    let mut releases = Vec::new();
    for is_client in [false, true] {
        let (store, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
        let layer = || match is_client {
            true => SessionLayer::client(CookieState::encrypted(keys.clone())),
            false => SessionLayer::server(store.clone()),
        };
        for in_store in [false, true] {
            let parts = FaultyStore::new(MemoryStore::new());
            let (faults, stored) = (parts.faults(), parts.inner().clone());
            let place: Placement<Notes> = match in_store {
                true => InStore::new(parts).into(),
                false => InCookie::encrypted(keys.clone()).into(),
            };
            releases.push(Releases {
                name: format!("client {is_client}, part in store {in_store}"),
                former: App::new(layer()),
                present: App::new(layer().having::<Notes>(place)),
                parts: faults,
                stored,
            });
        }
    }
    releases
}

impl Releases {
    fn part_is_in_cookie(&self) -> bool {
        self.name.ends_with("false")
    }
}

#[tokio::test]
async fn a_part_that_leaves_the_record_is_read_there_and_moves_with_its_first_change() {
    for releases in &releases() {
        let Releases { name, former, present, stored, .. } = releases;
        let mut browser = Browser::default();
        write::<Notes>(&mut browser, former, "kept").await.value();
        assert_eq!(read::<Notes>(&browser, present).await.unwrap(), "kept", "{name}");
        let visit = browser.set(present, "n", 1).await;
        assert_eq!(visit.status, StatusCode::OK);
        assert_eq!(read::<Notes>(&browser, former).await.unwrap(), "kept", "{name}: reading moves nothing");
        assert_eq!(stored.len(), 0);

        let change = |part: &mut Part<Notes>| part.b = "changed".to_owned();
        crate::part_kit::visit(&mut browser, present, change).await.value();
        let both = |part: &mut Part<Notes>| (part.a.clone(), part.b.clone());
        for _ in 0..2 {
            let seen = crate::part_kit::visit(&mut browser, present, both).await.value();
            assert_eq!(seen, ("kept".to_owned(), "changed".to_owned()), "{name}");
        }
        if releases.part_is_in_cookie() {
            // The first change after the cookie has come back removes the copy.
            let change = |part: &mut Part<Notes>| part.b = "again".to_owned();
            crate::part_kit::visit(&mut browser, present, change).await.value();
        }
        assert_eq!(read::<Notes>(&browser, former).await.unwrap(), "", "{name}: it has left the record");
        assert_eq!(browser.get(present, "n").await, Some(1));
    }
}

#[tokio::test]
async fn to_read_a_moved_part_is_no_write() {
    for Releases { name, former, present, .. } in &releases() {
        let mut browser = Browser::default();
        write::<Notes>(&mut browser, former, "kept").await.value();
        write::<Notes>(&mut browser, present, "changed").await.value();
        let (mut tab, app) = (browser.clone(), present.clone());
        let slow = browser.send_raw(present, move |extensions| async move {
            let part = Part::<Notes>::from_extensions(&extensions).await?.a.clone();
            tab.visit(&app, |session| async move { session.logout() }).await.value();
            app.pass(Duration::from_secs(2));
            Ok((StatusCode::OK, part))
        });
        let slow = slow.await;
        assert!(slow.set_cookies().is_empty(), "{name}: {:?}", slow.set_cookies());
        assert_eq!(slow.value(), "changed", "{name}");
    }
}

#[tokio::test]
async fn a_moved_part_survives_a_lost_response() {
    for Releases { name, former, present, .. } in &releases() {
        let mut browser = Browser::default();
        write::<Notes>(&mut browser, former, "kept").await.value();
        let unanswered = &mut browser.clone();
        write::<Notes>(unanswered, present, "changed").await.value();
        let seen = read::<Notes>(&browser, present).await.unwrap();
        assert!(["kept", "changed"].contains(&&*seen), "{name}: {seen:?}");
        write::<Notes>(&mut browser, present, "again").await.value();
        assert_eq!(read::<Notes>(&browser, present).await.unwrap(), "again", "{name}");
    }
}

#[tokio::test]
async fn a_part_that_was_removed_or_is_of_another_principal_does_not_come_back_from_the_record() {
    for Releases { name, former, present, .. } in &releases() {
        let mut browser = Browser::default();
        for has_moved in [false, true] {
            write::<Notes>(&mut browser, former, "kept").await.value();
            if has_moved {
                write::<Notes>(&mut browser, present, "moved").await.value();
            }
            let removed = remove(&browser, present).await;
            browser.receive(&removed);
            assert_eq!(removed.status, StatusCode::OK, "{:?}", removed.error);
            assert_eq!(read::<Notes>(&browser, present).await.unwrap(), "", "{name}");
        }

        let mut browser = Browser::default();
        write::<Notes>(&mut browser, former, "of the visitor").await.value();
        login(&mut browser, present, "alice").await.value();
        assert_eq!(read::<Notes>(&browser, present).await.unwrap(), "of the visitor", "{name}");
        login(&mut browser, present, "bob").await.value();
        assert_eq!(read::<Notes>(&browser, present).await.unwrap(), "", "{name}");
    }
}

#[tokio::test]
async fn a_part_moves_into_no_cookie_that_outlives_the_session() {
    let store = MemoryStore::new();
    let former = App::new(SessionLayer::server(store.clone()));
    let place = InCookie::encrypted(KeyRing::generate().unwrap()).with_default_retention();
    let present = App::new(SessionLayer::server(store).having::<Notes>(place));
    let mut browser = Browser::default();
    write::<Notes>(&mut browser, &former, "alice's").await.value();
    assert_eq!(read::<Notes>(&browser, &present).await.unwrap(), "");
    write::<Notes>(&mut browser, &present, "new").await.value();
    assert_eq!(read::<Notes>(&browser, &present).await.unwrap(), "new");
    remove(&browser, &present).await.value();
    assert_eq!(read::<Notes>(&browser, &former).await.unwrap(), "alice's");
}

/// The old node changes the part in the record while the new one moves it.
#[tokio::test]
async fn a_change_that_a_node_of_the_former_release_makes_meanwhile_is_kept() {
    let Releases { former, present, .. } = releases().swap_remove(1);
    let mut browser = Browser::default();
    write::<Notes>(&mut browser, &former, "x").await.value();
    let rival = browser.clone();
    let visit = browser
        .send_raw(&present, |extensions| async move {
            Part::<Notes>::from_extensions(&extensions).await?.update(|notes| notes.a.push('n'));
            let add = |part: &mut Part<Notes>| part.update(|notes| notes.a.push('o'));
            crate::part_kit::visit(&mut rival.clone(), &former, add).await.value();
            Ok((StatusCode::OK, ()))
        })
        .await;
    assert_eq!(visit.status, StatusCode::OK, "{:?}", visit.error);
    assert_eq!(read::<Notes>(&browser, &present).await.unwrap(), "xon");
}

#[tokio::test]
async fn of_two_requests_that_move_a_part_at_once_both_changes_are_kept() {
    for policy in [ConflictPolicy::Merge, ConflictPolicy::Fail] {
        let Releases { former, present, .. } = releases().swap_remove(1);
        let present = present.with(|layer| layer.with_conflict_policy(policy));
        let mut browser = Browser::default();
        write::<Notes>(&mut browser, &former, "x").await.value();
        let (rival, node) = (browser.clone(), present.clone());
        let visit = browser
            .send_raw(&present, |extensions| async move {
                Part::<Notes>::from_extensions(&extensions).await?.update(|notes| notes.a.push('1'));
                let add = |part: &mut Part<Notes>| part.update(|notes| notes.a.push('2'));
                crate::part_kit::visit(&mut rival.clone(), &node, add).await.value();
                Ok((StatusCode::OK, ()))
            })
            .await;
        let (status, text) = match policy {
            ConflictPolicy::Merge => (StatusCode::OK, "x21"),
            _ => (StatusCode::CONFLICT, "x2"),
        };
        assert_eq!(visit.status, status);
        assert_eq!(read::<Notes>(&browser, &present).await.unwrap(), text);
    }
}

#[tokio::test]
async fn a_move_that_fails_loses_nothing() {
    for releases in releases().iter().filter(|releases| !releases.part_is_in_cookie()) {
        let Releases { name, former, present, parts, .. } = releases;
        let mut browser = Browser::default();
        write::<Notes>(&mut browser, former, "kept").await.value();
        parts.next_of(Call::Create, 100, Fault::Refuse);
        let failed = write::<Notes>(&mut browser, present, "changed").await;
        assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE, "{name}");
        parts.heal();
        assert_eq!(read::<Notes>(&browser, present).await.unwrap(), "kept", "{name}");
        assert_eq!(read::<Notes>(&browser, former).await.unwrap(), "kept", "{name}");
    }
}

#[tokio::test]
async fn a_part_too_large_for_its_new_cookie_can_be_read_and_made_smaller() {
    let Releases { former, present, .. } = releases().swap_remove(0);
    let mut browser = Browser::default();
    let fill = |part: &mut Part<Notes>| part.a = "x".repeat(10_000);
    crate::part_kit::visit(&mut browser, &former, fill).await.value();
    let grown = |part: &mut Part<Notes>| part.b = "y".to_owned();
    let error = crate::part_kit::visit(&mut browser, &present, grown).await.error.unwrap();
    assert!(matches!(error.kind(), ErrorKind::TooLarge { .. }), "{error}");
    assert_eq!(read::<Notes>(&browser, &present).await.unwrap().len(), 10_000);
    write::<Notes>(&mut browser, &present, "small").await.value();
    assert_eq!(read::<Notes>(&browser, &present).await.unwrap(), "small");
}

#[tokio::test]
async fn a_copy_in_the_record_that_does_not_decode_is_replaced_like_any_part() {
    for Releases { name, former, present, .. } in &releases() {
        let mut browser = Browser::default();
        let broken = |part: &mut Part<Broken>| part.a = 7;
        crate::part_kit::visit(&mut browser, former, broken).await.value();
        let error = read::<Notes>(&browser, present).await.unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Decode { key: "notes".into() }, "{name}");
        let visit = browser
            .send_raw(present, |extensions| async move {
                let PartOrDefault(mut part) = PartOrDefault::<Notes>::from_extensions(&extensions).await?;
                part.a = "new".to_owned();
                drop(part);
                session(&extensions).await.save().await?;
                Ok((StatusCode::OK, ()))
            })
            .await;
        browser.receive(&visit);
        assert_eq!(visit.status, StatusCode::OK, "{name}: {:?}", visit.error);
        assert_eq!(read::<Notes>(&browser, present).await.unwrap(), "new", "{name}");
    }
}

/// A former type of [`Notes`].
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Broken {
    a: u32,
}

impl session_state::SessionPart for Broken {
    const NAME: &'static str = "notes";
}
