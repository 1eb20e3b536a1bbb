//! SQLite.

use std::borrow::Cow;

use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Row as _, Sqlite};

use super::cell::{Cell, Form, float_text};
use super::dialect::{RowDialect, name_of, quoted, upsert};
use super::mapped_table::{Column, MappedTable};
use super::shape::Kind;
use crate::store::sql::{Dialect as _, Table};

impl RowDialect for Sqlite {
    const IGNORES_CASE: bool = true;
    const NEEDS: Option<(&'static str, &'static str)> = Some((
        "SELECT foreign_keys FROM pragma_foreign_keys",
        "the connection does not enforce foreign keys: open the pool with `foreign_keys(true)`, the default of sqlx",
    ));
    const EXACT_TEXTS: &'static str = "declare it COLLATE BINARY, which is the default";
    const SESSION_TYPE: &'static str = "BLOB";
    const REFERS_TO_SCHEMAS: bool = false;
    const UNWRITABLE: &'static [&'static str] = &["numeric affinity"];
    const TABLE_END: &'static str = " STRICT";

    fn type_of(kind: Kind, _is_key: bool) -> &'static str {
        match kind {
            Kind::Bool | Kind::Integer => "INTEGER",
            Kind::Float32 | Kind::Float64 => "REAL",
            Kind::Text | Kind::Json | Kind::Any => "TEXT",
        }
    }

    fn columns_query(table: &Table) -> String {
        format!(
            "SELECT name, type, {FAMILY}, \"notnull\" = 0, dflt_value IS NOT NULL, hidden > 1, '' \
             FROM pragma_table_xinfo({}) WHERE hidden <> 1 ORDER BY cid",
            literals(table)
        )
    }

    fn unique_indexes_query(table: &Table) -> String {
        let schema = table.schema().map(|schema| format!(", '{schema}'")).unwrap_or_default();
        format!(
            "SELECT l.name, COALESCE(i.name, ''), l.partial = 0, i.coll = 'BINARY' \
             FROM pragma_index_list({}) AS l JOIN pragma_index_xinfo(l.name{schema}) AS i \
             WHERE l.\"unique\" = 1 AND i.key = 1",
            literals(table)
        )
    }

    fn foreign_keys_query(table: &Table, parent: &Table) -> String {
        format!(
            "SELECT f.\"from\", COALESCE(f.\"to\", ''), lower(f.\"table\") = lower('{}'), f.on_delete = 'CASCADE' \
             FROM pragma_foreign_key_list({}) AS f",
            parent.name(),
            literals(table)
        )
    }

    fn read(column: &Column) -> String {
        let name = name(column);
        match column.form {
            // Read as a number: SQLite's texts of numbers lose digits.
            Form::Float => format!("CAST({name} AS REAL)"),
            _ => format!("CAST({name} AS TEXT)"),
        }
    }

    /// SQLite writes floating-point numbers to JSON with too few digits.
    fn list(column: &Column) -> Option<String> {
        match (column.form, &*column.facts.family) {
            (Form::Float, _) => None,
            (Form::Bool | Form::Integer, "bigint" | "bool") => Some(format!("json_group_array({})", name(column))),
            _ => Some(format!("json_group_array({})", Self::read(column))),
        }
    }

    fn cells<'r>(row: &'r SqliteRow, place: usize, _: &Column) -> Result<Option<Vec<Cell<'r>>>, Error> {
        let list: &str = row.try_get(place)?;
        Ok(serde_json::from_str(list).ok())
    }

    fn given(column: &Column, name: &str) -> String {
        let given = format!("json_extract(r.value, '$.{name}')");
        match column.form {
            Form::Bool | Form::Integer => format!("CAST({given} AS INTEGER)"),
            Form::Float => float(&given),
            Form::Text | Form::Json | Form::Array(_) => given,
        }
    }

    fn delete(table: &MappedTable, session: &str) -> String {
        let (name, session) = (table.table.quoted(Self::QUOTE), quoted::<Self>(session));
        let columns: Vec<_> = table.key_columns().map(|(_, column)| quoted::<Self>(&column.name)).collect();
        let given: Vec<_> = table.key_columns().map(|(place, column)| Self::given(column, &name_of(place))).collect();
        format!(
            "DELETE FROM {name} WHERE {session} = :session AND ({}) IN (SELECT {} FROM {SOURCE})",
            columns.join(", "),
            given.join(", ")
        )
    }

    fn puts(table: &MappedTable, session: &str) -> Vec<String> {
        vec![upsert::<Self>(table, session, SOURCE)]
    }

    fn float_to_cell(float: f64) -> String {
        let (integer, exponent) = in_integers(float);
        format!("[{integer},{exponent}]")
    }

    fn cell(row: &Self::Row, place: usize, form: Form) -> Result<Option<Cow<'_, str>>, Error> {
        Ok(match form {
            Form::Float => row.try_get::<Option<f64>, _>(place)?.map(|float| float_text(float).into()),
            _ => row.try_get::<Option<&str>, _>(place)?.map(Cow::Borrowed),
        })
    }
}

