//! Keys are bytes, not text.

use std::sync::Arc;

use super::support::*;
use crate::store::{Outcome, Record, Store, StoreKey};

/// A key that differs from another in one bit is another key. Bit 5 is the case of an ASCII letter.
pub async fn keys_that_differ_in_one_bit_are_distinct(store: &Arc<impl Store>) {
    let Stored { key, record, now } = store_plain_record(&**store).await;
    for index in 0..32 {
        for bit in [0, 5, 7] {
            let mut bytes = *key.as_bytes();
            bytes[index] ^= 1 << bit;
            assert_nothing(&**store, &StoreKey::from_bytes(bytes), now).await;
        }
    }
    assert_live(&**store, &key, &record, now).await;
}

/// Upper- and lower-case letters differ.
pub async fn keys_that_differ_in_the_case_of_letters_are_distinct(store: &Arc<impl Store>) {
    let small = random_bytes::<32>().map(|byte| b'a' + byte % 26);
    assert_all_are_different(store, &[small, small.map(|byte| byte.to_ascii_uppercase())]).await;
}

/// Trailing zeros and spaces are significant, and a zero in the middle does not end a key.
pub async fn keys_that_differ_after_a_zero_or_in_their_padding_are_distinct(store: &Arc<impl Store>) {
    let keys =
        with_ends(&[b"", b" ", b"  ", b"\0 ", b"\0\0x", b"\0\0y", b"x", b"x ", b"\t", b"\n", b"                "]);
    assert_all_are_different(store, &keys).await;
}

/// Bytes that are not UTF-8 are significant, and letters that a collation considers equal differ.
pub async fn keys_that_are_not_utf8_or_collate_equal_are_distinct(store: &Arc<impl Store>) {
    let ends: [&[u8]; 12] = [
        b"\xff",
        b"\xfe",
        b"\xc3",
        b"\xc3\xa9",
        b"\xc3\x89",
        b"e\xcc\x81",
        b"e",
        b"\xc3\x9f",
        b"ss",
        b"\xef\xbf\xbd",
        b"%",
        b"_",
    ];
    assert_all_are_different(store, &with_ends(&ends)).await;
}

/// Returns keys with the same random start, then the given bytes, then zeros.
fn with_ends(ends: &[&[u8]]) -> Vec<[u8; 32]> {
    let start = random_bytes::<16>();
    let with_end = |end: &&[u8]| {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&start);
        key[16..16 + end.len()].copy_from_slice(end);
        key
    };
    ends.iter().map(with_end).collect()
}

async fn assert_all_are_different(store: &Arc<impl Store>, keys: &[[u8; 32]]) {
    let now = now();
    let mut stored = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        let record = Record { values: number(n as u64), ..plain_record(now) };
        let key = StoreKey::from_bytes(*key);
        assert_nothing(&**store, &key, now).await;
        assert!(ok(store.create(&key, Arc::new(record.clone()), now).await), "key {n} is taken by another key");
        stored.push((key, record));
    }
    while let Some((key, record)) = stored.pop() {
        assert_live(&**store, &key, &record, now).await;
        assert_eq!(ok(store.delete(&key, None, now).await), Outcome::Done);
        for (other, record) in &stored {
            assert_live(&**store, other, record, now).await;
        }
    }
}
