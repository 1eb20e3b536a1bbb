//! The tables that an application names for a part.

use std::sync::Arc;

use super::plan::{CollectionOptions, Plan, TableOptions};
use super::table_store::{NoTables, TableDatabase, TableStore};
use super::tables::Tables;
use crate::error::ConfigError;
use crate::part::session_part::SessionPart;

/// Places a part in tables of your own, in the database of the sessions.
///
/// Each field of the part is a column of its table, with a native type, so a cart in progress can be queried and joined
/// like any other table. A field that is a list of structs can be a [collection](Self::add_collection): a table with
/// one row for each element. The rows are deleted together with their session, at a logout as well as at a sweep after
/// it expired.
///
/// ```no_run
/// # #[cfg(feature = "sqlite")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use serde::{Deserialize, Serialize};
/// use session_state::{InTables, SessionPart, SqliteStore};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Cart {
///     voucher: Option<String>,
///     lines: Vec<CartLine>,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct CartLine {
///     sku: String,
///     quantity: u32,
/// }
///
/// impl SessionPart for Cart {
///     const NAME: &'static str = "cart";
/// }
///
/// let store = SqliteStore::connect("sqlite:shop.db").await?;
/// store.migrate().await?;
///
/// let tables = InTables::new(&store).with_row("carts").add_collection("lines", "cart_items", &["sku"]);
/// println!("{}", tables.schema::<Cart>()?);
/// let carts = tables.check::<Cart>().await?;
/// # let _ = carts;
/// # Ok(())
/// # }
/// ```
///
/// # The tables
///
/// Your own migrations create the tables, with your indexes and constraints. They may have additional columns, which
/// keep their values as long as the row exists. [`schema`](Self::schema) prints an initial schema, and
/// [`check`](Self::check) reports every mismatch. Each table has
///
/// - a column with the [handle](crate::Handle) of the session, [`session`](Self::with_session_column), which is a
///   foreign key to the sessions table with `ON DELETE CASCADE`;
/// - a primary key, or another unique index, over exactly that column and the key of the collection;
/// - a column for each field, which is `NOT NULL` unless the field is an `Option`. Additional columns must be nullable
///   or have a default.
///
/// # The columns
///
/// The mapping is serde's: the serialized name of a field, after `rename` and `rename_all`, is the name of its column.
///
/// | field | SQLite | PostgreSQL | MySQL and MariaDB |
/// | --- | --- | --- | --- |
/// | `bool` | `INTEGER` | `BOOLEAN` | `BOOLEAN` |
/// | integers | `INTEGER` | `BIGINT` and smaller, `NUMERIC` | `BIGINT` and smaller, `DECIMAL` |
/// | `f32`, `f64` | `REAL` | `REAL`, `DOUBLE PRECISION`, `NUMERIC` | `FLOAT`, `DOUBLE`, `DECIMAL` |
/// | strings, `char`, enums of unit variants | `TEXT`, dates | `TEXT`, `UUID`, `TIMESTAMPTZ`, `NUMERIC`, enums and the like | `VARCHAR`, `TEXT`, `DATETIME`, `DECIMAL` and the like |
/// | lists and sets of the above | `TEXT`, as JSON | arrays, or as JSON | `JSON`, `TEXT` |
/// | everything else, as JSON | `TEXT` | `JSONB`, `JSON`, `TEXT` | `JSON`, `TEXT` |
///
/// - A value reads back as it was written, floating-point numbers bit by bit, except that only PostgreSQL has a
///   negative zero. `JSONB`, and `JSON` in MySQL, reformat JSON. A text in a column of another type is read in the
///   format of the engine: a time as RFC 3339 in UTC (`TIMESTAMPTZ`, `TIMESTAMP`), a date and time without a zone with
///   a `T` in between. The same holds for the elements of an array. A `JSONB[]` holds a list of any values.
/// - An integer above 2^63 - 1, a number that is not finite, two rows with one key and, in PostgreSQL, a text with the
///   character NUL are an [`Encode`](crate::ErrorKind::Encode) error. A violation of a constraint is a
///   [`Constraint`](crate::ErrorKind::Constraint) error. In both cases the request writes nothing.
/// - A type with `#[serde(flatten)]` is rejected, since its columns are unknown.
///
/// # Rights
///
/// Besides the rights for the store, the user of the pool needs these on each table. Deletions by the foreign key need
/// no further right.
///
/// ```sql
/// GRANT SELECT, INSERT, UPDATE, DELETE ON carts TO app;
/// ```
///
/// # Reading and writing
///
/// All tables of a part are read by one statement, which returns no rows unless the table of the sessions has the
/// session in the [generation](crate::store::Generation) that the request has loaded. A change writes only changed
/// rows, in one transaction with the session's record: one statement deletes rows and one inserts or updates rows,
/// however many there are (MySQL needs a second one to distinguish new rows). A collection reads back in the order of
/// its keys. If no table has a row, the part has its default; if only the row of its own fields is missing, those
/// fields have their defaults.
#[derive(Clone, Debug)]
#[must_use]
pub struct InTables {
    database: Result<Arc<dyn TableDatabase>, NoTables>,
    options: TableOptions,
}

