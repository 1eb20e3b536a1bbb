//! Stand-in for the events of `tracing` where the feature `tracing` is off.

use super::SessionEvent;
use crate::error::Error;

/// Does nothing.
#[inline(always)]
pub(super) fn note(_: &SessionEvent) {}

/// Does nothing.
#[inline(always)]
pub(crate) fn trace_missing_layer(_: &Error) {}
