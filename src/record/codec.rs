//! A record as bytes, for sealed cookies and for stores of byte strings.
//!
//! Format 1: the format number, flags for the optional fields, the handle, then numbers of variable length (times as
//! differences, since most are close to each other), the optional fields in the order of their flags, and the frames of
//! the values up to the end. Every format that was ever released stays readable.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use super::wire::{Reader, put_bytes, put_number};
use super::{Generation, Handle, Record, Values, Version};
use crate::clock::{Timestamp, whole_millis};

const FORMAT: u8 = 1;

const HAS_IDLE_TIMEOUT: u8 = 1;
const HAS_ABSOLUTE_TIMEOUT: u8 = 1 << 1;
const HAS_PRINCIPAL: u8 = 1 << 2;
const HAS_AUTHENTICATED_AT: u8 = 1 << 3;
const HAS_LABEL: u8 = 1 << 4;
const HAS_GENERATION: u8 = 1 << 5;

/// The most bytes that a record takes besides its values, its label and the name of its principal.
const FIXED_SIZE: usize = 96;

impl Record {
    /// Returns the record as bytes, for stores that keep byte strings.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.most_encoded_bytes());
        self.encode_onto(&mut out);
        out
    }

    /// Returns a bound on the length of the encoded record.
    pub(crate) fn most_encoded_bytes(&self) -> usize {
        let texts: usize = [&self.principal, &self.label].into_iter().flatten().map(|text| text.len()).sum();
        FIXED_SIZE + texts + self.values.as_frames().len()
    }

    /// Appends the bytes of [`encode`](Self::encode).
    pub(crate) fn encode_onto(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        out.push(self.flags());
        out.extend_from_slice(self.handle.as_bytes());
        put_number(out, self.created_at.as_millis());
        for later in [self.renewed_at, self.last_seen_at, self.expires_at] {
            put_number(out, whole_millis(later.since(self.created_at)));
        }
        put_number(out, self.version.as_u64());
        for timeout in [self.idle_timeout, self.absolute_timeout].into_iter().flatten() {
            put_number(out, whole_millis(timeout));
        }
        if let Some(principal) = &self.principal {
            put_bytes(out, principal.as_bytes());
        }
        if let Some(authenticated_at) = self.authenticated_at {
            put_number(out, authenticated_at.as_millis());
        }
        if let Some(label) = &self.label {
            put_bytes(out, label.as_bytes());
        }
        if self.generation != Generation::default() {
            put_number(out, self.generation.as_u64());
        }
        out.extend_from_slice(self.values.as_frames());
    }

    /// Reads a record from the bytes of [`encode`](Self::encode), of this release or any earlier one.
    ///
    /// # Errors
    ///
    /// [`DecodeRecordError`] when the bytes are not a record, or are one of a later release.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeRecordError> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => decode_format_1(&mut Reader::new(rest)).ok_or(DecodeRecordError::malformed()),
            Some((&format, _)) => Err(DecodeRecordError { format: Some(format) }),
            None => Err(DecodeRecordError::malformed()),
        }
    }

    fn flags(&self) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        flag(self.idle_timeout.is_some(), HAS_IDLE_TIMEOUT)
            | flag(self.absolute_timeout.is_some(), HAS_ABSOLUTE_TIMEOUT)
            | flag(self.principal.is_some(), HAS_PRINCIPAL)
            | flag(self.authenticated_at.is_some(), HAS_AUTHENTICATED_AT)
            | flag(self.label.is_some(), HAS_LABEL)
            | flag(self.generation != Generation::default(), HAS_GENERATION)
    }
}

fn decode_format_1(reader: &mut Reader<'_>) -> Option<Record> {
    let flags = reader.byte()?;
    if flags >= 1 << 6 {
        return None;
    }
    let handle = Handle::from_bytes(reader.array()?);
    let created_at = Timestamp::from_millis(reader.number()?);
    let mut later = || Some(created_at.after(Duration::from_millis(reader.number()?)));
    let (renewed_at, last_seen_at, expires_at) = (later()?, later()?, later()?);
    let version = Version::from_u64(reader.number()?);
    let mut optional = |flag: u8| match flags & flag {
        0 => Some(None),
        _ => reader.number().map(Some),
    };
    let idle_timeout = optional(HAS_IDLE_TIMEOUT)?.map(Duration::from_millis);
    let absolute_timeout = optional(HAS_ABSOLUTE_TIMEOUT)?.map(Duration::from_millis);
    let principal = match flags & HAS_PRINCIPAL {
        0 => None,
        _ => Some(std::str::from_utf8(reader.bytes()?).ok()?.into()),
    };
    let authenticated_at = match flags & HAS_AUTHENTICATED_AT {
        0 => None,
        _ => Some(Timestamp::from_millis(reader.number()?)),
    };
    let label = match flags & HAS_LABEL {
        0 => None,
        _ => Some(std::str::from_utf8(reader.bytes()?).ok()?.into()),
    };
    let generation = match flags & HAS_GENERATION {
        0 => Generation::default(),
        _ => Generation::from_u64(reader.number()?),
    };
    let values = Values::from_frames(reader.rest())?;
    Some(Record {
        handle,
        created_at,
        renewed_at,
        last_seen_at,
        expires_at,
        idle_timeout,
        absolute_timeout,
        principal,
        authenticated_at,
        label,
        version,
        generation,
        values,
    })
}

