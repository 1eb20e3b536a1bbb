//! The databases of parts in tables, without the type of the engine.

use std::fmt;
use std::sync::Arc;

use super::check::check;
use super::dialect::RowDialect;
use super::mapped::Mapped;
use super::mapping::Mapping;
use super::plan::Plan;
use super::schema::schema;
use crate::error::ConfigError;
use crate::part::in_tables::mapped_part::{BoxFuture, MappedPart};
use crate::store::sql::SqlStore;
use crate::store::{AnyStore, Store};

/// A store that may have tables.
pub(crate) trait TableStore {
    fn table_database(&self) -> Result<Arc<dyn TableDatabase>, NoTables>;
}

impl<D: RowDialect> TableStore for SqlStore<D> {
    fn table_database(&self) -> Result<Arc<dyn TableDatabase>, NoTables> {
        Ok(Arc::new(self.clone()))
    }
}

impl TableStore for AnyStore {
    fn table_database(&self) -> Result<Arc<dyn TableDatabase>, NoTables> {
        #[cfg(feature = "sqlite")]
        if let Some(store) = self.downcast_ref::<SqlStore<sqlx::Sqlite>>() {
            return store.table_database();
        }
        #[cfg(feature = "postgres")]
        if let Some(store) = self.downcast_ref::<SqlStore<sqlx::Postgres>>() {
            return store.table_database();
        }
        #[cfg(feature = "mysql")]
        if let Some(store) = self.downcast_ref::<SqlStore<sqlx::MySql>>() {
            return store.table_database();
        }
        Err(NoTables { store: self.name() })
    }
}

/// The database of a store with tables.
pub(crate) trait TableDatabase: fmt::Debug + Send + Sync {
    /// Returns SQL that creates the tables of a plan.
    fn schema(&self, plan: &Plan) -> String;

    /// Checks that the tables are as planned.
    fn check<'a>(
        &'a self,
        part: &'static str,
        plan: &'a Plan,
    ) -> BoxFuture<'a, Result<Arc<dyn MappedPart>, ConfigError>>;
}

impl<D: RowDialect> TableDatabase for SqlStore<D> {
    fn schema(&self, plan: &Plan) -> String {
        schema::<D>(plan, self.table())
    }

    fn check<'a>(
        &'a self,
        part: &'static str,
        plan: &'a Plan,
    ) -> BoxFuture<'a, Result<Arc<dyn MappedPart>, ConfigError>> {
        Box::pin(async move {
            let tables = check(part, plan, self).await?;
            let mapping = Mapping::new::<D>(part, &plan.session_column, self.table(), tables, &plan.defaults);
            let mapped: Arc<dyn MappedPart> = Arc::new(Mapped::new(mapping, self.clone()));
            Ok(mapped)
        })
    }
}

/// The store that was chosen has no tables.
#[derive(Clone, Debug)]
pub(crate) struct NoTables {
    store: &'static str,
}

impl NoTables {
    pub(crate) fn of_part(&self, part: &str) -> ConfigError {
        ConfigError::new(format!(
            "part {part:?} cannot live in tables of the {} store: choose SQLite, PostgreSQL, MySQL or MariaDB",
            self.store
        ))
    }
}