fn name(column: &Column) -> String {
    format!("t.{}", quoted::<Sqlite>(&column.name))
}

/// The affinity of a column, by section 3.1 of "Datatypes In SQLite". Dates and booleans have numeric affinity, but a
/// value that does not look like a number stays text.
const FAMILY: &str = "CASE WHEN type IN ('', 'ANY') THEN 'any' WHEN type LIKE '%INT%' THEN 'bigint' \
    WHEN type LIKE '%CHAR%' OR type LIKE '%CLOB%' OR type LIKE '%TEXT%' THEN 'text' \
    WHEN type LIKE '%BLOB%' THEN 'bytea' \
    WHEN type LIKE '%REAL%' OR type LIKE '%FLOA%' OR type LIKE '%DOUB%' THEN 'double' \
    WHEN type LIKE '%BOOL%' THEN 'bool' WHEN type LIKE '%DATE%' OR type LIKE '%TIME%' THEN 'date' \
    ELSE 'numeric affinity' END";

/// The input rows.
const SOURCE: &str = "json_each(:rows) AS r";

/// Returns the names of the table and its schema as arguments of a pragma function.
fn literals(table: &Table) -> String {
    let schema = table.schema().map(|schema| format!(", '{schema}'")).unwrap_or_default();
    format!("'{}'{schema}", table.name())
}

/// Returns the expression that computes a number from an integer and a power of two. SQLite often parses a text with
/// many digits to an adjacent number, but each of these steps is exact.
fn float(given: &str) -> String {
    format!(
        "(WITH RECURSIVE scaled (number, exponent) AS (\
         SELECT CAST({given} ->> 0 AS REAL), CAST({given} ->> 1 AS INTEGER) UNION ALL SELECT \
         CASE WHEN exponent >= 32 THEN number * 4294967296.0 WHEN exponent > 0 THEN number * 2.0 \
         WHEN exponent <= -32 THEN number / 4294967296.0 ELSE number / 2.0 END, \
         CASE WHEN exponent >= 32 THEN exponent - 32 WHEN exponent > 0 THEN exponent - 1 \
         WHEN exponent <= -32 THEN exponent + 32 ELSE exponent + 1 END \
         FROM scaled WHERE exponent <> 0) SELECT number FROM scaled WHERE exponent = 0)"
    )
}

/// Splits a finite number into an integer and a power of two.
fn in_integers(float: f64) -> (i64, i32) {
    let bits = float.to_bits();
    let fraction = (bits & ((1 << 52) - 1)).cast_signed();
    let (integer, exponent) = match (bits >> 52 & 0x7ff) as i32 {
        0 => (fraction, -1074),
        biased => (fraction | 1 << 52, biased - 1075),
    };
    let zeros = (integer.trailing_zeros() as i32).min(exponent.abs());
    let (integer, exponent) = match exponent {
        _ if integer == 0 => (0, 0),
        ..0 => (integer >> zeros, exponent + zeros),
        _ => (integer, exponent),
    };
    (if float.is_sign_negative() { -integer } else { integer }, exponent)
}
