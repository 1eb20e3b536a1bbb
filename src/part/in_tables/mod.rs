//! Parts in tables of the application.
//!
//! This file has what the rest of the crate sees of it, and names no engine. `sql` does it.

#![cfg_attr(
    not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
    expect(dead_code, reason = "no engine with tables is compiled in")
)]

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use super::patch::Collection;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::record::Handle;
use crate::store::{Outcome, StoreError};

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sql;

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use sql::{InTables, Tables};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) use sql::{Mapped, RowDialect};

pub(crate) use crate::store::RecordCall;

pub(crate) type BoxFuture<'a, O> = Pin<Box<dyn Future<Output = O> + Send + 'a>>;

/// A part with a place in tables.
pub(crate) trait MappedPart: fmt::Debug + Send + Sync + 'static {
    /// The fields that are rows of tables of their own.
    fn collections(&self) -> &[Collection];

    fn database(&self) -> &Arc<dyn RowDatabase>;

    /// Returns the part as what it is in its engine.
    fn as_any(&self) -> &dyn Any;

    /// Reads what a session has of the part, as a JSON text: `None` if there is no row.
    fn load(&self, session: Handle) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>>;

    /// Returns the rows that turn `before`, which is what `load` gave, into `after`. `None` stands for no rows.
    fn difference(&self, before: Option<&Value>, after: Option<&Value>) -> Result<RowWrites, Error>;
}

/// A database that keeps sessions, and rows of parts beside them.
pub(crate) trait RowDatabase: fmt::Debug + Send + Sync + 'static {
    /// Whether `store` keeps its sessions here.
    fn is_of(&self, store: &dyn Any) -> bool;

    /// Makes the call of a store and writes rows, all in one transaction. If the call ends as anything but
    /// [`Outcome::Done`], nothing is written.
    fn write<'a>(
        &'a self,
        call: RecordCall<'a>,
        rows: &'a [RowWrites],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Outcome, StoreError>>;
}

/// The rows of one part that are to be written.
#[derive(Clone)]
pub(crate) struct RowWrites {
    /// What the database knows of the part's tables.
    pub(crate) mapping: Arc<dyn Any + Send + Sync>,
    pub(crate) tables: Vec<TableWrites>,
}

impl RowWrites {
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

/// Shows how many rows there are, and none of them.
impl fmt::Debug for RowWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.tables).finish()
    }
}

/// The rows of one table that are to be written.
#[derive(Clone)]
pub(crate) struct TableWrites {
    /// Which of the part's tables it is.
    pub(crate) table: usize,
    /// Whether all rows of the session go.
    pub(crate) clears: bool,
    /// The keys of rows that go.
    pub(crate) removed: Option<Rows>,
    /// Rows that are new or have changed.
    pub(crate) put: Option<Rows>,
    /// Whether none of the rows that are put was there.
    pub(crate) puts_new: bool,
}

impl fmt::Debug for TableWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |rows: &Option<Rows>| rows.as_ref().map_or(0, |rows| rows.count);
        f.debug_struct("TableWrites")
            .field("table", &self.table)
            .field("clears", &self.clears)
            .field("removed", &count(&self.removed))
            .field("put", &count(&self.put))
            .finish()
    }
}

/// Rows as the text of one JSON array of objects. The columns are called `c0`, `c1` and so on; every value is a text, and
/// one that is missing is `NULL`.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) json: String,
    pub(crate) count: usize,
}
