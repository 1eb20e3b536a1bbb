//! The tables of a part, with the statements for them.

use serde_json::{Map, Value};

use super::dialect::{self, RowDialect};
use super::load::Load;
use super::mapped_table::MappedTable;
use crate::store::sql::{Statement, Table};

/// A part's tables and the statements for them.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) part: &'static str,
    pub(crate) tables: Vec<MappedTable>,
    pub(crate) load: Load,
    /// The statements of each table.
    pub(crate) statements: Vec<TableStatements>,
}

#[derive(Debug)]
pub(crate) struct TableStatements {
    pub(crate) delete_all: Statement,
    /// Present if the table has a key.
    pub(crate) delete: Option<Statement>,
    pub(crate) puts: Vec<Statement>,
}

impl Mapping {
    pub(crate) fn new<D: RowDialect>(
        part: &'static str,
        session: &str,
        sessions: &Table,
        tables: Vec<MappedTable>,
        defaults: &Map<String, Value>,
    ) -> Self {
        let statements = |table: &MappedTable| TableStatements {
            delete_all: Statement::new::<D>(&dialect::delete_all::<D>(table, session)),
            delete: (!table.key.is_empty()).then(|| Statement::new::<D>(&D::delete(table, session))),
            puts: D::puts(table, session).iter().map(|put| Statement::new::<D>(put)).collect(),
        };
        let load = Load::new::<D>(&tables, session, sessions, defaults);
        Self { part, statements: tables.iter().map(statements).collect(), tables, load }
    }
}
