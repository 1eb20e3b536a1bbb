//! Reads the rows of a session.

use std::error::Error as StdError;
use std::fmt;

use serde_json::{Map, Value};

use super::assembly::{Assembly, Cells, Unreadable};
use super::cell::Cell;
use super::dialect::{RowDialect, quoted};
use super::mapped_table::{Column, MappedTable};
use crate::store::StoreError;
use crate::store::sql::{SqlStore, Statement, Table};

/// The statement that reads all rows of a session, and the way to turn them into the part.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) statement: Statement,
    /// Whether the statement returns one row, in which each column is a list.
    has_lists: bool,
    assembly: Assembly,
}

impl Load {
    /// `session` is the name of the handle column in each of the tables, and `sessions` the table that it references.
    pub(crate) fn new<D: RowDialect>(
        tables: &[MappedTable],
        session: &str,
        sessions: &Table,
        defaults: &Map<String, Value>,
    ) -> Self {
        let from = |table: &MappedTable| from::<D>(table, session, sessions);
        let lists = tables.iter().map(|table| table.columns.iter().map(D::list).collect());
        let lists: Option<Vec<Vec<String>>> = lists.collect();
        let template = match &lists {
            Some(lists) => select_lists(tables, lists, from),
            None => select_rows::<D>(tables, from),
        };
        let statement = Statement::new::<D>(&template);
        Self { statement, has_lists: lists.is_some(), assembly: Assembly::new(tables, defaults) }
    }

    /// Returns the JSON text of the part, or `None` if there are no rows.
    pub(crate) fn part<D: RowDialect>(
        &self,
        tables: &[MappedTable],
        rows: &[D::Row],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let cells = if self.has_lists { cells_of_lists::<D>(tables, rows)? } else { cells_of_rows::<D>(tables, rows)? };
        self.assembly.text(tables, &cells).map_err(unreadable::<D>)
    }
}

/// Returns a statement whose result is one row: the columns of all tables side by side, each as a list.
fn select_lists(tables: &[MappedTable], lists: &[Vec<String>], from: impl Fn(&MappedTable) -> String) -> String {
    let select = |(table, lists): (&MappedTable, &Vec<String>)| format!("SELECT {} {}", lists.join(", "), from(table));
    let mut selects: Vec<_> = tables.iter().zip(lists).map(select).collect();
    if selects.len() == 1 {
        return selects.remove(0);
    }
    let selects: Vec<_> = selects.iter().enumerate().map(|(i, select)| format!("({select}) AS s{i}")).collect();
    format!("SELECT * FROM {}", selects.join(" CROSS JOIN "))
}

/// Returns a statement whose rows have the number of the table, if there are several, then its columns, then `NULL`s.
fn select_rows<D: RowDialect>(tables: &[MappedTable], from: impl Fn(&MappedTable) -> String) -> String {
    let width = tables.iter().map(|table| table.columns.len()).max().unwrap_or_default();
    let select = |(number, table): (usize, &MappedTable)| {
        let number = (tables.len() > 1).then(|| format!("'{number}'"));
        let read = table.columns.iter().map(|column| D::read(column));
        let cells = read.chain(std::iter::repeat("NULL".to_owned())).take(width);
        let cells: Vec<_> = number.into_iter().chain(cells).collect();
        format!("SELECT {} {}", cells.join(", "), from(table))
    };
    let selects: Vec<_> = tables.iter().enumerate().map(select).collect();
    selects.join(" UNION ALL ")
}

/// Returns the `FROM` clause for the rows of a session: none unless the session exists and has the expected generation.
/// So a request that loaded the session before a login does not read rows written after it.
///
/// The subquery is one look-up in the unique index over the handles.
fn from<D: RowDialect>(table: &MappedTable, session: &str, sessions: &Table) -> String {
    format!(
        "FROM {} AS t WHERE t.{} = (SELECT s.handle FROM {} AS s WHERE s.handle = :session \
         AND s.generation = :session_generation)",
        table.table.quoted(D::QUOTE),
        quoted::<D>(session),
        sessions.quoted(D::QUOTE)
    )
}

fn cells_of_lists<'r, D: RowDialect>(tables: &[MappedTable], rows: &'r [D::Row]) -> Result<Vec<Cells<'r>>, StoreError> {
    let [row] = rows else { return Err(unreadable::<D>(None)) };
    let mut places = 0..;
    let mut cells = |table, column| {
        let place = places.next().unwrap_or_default();
        let cells = D::cells(row, place, column).map_err(SqlStore::<D>::failed)?;
        cells.ok_or_else(|| unreadable::<D>(Some((table, column))))
    };
    tables.iter().map(|table| table.columns.iter().map(|column| cells(table, column)).collect()).collect()
}

fn cells_of_rows<'r, D: RowDialect>(tables: &[MappedTable], rows: &'r [D::Row]) -> Result<Vec<Cells<'r>>, StoreError> {
    let mut lists: Vec<Cells<'r>> =
        tables.iter().map(|table| table.columns.iter().map(|_| Vec::new()).collect()).collect();
    let first = usize::from(tables.len() > 1);
    for row in rows {
        let number = if first == 0 { Some("0") } else { D::text(row, 0).map_err(SqlStore::<D>::failed)? };
        let number: Option<usize> = number.and_then(|number| number.parse().ok());
        let (number, table) =
            number.and_then(|number| Some((number, tables.get(number)?))).ok_or_else(|| unreadable::<D>(None))?;
        for (place, column) in table.columns.iter().enumerate() {
            let text = D::cell(row, first + place, column.form).map_err(SqlStore::<D>::failed)?;
            lists[number][place].push(text.map_or(Cell::Null, Cell::Text));
        }
    }
    Ok(lists)
}

pub(crate) fn unreadable<D: RowDialect>(place: Unreadable<'_>) -> StoreError {
    let place = place.map(|(table, column): (&MappedTable, &Column)| {
        format!("column {:?} of table {} ({})", column.name, table.table, column.facts.type_name)
    });
    StoreError::undecodable(D::STORE, InvalidRows { place })
}

/// A table holds a value that cannot come from the part.
#[derive(Debug)]
struct InvalidRows {
    place: Option<String>,
}

impl fmt::Display for InvalidRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place} holds a value that its field cannot represent"),
            None => f.write_str("the rows do not match the checked tables"),
        }
    }
}

impl StdError for InvalidRows {}
