//! The differences between the engines in the statements for rows of parts.
//!
//! A statement takes the rows to write as one JSON text, so it is the same for one row and for a thousand. Each value
//! in it is a string, which the engine converts to the type of the column like a literal. The rows of a session are
//! read as one row with a list for each column where the engine has exact lists, otherwise row by row as texts.

use std::borrow::Cow;

use sqlx::Error;

use super::cell::{Cell, Form, float_text};
use super::mapped_table::{Column, MappedTable};
use super::shape::Kind;
use crate::store::sql::{Dialect, Table};

/// The SQL for rows of parts in one engine.
pub(crate) trait RowDialect: Dialect {
    /// Whether names of columns and tables are case-insensitive.
    const IGNORES_CASE: bool;
    /// A query that must not return 0, and the finding if it does.
    const NEEDS: Option<(&'static str, &'static str)>;
    /// The advice for a key column whose texts are not compared byte by byte.
    const EXACT_TEXTS: &'static str;
    /// The type of the handle column.
    const SESSION_TYPE: &'static str;
    /// The type families whose values cannot be written as texts.
    const UNWRITABLE: &'static [&'static str];
    /// Whether a foreign key names the schema of the referenced table.
    const REFERS_TO_SCHEMAS: bool = true;
    /// The end of `CREATE TABLE`, after the columns.
    const TABLE_END: &'static str;

    /// Returns the column type for values of this kind.
    fn type_of(kind: Kind, is_key: bool) -> &'static str;

    /// Returns a query for the columns of a table: name, type, type family, whether it is nullable, has a default, is
    /// generated, and its collation.
    fn columns_query(table: &Table) -> String;

    /// Returns a query for the columns of the unique indexes: the index, the column, whether the index covers all rows
    /// and the whole column, and whether the column is compared byte by byte.
    fn unique_indexes_query(table: &Table) -> String;

    /// Returns a query for the foreign keys: the column, the referenced column, whether the referenced table is
    /// `parent`, and whether a deletion cascades.
    fn foreign_keys_query(table: &Table, parent: &Table) -> String;

    /// Returns the expression that reads a column of the table `t` as text.
    fn read(column: &Column) -> String;

    /// Returns the expression for the value of a column in an input row `r`, where its name is `name`.
    fn given(column: &Column, name: &str) -> String;

    /// Returns the statement that deletes the input rows by their keys.
    fn delete(table: &MappedTable, session: &str) -> String;

    /// Returns the statements that insert or update the input rows. Each runs only if those before it affected fewer
    /// rows than the input has; they may run in any order.
    fn puts(table: &MappedTable, session: &str) -> Vec<String>;

    /// Returns the text from which [`given`](Self::given) restores the number bit by bit.
    fn float_to_cell(float: f64) -> String {
        float_text(float)
    }

    /// Returns the literal for bytes.
    fn bytes_literal(hex: &str) -> String {
        format!("x'{hex}'")
    }

    /// Returns whether a column cannot hold the character NUL.
    fn refuses_nul(_column: &Column) -> bool {
        false
    }

    /// Returns the expression that reads a column of all rows of the table `t` as one list; `None` if no list is exact.
    fn list(_column: &Column) -> Option<String> {
        None
    }

    /// Returns the value that [`read`](Self::read) selected.
    fn cell(row: &Self::Row, place: usize, _form: Form) -> Result<Option<Cow<'_, str>>, Error> {
        Ok(Self::text(row, place)?.map(Cow::Borrowed))
    }

    /// Returns the values that [`list`](Self::list) selected; `None` if the list is malformed.
    fn cells<'r>(_row: &'r Self::Row, _place: usize, _column: &Column) -> Result<Option<Vec<Cell<'r>>>, Error> {
        Ok(None)
    }
}

/// Deletes all rows of a session.
pub(crate) fn delete_all<D: RowDialect>(table: &MappedTable, session: &str) -> String {
    format!("DELETE FROM {} WHERE {} = :session", table.table.quoted(D::QUOTE), quoted::<D>(session))
}

/// Returns the statement that inserts rows or updates existing ones. Columns that are not in the input keep their
/// values.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn upsert<D: RowDialect>(table: &MappedTable, session: &str, source: &str) -> String {
    let name = table.table.quoted(D::QUOTE);
    let (mut columns, mut key) = (vec![quoted::<D>(session)], vec![quoted::<D>(session)]);
    columns.extend(table.columns.iter().map(|column| quoted::<D>(&column.name)));
    key.extend(table.key_columns().map(|(_, column)| quoted::<D>(&column.name)));
    let mut given = vec![":session".to_owned()];
    given.extend(table.columns.iter().enumerate().map(|(i, column)| D::given(column, &name_of(i))));
    let set: Vec<_> = table.other_columns().map(|(_, column)| quoted::<D>(&column.name)).collect();
    let set: Vec<_> = set.iter().map(|column| format!("{column} = excluded.{column}")).collect();
    let conflict = if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
    format!(
        "INSERT INTO {name} ({}) SELECT {} FROM {source} WHERE true ON CONFLICT ({}) DO {conflict}",
        columns.join(", "),
        given.join(", "),
        key.join(", ")
    )
}

/// Returns the name of a column in the input rows.
pub(crate) fn name_of(place: usize) -> String {
    format!("c{place}")
}

pub(crate) fn quoted<D: RowDialect>(name: &str) -> String {
    format!("{quote}{name}{quote}", quote = D::QUOTE)
}
