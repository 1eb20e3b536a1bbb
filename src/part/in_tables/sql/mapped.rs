//! A part whose tables were checked, and the database they are in.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use sqlx::Database;

use super::dialect::RowDialect;
use super::difference::{difference, replacement};
use super::load::unreadable;
use super::mapped_table::MappedTable;
use super::mapping::Mapping;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::part::in_tables::mapped_part::{BoxFuture, MappedPart, RowDatabase};
use crate::part::in_tables::row_writes::RowWrites;
use crate::part::merge::Collection;
use crate::record::{Generation, Handle, StoreKey, Version};
#[cfg(test)]
use crate::store::sql::Statement;
use crate::store::sql::{Batch, Call, PooledTransaction, SqlStore};
use crate::store::{Entry, Outcome, RecordCall, StoreError};

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

    /// Returns the name of the part.
    pub(crate) fn name(&self) -> &'static str {
        self.mapping.part
    }

    #[cfg(test)]
    pub(crate) fn load_statement(&self) -> &Statement {
        &self.mapping.load.statement
    }

    async fn read(&self, session: Handle, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        self.text(self.store.fetch_rows(&self.mapping.load.statement, &rows_of(&session, generation)).await)
    }

    /// Begins a transaction in which the row of a session is locked.
    pub(crate) async fn lock(
        &self,
        key: &StoreKey,
        now: Timestamp,
    ) -> Result<(Box<PooledTransaction<D>>, Option<Entry>), StoreError> {
        self.store.lock(key, now).await
    }

    /// Loads the part of a session as JSON text, in a transaction.
    pub(crate) async fn load_on(
        &self,
        connection: &mut D::Connection,
        session: Handle,
        generation: Generation,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let call = rows_of(&session, generation);
        self.text(self.store.fetch_rows_on(connection, &self.mapping.load.statement, &call).await)
    }

    /// Makes a call of the store, writes rows and commits. Unless the call is [`Outcome::Done`], nothing is written.
    pub(crate) async fn finish(
        &self,
        transaction: Box<PooledTransaction<D>>,
        call: RecordCall<'_>,
        rows: &[RowWrites],
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let batches = batches(rows).ok_or_else(|| unreadable::<D>(None))?;
        self.store.write_and_end(*transaction, &call, &batches, now).await
    }

    fn text(&self, rows: Result<Vec<D::Row>, sqlx::Error>) -> Result<Option<Vec<u8>>, StoreError> {
        let Mapping { tables, load, .. } = &*self.mapping;
        load.part::<D>(tables, &rows.map_err(SqlStore::<D>::failed)?)
    }
}

fn rows_of(session: &Handle, generation: Generation) -> Call<'_> {
    Call { session: Some(session), session_generation: Some(generation), ..Call::default() }
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

    fn load(&self, session: Handle, generation: Generation) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(self.read(session, generation))
    }

    fn replacement(&self, after: Option<&Value>) -> Result<RowWrites, Error> {
        replacement::<D>(&self.mapping, after)
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

    fn lock_sql(&self, key: &StoreKey, expected: Version, next: Version, now: Timestamp) -> String {
        let hex: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "UPDATE {} SET version = {}, data = {} WHERE id_hash = {} AND version = {} AND expires_at > {}",
            self.table().quoted(D::QUOTE),
            next.as_u64(),
            D::placeholder(1),
            D::bytes_literal(&hex),
            expected.as_u64(),
            now.as_millis()
        )
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

/// Returns the statements to run, deletions first. Returns `None` if the rows are of another engine.
pub(crate) fn batches(rows: &[RowWrites]) -> Option<Vec<Batch<'_>>> {
    let (mut removals, mut puts) = (Vec::new(), Vec::new());
    for writes in rows {
        let mapping: &Mapping = writes.mapping.downcast_ref()?;
        for table in &writes.tables {
            let statements = mapping.statements.get(table.table)?;
            if table.clears {
                removals.push(Batch { statements: vec![&statements.delete_all], rows: None, count: 0 });
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
    // Rows that reference others are deleted before them and inserted after them.
    removals.reverse();
    removals.append(&mut puts);
    Some(removals)
}
