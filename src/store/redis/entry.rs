//! Entries as bytes: a head of fixed width, which the scripts read, and a body, which they do not.
//!
//! | bytes | of a session | of a forward |
//! | --- | --- | --- |
//! | 0 | `L`, or `S` if it was placed by a renewal in two steps | `F` |
//! | 1 to 8 | version | version of the successor, or 0 if the session was deleted |
//! | 9 to 16 | last seen | end of the grace |
//! | 17 to 24 | deadline | deadline |
//! | 25 on | [`Record::encode`] | the sealed successor, if there is one |
//!
//! A session with a principal has a `P` instead of the `L`, a `Q` instead of the `S`, and its [`Owner`] in 48 bytes
//! before the record, so that a script that has only a key can return the owner.
//!
//! Numbers are big-endian. The numbers in the head override those in the record, since a touch changes only the head.
//! The tombstone of a session of kind `S` or `Q` that was deleted without a forward is a single `D`. Another layout
//! would use other letters.

use std::sync::Arc;

use super::owner::{OWNER, Owner};
use crate::clock::Timestamp;
use crate::store::{DecodeRecordError, Entry, Forward, Record, Version};

/// The bytes before the body.
const HEAD: usize = 25;

const LIVE: u8 = b'L';
const SUCCESSOR: u8 = b'S';
const OWNED: u8 = b'P';
const OWNED_SUCCESSOR: u8 = b'Q';
const FORWARD: u8 = b'F';

/// The entry that replaces a session of kind `S` or `Q` for a while. The scripts write it.
const TOMBSTONE: &[u8] = b"D";

/// Returns the bytes of a session.
pub(super) fn live(record: &Record) -> Vec<u8> {
    session([LIVE, OWNED], record)
}

/// Returns the bytes of a session that a renewal places before it retires the old key.
pub(super) fn successor(record: &Record) -> Vec<u8> {
    session([SUCCESSOR, OWNED_SUCCESSOR], record)
}

fn session([anonymous, owned]: [u8; 2], record: &Record) -> Vec<u8> {
    let numbers = [record.version.as_u64(), record.last_seen_at.as_millis(), record.expires_at.as_millis()];
    let size = HEAD + OWNER + record.most_encoded_bytes();
    let mut bytes = match Owner::of(record) {
        None => head(anonymous, numbers, &[], size),
        Some(owner) => head(owned, numbers, owner.as_bytes(), size),
    };
    record.encode_onto(&mut bytes);
    bytes
}

/// Returns the bytes of a forward to a record.
pub(super) fn forward(forward: &Forward, record: &Record) -> Vec<u8> {
    forward_with(record.version.as_u64(), forward)
}

/// Returns the bytes of the forward that a deleted session leaves. No renewal takes it for its own, since no record has
/// the version 0.
pub(super) fn forward_of_ended(forward: &Forward) -> Vec<u8> {
    forward_with(0, forward)
}

fn forward_with(version: u64, forward: &Forward) -> Vec<u8> {
    let numbers = [version, forward.grace_until.as_millis(), forward.expires_at.as_millis()];
    let successor = forward.successor.as_ref().map_or(&[][..], <[u8; 32]>::as_slice);
    head(FORWARD, numbers, successor, HEAD + successor.len())
}

/// Returns the head and what follows it, with room for `size` bytes.
fn head(kind: u8, numbers: [u64; 3], next: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size);
    bytes.push(kind);
    for number in numbers {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(next);
    bytes
}

/// Reads an entry, expired or not. Returns `None` for the tombstone of a deleted session.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Entry>, DecodeRecordError> {
    if bytes == TOMBSTONE {
        return Ok(None);
    }
    let (head, body) = bytes.split_first_chunk::<HEAD>().ok_or_else(DecodeRecordError::malformed)?;
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| head[at + i]));
    let (version, middle, deadline) =
        (Version::from_u64(number(1)), Timestamp::from_millis(number(9)), Timestamp::from_millis(number(17)));
    match head[0] {
        LIVE | SUCCESSOR | OWNED | OWNED_SUCCESSOR => {
            let is_owned = matches!(head[0], OWNED | OWNED_SUCCESSOR);
            let body = body.get(if is_owned { OWNER } else { 0 }..).ok_or_else(DecodeRecordError::malformed)?;
            let record = Record { version, last_seen_at: middle, expires_at: deadline, ..Record::decode(body)? };
            Ok(Some(Entry::Live(Arc::new(record))))
        }
        FORWARD => {
            let successor =
                if body.is_empty() { None } else { Some(body.try_into().map_err(|_| DecodeRecordError::malformed())?) };
            Ok(Some(Entry::Retired(Forward { successor, grace_until: middle, expires_at: deadline })))
        }
        _ => Err(DecodeRecordError::malformed()),
    }
}

/// The first bytes of an entry.
pub(super) enum EntryHead {
    /// A session of a principal.
    Owned {
        owner: Owner,
        expires_at: Timestamp,
    },
    Forward,
    /// No entry, or one of another kind.
    Other,
}

impl EntryHead {
    /// The number of bytes to read.
    pub(super) const LEN: usize = HEAD + OWNER;

