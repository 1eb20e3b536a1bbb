//! A store that finds principals lists and counts exactly their current live sessions.

use std::sync::Arc;

use super::support::*;
use super::test_user::*;
use crate::clock::Timestamp;
use crate::store::{Entry, FindPrincipals, Handle, Outcome, Record, Touch, Version};

/// The layer learns from [`Store::principals`](crate::store::Store::principals) that the store finds principals. An
/// unknown one has no sessions.
pub async fn a_store_that_finds_principals_says_so(store: &Arc<impl FindPrincipals>) {
    assert!(store.principals().is_some(), "`principals` returns `None`: return `Some(PrincipalFinder::of(self))`");
    let user = TestUser::new(store);
    user.assert_has([]).await;
    assert_eq!(user.revoke(&[random_handle()]).await, []);
}

/// A list contains every field of a session except its values: times, timeouts, the principal, the label.
pub async fn sessions_are_found_by_their_principal_with_all_fields(store: &Arc<impl FindPrincipals>) {
    let user = TestUser::new(store);
    let mut records = Vec::new();
    for label in [Some("Zoë's 📱 o'\"\\%_\0\r\n "), Some(""), None] {
        let record = Record { label: label.map(Into::into), ..user.record() };
        records.push(store_record(&**store, record, user.now).await.record);
        user.assert_has(&records).await;
    }
    // And a record with only a principal.
    let record = Record { principal: Some(Arc::clone(&user.principal)), ..plain_record(user.now) };
    records.push(store_record(&**store, record, user.now).await.record);
    user.assert_has(&records).await;
}

/// A list continues after any handle, of a session or not, and respects its limit.
pub async fn pages_follow_the_order_of_handles(store: &Arc<impl FindPrincipals>) {
    let user = TestUser::new(store);
    let mut records = Vec::new();
    let shared: [u8; 16] = random_bytes();
    for (place, byte) in [(0, 0), (0, b'A'), (0, b'a'), (0, 0xff), (15, 0), (15, b' '), (15, 0x7f), (15, 0x80)] {
        let mut handle = if place == 0 { random_bytes() } else { shared };
        handle[place] = byte;
        let record = Record { handle: Handle::from_bytes(handle), ..user.record() };
        records.push(store_record(&**store, record, user.now).await.record);
    }
    records.sort_by_key(|record| record.handle);
    let gone = user.begin_session().await;
    ok(store.delete(&gone.key, None, user.now).await);

    let ends = [gone.record.handle, Handle::from_bytes([0; 16]), Handle::from_bytes([0xff; 16])];
    let starts = handles(&records).into_iter().chain(ends).map(Some).chain([None]);
    for after in starts {
        let behind: Vec<_> =
            records.iter().filter(|r| after.is_none_or(|after| r.handle > after)).map(Arc::clone).collect();
        for limit in (0..=records.len() + 1).chain([NO_LIMIT]) {
            assert_listed(&user.list(after.as_ref(), limit).await, &behind[..limit.min(behind.len())]);
        }
    }
}

/// Names that some engine may consider equal: by case, padding, a zero, accents, composition, length or as a pattern.
fn names_that_look_alike() -> Vec<String> {
    let name = format!("alice {}", random_handle());
    let long = "é".repeat(5_000);
    let mut names: Vec<_> =
        ["", " ", "\0", "\0b", "2", "é", "e\u{301}", "e", "ß", "ss", "%", "_", "\t", "\u{200b}", "\u{a0}", "'"]
            .map(|end| format!("{name}{end}"))
            .into();
    names.extend([" ", "\0", "%"].map(|start| format!("{start}{name}")));
    names.extend(["A", "á", "a\u{301}", "\u{ff41}"].map(|first| name.replacen('a', first, 1)));
    names.push(name.to_uppercase());
    names.push(name[..name.len() - 1].to_owned());
    names.extend(["", "a", "b", "b "].map(|end| format!("{name}{long}{end}")));
    names
}

