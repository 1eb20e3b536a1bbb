//! The rows that a request writes.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The writes to the tables of one part.
#[derive(Clone)]
pub(crate) struct RowWrites {
    /// The mapping of the part, in the type of its engine.
    pub(crate) mapping: Arc<dyn Any + Send + Sync>,
    pub(crate) tables: Vec<TableWrites>,
}

impl RowWrites {
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

/// Shows the number of rows, but none of their values.
impl fmt::Debug for RowWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.tables).finish()
    }
}

/// The writes to one table.
#[derive(Clone)]
pub(crate) struct TableWrites {
    /// The index of the table in the mapping.
    pub(crate) table: usize,
    /// Whether to delete all rows of the session.
    pub(crate) clears: bool,
    /// The keys of the rows to delete.
    pub(crate) removed: Option<Rows>,
    /// The rows to insert or update.
    pub(crate) put: Option<Rows>,
    /// Whether all of `put` are new rows.
    pub(crate) puts_new: bool,
}

impl TableWrites {
    /// Creates empty writes to a table.
    pub(crate) fn of(table: usize) -> Self {
        Self { table, clears: false, removed: None, put: None, puts_new: false }
    }
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

/// Rows as a JSON array of objects, whose fields `c0`, `c1` and so on are the columns. Every value is a string, and a
/// missing one is `NULL`.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) json: String,
    pub(crate) count: usize,
}