    pub(super) fn read(bytes: &[u8]) -> Self {
        match bytes.split_first_chunk::<HEAD>() {
            Some((&[OWNED | OWNED_SUCCESSOR, .., a, b, c, d, e, f, g, h], rest)) => match rest.first_chunk() {
                Some(&owner) => {
                    let expires_at = Timestamp::from_millis(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
                    Self::Owned { owner: Owner::from_bytes(owner), expires_at }
                }
                None => Self::Other,
            },
            Some(([FORWARD, ..], _)) => Self::Forward,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Handle;

    const SUCCESSOR_ID: [u8; 32] = [9; 32];

    fn record() -> Record {
        let mut record =
            Record::new(Handle::from_bytes([7; 16]), Timestamp::from_millis(1_000), Timestamp::from_millis(3_000));
        (record.last_seen_at, record.version) =
            (Timestamp::from_millis(2_000), Version::from_u64(0x0102_0304_0506_0708));
        record
    }

    fn owned_record() -> Record {
        Record { principal: Some("alice".into()), ..record() }
    }

    fn forward_to(successor: Option<[u8; 32]>) -> Forward {
        let [grace_until, expires_at] = [4_000, 5_000].map(Timestamp::from_millis);
        Forward { successor, grace_until, expires_at }
    }

    #[test]
    fn entries_survive_a_round_trip() {
        for bytes in [live(&record()), successor(&record())] {
            assert_eq!(read(&bytes), Ok(Some(Entry::Live(Arc::new(record())))));
        }
        for bytes in [live(&owned_record()), successor(&owned_record())] {
            assert_eq!(read(&bytes), Ok(Some(Entry::Live(Arc::new(owned_record())))));
        }
        for sealed in [None, Some([0; 32]), Some(SUCCESSOR_ID)] {
            let expected = forward_to(sealed);
            for bytes in [forward(&expected, &record()), forward_of_ended(&expected)] {
                assert_eq!(read(&bytes), Ok(Some(Entry::Retired(expected.clone()))));
            }
        }
        assert_eq!(read(TOMBSTONE), Ok(None));
    }

    #[test]
    fn the_head_written_by_a_touch_overrides_the_record() {
        let mut bytes = live(&record());
        bytes[9..17].copy_from_slice(&2_500_u64.to_be_bytes());
        bytes[17..25].copy_from_slice(&u64::MAX.to_be_bytes());
        let Ok(Some(Entry::Live(touched))) = read(&bytes) else { panic!("it is a session") };
        assert_eq!((touched.last_seen_at.as_millis(), touched.expires_at.as_millis()), (2_500, u64::MAX));
    }

    #[test]
    fn malformed_entries_are_rejected() {
        let (session, forward) = (live(&record()), forward(&forward_to(Some(SUCCESSOR_ID)), &record()));
        for cut in (0..HEAD + 10).chain([session.len() - 1]) {
            assert!(read(&session[..cut]).is_err(), "{cut}");
        }
        let owned = live(&owned_record());
        for cut in (0..HEAD + OWNER + 10).chain([owned.len() - 1]) {
            assert!(read(&owned[..cut]).is_err(), "{cut}");
        }
        for cut in (0..HEAD).chain(HEAD + 1..forward.len()) {
            assert!(read(&forward[..cut]).is_err(), "{cut}");
        }
        assert!(read(&[forward.as_slice(), b"x"].concat()).is_err());
        assert!(read(&[b"Z", &session[1..]].concat()).is_err());
        assert!(read(b"DD").is_err());
    }

    #[test]
    fn the_layout_is_frozen() {
        // The scripts of other nodes, of this and later releases, read the same bytes.
        let head = b"\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\0\0\0\x07\xd0\0\0\0\0\0\0\x0b\xb8";
        assert_eq!(live(&record()), [b"L", head.as_slice(), &record().encode()].concat());
        assert_eq!(successor(&record()), [b"S", head.as_slice(), &record().encode()].concat());
        let record_of_alice = owned_record().encode();
        for (letter, bytes) in [(b"P", live(&owned_record())), (b"Q", successor(&owned_record()))] {
            assert_eq!(bytes, [letter, head.as_slice(), &HASH_OF_ALICE, &[7; 16], &record_of_alice].concat());
        }
        let head = b"\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\0\0\0\x0f\xa0\0\0\0\0\0\0\x13\x88";
        let bytes = forward(&forward_to(Some(SUCCESSOR_ID)), &record());
        assert_eq!(bytes, [b"F", head.as_slice(), &SUCCESSOR_ID].concat());
        assert_eq!(forward(&forward_to(None), &record()), [b"F", head.as_slice()].concat());
        assert_eq!(forward_of_ended(&forward_to(None)), [b"F\0\0\0\0\0\0\0\0", &head[8..]].concat());
    }

    #[test]
    fn the_head_contains_the_owner_of_a_session() {
        let [owned, anonymous] = [live(&owned_record()), live(&record())];
        let EntryHead::Owned { owner, expires_at } = EntryHead::read(&owned[..EntryHead::LEN]) else { panic!() };
        assert!(owner == Owner::new("alice", &Handle::from_bytes([7; 16])));
        assert_eq!(expires_at.as_millis(), 3_000);
        assert!(matches!(EntryHead::read(&owned[..EntryHead::LEN - 1]), EntryHead::Other));
        assert!(matches!(EntryHead::read(&anonymous), EntryHead::Other));
        assert!(matches!(EntryHead::read(&forward(&forward_to(None), &record())), EntryHead::Forward));
        assert!(matches!(EntryHead::read(TOMBSTONE), EntryHead::Other));
    }

    // Computed with Python: hashlib.sha256(b"session-state prn v1" + b"alice").
    const HASH_OF_ALICE: [u8; 32] = [
        0xd1, 0x00, 0x2c, 0x1b, 0xfd, 0xaf, 0x37, 0x32, 0x8d, 0xa2, 0xd8, 0xcd, 0x34, 0x78, 0xf6, 0x39, 0xc7, 0x96,
        0x74, 0xc7, 0xf1, 0x75, 0x0b, 0x51, 0x57, 0xf5, 0x39, 0xe2, 0xa8, 0x13, 0xb1, 0xa0,
    ];
}
