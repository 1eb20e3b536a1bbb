//! Errors of stores.

use std::error::Error as StdError;
use std::fmt;

use crate::error::Error;
use crate::record::DecodeRecordError;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a call of a store failed. It names the store and keeps the error of the engine or its client.
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
    /// The engine could not be reached or refused.
    Failed,
    /// The call took longer than the layer's store timeout.
    TimedOut,
    /// The store has no room for another session.
    Full,
    /// What is stored is not a record that this release can read.
    Undecodable,
    /// A rule of a table of the application's forbids what was to be written there. Nothing was changed.
    Constraint,
    /// Others were in the way each time the call was tried. Nothing was changed.
    Contended,
    /// The store does not find sessions by their principal.
    Unsupported,
    /// The record does not fit into the place that the engine has for one. Nothing was changed.
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The most that fits, in bytes.
        limit: usize,
    },
}

impl StoreError {
    /// Makes the error of a call that the engine or its client failed.
    pub fn failed(store: &'static str, source: impl Into<BoxError>) -> Self {
        Self { store, kind: StoreErrorKind::Failed, source: Some(source.into()) }
    }

    /// Makes the error of a stored record that cannot be read.
    #[must_use]
    pub fn undecodable(store: &'static str, source: DecodeRecordError) -> Self {
        Self { store, kind: StoreErrorKind::Undecodable, source: Some(source.into()) }
    }

    /// Makes the error of a store that has no room for another session.
    #[must_use]
    pub fn full(store: &'static str) -> Self {
        Self { store, kind: StoreErrorKind::Full, source: None }
    }

    /// Makes the error of a record of `size` bytes where the engine takes `limit` at most.
    #[must_use]
    pub fn too_large(store: &'static str, size: usize, limit: usize) -> Self {
        Self { store, kind: StoreErrorKind::TooLarge { size, limit }, source: None }
    }

    /// Makes the error of a call whose rows a table of the application's refuses.
    pub fn constraint(store: &'static str, source: impl Into<BoxError>) -> Self {
        Self { store, kind: StoreErrorKind::Constraint, source: Some(source.into()) }
    }

    /// Makes the error of a call that was undone each time it was tried, because others were in its way.
    pub fn contended(store: &'static str, source: impl Into<BoxError>) -> Self {
        Self { store, kind: StoreErrorKind::Contended, source: Some(source.into()) }
    }

    /// Makes the error of rows that are not what was written there.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
        expect(dead_code, reason = "only tables of SQL have rows")
    )]
    pub(crate) fn undecodable_rows(store: &'static str, source: impl Into<BoxError>) -> Self {
        Self { store, kind: StoreErrorKind::Undecodable, source: Some(source.into()) }
    }

    /// Makes the error of a call that the store does not have.
    #[must_use]
    pub fn unsupported(store: &'static str) -> Self {
        Self { store, kind: StoreErrorKind::Unsupported, source: None }
    }

    pub(crate) fn timed_out(store: &'static str) -> Self {
        Self { store, kind: StoreErrorKind::TimedOut, source: None }
    }

    /// Returns what kind of error this is.
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
            StoreErrorKind::Constraint => "was refused by a rule of a table",
            StoreErrorKind::Contended => "gave way to others each time",
            StoreErrorKind::Unsupported => "does not find sessions by their principal",
            StoreErrorKind::TooLarge { .. } => "does not take a record of this size",
        };
        write!(f, "the {} store {what}", self.store)
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// A record that is too large and a row that breaks a rule are the application's doing; everything else is the store's.
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
    fn a_record_that_does_not_fit_is_no_failure_of_the_store() {
        let error = Error::from(StoreError::too_large("tiny", 11, 10));
        assert!(matches!(error.kind(), ErrorKind::TooLarge { what, size: 11, limit: 10 } if what == "session"));
        assert_eq!(error.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let error = Error::from(StoreError::full("tiny"));
        assert_eq!((error.kind(), error.status()), (&ErrorKind::Unavailable, StatusCode::SERVICE_UNAVAILABLE));
    }
}
