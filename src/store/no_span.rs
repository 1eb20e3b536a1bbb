//! Replacement for spans without the feature `tracing`.

/// Returns the call unchanged.
pub(super) fn in_span<F: Future>(_: &'static str, _: &'static str, call: F) -> F {
    call
}
