//! A store that finds principals lists and counts exactly their live sessions, as they are at the moment.

use std::sync::Arc;

use super::someone::*;
use super::support::*;
use crate::clock::Timestamp;
use crate::store::{Handle, Outcome, Record, Store, StoreErrorKind};

/// A principal that has no session has an empty list. A store that finds nobody says so instead: an empty list would be
/// a lie.
pub async fn a_store_finds_principals_or_says_that_it_does_not<S: Store>(store: &Arc<S>) {
    let (principal, now) = (format!("nobody {}", random_handle()), now());
    let list = store.list(&principal, None, NO_LIMIT, now).await.map(|list| list.len());
    let count = store.count(&principal, now).await;
    let ended = store.revoke(&principal, &[random_handle()], now).await.map(|ended| ended.len());
    for (call, found) in [("list", list), ("count", count), ("revoke", ended)] {
        if S::FINDS_PRINCIPALS {
            assert_eq!(ok(found), 0, "what `{call}` finds of nobody");
        } else {
            let kind = found.map_err(|error| error.kind());
            assert_eq!(kind, Err(StoreErrorKind::Unsupported), "`{call}` of a store that finds nobody");
        }
    }
}

/// A list shows every field of a session but its values: times, timeouts, the principal, the label.
pub async fn sessions_are_found_by_their_principal_as_they_are(store: &Arc<impl Store>) {
    let Some(someone) = Someone::new(store) else { return };
    let mut records = Vec::new();
    for label in [Some("Zoë's 📱 o'\"\\%_\0\r\n "), Some(""), None] {
        let record = Record { label: label.map(Into::into), ..someone.record() };
        records.push(place_record(&**store, record, someone.now).await.record);
        someone.assert_has(&records).await;
    }
    // And one in which nothing is set but its principal.
    let record = Record { principal: Some(Arc::clone(&someone.principal)), ..plain_record(someone.now) };
    records.push(place_record(&**store, record, someone.now).await.record);
    someone.assert_has(&records).await;
}

/// A list goes on behind any handle, one of a session or not, and has as many as it may have.
pub async fn pages_follow_the_order_of_handles(store: &Arc<impl Store>) {
    let Some(someone) = Someone::new(store) else { return };
    let mut records = Vec::new();
    let shared: [u8; 16] = random_bytes();
    for (place, byte) in [(0, 0), (0, b'A'), (0, b'a'), (0, 0xff), (15, 0), (15, b' '), (15, 0x7f), (15, 0x80)] {
        let mut handle = if place == 0 { random_bytes() } else { shared };
        handle[place] = byte;
        let record = Record { handle: Handle::from_bytes(handle), ..someone.record() };
        records.push(place_record(&**store, record, someone.now).await.record);
    }
    records.sort_by_key(|record| record.handle);
    let gone = someone.place().await;
    ok(store.delete(&gone.key, someone.now).await);

    let ends = [gone.record.handle, Handle::from_bytes([0; 16]), Handle::from_bytes([0xff; 16])];
    let starts = handles(&records).into_iter().chain(ends).map(Some).chain([None]);
    for after in starts {
        let behind: Vec<_> =
            records.iter().filter(|r| after.is_none_or(|after| r.handle > after)).map(Arc::clone).collect();
        for limit in (0..=records.len() + 1).chain([NO_LIMIT]) {
            assert_listed(&someone.list(after.as_ref(), limit).await, &behind[..limit.min(behind.len())]);
        }
    }
}

/// Names that some engine takes for one: by case, padding, a zero, accents, composition, length or as a pattern.
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

/// A session belongs to the principal of exactly these bytes: nobody lists, counts or ends another's.
pub async fn principals_are_compared_byte_by_byte(store: &Arc<impl Store>) {
    let mut everybody = Vec::new();
    for name in names_that_look_alike() {
        let Some(someone) = Someone::named(store, name) else { return };
        let placed = someone.place().await;
        everybody.push((someone, placed));
    }
    let everything: Vec<_> = everybody.iter().map(|(_, placed)| placed.record.handle).collect();
    for (someone, placed) in &everybody {
        someone.assert_has([&placed.record]).await;
    }
    for (someone, placed) in &everybody {
        assert_eq!(someone.revoke(&everything).await, [placed.record.handle], "what a principal may end");
        someone.assert_has([]).await;
    }
}

