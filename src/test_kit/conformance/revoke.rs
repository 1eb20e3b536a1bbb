//! A revocation ends those of the sessions of a principal that are asked for, wherever they are, for good.

use std::sync::Arc;

use super::someone::*;
use super::support::*;
use crate::store::{Handle, Outcome, Renewal, Store};

/// Those asked for are gone and returned, the others stay; a second call finds nothing of them.
pub async fn a_revocation_ends_the_sessions_asked_for_and_no_others(store: &Arc<impl Store>) {
    let Some(someone) = Someone::new(store) else { return };
    let mut placed = someone.place_many(5).await;
    placed.sort_by_key(|placed| placed.record.handle);
    let [first, second, third, fourth, fifth] = &placed[..] else { panic!("five were placed") };
    let asked = [fourth.record.handle, first.record.handle, third.record.handle];
    // Each is ended once, however often it is asked for.
    let asked = [asked, asked].concat();
    assert_eq!(someone.revoke(&asked).await, [first, third, fourth].map(|placed| placed.record.handle));
    for gone in [first, third, fourth] {
        assert_nothing(&**store, &gone.key, someone.now).await;
        assert_eq!(ok(store.delete(&gone.key, someone.now).await), Outcome::Gone);
    }
    for stays in [second, fifth] {
        assert_live(&**store, &stays.key, &stays.record, someone.now).await;
    }
    assert_eq!(someone.revoke(&asked).await, [], "of a second call");
    someone.assert_has([&second.record, &fifth.record]).await;
}

/// Handles come out of forms: one that is made up, or another's, ends nothing.
pub async fn a_revocation_of_unknown_or_foreign_sessions_ends_nothing(store: &Arc<impl Store>) {
    let (Some(someone), Some(other)) = (Someone::new(store), Someone::new(store)) else { return };
    let (mine, theirs) = (someone.place().await, other.place().await);
    let anonymous = place(&**store).await;
    let foreign = [theirs.record.handle, anonymous.record.handle, random_handle(), Handle::from_bytes([0; 16])];
    assert_eq!(someone.revoke(&foreign).await, []);
    assert_eq!(someone.revoke(&[]).await, []);
    for placed in [&mine, &theirs, &anonymous] {
        assert_live(&**store, &placed.key, &placed.record, placed.now).await;
    }
    // Beside them the one that is theirs is ended.
    let asked = [&foreign[..], &[mine.record.handle]].concat();
    assert_eq!(someone.revoke(&asked).await, [mine.record.handle]);
    someone.assert_has([]).await;
    other.assert_has([&theirs.record]).await;
}

/// Whoever writes late finds the session gone: a revocation is a delete.
pub async fn nothing_revives_a_revoked_session(store: &Arc<impl Store>) {
    let Some(someone) = Someone::new(store) else { return };
    let placed = someone.place().await;
    let (key, now, first) = (placed.key, someone.now, placed.record.version);
    // It is ended whatever its version.
    assert_eq!(ok(store.update(&key, first, placed.next(2), now).await), Outcome::Done);
    ok(store.touch(&key, first + 1, now.after(MINUTE), now.after(2 * HOUR), now).await);
    assert_eq!(someone.revoke(&[placed.record.handle]).await, [placed.record.handle]);

    for expected in [first, first + 1] {
        let renewal = Renewal { expected, ..placed.renewal() };
        assert_eq!(ok(store.update(&key, expected, placed.next(3), now).await), Outcome::Gone);
        assert_eq!(ok(store.touch(&key, expected, now.after(MINUTE), now.after(5 * HOUR), now).await), Outcome::Gone);
        assert_eq!(ok(store.renew(renewal.clone(), now).await), Outcome::Gone);
        assert_nothing(&**store, &renewal.new, now).await;
    }
    assert_nothing(&**store, &key, now).await;
    someone.assert_has([]).await;
}

/// A session has moved three times: it is ended where it is now, and no old key leads to anything.
pub async fn a_renewed_session_is_revoked_where_it_is(store: &Arc<impl Store>) {
    let Some(someone) = Someone::new(store) else { return };
    let mut placed = someone.place().await;
    let mut keys = vec![placed.key];
    for _ in 0..3 {
        let renewal = placed.renew(&**store).await;
        keys.push(renewal.new);
        placed = Placed { key: renewal.new, record: renewal.record, now: placed.now };
    }
    assert_eq!(someone.revoke(&[placed.record.handle]).await, [placed.record.handle]);
    someone.assert_has([]).await;
    assert_nothing(&**store, &placed.key, someone.now).await;
    for key in keys {
        let late = Placed { key, record: Arc::clone(&placed.record), now: placed.now };
        let outcome = ok(store.renew(late.renewal(), late.now).await);
        assert!(matches!(outcome, Outcome::Gone | Outcome::Retired(_)), "an old key was renewed: {outcome:?}");
        someone.assert_has([]).await;
    }
}

/// Somebody has 250 sessions: they are found in pages and ended in hundreds, as the layer does.
pub async fn hundreds_of_sessions_are_found_in_pages_and_revoked(store: &Arc<impl Store>) {
    let Some(someone) = Someone::new(store) else { return };
    let placed = someone.place_many(250).await;
    let mut records: Vec<_> = placed.iter().map(|placed| Arc::clone(&placed.record)).collect();
    someone.assert_has(&records).await;
    records.sort_by_key(|record| record.handle);
    let (mut found, mut after) = (Vec::new(), None);
    for expected in [100, 100, 50, 0] {
        let page = someone.list(after.as_ref(), 100).await;
        assert_eq!(page.len(), expected, "the length of a page");
        after = page.last().map(|record| record.handle);
        found.extend(page);
    }
    assert_listed(&found, &records);
    for (n, hundred) in handles(&records).chunks(100).enumerate() {
        assert_eq!(someone.revoke(hundred).await, hundred);
        someone.assert_has(records.iter().skip(100 * (n + 1))).await;
    }
    for placed in placed.iter().step_by(10) {
        assert_nothing(&**store, &placed.key, someone.now).await;
    }
}
