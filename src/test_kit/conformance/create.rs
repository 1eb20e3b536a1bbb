//! A created record loads exactly as it was written until it expires, and never replaces a live entry.

use std::sync::Arc;

use super::support::*;
use crate::clock::Timestamp;
use crate::store::{Outcome, Record, Store, Touch, Values, Version};

/// A key that was never used has no entry, for every call except `create`.
pub async fn a_key_that_was_never_used_has_no_entry(store: &Arc<impl Store>) {
    let (key, now) = (random_key(), now());
    assert_nothing(&**store, &key, now).await;
    assert_eq!(ok(store.delete(&key, None, now).await), Outcome::Gone);
    let outcome = ok(store.update(&key, Version::FIRST, Arc::new(plain_record(now)), now).await);
    assert_eq!(outcome, Outcome::Gone);
}

/// Every field is preserved, to the millisecond and the byte.
pub async fn a_created_record_loads_exactly_as_it_was(store: &Arc<impl Store>) {
    let now = now();
    let stored = store_record(&**store, full_record(now), now).await;
    assert_live(&**store, &stored.key, &stored.record, now).await;
    assert_live(&**store, &stored.key, &stored.record, now.after(LIFE)).await;
}

/// A record without values, principal, label and timeouts: absent fields do not become empty ones.
pub async fn an_empty_record_loads_exactly_as_it_was(store: &Arc<impl Store>) {
    let now = now();
    for (principal, label) in [(None, None), (Some("".into()), None), (None, Some("".into()))] {
        let record = Record { principal, label, values: Values::default(), ..plain_record(now) };
        let stored = store_record(&**store, record, now).await;
        assert_live(&**store, &stored.key, &stored.record, now).await;
    }
}

/// JSON that parsing and re-encoding would change: spaces, the order of keys, more digits than a machine number has,
/// and needless escapes.
const UNUSUAL: &[u8] = br#"{"b" : 1.10, "a":[12345678901234567890123, "\u00e9\/"]}"#;

/// Text outside ASCII, outside the basic plane, not normalised, with quotes, percent signs and control characters.
pub async fn keys_values_and_texts_in_any_script_load_exactly(store: &Arc<impl Store>) {
    let now = now();
    for text in [
        "Zoë Ünal",
        "Zoe\u{308}",
        "山田 太郎",
        "😀\u{1f468}\u{200d}\u{1f469}",
        "o'\"\\%_`$1?;--",
        "a\tb\r\nc\0d",
        " a ",
    ] {
        let json = serde_json::to_string(text).expect("a text can be written as json");
        let values = Values::from_pairs([(text, json.as_bytes()), (&json, UNUSUAL)]);
        let (principal, label) = (Some(text.into()), Some(text.into()));
        let record = Record { principal, label, values, ..plain_record(now) };
        let stored = store_record(&**store, record, now).await;
        assert_live(&**store, &stored.key, &stored.record, now).await;
    }
}

/// Principals can be long; a label has up to 256 bytes.
pub async fn a_long_principal_is_not_cut(store: &Arc<impl Store>) {
    let now = now();
    let (principal, label) = (Some("é".repeat(2_000).into()), Some("é".repeat(128).into()));
    let record = Record { principal, label, ..plain_record(now) };
    let stored = store_record(&**store, record, now).await;
    assert_live(&**store, &stored.key, &stored.record, now).await;
}

/// A value of 1 MiB, of many characters of one to four bytes, survives being created, updated and renewed.
pub async fn values_of_one_mebibyte_survive(store: &Arc<impl Store>) {
    let now = now();
    let large: Vec<char> = (0_u32..).filter_map(|i| char::from_u32(i % 0x11000)).take(400_000).collect();
    let record = Record { values: text_values(&large), ..plain_record(now) };
    let mut stored = store_record(&**store, record, now).await;
    assert_live(&**store, &stored.key, &stored.record, now).await;

    let reversed: Vec<char> = large.iter().rev().copied().collect();
    let next = next_version(&stored.record, text_values(&reversed));
    assert_eq!(ok(store.update(&stored.key, Version::FIRST, Arc::clone(&next), now).await), Outcome::Done);
    assert_live(&**store, &stored.key, &next, now).await;

    stored.record = next;
    let mut renewal = stored.renewal();
    renewal.record = Arc::new(Record { values: stored.record.values.clone(), ..Record::clone(&renewal.record) });
    assert_eq!(ok(store.renew(renewal.clone(), now).await), Outcome::Done);
    assert_live(&**store, &renewal.new, &renewal.record, now).await;
}

/// Returns values that hold one text, as JSON.
fn text_values(text: &[char]) -> Values {
    let json = serde_json::to_vec(&String::from_iter(text)).expect("a text can be written as json");
    assert!(json.len() >= 1 << 20);
    Values::from_pairs([("large", json.as_slice())])
}

