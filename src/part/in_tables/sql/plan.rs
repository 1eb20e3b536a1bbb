//! Which table and which column is for which field.

use serde_json::{Map, Value};

use super::shape::{self, Field, Kind, NoStruct, Step};
use crate::error::ConfigError;
use crate::part::SessionPart;
use crate::store::sql::Table;

/// The most bytes of a column's name, in the engine that allows the fewest.
const MOST_BYTES: usize = 63;

/// What an application has said about the tables of a part.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) row: Option<String>,
    pub(crate) session_column: String,
    pub(crate) collections: Vec<WishedCollection>,
}

#[derive(Clone, Debug)]
pub(crate) struct WishedCollection {
    pub(crate) field: String,
    pub(crate) table: String,
    pub(crate) key: Vec<String>,
}

/// The tables of a part as they should be.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) session_column: String,
    /// The row of the part first, if it has one.
    pub(crate) tables: Vec<PlannedTable>,
    /// What the part's own fields are where there is no row.
    pub(crate) defaults: Map<String, Value>,
}

#[derive(Debug)]
pub(crate) struct PlannedTable {
    /// The field whose rows these are; `None` for the row of the part.
    pub(crate) field: Option<String>,
    pub(crate) table: Table,
    pub(crate) columns: Vec<PlannedColumn>,
}

#[derive(Debug)]
pub(crate) struct PlannedColumn {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) is_nullable: bool,
    /// The column's place in the key of a collection.
    pub(crate) key: Option<usize>,
}

impl PlannedTable {
    /// The names of the columns that tell the rows of a session apart, in the order in which they were named.
    pub(crate) fn key(&self) -> Vec<&str> {
        let mut key: Vec<_> = self.columns.iter().filter(|column| column.key.is_some()).collect();
        key.sort_by_key(|column| column.key);
        key.into_iter().map(|column| &*column.name).collect()
    }
}

impl Plan {
    pub(crate) fn new<T: SessionPart>(wish: &Wish) -> Result<Self, ConfigError> {
        let fields = shape::fields::<T>(&[]).map_err(|no_struct| not_a_struct(T::NAME, no_struct))?;
        let mut defaults = defaults::<T>()?;
        let wished = |field: &Field| wish.collections.iter().find(|wished| wished.field == field.name);
        let is_field = |wished: &&WishedCollection| fields.iter().any(|field| field.name == wished.field);
        if let Some(unknown) = wish.collections.iter().find(|wished| !is_field(wished)) {
            return Err(error::<T>(format_args!("has no field {:?} that could be a collection", unknown.field)));
        }
        let own = fields.iter().filter(|field| wished(field).is_none()).cloned().collect();
        let mut tables: Vec<_> = row::<T>(own, wish.row.as_deref(), &defaults)?.into_iter().collect();
        let has_row = !tables.is_empty();
        for (field, wished) in fields.iter().filter_map(|field| Some((field.name, wished(field)?))) {
            let rows = defaults.remove(field);
            if !has_row && rows.is_some_and(|rows| !is_empty(&rows)) {
                return Err(error::<T>(format_args!(
                    "has something in {field:?} by default: without a row of its own it could never be emptied"
                )));
            }
            tables.push(collection::<T>(field, wished)?);
        }
        let plan = Self { session_column: wish.session_column.clone(), tables, defaults };
        plan.tables.iter().enumerate().try_for_each(|(i, table)| plan.check_names::<T>(&plan.tables[..i], table))?;
        Ok(plan)
    }

    /// Looks for names that cannot be, or that are used twice.
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
                "needs a column {name:?} in table {table}, which is no name of at most {MOST_BYTES} bytes of letters, \
                 digits, `_` and `-`"
            ))),
        }
    }
}

/// Plans the table for the fields that are no collections, if there are any.
fn row<T: SessionPart>(
    own: Vec<Field>,
    table: Option<&str>,
    defaults: &Map<String, Value>,
) -> Result<Option<PlannedTable>, ConfigError> {
    if own.is_empty() {
        return match table {
            Some(_) => Err(error::<T>(format_args!("has no fields but collections, and no use for a row"))),
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

fn collection<T: SessionPart>(field: &'static str, wished: &WishedCollection) -> Result<PlannedTable, ConfigError> {
    let path = [Step::Field(field), Step::Element];
    if !shape::is_sequence::<T>(&path[..1]) {
        return Err(error::<T>(format_args!("has a field {field:?} that is no list, as a collection has to be")));
    }
    let fields = shape::fields::<T>(&path).map_err(|_| {
        error::<T>(format_args!(
            "has a list {field:?} of something else than structs with named fields and without `#[serde(flatten)]`"
        ))
    })?;
    let mut columns = columns(fields);
    if wished.key.is_empty() {
        return Err(error::<T>(format_args!("needs a key for {field:?}: the fields that tell its rows apart")));
    }
    for (place, name) in wished.key.iter().enumerate() {
        let Some(column) = columns.iter_mut().find(|column| column.name == *name) else {
            return Err(error::<T>(format_args!("has no field {name:?} in {field:?} that could be its key")));
        };
        let is_exact = matches!(column.kind, Kind::Bool | Kind::Integer | Kind::Text);
        if column.is_nullable || !is_exact || column.key.is_some() {
            return Err(error::<T>(format_args!(
                "cannot have {name:?} in the key of {field:?}: that takes strings, integers and enums that are always \
                 there, each once"
            )));
        }
        column.key = Some(place);
    }
    Ok(PlannedTable { field: Some(field.to_owned()), table: Table::parse(&wished.table)?, columns })
}

fn columns(fields: Vec<Field>) -> Vec<PlannedColumn> {
    let column = |field: Field| PlannedColumn {
        name: field.name.to_owned(),
        kind: field.kind,
        is_nullable: field.is_optional,
        key: None,
    };
    fields.into_iter().map(column).collect()
}

/// Returns the fields that the part has by default, as they are written.
fn defaults<T: SessionPart>() -> Result<Map<String, Value>, ConfigError> {
    match serde_json::to_value(T::default()) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(error::<T>(format_args!("is written as something else than a struct with named fields"))),
        Err(cause) => Err(error::<T>(format_args!("cannot be written as JSON: {cause}"))),
    }
}

fn is_empty(rows: &Value) -> bool {
    rows.as_array().is_some_and(Vec::is_empty)
}

fn not_a_struct(part: &str, no_struct: NoStruct) -> ConfigError {
    let why = match no_struct {
        NoStruct::Map => "is a map, or has `#[serde(flatten)]`, so that nobody can say which columns it needs",
        NoStruct::Other => "is no struct with named fields, and tables have columns",
    };
    ConfigError::new(format!("part {part:?} {why}"))
}

fn error<T: SessionPart>(what: std::fmt::Arguments<'_>) -> ConfigError {
    ConfigError::new(format!("part {:?} {what}", T::NAME))
}

fn is_column_name(name: &str) -> bool {
    let is_fine = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    !name.is_empty() && name.len() <= MOST_BYTES && name.chars().all(is_fine)
}
