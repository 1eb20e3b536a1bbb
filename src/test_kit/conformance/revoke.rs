//! A revocation ends the given sessions of a principal for good, under whatever key they are.

use std::sync::Arc;

use super::support::*;
use super::test_user::*;
use crate::store::{FindPrincipals, Handle, Outcome, Renewal, Touch};

/// The given sessions are gone and returned, the others stay, and a second call finds none.
pub async fn a_revocation_ends_the_given_sessions_and_no_others(store: &Arc<impl FindPrincipals>) {
    let user = TestUser::new(store);
    let mut stored = user.begin_sessions(5).await;
    stored.sort_by_key(|stored| stored.record.handle);
    let [first, second, third, fourth, fifth] = &stored[..] else { panic!("five were stored") };
    let asked = [fourth.record.handle, first.record.handle, third.record.handle];
    // Each is ended once, even if it is given twice.
    let asked = [asked, asked].concat();
    assert_eq!(user.revoke(&asked).await, [first, third, fourth].map(|stored| stored.record.handle));
    for gone in [first, third, fourth] {
        assert_retired(&**store, &gone.key, &user.left, user.now).await;
        assert_outcome_is_retired(&ok(store.delete(&gone.key, None, user.now).await), &user.left);
    }
    for stays in [second, fifth] {
        assert_live(&**store, &stays.key, &stays.record, user.now).await;
    }
    assert_eq!(user.revoke(&asked).await, [], "the result of a second call");
    user.assert_has([&second.record, &fifth.record]).await;
}

/// Handles come from forms: an invented or foreign one ends nothing.
pub async fn a_revocation_of_unknown_or_foreign_sessions_ends_nothing(store: &Arc<impl FindPrincipals>) {
    let (user, other) = (TestUser::new(store), TestUser::new(store));
    let (mine, theirs) = (user.begin_session().await, other.begin_session().await);
    let anonymous = store_plain_record(&**store).await;
    let foreign = [theirs.record.handle, anonymous.record.handle, random_handle(), Handle::from_bytes([0; 16])];
    assert_eq!(user.revoke(&foreign).await, []);
    assert_eq!(user.revoke(&[]).await, []);
    for stored in [&mine, &theirs, &anonymous] {
        assert_live(&**store, &stored.key, &stored.record, stored.now).await;
    }
    // Among them, their own session is ended.
    let asked = [&foreign[..], &[mine.record.handle]].concat();
    assert_eq!(user.revoke(&asked).await, [mine.record.handle]);
    user.assert_has([]).await;
    other.assert_has([&theirs.record]).await;
}

/// A late write does not revive the session: a revocation is a delete.
pub async fn nothing_revives_a_revoked_session(store: &Arc<impl FindPrincipals>) {
    let user = TestUser::new(store);
    let stored = user.begin_session().await;
    let (key, now, first) = (stored.key, user.now, stored.record.version);
    // It ends at any version.
    assert_eq!(ok(store.update(&key, first, stored.next(2), now).await), Outcome::Done);
    ok(store
        .touch(
            &key,
            Touch { expected: later(first, 1), last_seen_at: now.after(MINUTE), expires_at: now.after(2 * LIFE) },
            now,
        )
        .await);
    assert_eq!(user.revoke(&[stored.record.handle]).await, [stored.record.handle]);

    for expected in [first, later(first, 1)] {
        let renewal = Renewal { expected, ..stored.renewal() };
        let touch = Touch { expected, last_seen_at: now.after(MINUTE), expires_at: now.after(5 * LIFE) };
        assert_outcome_is_retired(&ok(store.update(&key, expected, stored.next(3), now).await), &user.left);
        assert_outcome_is_retired(&ok(store.touch(&key, touch, now).await), &user.left);
        assert_outcome_is_retired(&ok(store.renew(renewal.clone(), now).await), &user.left);
        assert_nothing(&**store, &renewal.new, now).await;
    }
    assert_retired(&**store, &key, &user.left, now).await;
    user.assert_has([]).await;
}

/// Each key holds the forward, also that of a session that was renewed, and no list shows it.
pub async fn a_revocation_leaves_a_forward_under_the_key_of_each_session(store: &Arc<impl FindPrincipals>) {
    let user = TestUser::new(store);
    let (now, stored) = (user.now, user.begin_sessions(4).await);
    let renewal = stored[0].renew(&**store).await;
    let left = user.left.clone();
    let mut asked: Vec<_> = stored[..3].iter().map(|stored| stored.record.handle).collect();
    let mut ended = ok(store.revoke(&user.principal, &asked, left.clone(), now).await);
    ended.sort();
    asked.sort();
    assert_eq!(ended, asked);
    for key in [renewal.new, stored[1].key, stored[2].key] {
        assert_retired(&**store, &key, &left, now).await;
        assert!(!ok(store.create(&key, Arc::new(user.record()), now).await), "a create revived a revoked session");
    }
    assert_retired(&**store, &stored[0].key, &renewal.forward, now).await;
    user.assert_has([&stored[3].record]).await;
    assert_eq!(ok(store.revoke(&user.principal, &asked, forward(now), now).await), []);
    assert_retired(&**store, &stored[1].key, &left, now).await;
    assert_nothing(&**store, &stored[1].key, left.expires_at).await;
}

/// A session that was renewed three times is ended, and no old key leads to it.
pub async fn a_renewed_session_is_revoked_under_its_current_key(store: &Arc<impl FindPrincipals>) {
    let user = TestUser::new(store);
    let mut stored = user.begin_session().await;
    let mut keys = vec![stored.key];
    for _ in 0..3 {
        let renewal = stored.renew(&**store).await;
        keys.push(renewal.new);
        stored = Stored { key: renewal.new, record: renewal.record, now: stored.now };
    }
    assert_eq!(user.revoke(&[stored.record.handle]).await, [stored.record.handle]);
    user.assert_has([]).await;
    assert_retired(&**store, &stored.key, &user.left, user.now).await;
    for key in keys {
        let late = Stored { key, record: Arc::clone(&stored.record), now: stored.now };
        let outcome = ok(store.renew(late.renewal(), late.now).await);
        assert!(matches!(outcome, Outcome::Gone | Outcome::Retired(_)), "an old key was renewed: {outcome:?}");
        user.assert_has([]).await;
    }
}

/// 250 sessions of one user are listed in pages and revoked in batches of a hundred, as the layer does.
pub async fn hundreds_of_sessions_are_found_in_pages_and_revoked(store: &Arc<impl FindPrincipals>) {
    let user = TestUser::new(store);
    let stored = user.begin_sessions(250).await;
    let mut records: Vec<_> = stored.iter().map(|stored| Arc::clone(&stored.record)).collect();
    user.assert_has(&records).await;
    records.sort_by_key(|record| record.handle);
    let (mut found, mut after) = (Vec::new(), None);
    for expected in [100, 100, 50, 0] {
        let page = user.list(after.as_ref(), 100).await;
        assert_eq!(page.len(), expected, "the length of a page");
        after = page.last().map(|record| record.handle);
        found.extend(page);
    }
    assert_listed(&found, &records);
    for (n, hundred) in handles(&records).chunks(100).enumerate() {
        assert_eq!(user.revoke(hundred).await, hundred);
        user.assert_has(records.iter().skip(100 * (n + 1))).await;
    }
    for stored in stored.iter().step_by(10) {
        assert_retired(&**store, &stored.key, &user.left, user.now).await;
    }
}
