//! Tables as they are, with the statements for them.

use serde_json::{Map, Value};

use super::cell::Form;
use super::dialect::{self, RowDialect};
use super::facts::ColumnFacts;
use super::load::Load;
use crate::store::sql::{Statement, Table};

/// A part's tables and the statements for them.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) part: &'static str,
    pub(crate) tables: Vec<MappedTable>,
    pub(crate) load: Load,
    /// Those of each table.
    pub(crate) statements: Vec<TableStatements>,
}

#[derive(Debug)]
pub(crate) struct MappedTable {
    /// The field whose rows these are; `None` for the row of the part.
    pub(crate) field: Option<String>,
    pub(crate) table: Table,
    pub(crate) columns: Vec<Column>,
    /// The places of the columns that tell the rows of a session apart.
    pub(crate) key: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) form: Form,
    pub(crate) is_nullable: bool,
    pub(crate) facts: ColumnFacts,
}

#[derive(Debug)]
pub(crate) struct TableStatements {
    pub(crate) clear: Statement,
    /// For those that have a key.
    pub(crate) delete: Option<Statement>,
    pub(crate) puts: Vec<Statement>,
}

impl MappedTable {
    /// The columns of the key, with their places.
    pub(crate) fn key_columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.key.iter().map(|place| (*place, &self.columns[*place]))
    }

    /// The columns that are not in the key, with their places.
    pub(crate) fn other_columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.columns.iter().enumerate().filter(|(place, _)| !self.key.contains(place))
    }
}

impl Mapping {
    pub(crate) fn new<D: RowDialect>(
        part: &'static str,
        session: &str,
        tables: Vec<MappedTable>,
        defaults: &Map<String, Value>,
    ) -> Self {
        let statements = |table: &MappedTable| TableStatements {
            clear: Statement::new::<D>(&dialect::clear::<D>(table, session)),
            delete: (!table.key.is_empty()).then(|| Statement::new::<D>(&D::delete(table, session))),
            puts: D::puts(table, session).iter().map(|put| Statement::new::<D>(put)).collect(),
        };
        let load = Load::new::<D>(&tables, session, defaults);
        Self { part, statements: tables.iter().map(statements).collect(), tables, load }
    }
}
