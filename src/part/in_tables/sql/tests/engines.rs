//! The engines that the tests run on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Pool};

use crate::clock::Timestamp;
use crate::part::SessionPart;
use crate::part::in_tables::sql::InTables;
use crate::part::in_tables::sql::dialect::RowDialect;
use crate::part::in_tables::{MappedPart, RowWrites, Tables};
use crate::record::{Generation, Handle, Record, StoreKey, Version};
use crate::store::sql::{Call, SqlStore, Statement};
use crate::store::{Outcome, RecordCall, Store as _, StoreError};

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// An engine with a test database.
pub(super) trait TestEngine: RowDialect {
    async fn pool() -> Option<Pool<Self>>;
    fn store(pool: Pool<Self>) -> SqlStore<Self>;
    async fn execute(pool: &Pool<Self>, sql: String) -> Result<(), sqlx::Error>;
}

macro_rules! impl_test_engine {
    ($engine:ty, $pool:expr) => {
        impl TestEngine for $engine {
            async fn pool() -> Option<Pool<Self>> {
                $pool.await
            }

            fn store(pool: Pool<Self>) -> SqlStore<Self> {
                Self::new_store(pool)
            }

            async fn execute(pool: &Pool<Self>, sql: String) -> Result<(), sqlx::Error> {
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.map(|_| ())
            }
        }
    };
}

/// Loads a part in tables as a JSON value.
pub(super) trait Loaded {
    async fn loaded(&self, session: Handle) -> Result<Option<Value>, StoreError>;
}

impl Loaded for dyn MappedPart {
    async fn loaded(&self, session: Handle) -> Result<Option<Value>, StoreError> {
        let value = |json: Vec<u8>| {
            let value: Value = serde_json::from_slice(&json).expect("it is JSON");
            assert!(value.to_string().into_bytes() == json, "the JSON of a part is canonical");
            value
        };
        Ok(self.load(session, Generation::default()).await?.map(value))
    }
}

/// The constructors have the same name, but no common trait.
trait NewStore: RowDialect {
    fn new_store(pool: Pool<Self>) -> SqlStore<Self>;
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;
    use sqlx::Sqlite;
    use sqlx::sqlite::SqlitePoolOptions;

    impl NewStore for Sqlite {
        fn new_store(pool: Pool<Self>) -> SqlStore<Self> {
            SqlStore::<Self>::new(pool)
        }
    }

    impl_test_engine!(Sqlite, async {
        let options = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        Some(options.connect("sqlite::memory:").await.expect("SQLite in memory"))
    });
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::*;
    use sqlx::Postgres;
    use sqlx::postgres::PgPoolOptions;

    impl NewStore for Postgres {
        fn new_store(pool: Pool<Self>) -> SqlStore<Self> {
            SqlStore::<Self>::new(pool)
        }
    }

    impl_test_engine!(Postgres, async {
        let url = super::super::harness::engines::POSTGRES.shared()?;
        let options = PgPoolOptions::new().max_connections(4).after_connect(|connection, _| {
            Box::pin(async move {
                let set = "SET TIME ZONE 'Asia/Kathmandu'; SET client_min_messages = warning; SET datestyle = 'German'";
                sqlx::raw_sql(set).execute(connection).await.map(|_| ())
            })
        });
        Some(options.connect(&url).await.expect("the server from the environment"))
    });
}

#[cfg(feature = "mysql")]
mod mysql {
    use std::str::FromStr as _;

    use super::*;
    use sqlx::MySql;
    use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};

    impl NewStore for MySql {
        fn new_store(pool: Pool<Self>) -> SqlStore<Self> {
            SqlStore::<Self>::new(pool)
        }
    }

    impl_test_engine!(MySql, async {
        let url = super::super::harness::engines::MYSQL.shared()?;
        let options = MySqlConnectOptions::from_str(&url).expect("a URL").timezone(Some("+05:45".to_owned()));
        let pool = MySqlPoolOptions::new().max_connections(4).connect_with(options).await;
        Some(pool.expect("the server from the environment"))
    });
}

/// Makes a test of a function `async fn<D: TestEngine>(Scene<D>)` for each engine.
macro_rules! on_each_engine {
    ($($name:ident)*) => {
        #[cfg(feature = "sqlite")]
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(scene) = super::Scene::<sqlx::Sqlite>::open().await else { return };
                super::$name(scene).await;
            })*
        }

        #[cfg(feature = "postgres")]
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(scene) = super::Scene::<sqlx::Postgres>::open().await else { return };
                super::$name(scene).await;
            })*
        }

        #[cfg(feature = "mysql")]
        mod on_mysql {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(scene) = super::Scene::<sqlx::MySql>::open().await else { return };
                super::$name(scene).await;
            })*
        }
    };
}
pub(super) use on_each_engine;