/// The empty text is a principal as any other: it has its own sessions and not those of nobody.
pub async fn the_empty_principal_is_not_nobody(store: &Arc<impl Store>) {
    let Some(empty) = Someone::named(store, "") else { return };
    // Other cases have sessions of the empty principal too.
    let before = |handle: &Handle| Handle::from_bytes((u128::from_be_bytes(*handle.as_bytes()) - 1).to_be_bytes());
    let placed = empty.place().await;
    let handle = placed.record.handle;
    assert_listed(&empty.list(Some(&before(&handle)), 1).await, &[Arc::clone(&placed.record)]);
    assert!(ok(store.count("", empty.now).await) >= 1, "the count of the empty principal");

    let anonymous = Record { principal: None, ..empty.record() };
    let anonymous = place_record(&**store, anonymous, empty.now).await;
    let first = empty.list(Some(&before(&anonymous.record.handle)), 1).await;
    assert!(!handles(&first).contains(&anonymous.record.handle), "an anonymous session was found");
    assert_eq!(empty.revoke(&[handle, anonymous.record.handle]).await, [handle]);
    assert_live(&**store, &anonymous.key, &anonymous.record, empty.now).await;
    assert_nothing(&**store, &placed.key, empty.now).await;
}

/// A session that has expired is not found, not counted and not ended, whether it was swept or not.
pub async fn a_session_is_found_until_the_millisecond_in_which_it_expires(store: &Arc<impl Store>) {
    let Some(mut someone) = Someone::new(store) else { return };
    let short = someone.place().await;
    let record = Record { expires_at: someone.now.after(3 * HOUR), ..someone.record() };
    let long = place_record(&**store, record, someone.now).await;
    let (end, both) = (short.record.expires_at, [short.record.handle, long.record.handle]);
    someone.assert_has_at([&short.record, &long.record], before(end, MILLISECOND)).await;
    someone.assert_has_at([&long.record], end).await;
    someone.now = end;
    assert_listed(&someone.list(None, 1).await, &[Arc::clone(&long.record)]);
    assert_eq!(someone.revoke(&both).await, [long.record.handle], "the sessions that had not expired");
    someone.assert_has([]).await;
}

/// A touch is in the list at once, and the session until its new deadline.
pub async fn a_touched_session_is_found_with_its_new_times(store: &Arc<impl Store>) {
    let Some(someone) = Someone::new(store) else { return };
    let Placed { key, record, .. } = someone.place().await;
    let (seen, end) = (someone.now.after(MINUTE), someone.now.after(5 * HOUR));
    assert_eq!(ok(store.touch(&key, record.version, seen, end, someone.now).await), Outcome::Done);
    let touched = Arc::new(Record { last_seen_at: seen, expires_at: end, ..Record::clone(&record) });
    someone.assert_has([&touched]).await;
    someone.assert_has_at([&touched], before(end, MILLISECOND)).await;
    someone.assert_has_at([], end).await;
}

/// An update is in the list at once: another label, another deadline, a later or an earlier one.
pub async fn an_updated_session_is_found_as_it_was_written(store: &Arc<impl Store>) {
    let Some(someone) = Someone::new(store) else { return };
    let Placed { key, mut record, .. } = someone.place().await;
    for (label, lives) in [(Some("new phone"), 5 * HOUR), (None, 2 * HOUR), (Some("new phone"), 3 * HOUR)] {
        let label = label.map(Into::into);
        let end = someone.now.after(lives);
        let next = Record { label, expires_at: end, ..Record::clone(&next_version(&record, number(2))) };
        let (expected, next) = (record.version, Arc::new(next));
        assert_eq!(ok(store.update(&key, expected, Arc::clone(&next), someone.now).await), Outcome::Done);
        someone.assert_has([&next]).await;
        someone.assert_has_at([&next], before(end, MILLISECOND)).await;
        someone.assert_has_at([], end).await;
        record = next;
    }
}

/// An update may bring another principal, or none.
pub async fn an_update_moves_a_session_from_one_principal_to_another(store: &Arc<impl Store>) {
    let (Some(first), Some(second)) = (Someone::new(store), Someone::new(store)) else { return };
    let Placed { key, mut record, .. } = first.place().await;
    for owner in [Some(&second), None, Some(&first), Some(&second)] {
        let principal = owner.map(|owner| Arc::clone(&owner.principal));
        let next = Arc::new(Record { principal, ..Record::clone(&next_version(&record, number(2))) });
        assert_eq!(ok(store.update(&key, record.version, Arc::clone(&next), first.now).await), Outcome::Done);
        for someone in [&first, &second] {
            let is_owner = owner.is_some_and(|owner| owner.principal == someone.principal);
            someone.assert_has(is_owner.then_some(&next)).await;
        }
        record = next;
    }
}

/// A renewed session is there once, as it is under its new key. The forwards it left are no sessions.
pub async fn a_renewed_session_is_found_once(store: &Arc<impl Store>) {
    let Some(someone) = Someone::new(store) else { return };
    let other = someone.place().await;
    let mut placed = someone.place().await;
    for _ in 0..3 {
        let renewal = placed.renew(&**store).await;
        someone.assert_has([&other.record, &renewal.record]).await;
        placed = Placed { key: renewal.new, record: renewal.record, now: placed.now };
    }
    let next = placed.next(5);
    let outcome = ok(store.update(&placed.key, placed.record.version, Arc::clone(&next), placed.now).await);
    assert_eq!(outcome, Outcome::Done);
    someone.assert_has([&other.record, &next]).await;
}

