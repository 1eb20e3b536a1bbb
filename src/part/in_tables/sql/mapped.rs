//! A part whose tables were checked, and the database they are in.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};
use sqlx::{Database, Transaction};

use super::dialect::RowDialect;
use super::difference::difference;
use super::mapping::{Column, MappedTable, Mapping};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::part::in_tables::{BoxFuture, MappedPart, RecordCall, RowDatabase, RowWrites};
use crate::part::patch::Collection;
use crate::record::{Handle, StoreKey};
use crate::store::sql::{Batch, SqlStore};
use crate::store::{Entry, Outcome, StoreError};

/// A part in tables of one engine.
pub(crate) struct Mapped<D: Database> {
    mapping: Arc<Mapping>,
    collections: Arc<[Collection]>,
    store: SqlStore<D>,
    database: Arc<dyn RowDatabase>,
}

impl<D: Database> Clone for Mapped<D> {
    fn clone(&self) -> Self {
        let Self { mapping, collections, store, database } = self;
        let (mapping, collections) = (Arc::clone(mapping), Arc::clone(collections));
        Self { mapping, collections, store: store.clone(), database: Arc::clone(database) }
    }
}

impl<D: RowDialect> Mapped<D> {
    pub(crate) fn new(mapping: Mapping, store: SqlStore<D>) -> Self {
        let collection = |table: &MappedTable| {
            let key = table.key_columns().map(|(_, column)| column.name.clone()).collect();
            Some(Collection { field: table.field.clone()?, key })
        };
        let collections = mapping.tables.iter().filter_map(collection).collect();
        Self { mapping: Arc::new(mapping), collections, database: Arc::new(store.clone()), store }
    }

    async fn read(&self, session: Handle) -> Result<Option<Value>, StoreError> {
        let rows = self.store.rows(&self.mapping.load, Some(&session)).await.map_err(SqlStore::<D>::failed)?;
        self.part(&rows)
    }

    /// Begins a transaction in which the row of a session is locked.
    pub(crate) async fn lock(
        &self,
        key: &StoreKey,
        now: Timestamp,
    ) -> Result<(Box<Transaction<'static, D>>, Option<Entry>), StoreError> {
        self.store.lock(key, now).await
    }

    /// Reads, in a transaction, what a session has of the part.
    pub(crate) async fn load_on(
        &self,
        connection: &mut D::Connection,
        session: Handle,
    ) -> Result<Option<Value>, StoreError> {
        let rows = SqlStore::<D>::rows_on(connection, &self.mapping.load, &session).await;
        self.part(&rows.map_err(SqlStore::<D>::failed)?)
    }

    /// Makes the call of a store and writes rows, then ends the transaction. If the call ends as anything but
    /// [`Outcome::Done`], nothing is written.
    pub(crate) async fn finish(
        &self,
        mut transaction: Box<Transaction<'static, D>>,
        call: RecordCall<'_>,
        rows: &[RowWrites],
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let batches = batches(rows).ok_or_else(|| unreadable::<D>(None))?;
        let outcome = self.store.write_all(&mut transaction, &call, &batches, now).await?;
        if outcome == Outcome::Done {
            transaction.commit().await.map_err(SqlStore::<D>::refused)?;
        }
        Ok(outcome)
    }

    /// Makes the part of its rows.
    fn part(&self, rows: &[D::Row]) -> Result<Option<Value>, StoreError> {
        if rows.is_empty() {
            return Ok(None);
        }
        let tables = &self.mapping.tables;
        let mut lists: Vec<Vec<Map<String, Value>>> = tables.iter().map(|_| Vec::new()).collect();
        for row in rows {
            let number = D::text(row, 0).map_err(SqlStore::<D>::failed)?.and_then(|number| number.parse().ok());
            let number: usize = number.filter(|number| *number < tables.len()).ok_or_else(|| unreadable::<D>(None))?;
            lists[number].push(fields::<D>(&tables[number], row)?);
        }
        Ok(Some(Value::Object(self.assembled(lists))))
    }

    /// Puts the rows of all tables together.
    fn assembled(&self, lists: Vec<Vec<Map<String, Value>>>) -> Map<String, Value> {
        let mut part = self.mapping.defaults.clone();
        for (table, mut rows) in self.mapping.tables.iter().zip(lists) {
            match &table.field {
                Some(field) => {
                    rows.sort_by(|one, other| in_order(table, one, other));
                    part.insert(field.clone(), rows.into_iter().map(Value::Object).collect());
                }
                None => part.extend(rows.pop().unwrap_or_default()),
            }
        }
        part
    }
}

