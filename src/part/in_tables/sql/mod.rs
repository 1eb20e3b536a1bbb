//! Parts in tables of SQL. One implementation, over what the engines differ in.
//!
//! - `shape`: what fields a type has, found out by asking its `Deserialize`.
//! - `plan`: which table and which column is for which field; `schema` prints it as SQL.
//! - `facts`: what the database says about its tables; `check` holds a plan against them and makes a `mapping` of both.
//! - `cell`: values as the texts that go into columns and come out of them.
//! - `difference`: the rows that turn one value into another.
//! - `dialect`: the statements, and in what the engines differ; `sqlite`, `postgres` and `mysql` say it.
//! - `load`: what a session has of a part; `assembly` puts the JSON text of it together.
//! - `mapped`: a part whose tables were checked, and the database they are in.

mod assembly;
mod cell;
mod check;
mod dialect;
mod difference;
mod facts;
mod load;
mod mapped;
mod mapping;
#[cfg(feature = "mysql")]
mod mysql;
mod plan;
#[cfg(feature = "postgres")]
mod postgres;
mod schema;
mod shape;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use sqlx::Database;

pub(crate) use self::dialect::RowDialect;
pub(crate) use self::mapped::Mapped;
use self::mapping::Mapping;
use self::plan::{Plan, Wish, WishedCollection};
use super::MappedPart;
use crate::error::ConfigError;
use crate::part::SessionPart;
use crate::store::SqlStore;

/// Places a part in tables of your own, in the database that keeps the sessions.
///
/// Each field of the part is a column of its table, with the type the column has there, so that a cart in progress can be
/// queried and joined like everything else. A field that is a list of structs can be a
/// [collection](Self::with_collection): a table with a row for each of them. The rows go with their session, at a logout
/// as well as when it has expired and is swept.
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
/// let tables = InTables::new(&store).with_row("carts").with_collection("lines", "cart_items", &["sku"]);
/// println!("{}", tables.schema::<Cart>()?);
/// let carts = tables.check::<Cart>().await?;
/// # let _ = carts;
/// # Ok(())
/// # }
/// ```
///
/// # The tables
///
/// They are yours: made by your migrations, with the indexes and rules you want, and with further columns if you like,
/// which keep what they have as long as their row is there. [`schema`](Self::schema) prints a beginning, and
/// [`check`](Self::check) says what does not fit. Each table has
///
/// - a column with the [handle](crate::Handle) of the session, [`session`](Self::with_session_column), that is a foreign
///   key to the table of the sessions with `ON DELETE CASCADE`;
/// - a primary key, or another unique index, over that column and the key of the collection, and no other;
/// - a column for each field, which is `NOT NULL` unless the field is an `Option`. What else is there must be able to stay
///   empty, or have a default.
///
/// # The columns
///
/// Serde is the mapping: the name of a field, as `rename` and `rename_all` have it, is the name of its column.
///
/// | field | SQLite | PostgreSQL | MySQL and MariaDB |
/// | --- | --- | --- | --- |
/// | `bool` | `INTEGER` | `BOOLEAN` | `BOOLEAN` |
/// | integers | `INTEGER` | `BIGINT` and smaller, `NUMERIC` | `BIGINT` and smaller, `DECIMAL` |
/// | `f32`, `f64` | `REAL` | `REAL`, `DOUBLE PRECISION`, `NUMERIC` | `FLOAT`, `DOUBLE`, `DECIMAL` |
/// | strings, `char`, enums without values | `TEXT`, dates | `TEXT`, `UUID`, `TIMESTAMPTZ`, `NUMERIC`, enums and the like | `VARCHAR`, `TEXT`, `DATETIME`, `DECIMAL` and the like |
/// | everything else, as JSON | `TEXT` | `JSONB`, `JSON`, `TEXT`, arrays | `JSON`, `TEXT` |
///
/// - A value comes back as it was, floating-point numbers bit by bit; but only PostgreSQL has a negative zero. `JSONB`, and `JSON`
///   in MySQL, write JSON down in their own way. A text in a column of another type comes back as the engine writes it: a
///   point in time as RFC 3339 in UTC (`TIMESTAMPTZ`, `TIMESTAMP`), a date and time without a zone with a `T` between.
/// - An integer above 2^63 - 1 and, in PostgreSQL, a text with the character NUL are an
///   [error](crate::ErrorKind::Encode); so are a number that is not finite and two rows with one key. What a rule of
///   the table forbids is [another](crate::ErrorKind::Constraint). Then nothing of the request is written.
/// - A type with `#[serde(flatten)]` has no columns that could be known, and is refused.
///
/// # Reading and writing
///
/// All tables of a part are read by one statement. A change writes the rows that changed, with one statement for those
/// that go and one for those that come, however many they are (MySQL needs two to tell new rows from others), in one
/// transaction with the record of the session. A collection comes back in the order of its keys. When no table has a row,
/// the part has its default; when only the row of its own fields is missing, those fields have theirs.
#[must_use]
pub struct InTables<D: Database> {
    store: SqlStore<D>,
    wish: Wish,
}

