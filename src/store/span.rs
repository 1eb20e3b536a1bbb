//! A span of `tracing` around each call of a store.

use tracing::Instrument as _;

/// Runs a call in a span with the names of the store and the operation, without data of the session.
pub(super) fn in_span<F: Future>(
    store: &'static str,
    operation: &'static str,
    call: F,
) -> impl Future<Output = F::Output> + use<F> {
    call.instrument(tracing::debug_span!("session_store", store, operation))
}
