//! A call of a store that other writes go along with.

#![cfg_attr(
    not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
    expect(dead_code, reason = "no engine with tables is compiled in")
)]

use std::sync::Arc;

use super::{Record, Renewal, StoreKey};

/// What is done with the record of a session while rows are written beside it, in the same transaction.
#[derive(Clone, Debug)]
pub(crate) enum RecordCall<'a> {
    /// [`Outcome::Done`](super::Outcome::Done), or [`Outcome::Conflict`](super::Outcome::Conflict) without a record when
    /// the key is taken.
    Create {
        key: &'a StoreKey,
        record: Arc<Record>,
    },
    Update {
        key: &'a StoreKey,
        expected: u64,
        record: Arc<Record>,
    },
    Renew(Renewal),
}

impl RecordCall<'_> {
    /// The record that is written.
    pub(crate) fn record(&self) -> &Arc<Record> {
        match self {
            Self::Create { record, .. } | Self::Update { record, .. } => record,
            Self::Renew(renewal) => &renewal.record,
        }
    }
}
