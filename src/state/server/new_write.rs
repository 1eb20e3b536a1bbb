//! Pending writes of records.

use std::sync::Arc;

use super::super::config::Config;
use super::super::part::Rows;
use super::super::work::{NewRecord, PendingWrite, Work};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::record::external::ExternalParts;
use crate::record::id::SessionId;
use crate::record::plan::Plan;
use crate::record::{Record, Version};
use crate::store::Forward;

/// A record to write, with its parts and rows.
pub(super) struct NewWrite {
    pub(super) record: Arc<Record>,
    pub(super) parts: Option<Arc<ExternalParts>>,
    pub(super) rows: Option<Box<Rows>>,
}

/// An update in progress.
pub(super) struct Update {
    pub(super) id: SessionId,
    /// The version that it is based on.
    pub(super) expected: Version,
    pub(super) write: NewWrite,
}

impl NewWrite {
    #[inline(always)]
    pub(super) fn of(work: &mut Work, config: &Config, write_id: u32, now: Timestamp) -> Result<Self, Error> {
        let record = work.make_record(config, write_id, now)?;
        let parts = work.draft.external().cloned().map(Arc::new);
        let rows = parts.as_ref().map_or(Ok(None), |parts| Rows::of(config, parts))?;
        Ok(Self { record, parts, rows })
    }

    pub(super) fn pending(&self, id: &SessionId, plan: Plan, forward: Option<Forward>) -> PendingWrite {
        let (record, parts) = (Arc::clone(&self.record), self.parts.clone());
        PendingWrite::New(Box::new(NewRecord { id: id.clone(), record, plan, forward, parts }))
    }
}
