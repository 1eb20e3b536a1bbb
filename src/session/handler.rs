//! Distinguishes a panic of the handler from that of a spawned task: the layer's future polls the handler.

use std::cell::Cell;

thread_local! {
    /// Number of nested handlers that this thread is polling.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Guard that exists while this thread polls a handler.
#[derive(Debug)]
pub(crate) struct Polling;

impl Polling {
    #[inline]
    pub(crate) fn begin() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Polling {
    #[inline]
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Returns whether this thread is polling a handler.
pub(super) fn is_being_polled() -> bool {
    DEPTH.get() > 0
}
