//! Compares a plan with the database.

use sqlx::Error as SqlxError;

use super::catalog::{flag, is_same_name};
use super::cell::{Elements, Form};
use super::dialect::RowDialect;
use super::facts::{Class, ColumnFacts, TableFacts};
use super::mapped_table::{Column, MappedTable};
use super::plan::{Plan, PlannedColumn, PlannedTable};
use super::shape::Kind;
use crate::error::ConfigError;
use crate::store::sql::SqlStore;

/// Returns the tables of a plan as the database has them, or an error that lists every mismatch.
pub(crate) async fn check<D: RowDialect>(
    part: &str,
    plan: &Plan,
    store: &SqlStore<D>,
) -> Result<Vec<MappedTable>, ConfigError> {
    let mut findings = Findings { part, list: Vec::new() };
    let tables = look(plan, store, &mut findings).await;
    let tables = tables.map_err(|error| {
        ConfigError::new(format!("the tables of part {part:?} cannot be checked, the database fails: {error}"))
    })?;
    if findings.list.is_empty() { Ok(tables) } else { Err(findings.into_error()) }
}

async fn look<D: RowDialect>(
    plan: &Plan,
    store: &SqlStore<D>,
    findings: &mut Findings<'_>,
) -> Result<Vec<MappedTable>, SqlxError> {
    if let Some((question, finding)) = D::NEEDS {
        let answer = store.query(question.to_owned()).await?;
        if !answer.first().map_or(Ok(false), |row| flag::<D>(row, 0))? {
            findings.list.push(finding.to_owned());
        }
    }
    let sessions = store.table();
    let keys = TableFacts::query_keys::<D>(store, sessions).await?;
    if !keys.iter().any(|key| key.is_of::<D>(&["handle"])) {
        findings.list.push(format!(
            "table {sessions} does not exist, or has no unique index over \"handle\": run the store's `migrate`"
        ));
    }
    let mut tables = Vec::new();
    for table in &plan.tables {
        let facts = TableFacts::query(store, &table.table).await?;
        let mut check = TableCheck { plan, table, facts: &facts, findings };
        tables.extend(check.table::<D>(&sessions.to_string()));
    }
    Ok(tables)
}

struct Findings<'f> {
    part: &'f str,
    list: Vec<String>,
}

impl Findings<'_> {
    fn into_error(self) -> ConfigError {
        ConfigError::new(format!("part {:?} does not fit its tables: {}", self.part, self.list.join("; ")))
    }
}

/// The check of one table.
struct TableCheck<'a, 'f> {
    plan: &'a Plan,
    table: &'a PlannedTable,
    facts: &'a TableFacts,
    findings: &'a mut Findings<'f>,
}

impl TableCheck<'_, '_> {
    fn report(&mut self, what: std::fmt::Arguments<'_>) {
        self.findings.list.push(format!("table {} {what}", self.table.table));
    }

    fn table<D: RowDialect>(&mut self, sessions: &str) -> Option<MappedTable> {
        if self.facts.columns.is_empty() {
            self.report(format_args!("does not exist: `InTables::schema` prints the SQL to create it"));
            return None;
        }
        self.session::<D>();
        self.reference::<D>(sessions);
        self.key::<D>();
        self.others::<D>();
        let columns: Vec<_> = self.table.columns.iter().filter_map(|planned| self.column::<D>(planned)).collect();
        let place = |name: &str| columns.iter().position(|column| column.name == name);
        let key = self.table.key().into_iter().map(place).collect::<Option<_>>()?;
        Some(MappedTable { field: self.table.field.clone(), table: self.table.table.clone(), columns, key })
    }

    fn fact<D: RowDialect>(&self, name: &str) -> Option<ColumnFacts> {
        self.facts.columns.iter().find(|facts| is_same_name::<D>(&facts.name, name)).cloned()
    }

    fn session<D: RowDialect>(&mut self) {
        let name = &self.plan.session_column;
        let Some(facts) = self.fact::<D>(name) else {
            return self.report(format_args!("has no column {name:?} for the session: add it, as {}", D::SESSION_TYPE));
        };
        if facts.is_nullable {
            self.report(format_args!("has a nullable column {name:?}: declare it NOT NULL"));
        }
        if !matches!(facts.class::<D>(), Class::Bytes | Class::Any) {
            let type_name = &facts.type_name;
            self.report(format_args!("has {type_name} for its column {name:?}: make it {}", D::SESSION_TYPE));
        }
    }

    fn reference<D: RowDialect>(&mut self, sessions: &str) {
        let name = &self.plan.session_column;
        let is_ours = |column: &str, to: &str| is_same_name::<D>(column, name) && is_same_name::<D>(to, "handle");
        let mut references = self.facts.references.iter();
        match references.find(|found| found.is_to_sessions && is_ours(&found.column, &found.to)) {
            Some(found) if found.cascades => {}
            Some(_) => self.report(format_args!(
                "keeps its rows when their session ends: declare the foreign key of {name:?} ON DELETE CASCADE"
            )),
            None => self.report(format_args!(
                "has no foreign key from {name:?} to {sessions} (handle), or the user of the pool may not see it: add it, \
                 with ON DELETE CASCADE"
            )),
        }
    }

