//! The interface between a part in tables and the rest of the crate, without an engine.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use super::row_writes::RowWrites;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::part::merge::Collection;
use crate::record::{Generation, Handle, StoreKey, Version};
use crate::store::{Outcome, RecordCall, StoreError};

pub(crate) type BoxFuture<'a, O> = Pin<Box<dyn Future<Output = O> + Send + 'a>>;

/// A part that lives in tables.
pub(crate) trait MappedPart: fmt::Debug + Send + Sync + 'static {
    /// Returns the fields with separate tables.
    fn collections(&self) -> &[Collection];

    fn database(&self) -> &Arc<dyn RowDatabase>;

    /// Returns the part, for a downcast to the type of its engine.
    fn as_any(&self) -> &dyn Any;

    /// Loads the part of a session as JSON text. Returns `None` if it has no rows, or if the session is gone or has
    /// another generation by now.
    fn load(&self, session: Handle, generation: Generation) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>>;

    /// Returns the writes that replace all rows, whatever they hold, by `after`. `None` stands for no rows.
    fn replacement(&self, after: Option<&Value>) -> Result<RowWrites, Error>;

    /// Returns the writes that turn `before`, the value that was loaded, into `after`. `None` stands for no rows.
    fn difference(&self, before: Option<&Value>, after: Option<&Value>) -> Result<RowWrites, Error>;
}

/// A database that stores sessions and the rows of parts.
pub(crate) trait RowDatabase: fmt::Debug + Send + Sync + 'static {
    /// Returns whether `store` stores its sessions in this database.
    fn is_of(&self, store: &dyn Any) -> bool;

    /// Returns the statement that gives the record under `key` another version, if it is live and has the version
    /// `expected`. Its parameter is the text of the record's values.
    fn lock_sql(&self, key: &StoreKey, expected: Version, next: Version, now: Timestamp) -> String;

    /// Makes a call of the store and writes rows in one transaction. Unless the call is [`Outcome::Done`], nothing is
    /// written.
    fn write<'a>(
        &'a self,
        call: RecordCall<'a>,
        rows: &'a [RowWrites],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Outcome, StoreError>>;
}
