//! Errors of stores.

use std::error::Error as StdError;
use std::fmt;

use crate::error::Error;

type BoxError = Box<dyn StdError + Send + Sync>;

/// The error of a call of a store. It names the store, and its source is the error of the engine or its client.
#[derive(Debug)]
pub struct StoreError {
    store: &'static str,
    kind: StoreErrorKind,
    source: Option<BoxError>,
}

/// The kinds of [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The engine could not be reached or rejected the call.
    Failed,
    /// The call took longer than the layer's store timeout.
    TimedOut,
    /// The store has no room for another session.
    Full,
    /// The stored bytes are not a record that this release can read.
    Undecodable,
    /// A row violates a constraint of one of the application's tables. Nothing was changed.
    Constraint,
    /// Every attempt of the call met a concurrent write. Nothing was changed.
    Contended,
    /// The store does not find sessions by their principal.
    Unsupported,
    /// The record is larger than the engine accepts. Nothing was changed.
    TooLarge {
        /// The size of the record in bytes.
        size: usize,
        /// The largest size that the engine accepts, in bytes.
        limit: usize,
    },
}

impl StoreError {
    /// Returns the error for a failure of the engine or its client.
    pub fn failed(store: &'static str, source: impl Into<BoxError>) -> Self {
        Self { store, kind: StoreErrorKind::Failed, source: Some(source.into()) }
    }

    /// Returns the error for a stored entry that cannot be read, such as one of a later release.
    pub fn undecodable(store: &'static str, source: impl Into<BoxError>) -> Self {
        Self { store, kind: StoreErrorKind::Undecodable, source: Some(source.into()) }
    }

    /// Returns the error for a store that has no room for another session.
    #[must_use]
    pub fn full(store: &'static str) -> Self {
        Self { store, kind: StoreErrorKind::Full, source: None }
    }

    /// Returns the error for a record of `size` bytes where the engine accepts at most `limit`.
    #[must_use]
    pub fn too_large(store: &'static str, size: usize, limit: usize) -> Self {
        Self { store, kind: StoreErrorKind::TooLarge { size, limit }, source: None }
    }

    /// Returns the error for rows that violate a constraint of one of the application's tables.
    pub fn constraint(store: &'static str, source: impl Into<BoxError>) -> Self {
        Self { store, kind: StoreErrorKind::Constraint, source: Some(source.into()) }
    }

    /// Returns the error for a call whose every attempt met a concurrent write.
    pub fn contended(store: &'static str, source: impl Into<BoxError>) -> Self {
        Self { store, kind: StoreErrorKind::Contended, source: Some(source.into()) }
    }

    /// Returns the error for a call that the store does not support.
    #[must_use]
    pub fn unsupported(store: &'static str) -> Self {
        Self { store, kind: StoreErrorKind::Unsupported, source: None }
    }

    pub(crate) fn timed_out(store: &'static str) -> Self {
        Self { store, kind: StoreErrorKind::TimedOut, source: None }
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Returns the [name](crate::store::Store::name) of the store.
    #[must_use]
    pub fn store(&self) -> &'static str {
        self.store
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            StoreErrorKind::Failed => "failed",
            StoreErrorKind::TimedOut => "took longer than its time limit",
            StoreErrorKind::Full => "is full",
            StoreErrorKind::Undecodable => "holds a record that cannot be read",
            StoreErrorKind::Constraint => "rejected a row that violates a constraint",
            StoreErrorKind::Contended => "met a concurrent write on every attempt",
            StoreErrorKind::Unsupported => "does not find sessions by their principal",
            StoreErrorKind::TooLarge { .. } => "does not accept a record of this size",
        };
        write!(f, "the {} store {what}", self.store)
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// A record that is too large and a row that violates a constraint are errors of the application; all others are the
/// store's.
impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error.kind {
            StoreErrorKind::TooLarge { size, limit } => Self::too_large("session", size, limit),
            StoreErrorKind::Constraint => Self::constraint(error.into()),
            _ => Self::unavailable(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_record_that_is_too_large_is_not_a_store_failure() {
        let error = Error::from(StoreError::too_large("tiny", 11, 10));
        assert!(matches!(error.kind(), ErrorKind::TooLarge { what, size: 11, limit: 10 } if what == "session"));
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let error = Error::from(StoreError::full("tiny"));
        assert_eq!((error.kind(), error.status()), (&ErrorKind::Unavailable, StatusCode::SERVICE_UNAVAILABLE));
    }
}
