//! Errors of a request that no call could return, and reports of errors to observers.

use http::StatusCode;

use super::shared::Inner;
use super::{Shared, handler};
use crate::error::{Error, ErrorKind};
use crate::event::SessionEvent;

impl Shared {
    /// Keeps an error that could not be returned. It becomes the response. After the response it is reported at once,
    /// and the next save returns it.
    pub(crate) fn note_failure(&self, result: Result<(), Error>) {
        let Err(error) = result else { return };
        let mut inner = self.lock();
        let late = inner.response_sent.then(|| error.clone());
        let later = match &inner.failure {
            Some(_) => Some(error),
            None => inner.failure.replace(error),
        };
        drop(inner);
        drop(later);
        late.iter().for_each(|error| self.tell_failed(error));
    }

    /// Applies the verdict on the layer's settings: the request fails, or observers are warned.
    #[cold]
    pub(super) fn note_setup(&self) {
        let setup = &self.config().setup;
        self.note_failure(setup.mistake().map_or(Ok(()), Err));
        if let Some(message) = setup.take_warning() {
            self.config().tell(&SessionEvent::SetupWarning { message });
        }
    }

    /// Notes that the handler panics: none of its changes are committed. A panic of a spawned task does not affect the
    /// request.
    pub(crate) fn note_panic(&self) {
        if std::thread::panicking() && handler::is_being_polled() {
            self.lock().panicked = true;
        }
    }

    /// Notes the error of a call by the handler, whose response may be due to it.
    #[inline]
    pub(super) fn noting<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            self.note_returned(error);
        }
        result
    }

    /// Notes the error of a call that may use the store. After the response it is reported at once.
    pub(super) fn noting_late<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && self.note_returned(error)
        {
            self.tell_failed(error);
        }
        result
    }

    /// Notes an error that is returned to the handler; a failed store has precedence. Returns whether the response has
    /// been sent.
    #[cold]
    fn note_returned(&self, error: &Error) -> bool {
        let mut inner = self.lock();
        let is_late = inner.response_sent;
        let is_unavailable = |error: &Error| *error.kind() == ErrorKind::Unavailable;
        let former = match &inner.returned {
            _ if is_late => None,
            Some(returned) if is_unavailable(returned) => None,
            _ => inner.returned.replace(error.clone()),
        };
        drop(inner);
        drop(former);
        is_late
    }

    /// Reports the error that a request ends in: that of the response, or else the one that a call has `returned` to
    /// the handler, if the response may be due to it. A failed store is reported in any case.
    #[cold]
    pub(crate) fn tell_end(&self, status: StatusCode, answer: Option<&Error>, returned: Option<Error>) {
        let is_due =
            |error: &Error| status == error.status() || (status.is_server_error() && error.status().is_server_error());
        match (answer, returned) {
            (Some(answer), _) => self.tell_failed(answer),
            (None, Some(error)) if is_due(&error) => self.tell_failed(&error),
            (None, Some(error)) if *error.kind() == ErrorKind::Unavailable && error.begin_telling() => {
                self.config().tell(&SessionEvent::StoreFailed { error });
            }
            (None, _) => {}
        }
    }

    /// Reports an error, unless it has been reported.
    #[cold]
    pub(super) fn tell_failed(&self, error: &Error) {
        if error.begin_telling() {
            self.config().tell(&SessionEvent::RequestFailed { error: error.clone() });
        }
    }
}

impl Inner {
    /// Returns the error that will become the response, or, once, one that occurred after the response.
    pub(super) fn take_failure(&mut self) -> Option<Error> {
        if self.response_sent { self.failure.take() } else { self.failure.clone() }
    }
}
