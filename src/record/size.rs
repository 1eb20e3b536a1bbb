//! The size of a record, as limits count it.

use std::sync::Arc;

use crate::error::Error;

/// Returns the size of a record: the frames of its values and its principal.
pub(super) fn counted_size(values: usize, principal: Option<&Arc<str>>) -> usize {
    values + principal.map_or(0, |principal| principal.len())
}

/// Rejects growth beyond the limit. A record that was stored under a larger limit may keep its size or shrink.
pub(super) fn check_growth(before: usize, after: usize, limit: usize) -> Result<(), Error> {
    if after > limit && after > before { Err(Error::too_large("session", after, limit)) } else { Ok(()) }
}
