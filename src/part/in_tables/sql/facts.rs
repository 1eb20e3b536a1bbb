//! Tables as the database describes them.

#[derive(Debug)]
pub(crate) struct TableFacts {
    /// Empty if the table does not exist.
    pub(crate) columns: Vec<ColumnFacts>,
    pub(crate) keys: Vec<KeyFacts>,
    pub(crate) references: Vec<ReferenceFacts>,
}

#[derive(Clone, Debug)]
pub(crate) struct ColumnFacts {
    pub(crate) name: String,
    /// The type in SQL.
    pub(crate) type_name: String,
    /// The type without its length, precision and scale; for an array `array of` and that of its elements.
    pub(crate) family: String,
    pub(crate) is_nullable: bool,
    pub(crate) has_default: bool,
    pub(crate) is_generated: bool,
    /// The collation, where the engine has one for each column.
    pub(crate) collation: String,
}

/// A unique index.
#[derive(Debug)]
pub(crate) struct KeyFacts {
    pub(crate) index: String,
    /// The columns. An expression has the empty name.
    pub(crate) columns: Vec<String>,
    /// Whether the index covers all rows and the whole columns.
    pub(crate) is_whole: bool,
    /// The columns that are not compared byte by byte.
    pub(crate) inexact: Vec<String>,
}

/// A foreign key of one column.
#[derive(Debug)]
pub(crate) struct ReferenceFacts {
    pub(crate) column: String,
    pub(crate) to: String,
    pub(crate) is_to_sessions: bool,
    pub(crate) cascades: bool,
}

/// The values that columns of a type can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Bool,
    Integer,
    /// Integers, and booleans as 0 and 1.
    IntegerOrBool,
    Float32,
    Float64,
    /// Numbers of a fixed precision.
    Number,
    Text,
    Json,
    Array,
    Bytes,
    /// Values that are written as texts and checked by the engine: dates, UUIDs, addresses.
    Other,
    /// Any value.
    Any,
    /// Values that cannot be written as texts.
    Unknown,
}
