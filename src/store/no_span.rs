//! What stands for the spans where the feature `tracing` is off.

/// Returns the call as it is.
pub(super) fn in_span<F: Future>(_: &'static str, _: &'static str, call: F) -> F {
    call
}
