//! Builds the JSON text of a part from the cells of its rows.
//!
//! The fields of an object are in the order of their names, like those of a parsed `serde_json::Value`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::cell::Cell;
use super::mapped_table::{Column, MappedTable};

/// The estimated size of a cell in the text, with the name of its field.
const CELL_BYTES: usize = 32;

/// The cells of one table, by column; each column in the order of the rows.
pub(crate) type Cells<'c> = Vec<Vec<Cell<'c>>>;

/// The column of a cell that its field cannot hold; `None` if the rows do not fit the tables at all.
pub(crate) type Unreadable<'m> = Option<(&'m MappedTable, &'m Column)>;

/// The order and the sources of the fields in the JSON text of a part.
#[derive(Debug)]
pub(crate) struct Assembly {
    fields: Vec<(Label, Source)>,
    /// The fields in the rows of each table, with the indexes of their columns.
    rows: Vec<Vec<(Label, usize)>>,
}

/// The name of a field as JSON, with its colon.
type Label = String;

/// The source of a field.
#[derive(Debug)]
enum Source {
    /// The rows of this table.
    Rows(usize),
    /// A column of the part's own row, or the default if there is no row.
    Own { column: Option<usize>, default: Option<String> },
}

impl Assembly {
    pub(crate) fn new(tables: &[MappedTable], defaults: &Map<String, Value>) -> Self {
        let mut fields = BTreeMap::new();
        for (name, default) in defaults {
            fields.insert(&**name, Source::Own { column: None, default: Some(default.to_string()) });
        }
        for (number, table) in tables.iter().enumerate() {
            match &table.field {
                Some(field) => drop(fields.insert(field, Source::Rows(number))),
                None => own(&mut fields, table),
            }
        }
        let fields = fields.into_iter().map(|(name, source)| (label(name), source)).collect();
        Self { fields, rows: tables.iter().map(row).collect() }
    }

    /// Returns the part, or `None` if there are no rows.
    pub(crate) fn text<'m>(
        &self,
        tables: &'m [MappedTable],
        cells: &[Cells<'_>],
    ) -> Result<Option<Vec<u8>>, Unreadable<'m>> {
        let is_whole = |(table, cells): (&MappedTable, &Cells<'_>)| {
            cells.len() == table.columns.len() && cells.iter().all(|column| column.len() == count(cells))
        };
        if tables.len() != cells.len() || !tables.iter().zip(cells).all(is_whole) {
            return Err(None);
        }
        if cells.iter().all(|cells| count(cells) == 0) {
            return Ok(None);
        }
        // The part's own row is in the first table.
        let own = tables.first().zip(cells.first()).filter(|(table, cells)| table.field.is_none() && count(cells) > 0);
        let mut json = Vec::with_capacity(CELL_BYTES * cells.iter().flatten().map(Vec::len).sum::<usize>());
        json.push(b'{');
        for (label, source) in &self.fields {
            match (source, own) {
                (Source::Rows(number), _) => {
                    json.extend_from_slice(label.as_bytes());
                    self.list(*number, &tables[*number], &cells[*number], &mut json)?;
                }
                (Source::Own { column: Some(place), .. }, Some((table, cells))) => {
                    json.extend_from_slice(label.as_bytes());
                    write(table, cells, (count(cells) - 1, *place), &mut json)?;
                }
                (Source::Own { default: Some(default), .. }, _) => {
                    json.extend([label, default].into_iter().flat_map(|text| text.bytes()));
                }
                (Source::Own { .. }, _) => continue,
            }
            json.push(b',');
        }
        close(&mut json, b'}');
        Ok(Some(json))
    }

    /// Writes the rows of a collection, in the order of their keys.
    fn list<'m>(
        &self,
        number: usize,
        table: &'m MappedTable,
        cells: &Cells<'_>,
        json: &mut Vec<u8>,
    ) -> Result<(), Unreadable<'m>> {
        let mut rows: Vec<_> = (0..count(cells)).collect();
        rows.sort_by(|one, other| {
            let compare = |(place, column): (usize, &Column)| {
                let cells = &cells[place];
                column.form.compare(&cells[*one], &cells[*other])
            };
            table.key_columns().map(compare).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
        json.push(b'[');
        for row in rows {
            json.push(b'{');
            for (label, place) in &self.rows[number] {
                json.extend_from_slice(label.as_bytes());
                write(table, cells, (row, *place), json)?;
                json.push(b',');
            }
            close(json, b'}');
            json.push(b',');
        }
        close(json, b']');
        Ok(())
    }
}

fn write<'m>(
    table: &'m MappedTable,
    cells: &Cells<'_>,
    (row, place): (usize, usize),
    json: &mut Vec<u8>,
) -> Result<(), Unreadable<'m>> {
    let (column, cell) = (&table.columns[place], &cells[place][row]);
    let written = if *cell == Cell::Null && !column.is_nullable { None } else { column.form.write(cell, json) };
    written.ok_or(Some((table, column)))
}

/// Closes an object or an array whose members each end with a comma.
fn close(json: &mut Vec<u8>, bracket: u8) {
    json.pop_if(|last| *last == b',');
    json.push(bracket);
}

/// Adds the fields of the part's own row.
fn own<'t>(fields: &mut BTreeMap<&'t str, Source>, table: &'t MappedTable) {
    for (place, column) in table.columns.iter().enumerate() {
        let field = fields.entry(&column.name).or_insert(Source::Own { column: None, default: None });
        if let Source::Own { column, .. } = field {
            *column = Some(place);
        }
    }
}

fn row(table: &MappedTable) -> Vec<(Label, usize)> {
    let columns = table.columns.iter().enumerate().map(|(place, column)| (&*column.name, place));
    let by_name: BTreeMap<_, _> = columns.collect();
    by_name.into_iter().map(|(name, place)| (label(name), place)).collect()
}

fn label(name: &str) -> Label {
    format!("{}:", Value::from(name))
}

/// Returns the number of rows.
fn count(cells: &Cells<'_>) -> usize {
    cells.first().map_or(0, Vec::len)
}
