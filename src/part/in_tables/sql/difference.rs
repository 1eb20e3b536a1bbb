//! The writes that turn one value into another.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::cell::{Form, InvalidValue};
use super::dialect::{RowDialect, name_of};
use super::mapped_table::{Column, MappedTable};
use super::mapping::Mapping;
use crate::error::Error;
use crate::part::in_tables::row_writes::{RowWrites, Rows, TableWrites};

/// The cells of a row; `None` for `NULL`.
type Cells = Vec<Option<String>>;

/// The rows of one table by key.
type TableRows = BTreeMap<Cells, Cells>;

/// Returns the writes that turn `before` into `after`.
pub(crate) fn difference<D: RowDialect>(
    mapping: &Arc<Mapping>,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Result<RowWrites, Error> {
    let tables = mapping.tables.iter().enumerate().map(|(number, table)| {
        let [before, after] = [before, after].map(|value| value.map(|value| rows::<D>(table, value)).transpose());
        Ok(between(number, table, before?, after?))
    });
    let tables =
        tables.collect::<Result<Vec<_>, WrongRow>>().map_err(|wrong| Error::encode(mapping.part, wrong.into()))?;
    Ok(RowWrites { mapping: Arc::clone(mapping) as _, tables: tables.into_iter().flatten().collect() })
}

/// Returns the writes that replace all rows by those of `after`.
pub(crate) fn replacement<D: RowDialect>(mapping: &Arc<Mapping>, after: Option<&Value>) -> Result<RowWrites, Error> {
    let mut writes = difference::<D>(mapping, None, after)?;
    for table in 0..mapping.tables.len() {
        match writes.tables.iter_mut().find(|writes| writes.table == table) {
            Some(writes) => writes.clears = true,
            None => writes.tables.push(TableWrites { clears: true, ..TableWrites::of(table) }),
        }
    }
    Ok(writes)
}

fn between(
    number: usize,
    table: &MappedTable,
    before: Option<TableRows>,
    after: Option<TableRows>,
) -> Option<TableWrites> {
    let mut writes = TableWrites::of(number);
    let Some(after) = after else {
        writes.clears = true;
        return before.map(|_| writes);
    };
    let before = before.unwrap_or_default();
    let removed = before.keys().filter(|key| !after.contains_key(*key));
    writes.removed = to_rows(removed.map(|key| table.key.iter().copied().zip(key)));
    let put = after.iter().filter(|(key, row)| before.get(*key) != Some(row));
    writes.puts_new = put.clone().all(|(key, _)| !before.contains_key(key));
    writes.put = to_rows(put.map(|(_, row)| row.iter().enumerate()));
    (writes.removed.is_some() || writes.put.is_some()).then_some(writes)
}

/// Serializes rows. Returns `None` if there are none.
fn to_rows<'c>(rows: impl Iterator<Item: Iterator<Item = (usize, &'c Option<String>)>>) -> Option<Rows> {
    let cell = |(place, cell): (usize, &Option<String>)| Some((name_of(place), cell.as_deref()?.into()));
    let rows: Vec<Value> = rows.map(|cells| Value::Object(cells.filter_map(cell).collect())).collect();
    (!rows.is_empty()).then(|| Rows { count: rows.len(), json: Value::Array(rows).to_string() })
}

/// Returns the rows of a part in one table.
fn rows<D: RowDialect>(table: &MappedTable, value: &Value) -> Result<TableRows, WrongRow> {
    let wrong = |column: &str, why| WrongRow { table: table.table.to_string(), column: column.to_owned(), why };
    let Value::Object(fields) = value else { return Err(wrong("", "the part is not a struct with named fields")) };
    let mut rows = TableRows::new();
    let Some(field) = &table.field else {
        rows.insert(Cells::new(), cells::<D>(table, fields)?);
        return Ok(rows);
    };
    let list = match fields.get(field) {
        None => &[][..],
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong("", "the collection is not a list")),
    };
    for row in list {
        let Value::Object(fields) = row else { return Err(wrong("", "a row is not a struct with named fields")) };
        let cells = cells::<D>(table, fields)?;
        let key: Cells = table.key.iter().map(|place| cells[*place].clone()).collect();
        if rows.insert(key, cells).is_some() {
            let key = table.key_columns().map(|(_, column)| &*column.name).collect::<Vec<_>>().join(", ");
            return Err(wrong(&key, "two rows have the same key"));
        }
    }
    Ok(rows)
}

fn cells<D: RowDialect>(table: &MappedTable, fields: &Map<String, Value>) -> Result<Cells, WrongRow> {
    let cell = |column: &Column| {
        cell::<D>(column, fields.get(&column.name)).map_err(|why| WrongRow {
            table: table.table.to_string(),
            column: column.name.clone(),
            why,
        })
    };
    table.columns.iter().map(cell).collect()
}

fn cell<D: RowDialect>(column: &Column, value: Option<&Value>) -> Result<Option<String>, InvalidValue> {
    let value = match value {
        Some(value) => value,
        None if column.is_nullable => return Ok(None),
        None => return Err("the field is missing"),
    };
    if D::refuses_nul(column) && has_nul(value) {
        return Err("it contains the character NUL, which the database cannot store");
    }
    match (column.form, value.as_f64()) {
        (Form::Float, Some(float)) if value.is_number() => Ok(Some(D::float_to_cell(float))),
        _ => column.form.to_cell(value, column.is_nullable),
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// Why a part cannot be written to its tables.
#[derive(Debug)]
struct WrongRow {
    table: String,
    column: String,
    why: InvalidValue,
}

impl fmt::Display for WrongRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.column {
            "" => write!(f, "table {}: {}", self.table, self.why),
            column => write!(f, "column {column:?} of table {}: {}", self.table, self.why),
        }
    }
}

impl StdError for WrongRow {}
