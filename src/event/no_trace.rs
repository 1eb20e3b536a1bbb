//! Stand-in for the events of `tracing` where the feature `tracing` is off.

use super::SessionEvent;

/// Does nothing.
#[inline(always)]
pub(super) fn note(_: &SessionEvent) {}