/// A session belongs to the principal with exactly these bytes, and is listed, counted and revoked for no other one.
pub async fn principals_are_compared_byte_by_byte(store: &Arc<impl FindPrincipals>) {
    let mut everybody = Vec::new();
    for name in names_that_look_alike() {
        let user = TestUser::named(store, name);
        let stored = user.begin_session().await;
        everybody.push((user, stored));
    }
    let everything: Vec<_> = everybody.iter().map(|(_, stored)| stored.record.handle).collect();
    for (user, stored) in &everybody {
        user.assert_has([&stored.record]).await;
    }
    for (user, stored) in &everybody {
        assert_eq!(user.revoke(&everything).await, [stored.record.handle], "the sessions that a principal can revoke");
        user.assert_has([]).await;
    }
}

/// The empty string is a principal like any other: it has its own sessions, but not the anonymous ones.
pub async fn the_empty_principal_is_not_the_absence_of_one(store: &Arc<impl FindPrincipals>) {
    let empty = TestUser::named(store, "");
    // Other cases have sessions of the empty principal too.
    let before = |handle: &Handle| Handle::from_bytes((u128::from_be_bytes(*handle.as_bytes()) - 1).to_be_bytes());
    let stored = empty.begin_session().await;
    let handle = stored.record.handle;
    assert_listed(&empty.list(Some(&before(&handle)), 1).await, &[Arc::clone(&stored.record)]);
    assert!(ok(store.count("", empty.now).await) >= 1, "the count of the empty principal");

    let anonymous = Record { principal: None, ..empty.record() };
    let anonymous = store_record(&**store, anonymous, empty.now).await;
    let first = empty.list(Some(&before(&anonymous.record.handle)), 1).await;
    assert!(!handles(&first).contains(&anonymous.record.handle), "an anonymous session was found");
    assert_eq!(empty.revoke(&[handle, anonymous.record.handle]).await, [handle]);
    assert_live(&**store, &anonymous.key, &anonymous.record, empty.now).await;
    assert_retired(&**store, &stored.key, &empty.left, empty.now).await;
}

/// An expired session is not listed, counted or revoked, swept or not.
pub async fn a_session_is_found_until_the_millisecond_it_expires(store: &Arc<impl FindPrincipals>) {
    let mut user = TestUser::new(store);
    let short = user.begin_session().await;
    let record = Record { expires_at: user.now.after(3 * LIFE), ..user.record() };
    let long = store_record(&**store, record, user.now).await;
    let (end, both) = (short.record.expires_at, [short.record.handle, long.record.handle]);
    user.assert_has_at([&short.record, &long.record], before(end, MILLISECOND)).await;
    user.assert_has_at([&long.record], end).await;
    user.now = end;
    assert_listed(&user.list(None, 1).await, &[Arc::clone(&long.record)]);
    assert_eq!(user.revoke(&both).await, [long.record.handle], "the sessions that had not expired");
    user.assert_has([]).await;
}

/// A list shows a touch at once, and the session until its new deadline.
pub async fn a_touched_session_is_found_with_its_new_times(store: &Arc<impl FindPrincipals>) {
    let user = TestUser::new(store);
    let Stored { key, record, .. } = user.begin_session().await;
    let (seen, end) = (user.now.after(MINUTE), user.now.after(5 * LIFE));
    assert_eq!(
        ok(store.touch(&key, Touch { expected: record.version, last_seen_at: seen, expires_at: end }, user.now).await),
        Outcome::Done
    );
    let touched = Arc::new(Record { last_seen_at: seen, expires_at: end, ..Record::clone(&record) });
    user.assert_has([&touched]).await;
    user.assert_has_at([&touched], before(end, MILLISECOND)).await;
    user.assert_has_at([], end).await;
}

