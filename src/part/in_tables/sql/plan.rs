//! The table and the column for each field.

use serde_json::{Map, Value};

use super::shape::{self, Field, Kind, NotAStruct, PathSegment};
use crate::error::ConfigError;
use crate::part::session_part::SessionPart;
use crate::store::sql::Table;

/// The longest name of a column, in the engine with the lowest limit.
const MAX_BYTES: usize = 63;

/// The tables of a part, as the application names them.
#[derive(Clone, Debug)]
pub(crate) struct TableOptions {
    pub(crate) row: Option<String>,
    pub(crate) session_column: String,
    pub(crate) collections: Vec<CollectionOptions>,
}

#[derive(Clone, Debug)]
pub(crate) struct CollectionOptions {
    pub(crate) field: String,
    pub(crate) table: String,
    pub(crate) key: Vec<String>,
}

/// The tables that a part needs.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) session_column: String,
    /// The row of the part first, if it has one.
    pub(crate) tables: Vec<PlannedTable>,
    /// The values of the part's own fields if there is no row.
    pub(crate) defaults: Map<String, Value>,
}

#[derive(Debug)]
pub(crate) struct PlannedTable {
    /// The field that the rows belong to; `None` for the row of the part.
    pub(crate) field: Option<String>,
    pub(crate) table: Table,
    pub(crate) columns: Vec<PlannedColumn>,
}

#[derive(Debug)]
pub(crate) struct PlannedColumn {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The kind of the elements of a list.
    pub(crate) elements: Option<Kind>,
    pub(crate) is_nullable: bool,
    /// The column's index in the key of a collection.
    pub(crate) key: Option<usize>,
}

impl PlannedTable {
    /// Returns the names of the key columns, in the order in which the application named them.
    pub(crate) fn key(&self) -> Vec<&str> {
        let mut key: Vec<_> = self.columns.iter().filter(|column| column.key.is_some()).collect();
        key.sort_by_key(|column| column.key);
        key.into_iter().map(|column| &*column.name).collect()
    }
}

impl Plan {
    pub(crate) fn new<T: SessionPart>(options: &TableOptions) -> Result<Self, ConfigError> {
        let fields = shape::fields::<T>(&[]).map_err(|reason| not_a_struct(T::NAME, reason))?;
        let mut defaults = defaults::<T>()?;
        let options_of = |field: &Field| options.collections.iter().find(|collection| collection.field == field.name);
        let is_field = |collection: &&CollectionOptions| fields.iter().any(|field| field.name == collection.field);
        if let Some(unknown) = options.collections.iter().find(|collection| !is_field(collection)) {
            return Err(error::<T>(format_args!("has no field {:?} that could be a collection", unknown.field)));
        }
        let own = fields.iter().filter(|field| options_of(field).is_none()).cloned().collect();
        let mut tables: Vec<_> = row::<T>(own, options.row.as_deref(), &defaults)?.into_iter().collect();
        let has_row = !tables.is_empty();
        for (field, collection_options) in fields.iter().filter_map(|field| Some((field.name, options_of(field)?))) {
            let rows = defaults.remove(field);
            if !has_row && rows.is_some_and(|rows| !is_empty(&rows)) {
                return Err(error::<T>(format_args!(
                    "has a default for {field:?} that is not empty: without a row table it could never be emptied"
                )));
            }
            tables.push(collection::<T>(field, collection_options)?);
        }
        let plan = Self { session_column: options.session_column.clone(), tables, defaults };
        plan.tables.iter().enumerate().try_for_each(|(i, table)| plan.check_names::<T>(&plan.tables[..i], table))?;
        Ok(plan)
    }

    /// Rejects invalid names and names that are used twice.
    fn check_names<T: SessionPart>(&self, before: &[PlannedTable], planned: &PlannedTable) -> Result<(), ConfigError> {
        let PlannedTable { table, columns, .. } = planned;
        if before.iter().any(|other| other.table == *table) {
            return Err(error::<T>(format_args!("uses the table {table} twice")));
        }
        let mut names = vec![&*self.session_column];
        for name in columns.iter().map(|column| &*column.name) {
            if names.iter().any(|other| other.eq_ignore_ascii_case(name)) {
                return Err(error::<T>(format_args!(
                    "needs the column {name:?} of table {table} twice, once for the session perhaps: see \
                     `with_session_column`"
                )));
            }
            names.push(name);
        }
        match names.iter().find(|name| !is_column_name(name)) {
            None => Ok(()),
            Some(name) => Err(error::<T>(format_args!(
                "needs a column {name:?} in table {table}, which is not a name of at most {MAX_BYTES} bytes of letters, \
                 digits, `_` and `-`"
            ))),
        }
    }
}

