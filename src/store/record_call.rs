//! A call of a store in the same transaction as writes to other tables.

#![cfg_attr(
    not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
    expect(dead_code, reason = "no engine with tables is compiled in")
)]

use std::sync::Arc;

use super::{Record, Renewal, StoreKey, Version};

/// The write of a session's record, in the same transaction as rows of parts.
#[derive(Clone, Debug)]
pub(crate) enum RecordCall<'a> {
    /// [`Outcome::Done`](super::Outcome::Done), or [`Outcome::Conflict`](super::Outcome::Conflict) without a record
    /// when the key is taken.
    Create {
        key: &'a StoreKey,
        record: Arc<Record>,
    },
    Update {
        key: &'a StoreKey,
        expected: Version,
        record: Arc<Record>,
    },
    Renew(Renewal),
}

impl RecordCall<'_> {
    /// Returns the record to write.
    pub(crate) fn record(&self) -> &Arc<Record> {
        match self {
            Self::Create { record, .. } | Self::Update { record, .. } => record,
            Self::Renew(renewal) => &renewal.record,
        }
    }
}