/// A list shows an update at once: another label, a later or earlier deadline.
pub async fn an_updated_session_is_found_as_it_was_written(store: &Arc<impl FindPrincipals>) {
    let user = TestUser::new(store);
    let Stored { key, mut record, .. } = user.begin_session().await;
    for (label, lives) in [(Some("new phone"), 5 * LIFE), (None, 2 * LIFE), (Some("new phone"), 3 * LIFE)] {
        let label = label.map(Into::into);
        let end = user.now.after(lives);
        let next = Record { label, expires_at: end, ..Record::clone(&next_version(&record, number(2))) };
        let (expected, next) = (record.version, Arc::new(next));
        assert_eq!(ok(store.update(&key, expected, Arc::clone(&next), user.now).await), Outcome::Done);
        user.assert_has([&next]).await;
        user.assert_has_at([&next], before(end, MILLISECOND)).await;
        user.assert_has_at([], end).await;
        record = next;
    }
}

/// An update may change or remove the principal.
pub async fn an_update_moves_a_session_from_one_principal_to_another(store: &Arc<impl FindPrincipals>) {
    let (first, second) = (TestUser::new(store), TestUser::new(store));
    let Stored { key, mut record, .. } = first.begin_session().await;
    for owner in [Some(&second), None, Some(&first), Some(&second)] {
        let principal = owner.map(|owner| Arc::clone(&owner.principal));
        let next = Arc::new(Record { principal, ..Record::clone(&next_version(&record, number(2))) });
        assert_eq!(ok(store.update(&key, record.version, Arc::clone(&next), first.now).await), Outcome::Done);
        for user in [&first, &second] {
            let is_owner = owner.is_some_and(|owner| owner.principal == user.principal);
            user.assert_has(is_owner.then_some(&next)).await;
        }
        record = next;
    }
}

/// A renewed session is listed once, with its new record. Its forwards are not listed.
pub async fn a_renewed_session_is_found_once(store: &Arc<impl FindPrincipals>) {
    let user = TestUser::new(store);
    let other = user.begin_session().await;
    let mut stored = user.begin_session().await;
    for _ in 0..3 {
        let renewal = stored.renew(&**store).await;
        user.assert_has([&other.record, &renewal.record]).await;
        stored = Stored { key: renewal.new, record: renewal.record, now: stored.now };
    }
    let next = stored.next(5);
    let outcome = ok(store.update(&stored.key, stored.record.version, Arc::clone(&next), stored.now).await);
    assert_eq!(outcome, Outcome::Done);
    user.assert_has([&other.record, &next]).await;
}

/// A login changes the key and sets the principal in one step, and the session is listed from then on.
pub async fn a_login_is_found(store: &Arc<impl FindPrincipals>) {
    let user = TestUser::new(store);
    let anonymous = Record { principal: None, label: None, authenticated_at: None, ..user.record() };
    let stored = store_record(&**store, anonymous, user.now).await;
    user.assert_has([]).await;
    let record =
        move_to(store, &stored, |record| Record { principal: Some(Arc::clone(&user.principal)), ..record }).await;
    user.assert_has([&record]).await;
}

/// A login of another principal also gives the session another handle, and it is found only for the new principal.
pub async fn a_session_that_is_taken_over_is_found_with_its_new_principal(store: &Arc<impl FindPrincipals>) {
    let (first, second) = (TestUser::new(store), TestUser::new(store));
    let (stays, stored) = (first.begin_session().await, first.begin_session().await);
    let take = |record| Record { handle: random_handle(), principal: Some(Arc::clone(&second.principal)), ..record };
    let taken = move_to(store, &stored, take).await;
    first.assert_has([&stays.record]).await;
    second.assert_has([&taken]).await;
    assert_eq!(first.revoke(&[stored.record.handle, taken.handle]).await, []);
    second.assert_has([&taken]).await;
}