/// Plans the table for the fields that are not collections, if there are any.
fn row<T: SessionPart>(
    own: Vec<Field>,
    table: Option<&str>,
    defaults: &Map<String, Value>,
) -> Result<Option<PlannedTable>, ConfigError> {
    if own.is_empty() {
        return match table {
            Some(_) => Err(error::<T>(format_args!("has only collections: remove `with_row`"))),
            None => Ok(None),
        };
    }
    let columns = columns(own);
    let is_left_out = |column: &&PlannedColumn| !column.is_nullable && !defaults.contains_key(&column.name);
    match columns.iter().find(is_left_out) {
        None => Ok(Some(PlannedTable { field: None, table: Table::parse(table.unwrap_or(T::NAME))?, columns })),
        Some(column) => Err(error::<T>(format_args!(
            "reads its field {:?} and does not write it: a column has only one name and is never left out; use \
             `#[serde(skip)]`, or an `Option`",
            column.name
        ))),
    }
}

fn collection<T: SessionPart>(field: &'static str, options: &CollectionOptions) -> Result<PlannedTable, ConfigError> {
    let path = [PathSegment::Field(field), PathSegment::Element];
    if !shape::is_sequence::<T>(&path[..1]) {
        return Err(error::<T>(format_args!("has a field {field:?} that is not a list, as a collection must be")));
    }
    let fields = shape::fields::<T>(&path).map_err(|_| {
        error::<T>(format_args!(
            "has a list {field:?} whose elements are not structs with named fields and without `#[serde(flatten)]`"
        ))
    })?;
    let mut columns = columns(fields);
    if options.key.is_empty() {
        return Err(error::<T>(format_args!("needs a key for {field:?}: the fields that identify a row")));
    }
    for (place, name) in options.key.iter().enumerate() {
        let Some(column) = columns.iter_mut().find(|column| column.name == *name) else {
            return Err(error::<T>(format_args!("has no field {name:?} in {field:?} that could be its key")));
        };
        let is_exact = matches!(column.kind, Kind::Bool | Kind::Integer | Kind::Text);
        if column.is_nullable || !is_exact || column.key.is_some() {
            return Err(error::<T>(format_args!(
                "cannot have {name:?} in the key of {field:?}: a key consists of strings, integers and enums that are never \
                 there, each once"
            )));
        }
        column.key = Some(place);
    }
    Ok(PlannedTable { field: Some(field.to_owned()), table: Table::parse(&options.table)?, columns })
}

fn columns(fields: Vec<Field>) -> Vec<PlannedColumn> {
    let column = |field: Field| PlannedColumn {
        name: field.name.to_owned(),
        kind: field.kind,
        elements: field.elements,
        is_nullable: field.is_optional,
        key: None,
    };
    fields.into_iter().map(column).collect()
}

/// Returns the serialized fields of the default part.
fn defaults<T: SessionPart>() -> Result<Map<String, Value>, ConfigError> {
    match serde_json::to_value(T::default()) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(error::<T>(format_args!("does not serialize as a struct with named fields"))),
        Err(cause) => Err(error::<T>(format_args!("cannot be serialized as JSON: {cause}"))),
    }
}

fn is_empty(rows: &Value) -> bool {
    rows.as_array().is_some_and(Vec::is_empty)
}

fn not_a_struct(part: &str, reason: NotAStruct) -> ConfigError {
    let why = match reason {
        NotAStruct::Map => "is a map, or has `#[serde(flatten)]`, so its columns are unknown",
        NotAStruct::Other => "is not a struct with named fields",
    };
    ConfigError::new(format!("part {part:?} {why}"))
}

fn error<T: SessionPart>(what: std::fmt::Arguments<'_>) -> ConfigError {
    ConfigError::new(format!("part {:?} {what}", T::NAME))
}

fn is_column_name(name: &str) -> bool {
    let is_fine = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    !name.is_empty() && name.len() <= MAX_BYTES && name.chars().all(is_fine)
}
