//! Errors of a request that no call could return.

use super::{Shared, handler};
use crate::error::Error;

impl Shared {
    /// Keeps an error that could not be returned. It becomes the response.
    pub(crate) fn note_failure(&self, result: Result<(), Error>) {
        let Err(error) = result else { return };
        let mut inner = self.lock();
        let later = match &inner.failure {
            Some(_) => Some(error),
            None => inner.failure.replace(error),
        };
        drop(inner);
        drop(later);
    }

    /// Notes that the handler panics: none of its changes are committed. A panic of a spawned task does not affect the
    /// request.
    pub(crate) fn note_panic(&self) {
        if std::thread::panicking() && handler::is_being_polled() {
            self.lock().panicked = true;
        }
    }
}
