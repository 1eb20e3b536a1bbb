//! The statements for rows of parts, and in what the engines differ.
//!
//! Rows are given to a statement as one JSON text, so that it is the same for one row and for a thousand. Each value is a
//! text in it, which the engine turns into the type of the column as it does with a literal. What a session has comes back as
//! one row, with a list for each column, where the engine has lists that are exact; otherwise row by row, as texts.

use std::borrow::Cow;

use sqlx::Error;

use super::cell::{Cell, Form, float_text};
use super::mapping::{Column, MappedTable};
use super::shape::Kind;
use crate::store::sql::{Dialect, Table};

/// In what one engine differs from the others with rows of parts.
pub(crate) trait RowDialect: Dialect {
    /// Whether names of columns and tables that differ in their case are the same.
    const IGNORES_CASE: bool;
    /// A question whose answer must not be 0, and what is wrong if it is.
    const NEEDS: Option<(&'static str, &'static str)>;
    /// What makes texts of a key be compared byte by byte.
    const EXACT_TEXTS: &'static str;
    /// The type of the column with the session's handle.
    const SESSION_TYPE: &'static str;
    /// The families of types that cannot be written as texts.
    const UNWRITABLE: &'static [&'static str];
    /// Whether a foreign key says in which schema the other table is.
    const REFERS_TO_SCHEMAS: bool = true;
    /// What stands behind the columns of a table.
    const TABLE_END: &'static str;

    /// The type of a column that holds what is of this kind.
    fn type_of(kind: Kind, is_key: bool) -> &'static str;

    /// Asks for the columns of a table: name, type, the family it is of, and whether it may be `NULL`, has a default, is
    /// made by the engine; then its collation.
    fn ask_columns(table: &Table) -> String;

    /// Asks for the columns of the table's unique indexes: the index, the column, whether the index is for all rows and
    /// the whole column, whether the column is compared byte by byte.
    fn ask_keys(table: &Table) -> String;

    /// Asks for the table's foreign keys of one column: the column, that of the other table, whether this is `parent`,
    /// whether a deletion cascades.
    fn ask_references(table: &Table, parent: &Table) -> String;

    /// Reads a column of the table `t` as a text.
    fn read(column: &Column) -> String;

    /// The value of a column in a row `r` that was given, where it is called `name`.
    fn given(column: &Column, name: &str) -> String;

    /// Removes the rows that are given by their keys.
    fn delete(table: &MappedTable, session: &str) -> String;

    /// Writes the rows that are given. Of several statements, the next is needed if those before it affected fewer rows
    /// than there are; which is the first does not matter.
    fn puts(table: &MappedTable, session: &str) -> Vec<String>;

    /// Returns the text of a number from which [`given`](Self::given) makes the same bits again.
    fn float_to_cell(float: f64) -> String {
        float_text(float)
    }

    /// Whether a column has no way to hold the character NUL.
    fn refuses_nul(_column: &Column) -> bool {
        false
    }

    /// Reads a column of all rows of the table `t` as one value. `None`: there is no exact way.
    fn list(_column: &Column) -> Option<String> {
        None
    }

    /// Returns what [`read`](Self::read) has read.
    fn cell(row: &Self::Row, place: usize, _form: Form) -> Result<Option<Cow<'_, str>>, Error> {
        Ok(Self::text(row, place)?.map(Cow::Borrowed))
    }

    /// Returns what [`list`](Self::list) has read; `None` if that cannot be.
    fn cells<'r>(_row: &'r Self::Row, _place: usize, _column: &Column) -> Result<Option<Vec<Cell<'r>>>, Error> {
        Ok(None)
    }
}

/// Removes all rows of a session.
pub(crate) fn clear<D: RowDialect>(table: &MappedTable, session: &str) -> String {
    format!("DELETE FROM {} WHERE {} = :session", table.table.quoted(D::QUOTE), quoted::<D>(session))
}

/// Inserts rows, and changes those that are there. What their columns hold that are not given stays.
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

/// The name of a column in rows that are given.
pub(crate) fn name_of(place: usize) -> String {
    format!("c{place}")
}

pub(crate) fn quoted<D: RowDialect>(name: &str) -> String {
    format!("{quote}{name}{quote}", quote = D::QUOTE)
}