/// Somebody logs in: the session gets another key and its principal at once, and is found from then on.
pub async fn a_login_is_found(store: &Arc<impl Store>) {
    let Some(someone) = Someone::new(store) else { return };
    let anonymous = Record { principal: None, label: None, authenticated_at: None, ..someone.record() };
    let placed = place_record(&**store, anonymous, someone.now).await;
    someone.assert_has([]).await;
    let record =
        move_to(store, &placed, |record| Record { principal: Some(Arc::clone(&someone.principal)), ..record }).await;
    someone.assert_has([&record]).await;
}

/// Another one logs in where somebody was: the session gets another handle too, and is found with the other one only.
pub async fn a_session_that_is_taken_over_is_found_with_its_new_principal(store: &Arc<impl Store>) {
    let (Some(first), Some(second)) = (Someone::new(store), Someone::new(store)) else { return };
    let (stays, placed) = (first.place().await, first.place().await);
    let take = |record| Record { handle: random_handle(), principal: Some(Arc::clone(&second.principal)), ..record };
    let taken = move_to(store, &placed, take).await;
    first.assert_has([&stays.record]).await;
    second.assert_has([&taken]).await;
    assert_eq!(first.revoke(&[placed.record.handle, taken.handle]).await, []);
    second.assert_has([&taken]).await;
}

/// Renews a session, and changes its record on the way.
async fn move_to(store: &Arc<impl Store>, placed: &Placed, change: impl FnOnce(Record) -> Record) -> Arc<Record> {
    let mut renewal = placed.renewal();
    renewal.record = Arc::new(change(Record::clone(&renewal.record)));
    assert_eq!(ok(store.renew(renewal.clone(), placed.now).await), Outcome::Done);
    assert_live(&**store, &renewal.new, &renewal.record, placed.now).await;
    renewal.record
}

/// What was deleted is not found by the next call.
pub async fn a_deleted_session_is_not_found(store: &Arc<impl Store>) {
    let Some(someone) = Someone::new(store) else { return };
    let (stays, first, second) = (someone.place().await, someone.place().await, someone.place().await);
    let renewal = second.renew(&**store).await;
    for (key, left) in [(first.key, vec![&stays.record, &renewal.record]), (renewal.new, vec![&stays.record])] {
        assert_eq!(ok(store.delete(&key, someone.now).await), Outcome::Done);
        someone.assert_has(left).await;
    }
}

/// A key whose session has expired is used for another principal's: nothing is left of the first.
pub async fn a_session_that_was_replaced_is_not_found(store: &Arc<impl Store>) {
    let (Some(first), Some(mut second)) = (Someone::new(store), Someone::new(store)) else { return };
    let expired = first.place().await;
    second.now = expired.record.expires_at;
    let record = Arc::new(second.record());
    assert!(ok(store.create(&expired.key, Arc::clone(&record), second.now).await), "what has expired is in the way");
    second.assert_has([&record]).await;
    // Even at a time at which it was there.
    for now in [second.now, first.now] {
        first.assert_has_at([], now).await;
        assert_eq!(ok(store.revoke(&first.principal, &[expired.record.handle, record.handle], now).await), []);
    }
    second.assert_has([&record]).await;
}

/// Calls that were refused leave no trace in what is found.
pub async fn calls_that_did_not_take_place_change_nothing_that_is_found(store: &Arc<impl Store>) {
    let (Some(someone), Some(other)) = (Someone::new(store), Someone::new(store)) else { return };
    let placed = someone.place().await;
    let (now, version) = (someone.now, placed.record.version);
    let theirs = |version: u64| Arc::new(Record { version, ..other.record() });
    assert!(!ok(store.create(&placed.key, theirs(1), now).await));
    let outcome = ok(store.update(&placed.key, version + 1, theirs(version + 2), now).await);
    assert_conflict(&outcome, &placed.record);
    let mut renewal = placed.renewal();
    (renewal.expected, renewal.record) = (version + 1, theirs(version + 2));
    assert_conflict(&ok(store.renew(renewal, now).await), &placed.record);
    let nowhere = random_key();
    assert_eq!(ok(store.update(&nowhere, version, theirs(version), now).await), Outcome::Gone);
    let late: Timestamp = placed.record.expires_at;
    assert_eq!(ok(store.update(&placed.key, version, theirs(version + 1), late).await), Outcome::Gone);
    someone.assert_has([&placed.record]).await;
    other.assert_has([]).await;
}