/// A record with a lifetime of 400 days is live on the last day. (Some engines interpret a lifetime of more than 30
/// days as a date.)
pub async fn a_record_may_live_for_400_days(store: &Arc<impl Store>) {
    let now = now();
    let record = Record { expires_at: now.after(400 * DAY), ..plain_record(now) };
    let stored = store_record(&**store, record, now).await;
    assert_live(&**store, &stored.key, &stored.record, now).await;
    assert_live(&**store, &stored.key, &stored.record, now.after(399 * DAY)).await;
    assert_nothing(&**store, &stored.key, now.after(400 * DAY)).await;
}

/// A very long timeout gives a deadline beyond the range of some engines, which must not become one in the past.
pub async fn a_deadline_at_the_end_of_time_has_not_passed(store: &Arc<impl Store>) {
    let now = now();
    let record = Record { expires_at: Timestamp::from_millis(u64::MAX), ..plain_record(now) };
    let stored = store_record(&**store, record, now).await;
    let n = |entry| match entry {
        Some(crate::store::Entry::Live(record)) => number_in(&record),
        other => panic!("expected a live record, found {other:?}"),
    };
    assert_eq!(n(ok(store.load(&stored.key, now.after(400 * DAY)).await)), 1);
    ok(store
        .touch(
            &stored.key,
            Touch { expected: Version::FIRST, last_seen_at: now, expires_at: stored.record.expires_at },
            now,
        )
        .await);
    assert_eq!(ok(store.update(&stored.key, Version::FIRST, stored.next(2), now).await), Outcome::Done);
    assert_eq!(n(ok(store.load(&stored.key, now.after(400 * DAY)).await)), 2);
}

/// A record is live one millisecond before its deadline, and expired at it.
pub async fn a_record_is_live_until_the_millisecond_it_expires(store: &Arc<impl Store>) {
    let Stored { key, record, .. } = store_plain_record(&**store).await;
    assert_live(&**store, &key, &record, before(record.expires_at, MILLISECOND)).await;
    assert_nothing(&**store, &key, record.expires_at).await;
    assert_nothing(&**store, &key, record.expires_at.after(DAY)).await;
}

/// `create` returns `false` if the key has a record, and leaves it unchanged.
pub async fn create_rejects_a_taken_key_and_changes_nothing(store: &Arc<impl Store>) {
    let Stored { key, record, now } = store_plain_record(&**store).await;
    assert!(!ok(store.create(&key, Arc::new(full_record(now)), now).await));
    assert_live(&**store, &key, &record, now).await;
    let last_moment = before(record.expires_at, MILLISECOND);
    assert!(!ok(store.create(&key, Arc::new(full_record(last_moment)), last_moment).await));
    assert_live(&**store, &key, &record, last_moment).await;
}

/// A forward blocks a `create` as a record does.
pub async fn create_rejects_a_retired_key_and_changes_nothing(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let renewal = stored.renew(&**store).await;
    assert!(!ok(store.create(&stored.key, Arc::new(full_record(stored.now)), stored.now).await));
    assert_retired(&**store, &stored.key, &renewal.forward, stored.now).await;
    assert_live(&**store, &renewal.new, &renewal.record, stored.now).await;
}

/// An expired record does not block a `create`, swept or not, and leaves no trace.
pub async fn create_replaces_an_expired_record(store: &Arc<impl Store>) {
    let start = now();
    let Stored { key, record, .. } = store_record(&**store, full_record(start), start).await;
    let later = record.expires_at;
    let successor = plain_record(later);
    assert!(ok(store.create(&key, Arc::new(successor.clone()), later).await));
    assert_live(&**store, &key, &successor, later).await;
    assert_nothing(&**store, &key, successor.expires_at).await;
}

/// An expired forward does not block a `create` either.
pub async fn create_replaces_an_expired_forward(store: &Arc<impl Store>) {
    let stored = store_plain_record(&**store).await;
    let later = stored.renew(&**store).await.forward.expires_at;
    let successor = plain_record(later);
    assert!(ok(store.create(&stored.key, Arc::new(successor.clone()), later).await));
    assert_live(&**store, &stored.key, &successor, later).await;
    assert_eq!(ok(store.delete(&stored.key, None, later).await), Outcome::Done);
    assert_nothing(&**store, &stored.key, later).await;
}

/// A deleted record does not block a `create`.
pub async fn a_deleted_key_can_be_created_again(store: &Arc<impl Store>) {
    let Stored { key, now, .. } = store_plain_record(&**store).await;
    assert_eq!(ok(store.delete(&key, None, now).await), Outcome::Done);
    let record = full_record(now);
    assert!(ok(store.create(&key, Arc::new(record.clone()), now).await));
    assert_live(&**store, &key, &record, now).await;
}