impl InTables {
    /// Creates the options for a part in the database of `store`, which must be the store of the layer.
    ///
    /// It is an SQL store, or an [`AnyStore`](crate::AnyStore) of one; with another `AnyStore`,
    /// [`schema`](Self::schema) and [`check`](Self::check) are errors.
    #[expect(private_bounds, reason = "only the stores of this crate implement it")]
    pub fn new(store: &impl TableStore) -> Self {
        let options = TableOptions { row: None, session_column: "session".to_owned(), collections: Vec::new() };
        Self { database: store.table_database(), options }
    }

    /// Sets the table for the fields of the part that are not collections. The default is the [name](SessionPart::NAME)
    /// of the part.
    ///
    /// A part that consists of collections needs no such table. A schema may stand before the name, followed by a full
    /// stop.
    pub fn with_row(mut self, table: &str) -> Self {
        self.options.row = Some(table.to_owned());
        self
    }

    /// Adds a field that is a list of structs as a collection: a separate table, with one row for each element. Call it
    /// once for each such field. By default a list is one column, as JSON.
    ///
    /// `key` names the fields that identify a row within the session: strings, integers, enums of unit variants. A
    /// changed element updates its row as long as the key stays the same.
    pub fn add_collection(mut self, field: &str, table: &str, key: &[&str]) -> Self {
        let key = key.iter().map(|name| (*name).to_owned()).collect();
        self.options.collections.push(CollectionOptions { field: field.to_owned(), table: table.to_owned(), key });
        self
    }

    /// Sets the name of the handle column in all tables of the part. The default is `session`.
    pub fn with_session_column(mut self, column: &str) -> Self {
        self.options.session_column = column.to_owned();
        self
    }

    /// Returns SQL that creates the tables for the part `T`, as a start for your own migrations. It is idempotent.
    ///
    /// The sessions table must exist.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the type does not have these fields, or cannot be stored in tables, or if the store has none.
    pub fn schema<T: SessionPart>(&self) -> Result<String, ConfigError> {
        let database = self.database::<T>()?;
        Ok(database.schema(&Plan::new::<T>(&self.options)?))
    }

    /// Checks that the tables can hold the part `T`.
    ///
    /// Call it once, when the application starts, after its migrations.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the type cannot be stored in tables, if the tables do not fit, with a list of all mismatches
    /// and their remedies, if the database cannot be queried, or if the store has no tables.
    pub async fn check<T: SessionPart>(&self) -> Result<Tables<T>, ConfigError> {
        let (database, plan) = (self.database::<T>()?, Plan::new::<T>(&self.options)?);
        database.check(T::NAME, &plan).await.map(Tables::new)
    }

    fn database<T: SessionPart>(&self) -> Result<&dyn TableDatabase, ConfigError> {
        self.database.as_deref().map_err(|error| error.of_part(T::NAME))
    }
}