impl<D: Database> InTables<D> {
    /// Begins with the database of the store that the layer keeps its sessions in.
    pub fn new(store: &SqlStore<D>) -> Self {
        let wish = Wish { row: None, session_column: "session".to_owned(), collections: Vec::new() };
        Self { store: store.clone(), wish }
    }

    /// Names the table with the fields of the part that are no collections. The default is the
    /// [name](SessionPart::NAME) of the part.
    ///
    /// A part that has nothing but collections needs no such table. A schema may stand before the name, with a full stop
    /// between.
    pub fn with_row(mut self, table: &str) -> Self {
        self.wish.row = Some(table.to_owned());
        self
    }

    /// Keeps a field that is a list of structs in a table of its own, a row for each. Call it once for each such field.
    ///
    /// `key` names the fields that tell the rows of a session apart: strings, integers, enums without values. A row that
    /// is changed stays the same row as long as its key is the same. By default a list is one column, as JSON.
    pub fn with_collection(mut self, field: &str, table: &str, key: &[&str]) -> Self {
        let key = key.iter().map(|name| (*name).to_owned()).collect();
        self.wish.collections.push(WishedCollection { field: field.to_owned(), table: table.to_owned(), key });
        self
    }

    /// Names the column with the session's handle, in all of the part's tables. The default is `session`.
    pub fn with_session_column(mut self, column: &str) -> Self {
        self.wish.session_column = column.to_owned();
        self
    }
}

#[expect(private_bounds, reason = "the engines are those that this crate knows")]
impl<D: RowDialect> InTables<D> {
    /// Returns SQL that makes the tables for the part `T`, as a beginning for migrations of yours. It may be run again.
    ///
    /// The table of the sessions must be there before.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the type has no such fields, or cannot be kept in tables at all.
    pub fn schema<T: SessionPart>(&self) -> Result<String, ConfigError> {
        Ok(schema::schema::<D>(&Plan::new::<T>(&self.wish)?, self.store.table()))
    }

    /// Looks whether the tables can hold the part `T`.
    ///
    /// Do this once, when the application starts, after its migrations.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the type cannot be kept in tables, when something about the tables does not fit, which lists
    /// everything that was found and what to do about it, or when the database cannot be asked.
    pub async fn check<T: SessionPart>(&self) -> Result<Tables<T>, ConfigError> {
        let plan = Plan::new::<T>(&self.wish)?;
        let tables = check::check(T::NAME, &plan, &self.store).await?;
        let mapping = Mapping::new::<D>(T::NAME, &plan.session_column, tables, &plan.defaults);
        Ok(Tables::new(Arc::new(Mapped::new(mapping, self.store.clone()))))
    }
}

impl<D: Database> Clone for InTables<D> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), wish: self.wish.clone() }
    }
}

impl<D: Database> fmt::Debug for InTables<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InTables").field("store", &self.store).field("wish", &self.wish).finish()
    }
}

/// Tables that were checked to hold the part `T`, for [`with_part`](crate::SessionLayer::with_part).
///
/// It comes from [`InTables::check`]. Clones are cheap.
pub struct Tables<T> {
    pub(crate) mapped: Arc<dyn MappedPart>,
    part: PhantomData<fn() -> T>,
}

impl<T> Tables<T> {
    fn new(mapped: Arc<dyn MappedPart>) -> Self {
        Self { mapped, part: PhantomData }
    }
}

impl<T> Clone for Tables<T> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.mapped))
    }
}

impl<T> fmt::Debug for Tables<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tables").field(&self.mapped).finish()
    }
}