/// A database with a table of sessions, and names for further tables.
pub(super) struct Scene<D: TestEngine> {
    pub(super) pool: Pool<D>,
    pub(super) store: SqlStore<D>,
    /// A unique name, which replaces `@` in SQL.
    pub(super) name: String,
}

impl<D: TestEngine> Scene<D> {
    pub(super) async fn open() -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let pool = D::pool().await?;
        let name = format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let store = D::store(pool.clone()).with_table(&format!("{name}_s")).expect("a name");
        store.migrate().await.expect("a table of sessions");
        Some(Self { pool, store, name })
    }

    /// The tables `@_row` and `@_lines`.
    pub(super) fn tables(&self) -> InTables {
        InTables::new(&self.store).with_row(&format!("{}_row", self.name))
    }

    pub(super) fn with_lines(&self) -> InTables {
        InTables::new(&self.store).add_collection("lines", &format!("{}_lines", self.name), &["sku"])
    }

    /// Creates the tables from the printed schema, and checks them.
    pub(super) async fn made<T: SessionPart>(&self, tables: &InTables) -> Tables<T> {
        for _ in 0..2 {
            self.run(&tables.schema::<T>().expect("the type fits")).await;
        }
        tables.check::<T>().await.expect("the tables match the printed schema")
    }

    pub(super) async fn run(&self, sql: &str) {
        self.try_run(sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    pub(super) async fn try_run(&self, sql: &str) -> Result<(), sqlx::Error> {
        D::execute(&self.pool, sql.replace('@', &self.name)).await
    }

    /// Returns one text.
    pub(super) async fn text(&self, sql: &str) -> Option<String> {
        let rows =
            self.store.query(sql.replace('@', &self.name)).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
        let row = rows.first()?;
        D::text(row, 0).expect("a text").map(str::to_owned)
    }

    /// Counts the rows of `@_suffix`.
    pub(super) async fn count(&self, suffix: &str) -> i64 {
        let sql = format!("SELECT COUNT(*) FROM {}_{suffix}", self.name);
        let rows = self.store.fetch_rows(&Statement::new::<D>(&sql), &Call::default()).await.expect("a table");
        D::integer(&rows[0], 0).expect("a number").expect("a number")
    }

    /// Creates the session `n` with a part.
    pub(super) async fn create<T: SessionPart>(
        &self,
        tables: &Tables<T>,
        n: u8,
        part: &T,
    ) -> Result<Outcome, StoreError> {
        let rows = writes(tables, None, Some(&value(part)));
        let call = RecordCall::Create { key: &key(n), record: record(n, 1) };
        tables.mapped.database().write(call, &[rows], NOW).await
    }

    /// Changes the part of the session `n`.
    pub(super) async fn change(&self, mapped: &dyn MappedPart, n: u8, after: Option<&Value>) -> RowWrites {
        let before = mapped.loaded(handle(n)).await.expect("it can be read");
        let rows = mapped.difference(before.as_ref(), after).expect("it can be written");
        let outcome = self.update(mapped, n, &rows).await.expect("it is written");
        assert_eq!(outcome, Outcome::Done);
        rows
    }

    pub(super) async fn update(&self, mapped: &dyn MappedPart, n: u8, rows: &RowWrites) -> Result<Outcome, StoreError> {
        let found = self.store.load(&key(n), NOW).await.expect("a session");
        let Some(crate::store::Entry::Live(found)) = found else { panic!("there is no session {n}") };
        let record = record(n, found.version.as_u64() + 1);
        let call = RecordCall::Update { key: &key(n), expected: found.version, record };
        mapped.database().write(call, std::slice::from_ref(rows), NOW).await
    }
}

pub(super) fn writes<T>(tables: &Tables<T>, before: Option<&Value>, after: Option<&Value>) -> RowWrites {
    tables.mapped.difference(before, after).expect("it can be written")
}

pub(super) fn value<T: SessionPart>(part: &T) -> Value {
    serde_json::to_value(part).expect("it can be written")
}

pub(super) fn key(n: u8) -> StoreKey {
    StoreKey::from_bytes([n; 32])
}

pub(super) fn handle(n: u8) -> Handle {
    Handle::from_bytes([n; 16])
}

pub(super) fn record(n: u8, version: u64) -> Arc<Record> {
    let mut record = Record::new(handle(n), NOW, NOW.after(Duration::from_secs(3600)));
    record.version = Version::from_u64(version);
    Arc::new(record)
}
