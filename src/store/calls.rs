//! The arguments and results of the calls of a store.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::entry::{Entry, Forward};
use crate::clock::Timestamp;
use crate::record::{Record, StoreKey, Version};

/// A use of a session, which extends its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The version that the session must have.
    pub expected: Version,
    /// The time of the use.
    pub last_seen_at: Timestamp,
    /// The new deadline.
    pub expires_at: Timestamp,
}

impl Touch {
    /// Returns the record after the touch. Neither of its times moves backwards.
    #[must_use]
    pub fn of(self, record: &Record) -> Record {
        Record {
            last_seen_at: record.last_seen_at.max(self.last_seen_at),
            expires_at: record.expires_at.max(self.expires_at),
            ..record.clone()
        }
    }
}

/// A session's move from one key to another.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The present key.
    pub old: StoreKey,
    /// The version that the session must have.
    pub expected: Version,
    /// The new key, which only an earlier attempt of the same request may have used.
    pub new: StoreKey,
    /// The record to write under the new key.
    pub record: Arc<Record>,
    /// The forward to write under the old key.
    pub forward: Forward,
}

/// The outcome of an [`update`](super::Store::update), a [`touch`](super::Store::touch), a
/// [`renew`](super::Store::renew) or a [`delete`](super::Store::delete).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call took effect.
    Done,
    /// The call had no effect: the live record has another version. The record is included if the engine returned it in
    /// the same round trip; otherwise the layer loads it.
    Conflict(Option<Arc<Record>>),
    /// The call had no effect: the session was renewed and is under another key, or it has ended.
    Retired(Forward),
    /// The call had no effect: the key has no live entry.
    Gone,
}

impl Outcome {
    /// Returns why a call had no effect, from the entry under the key.
    pub(super) fn refused(found: Option<Entry>) -> Self {
        match found {
            Some(Entry::Live(record)) => Self::Conflict(Some(record)),
            Some(Entry::Retired(forward)) => Self::Retired(forward),
            None => Self::Gone,
        }
    }
}

/// Error of a delete each of whose attempts met a concurrent write.
#[derive(Debug)]
pub(super) struct AlwaysWritten;

impl AlwaysWritten {
    /// How often a delete starts over because another call has written the record.
    pub(super) const MAX_ATTEMPTS: usize = 1000;
}

impl fmt::Display for AlwaysWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the session was written before each of {} attempts to delete it", Self::MAX_ATTEMPTS)
    }
}

impl StdError for AlwaysWritten {}

/// A store has refused a record under a key that is free.
#[derive(Debug)]
pub(super) struct NotPlaced;

impl NotPlaced {
    /// How often a renewal tries to place its record. Only attempts of the same request have its new key.
    pub(super) const MAX_ATTEMPTS: usize = 16;
}

impl fmt::Display for NotPlaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the store has not placed the record of a renewal under its new key: a store in which a handle is unique \
             overrides `renew`",
        )
    }
}

impl StdError for NotPlaced {}