/// Error of bytes that this release cannot decode as a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeRecordError {
    /// The format number, if it is unknown.
    format: Option<u8>,
}

impl DecodeRecordError {
    pub(crate) fn malformed() -> Self {
        Self { format: None }
    }

    pub(crate) fn of_format(format: u8) -> Self {
        Self { format: Some(format) }
    }
}

impl fmt::Display for DecodeRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.format {
            Some(format) => write!(f, "record format {format} is not one that this release reads (1)"),
            None => f.write_str("the bytes are not a session record"),
        }
    }
}

impl StdError for DecodeRecordError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn full_record() -> Record {
        let at = Timestamp::from_millis;
        Record {
            handle: Handle::from_bytes([9; 16]),
            created_at: at(1_700_000_000_000),
            renewed_at: at(1_700_000_000_500),
            last_seen_at: at(1_700_000_001_000),
            expires_at: at(1_700_000_061_000),
            idle_timeout: Some(Duration::from_secs(60)),
            absolute_timeout: Some(Duration::from_secs(3600)),
            principal: Some("alice".into()),
            authenticated_at: Some(at(1_700_000_000_000)),
            label: None,
            version: Version::from_u64(300),
            generation: Generation::default(),
            values: Values::from_pairs([("n", b"1".as_slice()), ("@cart", b"{\"lines\":[]}")]),
        }
    }

    fn plain_record() -> Record {
        Record::new(Handle::from_bytes([1; 16]), Timestamp::from_millis(5), Timestamp::from_millis(9))
    }

    fn labelled_record() -> Record {
        Record { label: Some("Zoë's phone".into()), ..full_record() }
    }

    fn generated_record() -> Record {
        Record { generation: Generation::from_u64((3 << 32) | 5), ..labelled_record() }
    }

    #[test]
    fn records_survive_a_round_trip() {
        let only_label = Record { label: Some("".into()), ..plain_record() };
        let only_generation = Record { generation: Generation::from_u64(i64::MAX as u64), ..plain_record() };
        for record in
            [full_record(), labelled_record(), generated_record(), plain_record(), only_label, only_generation]
        {
            assert!(Record::decode(&record.encode()) == Ok(record));
        }
    }

    #[test]
    fn a_truncated_or_changed_record_never_panics() {
        let bytes = generated_record().encode();
        for cut in 0..bytes.len() {
            let _ = Record::decode(&bytes[..cut]);
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[cut] ^= 1 << bit;
                let _ = Record::decode(&changed);
            }
        }
        assert!(Record::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Record::decode(&[]).is_err());
        let mut unknown_flag = bytes.clone();
        unknown_flag[1] |= 0x80;
        assert!(Record::decode(&unknown_flag).is_err());
    }

    #[test]
    fn a_record_of_a_later_release_is_reported_as_such() {
        let error = Record::decode(&[2, 0, 0]).expect_err("format 2 does not exist");
        assert_eq!(error.to_string(), "record format 2 is not one that this release reads (1)");
    }

    #[test]
    fn format_1_is_frozen() {
        // Encoded independently, in Python, from the description at the top of this file.
        let hex = concat!(
            "010f0909090909090909090909090909090980d095ffbc31f403e807c8dc03ac02e0d40380dddb0105616c6963",
            "6580d095ffbc31016e01310540636172740c7b226c696e6573223a5b5d7d"
        );
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect();
        assert!(Record::decode(&bytes) == Ok(full_record()));
        assert_eq!(full_record().encode(), bytes);
        // The label came later: the fifth flag, and its text before the values.
        let (head, values) = bytes.split_at(bytes.len() - 23);
        let labelled = [&[1, 0x1f], &head[2..], b"\x0cZo\xc3\xab's phone", values].concat();
        assert!(Record::decode(&labelled) == Ok(labelled_record()));
        assert_eq!(labelled_record().encode(), labelled);
        // The generation came later still: the sixth flag, and its number behind the label.
        let generation = [0x85, 0x80, 0x80, 0x80, 0x30];
        let generated = [&[1, 0x3f], &head[2..], b"\x0cZo\xc3\xab's phone", &generation, values].concat();
        assert!(Record::decode(&generated) == Ok(generated_record()));
        assert_eq!(generated_record().encode(), generated);
    }
}
