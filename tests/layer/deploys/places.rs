//! Where a part lives.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_state::{InCookie, InStore, KeyRing, MemoryStore, Part, Placement, SessionLayer, SessionPart};

use super::Deploy;
use crate::browser::{App, Browser};
use crate::part_kit::{Having as _, Notes, read, remove, session, visit, write};

/// The places of a part over the same stores and keys. Without a name it is the session's record.
struct Places {
    store: MemoryStore,
    other: MemoryStore,
    keys: KeyRing,
}

impl Places {
    fn new() -> Self {
        Self { store: MemoryStore::new(), other: MemoryStore::new(), keys: KeyRing::generate().unwrap() }
    }

    fn placement<T: SessionPart>(&self, place: &str) -> Option<Placement<T>> {
        let keys = || self.keys.clone();
        Some(match place {
            "record" => return None,
            "cookie" => InCookie::encrypted(keys()).into(),
            "signed cookie" => InCookie::signed(keys()).into(),
            "cookie with retention" => InCookie::encrypted(keys()).with_default_retention().into(),
            "store" => InStore::new(self.store.clone()).into(),
            "other store" => InStore::new(self.other.clone()).into(),
            place => panic!("{place:?}"),
        })
    }

    fn layer(&self, place: &str) -> SessionLayer {
        let layer = SessionLayer::server(self.store.clone());
        match self.placement::<Notes>(place) {
            Some(placement) => layer.having(placement),
            None => layer,
        }
    }

    /// Returns what the present release reads, and that after it has written the part. The session stays in any case.
    async fn moved(&self, former: &str, present: &str) -> (String, String) {
        let deploy = Deploy::new(self.layer(former), self.layer(present));
        let mut browser = deploy.visitor().await;
        write::<Notes>(&mut browser, &deploy.former, "kept").await.value();
        deploy.assert_keeps(&mut browser).await;
        let read_first = read::<Notes>(&browser, &deploy.present).await.unwrap();
        visit::<Notes, _>(&mut browser, &deploy.present, |part| part.b = "new".to_owned()).await.value();
        let fields = |part: &mut Part<Notes>| format!("{} {}", part.a, part.b);
        let seen = visit(&mut browser, &deploy.present, fields).await.value();
        deploy.assert_keeps(&mut browser).await;
        (read_first, seen)
    }
}

#[tokio::test]
async fn a_part_that_leaves_the_record_is_kept() {
    for present in ["cookie", "signed cookie", "store", "other store"] {
        let kept = ("kept".to_owned(), "kept new".to_owned());
        assert_eq!(Places::new().moved("record", present).await, kept, "{present}");
    }
}

#[tokio::test]
async fn a_part_begins_anew_in_the_record_in_another_store_in_another_cookie_and_with_a_retention() {
    for (former, present) in [
        ("record", "cookie with retention"),
        ("cookie", "record"),
        ("cookie", "store"),
        ("cookie", "signed cookie"),
        ("cookie", "cookie with retention"),
        ("cookie with retention", "cookie"),
        ("store", "record"),
        ("store", "cookie"),
        ("store", "other store"),
    ] {
        let anew = (String::new(), " new".to_owned());
        assert_eq!(Places::new().moved(former, present).await, anew, "{former} to {present}");
    }
}

/// The type of the former place, under another name.
#[derive(Default, Serialize, Deserialize)]
struct NewNotes {
    a: String,
}

impl SessionPart for NewNotes {
    const NAME: &'static str = "new-notes";
}

/// The recipe of the guide.
async fn moved_by_hand(browser: &mut Browser, app: &App) -> String {
    let visit = browser
        .send_raw(app, |extensions| async move {
            let mut notes = Part::<NewNotes>::from_extensions(&extensions).await?;
            let former = Part::<Notes>::from_extensions(&extensions).await?;
            if notes.a.is_empty() && !former.a.is_empty() {
                notes.a.clone_from(&former.a);
            }
            drop(former);
            session(&extensions).await.remove_part::<Notes>()?;
            Ok((StatusCode::OK, notes.a.clone()))
        })
        .await;
    browser.receive(&visit);
    visit.value()
}

#[tokio::test]
async fn a_part_is_moved_by_hand_from_any_place_to_any_other() {
    let places = ["record", "cookie", "cookie with retention", "store", "other store"];
    for (former, present) in places.iter().flat_map(|former| places.map(|present| (*former, present))) {
        let places = Places::new();
        let placed = match places.placement::<NewNotes>(present) {
            Some(placement) => places.layer(former).having(placement),
            None => places.layer(former),
        };
        let deploy = Deploy::new(places.layer(former), placed);
        let mut browser = deploy.visitor().await;
        write::<Notes>(&mut browser, &deploy.former, "kept").await.value();
        for _ in 0..2 {
            assert_eq!(moved_by_hand(&mut browser, &deploy.present).await, "kept", "{former} to {present}");
        }
        assert_eq!(read::<Notes>(&browser, &deploy.present).await.unwrap(), "");
        deploy.assert_keeps(&mut browser).await;
    }
}

/// Its keys were dropped. The handler of a login need not use the part.
#[tokio::test]
async fn a_login_takes_beside_a_part_that_cannot_be_read() {
    let (sessions, parts) = (MemoryStore::new(), MemoryStore::new());
    let layer = || {
        let place = InStore::new(parts.clone()).with_encryption_at_rest(KeyRing::generate().unwrap());
        SessionLayer::server(sessions.clone()).having::<Notes>(place)
    };
    let deploy = Deploy::new(layer(), layer());
    let mut browser = deploy.visitor().await;
    write::<Notes>(&mut browser, &deploy.former, "kept").await.value();
    assert!(read::<Notes>(&browser, &deploy.present).await.is_err());
    for _ in 0..2 {
        browser.visit(&deploy.present, |session| async move { session.login("alice") }).await.value();
        assert!(read::<Notes>(&browser, &deploy.present).await.is_err(), "it stays as it is");
        assert_eq!(read::<Notes>(&browser, &deploy.former).await.unwrap(), "kept", "after a rollback");
    }
    remove(&browser, &deploy.present).await.value();
    write::<Notes>(&mut browser, &deploy.present, "new").await.value();
    assert_eq!(read::<Notes>(&browser, &deploy.present).await.unwrap(), "new");
}