/// Renews a session with a changed record.
async fn move_to(
    store: &Arc<impl FindPrincipals>,
    stored: &Stored,
    change: impl FnOnce(Record) -> Record,
) -> Arc<Record> {
    let mut renewal = stored.renewal();
    renewal.record = Arc::new(change(Record::clone(&renewal.record)));
    assert_eq!(ok(store.renew(renewal.clone(), stored.now).await), Outcome::Done);
    assert_live(&**store, &renewal.new, &renewal.record, stored.now).await;
    renewal.record
}

/// The next call does not find a deleted session.
pub async fn a_deleted_session_is_not_found(store: &Arc<impl FindPrincipals>) {
    let user = TestUser::new(store);
    let (stays, first, second) = (user.begin_session().await, user.begin_session().await, user.begin_session().await);
    let renewal = second.renew(&**store).await;
    for (key, left) in [(first.key, vec![&stays.record, &renewal.record]), (renewal.new, vec![&stays.record])] {
        assert_eq!(ok(store.delete(&key, None, user.now).await), Outcome::Done);
        user.assert_has(left).await;
    }
}

/// Another principal's session replaces an expired one under the same key, which leaves no trace.
pub async fn a_session_that_was_replaced_is_not_found(store: &Arc<impl FindPrincipals>) {
    let (first, mut second) = (TestUser::new(store), TestUser::new(store));
    let expired = first.begin_session().await;
    second.now = expired.record.expires_at;
    let record = Arc::new(second.record());
    assert!(ok(store.create(&expired.key, Arc::clone(&record), second.now).await), "an expired record blocks the key");
    second.assert_has([&record]).await;
    // Even at a time before it expired.
    for now in [second.now, first.now] {
        first.assert_has_at([], now).await;
        assert_eq!(
            ok(store.revoke(&first.principal, &[expired.record.handle, record.handle], first.left.clone(), now).await),
            []
        );
    }
    second.assert_has([&record]).await;
}

/// A put writes the index too: of a new record, of one that replaces it, and of a forward.
pub async fn a_session_that_a_put_writes_or_ends_is_found_or_not(store: &Arc<impl FindPrincipals>) {
    let (first, second) = (TestUser::new(store), TestUser::new(store));
    let (key, now) = (random_key(), first.now);
    let record = Arc::new(first.record());
    let next = Arc::new(Record {
        principal: Some(Arc::clone(&second.principal)),
        version: later(record.version, 1),
        ..Record::clone(&record)
    });
    assert!(ok(store.put(&key, None, Entry::Live(Arc::clone(&record)), now).await));
    first.assert_has([&record]).await;
    assert!(ok(store.put(&key, Some(record.version), Entry::Live(Arc::clone(&next)), now).await));
    first.assert_has([]).await;
    second.assert_has([&next]).await;
    assert!(ok(store.put(&key, Some(next.version), Entry::Retired(second.left.clone()), now).await));
    second.assert_has([]).await;
}

/// Calls without effect do not change lists.
pub async fn failed_calls_do_not_change_lists(store: &Arc<impl FindPrincipals>) {
    let (user, other) = (TestUser::new(store), TestUser::new(store));
    let stored = user.begin_session().await;
    let (now, version) = (user.now, stored.record.version);
    let theirs = |version: Version| Arc::new(Record { version, ..other.record() });
    assert!(!ok(store.create(&stored.key, theirs(Version::FIRST), now).await));
    let outcome = ok(store.update(&stored.key, later(version, 1), theirs(later(version, 2)), now).await);
    assert_conflict(&outcome, &stored.record);
    let mut renewal = stored.renewal();
    (renewal.expected, renewal.record) = (later(version, 1), theirs(later(version, 2)));
    assert_conflict(&ok(store.renew(renewal, now).await), &stored.record);
    let nowhere = random_key();
    assert_eq!(ok(store.update(&nowhere, version, theirs(version), now).await), Outcome::Gone);
    let late: Timestamp = stored.record.expires_at;
    assert_eq!(ok(store.update(&stored.key, version, theirs(later(version, 1)), late).await), Outcome::Gone);
    user.assert_has([&stored.record]).await;
    other.assert_has([]).await;
}