/// Compares rows by their keys: numbers as such, texts by their bytes. The same on every engine.
fn in_order(table: &MappedTable, one: &Map<String, Value>, other: &Map<String, Value>) -> std::cmp::Ordering {
    let compare = |(_, column): (usize, &Column)| match (one.get(&column.name), other.get(&column.name)) {
        (Some(Value::Number(one)), Some(Value::Number(other))) => one.as_i128().cmp(&other.as_i128()),
        (Some(Value::String(one)), Some(Value::String(other))) => one.cmp(other),
        (Some(Value::Bool(one)), Some(Value::Bool(other))) => one.cmp(other),
        _ => std::cmp::Ordering::Equal,
    };
    table.key_columns().map(compare).find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
}

/// Reads a row.
fn fields<D: RowDialect>(table: &MappedTable, row: &D::Row) -> Result<Map<String, Value>, StoreError> {
    let field = |(place, column): (usize, &Column)| {
        let cell = D::cell(row, place + 1, column.form).map_err(SqlStore::<D>::failed)?;
        let value = match cell {
            Some(cell) => column.form.to_value(&cell),
            None => column.is_nullable.then_some(Value::Null),
        };
        Ok((column.name.clone(), value.ok_or_else(|| unreadable::<D>(Some((table, column))))?))
    };
    table.columns.iter().enumerate().map(field).collect()
}

impl<D: RowDialect> MappedPart for Mapped<D> {
    fn collections(&self) -> &[Collection] {
        &self.collections
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn database(&self) -> &Arc<dyn RowDatabase> {
        &self.database
    }

    fn load(&self, session: Handle) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(self.read(session))
    }

    fn difference(&self, before: Option<&Value>, after: Option<&Value>) -> Result<RowWrites, Error> {
        difference::<D>(&self.mapping, before, after)
    }
}

impl<D: RowDialect> fmt::Debug for Mapped<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables: Vec<_> = self.mapping.tables.iter().map(|table| table.table.to_string()).collect();
        f.debug_struct("Mapped").field("part", &self.mapping.part).field("tables", &tables).finish_non_exhaustive()
    }
}

impl<D: RowDialect> RowDatabase for SqlStore<D> {
    fn is_of(&self, store: &dyn Any) -> bool {
        self.is_same_as(store)
    }

    fn write<'a>(
        &'a self,
        call: RecordCall<'a>,
        rows: &'a [RowWrites],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Outcome, StoreError>> {
        Box::pin(async move {
            let batches = batches(rows).ok_or_else(|| unreadable::<D>(None))?;
            self.write_with_rows(&call, &batches, now).await
        })
    }
}

/// Returns the statements to run, those that remove rows first. `None`: the rows are of another engine.
pub(crate) fn batches(rows: &[RowWrites]) -> Option<Vec<Batch<'_>>> {
    let (mut removals, mut puts) = (Vec::new(), Vec::new());
    for writes in rows {
        let mapping: &Mapping = writes.mapping.downcast_ref()?;
        for table in &writes.tables {
            let statements = mapping.statements.get(table.table)?;
            if table.clears {
                removals.push(Batch { statements: vec![&statements.clear], rows: None, count: 0 });
            }
            if let Some(removed) = &table.removed {
                let statements = statements.delete.iter().collect();
                removals.push(Batch { statements, rows: Some(&removed.json), count: removed.count as u64 });
            }
            if let Some(put) = &table.put {
                let mut statements: Vec<_> = statements.puts.iter().collect();
                // The last of them is the one that inserts.
                if table.puts_new {
                    statements.reverse();
                }
                puts.push(Batch { statements, rows: Some(&put.json), count: put.count as u64 });
            }
        }
    }
    // Rows that refer to others go before them, and come after them.
    removals.reverse();
    removals.append(&mut puts);
    Some(removals)
}

fn unreadable<D: RowDialect>(place: Option<(&MappedTable, &Column)>) -> StoreError {
    let place = place.map(|(table, column)| {
        format!("column {:?} of table {} ({})", column.name, table.table, column.facts.type_name)
    });
    StoreError::undecodable_rows(D::STORE, NotWritten { place })
}

/// There is something in a table that nobody could have written there.
#[derive(Debug)]
struct NotWritten {
    place: Option<String>,
}

impl fmt::Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place} holds what its field cannot be"),
            None => f.write_str("the rows are not of the tables that were checked"),
        }
    }
}

impl StdError for NotWritten {}
