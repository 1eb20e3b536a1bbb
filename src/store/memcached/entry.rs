//! Entries as bytes: a letter for the kind, then the record or the forward.

use crate::clock::Timestamp;
use crate::store::{DecodeRecordError, Entry, Forward, Record};

const LIVE: u8 = b'L';
const RETIRED: u8 = b'R';

pub(super) fn encode_record(record: &Record) -> Vec<u8> {
    let mut bytes = vec![LIVE];
    bytes.extend_from_slice(&record.encode());
    bytes
}

/// Encodes a forward: its two times in milliseconds, then the successor if there is one.
pub(super) fn encode_forward(forward: &Forward) -> Vec<u8> {
    let mut bytes = vec![RETIRED];
    for time in [forward.grace_until, forward.expires_at] {
        bytes.extend_from_slice(&time.as_millis().to_be_bytes());
    }
    bytes.extend(forward.successor.iter().flatten());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Entry, DecodeRecordError> {
    match bytes.split_first() {
        Some((&LIVE, record)) => Ok(Entry::Live(Record::decode(record)?.into())),
        Some((&RETIRED, forward)) => decode_forward(forward).map(Entry::Retired).ok_or(DecodeRecordError::malformed()),
        _ => Err(DecodeRecordError::malformed()),
    }
}

fn decode_forward(bytes: &[u8]) -> Option<Forward> {
    let (&grace_until, rest) = bytes.split_first_chunk()?;
    let (&expires_at, rest) = rest.split_first_chunk()?;
    let [grace_until, expires_at] =
        [grace_until, expires_at].map(|time| Timestamp::from_millis(u64::from_be_bytes(time)));
    let successor = if rest.is_empty() { None } else { Some(rest.try_into().ok()?) };
    Some(Forward { successor, grace_until, expires_at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Handle;

    fn entries() -> [(Entry, Vec<u8>); 3] {
        let at = Timestamp::from_millis;
        let record = Record::new(Handle::from_bytes([7; 16]), at(1), at(u64::MAX));
        let forward = Forward { successor: Some([5; 32]), grace_until: at(3), expires_at: at(u64::MAX) };
        let login = Forward { successor: None, ..forward.clone() };
        let bytes = [encode_record(&record), encode_forward(&forward), encode_forward(&login)];
        let entries = [Entry::Live(record.into()), Entry::Retired(forward), Entry::Retired(login)];
        let mut pairs = entries.into_iter().zip(bytes);
        std::array::from_fn(|_| pairs.next().expect("three of each"))
    }

    #[test]
    fn entries_survive_a_round_trip() {
        for (entry, bytes) in entries() {
            assert_eq!(decode(&bytes), Ok(entry));
        }
    }

    #[test]
    fn malformed_entries_are_rejected_and_never_panic() {
        for (_, bytes) in entries() {
            for cut in 0..bytes.len() {
                let _ = decode(&bytes[..cut]);
            }
            assert!(decode(&[b"X", &bytes[1..]].concat()).is_err());
        }
        let [_, (_, forward), (_, login)] = entries();
        assert!(decode(&forward[..forward.len() - 1]).is_err());
        assert!(decode(&login[..login.len() - 1]).is_err());
        assert!(decode(&[&forward[..], b"1"].concat()).is_err());
        assert!(decode(b"").is_err());
    }
}
