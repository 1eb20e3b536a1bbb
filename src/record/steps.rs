//! Counter of search steps, for tests that show that many keys take linear time.

#[cfg(test)]
use std::cell::Cell;

#[cfg(test)]
thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

/// Counts the steps of this thread so far.
#[cfg(test)]
pub(super) fn taken() -> usize {
    TAKEN.get()
}

/// Counts a step.
#[cfg(test)]
pub(super) fn count() {
    TAKEN.set(TAKEN.get() + 1);
}

/// Does nothing outside of tests.
#[cfg(not(test))]
#[inline(always)]
pub(super) fn count() {}