    fn key<D: RowDialect>(&mut self) {
        let mut key = vec![&*self.plan.session_column];
        key.extend(self.table.key());
        let mut fitting = self.facts.keys.iter().filter(|found| found.is_of::<D>(&key)).peekable();
        if fitting.peek().is_none() {
            return self
                .report(format_args!("has no unique index over exactly ({}): add it, as PRIMARY KEY", key.join(", ")));
        }
        let inexact = fitting.map(|found| &found.inexact).min_by_key(|inexact| inexact.len());
        if let Some(column) = inexact.and_then(|inexact| inexact.first()) {
            let facts = self.fact::<D>(column);
            let is = facts.map(|facts| format!("{} {}", facts.type_name, facts.collation)).unwrap_or_default();
            self.report(format_args!(
                "treats different texts in its column {column:?} as equal, such as \"A\" and \"a\" or \"a\" and \"a \" \
                 (it is {}): {}",
                is.trim_end(),
                D::EXACT_TEXTS
            ));
        }
    }

    /// Checks the columns without a field.
    fn others<D: RowDialect>(&mut self) {
        let session = &self.plan.session_column;
        let is_known = |name: &str| {
            let planned = self.table.columns.iter().map(|column| &*column.name);
            planned.chain([&**session]).any(|known| is_same_name::<D>(known, name))
        };
        let is_needed = |facts: &&ColumnFacts| !facts.is_nullable && !facts.has_default && !facts.is_generated;
        let unknown: Vec<_> = self.facts.columns.iter().filter(|facts| !is_known(&facts.name)).collect();
        for facts in unknown.into_iter().filter(is_needed) {
            let name = &facts.name;
            self.report(format_args!("has a column {name:?} without a field: give it a default, or make it nullable"));
        }
    }

    fn column<D: RowDialect>(&mut self, planned: &PlannedColumn) -> Option<Column> {
        let name = &planned.name;
        let Some(facts) = self.fact::<D>(name) else {
            self.report(format_args!(
                "has no column {name:?}: add it, as {}",
                D::type_of(planned.kind, planned.key.is_some())
            ));
            return None;
        };
        match (planned.is_nullable, facts.is_nullable) {
            (true, false) => {
                self.report(format_args!("has a NOT NULL column {name:?} for an `Option`: make it nullable"))
            }
            (false, true) => {
                self.report(format_args!(
                    "has a nullable column {name:?} for a field that is not an `Option`: declare it NOT NULL"
                ));
            }
            _ => {}
        }
        if facts.is_generated {
            self.report(format_args!("has a generated column {name:?}, which the field cannot be written to"));
        }
        let form = match facts.element_class::<D>() {
            Some(class) => array(planned, class),
            None => form(planned.kind, facts.class::<D>()),
        };
        let Some(form) = form else {
            let (type_name, better) = (&facts.type_name, D::type_of(planned.kind, planned.key.is_some()));
            self.report(format_args!(
                "has {type_name} for its column {name:?}, which cannot hold the field's values: make it {better}"
            ));
            return None;
        };
        Some(Column { name: name.clone(), form, is_nullable: planned.is_nullable, facts })
    }
}

/// Returns the form in which columns of this class hold values of this kind; `None` if they cannot.
fn form(kind: Kind, class: Class) -> Option<Form> {
    Some(match (kind, class) {
        (Kind::Bool | Kind::Any, Class::Bool) | (Kind::Bool, Class::IntegerOrBool | Class::Any) => Form::Bool,
        (Kind::Integer | Kind::Any, Class::Integer | Class::IntegerOrBool) => Form::Integer,
        (Kind::Integer, Class::Number | Class::Any) => Form::Integer,
        (Kind::Float32 | Kind::Float64 | Kind::Any, Class::Float64) => Form::Float,
        (Kind::Float32 | Kind::Any, Class::Float32) => Form::Float,
        (Kind::Float32 | Kind::Float64, Class::Number | Class::Any) => Form::Float,
        (Kind::Text, Class::Text | Class::Number | Class::Other | Class::Any) => Form::Text,
        // A type that accepts any value, such as a decimal type.
        (Kind::Any, Class::Number | Class::Other) => Form::Text,
        (Kind::Json | Kind::Any, Class::Text | Class::Json | Class::Any) => Form::Json,
        _ => return None,
    })
}

/// Returns the form in which an array with elements of this class holds a list; `None` if it cannot.
fn array(planned: &PlannedColumn, class: Class) -> Option<Form> {
    if !matches!(planned.kind, Kind::Json | Kind::Any) {
        return None;
    }
    // Nothing is known about the elements of a tuple or of any value.
    let kind = planned.elements.unwrap_or(Kind::Any);
    let elements = match (kind, class) {
        (Kind::Bool | Kind::Any, Class::Bool)
        | (Kind::Integer | Kind::Any, Class::Integer)
        | (Kind::Float32 | Kind::Float64 | Kind::Any, Class::Float64)
        | (Kind::Float32 | Kind::Any, Class::Float32)
        | (Kind::Float32 | Kind::Float64, Class::Number)
        | (Kind::Text | Kind::Any, Class::Text) => Elements::Scalars,
        (Kind::Text | Kind::Any, Class::Number | Class::Other) => Elements::Texts,
        (Kind::Json | Kind::Any, Class::Json) => Elements::Json,
        _ => return None,
    };
    Some(Form::Array(elements))
}
