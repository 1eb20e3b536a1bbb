//! A table that was checked to hold rows of a part.

use super::cell::Form;
use super::facts::ColumnFacts;
use crate::store::sql::Table;

#[derive(Debug)]
pub(crate) struct MappedTable {
    /// The field that the rows belong to; `None` for the row of the part.
    pub(crate) field: Option<String>,
    pub(crate) table: Table,
    pub(crate) columns: Vec<Column>,
    /// The indexes of the key columns.
    pub(crate) key: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) form: Form,
    pub(crate) is_nullable: bool,
    pub(crate) facts: ColumnFacts,
}

impl MappedTable {
    /// Returns the key columns with their indexes.
    pub(crate) fn key_columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.key.iter().map(|place| (*place, &self.columns[*place]))
    }

    /// Returns the columns that are not in the key, with their indexes.
    pub(crate) fn other_columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(place, _)| !self.key.contains(place))
    }
}
