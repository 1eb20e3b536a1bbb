//! Values as the texts that are written to columns and read from them.

use std::borrow::Cow;
use std::cmp::Ordering;
#[cfg(feature = "sqlite")]
use std::fmt;

use serde::Serialize;
#[cfg(feature = "sqlite")]
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde_json::{Number, Value};

/// The form in which a column holds its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `0` or `1`; engines also return `false` and `true`.
    Bool,
    Integer,
    Float,
    Text,
    /// The text of a JSON value.
    Json,
    /// The text of a JSON array, for a column of the engine's array type.
    Array(Elements),
}

/// The form in which the elements of an array are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elements {
    /// Booleans, numbers and texts, as the JSON values of the engine.
    Scalars,
    /// Values of other types, as texts.
    Texts,
    /// JSON values.
    Json,
}

/// A value that was read from a column.
#[derive(Debug, PartialEq)]
pub(crate) enum Cell<'c> {
    Null,
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres")),
        expect(dead_code, reason = "the other engines read integers as texts")
    )]
    Integer(i64),
    Text(Cow<'c, str>),
}

/// Reads a scalar JSON value.
#[cfg(feature = "sqlite")]
impl<'de> Deserialize<'de> for Cell<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

#[cfg(feature = "sqlite")]
struct CellVisitor;

#[cfg(feature = "sqlite")]
impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a signed 64-bit integer or null")
    }

    fn visit_unit<E>(self) -> Result<Cell<'de>, E> {
        Ok(Cell::Null)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Cell<'de>, E> {
        Ok(Cell::Integer(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Cell<'de>, E> {
        i64::try_from(number).map(Cell::Integer).map_err(E::custom)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cell<'de>, E> {
        Ok(Cell::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cell<'de>, E> {
        Ok(Cell::Text(text.to_owned().into()))
    }
}

/// Why a column cannot hold a value.
pub(crate) type InvalidValue = &'static str;

impl Form {
    /// Returns the text to write to a column; `None` for `NULL`.
    pub(crate) fn to_cell(self, value: &Value, is_nullable: bool) -> Result<Option<String>, InvalidValue> {
        if value.is_null() && (is_nullable || self != Self::Json) {
            return if is_nullable { Ok(None) } else { Err("it is null, or a number that is not finite") };
        }
        match (self, value) {
            (Self::Bool, Value::Bool(value)) => Ok(if *value { "1" } else { "0" }.to_owned()),
            (Self::Integer, Value::Number(value)) => match value.as_i64() {
                Some(value) => Ok(value.to_string()),
                None => Err("it is not a signed 64-bit integer"),
            },
            (Self::Float, Value::Number(value)) => value.as_f64().map(float_text).ok_or("it is not a number"),
            (Self::Text, Value::String(value)) => Ok(value.clone()),
            // A number of fixed precision, of a type that serializes as a number.
            (Self::Text, Value::Number(value)) => Ok(value.to_string()),
            (Self::Array(Elements::Scalars | Elements::Texts), Value::Array(values))
                if values.iter().any(|value| value.is_array() || value.is_object()) =>
            {
                Err("it is a list with nested values")
            }
            (Self::Array(_), Value::Array(_)) | (Self::Json, _) => Ok(value.to_string()),
            _ => Err("its type is not the one that was checked"),
        }
        .map(Some)
    }

    /// Writes a cell as JSON. Returns `None` if it is not of this form.
    pub(crate) fn write(self, cell: &Cell<'_>, json: &mut Vec<u8>) -> Option<()> {
        match (self, cell) {
            (_, Cell::Null) => put(json, &()),
            (Self::Bool, cell) => put(json, &truth(cell)?),
            (Self::Integer, cell) => match integer(cell)? {
                Whole::Signed(number) => put(json, &number),
                Whole::Unsigned(number) => put(json, &number),
            },
            (Self::Text, Cell::Text(text)) => put(json, text),
            (Self::Float, Cell::Text(text)) => put(json, &Number::from_f64(text.parse().ok()?)?),
            // Normalized: some engines reformat JSON.
            (Self::Json | Self::Array(_), Cell::Text(text)) => put(json, &serde_json::from_str::<Value>(text).ok()?),
            (_, Cell::Integer(_)) => None,
        }
    }

    /// Compares keys: numbers by value, texts by their bytes, the same way on every engine.
    pub(crate) fn compare(self, one: &Cell<'_>, other: &Cell<'_>) -> Ordering {
        match (self, one, other) {
            (Self::Integer, ..) => integer(one).map(Whole::wide).cmp(&integer(other).map(Whole::wide)),
            (Self::Bool, ..) => truth(one).cmp(&truth(other)),
            (Self::Text, Cell::Text(one), Cell::Text(other)) => one.cmp(other),
            _ => Ordering::Equal,
        }
    }
}

fn put(json: &mut Vec<u8>, value: &impl Serialize) -> Option<()> {
    serde_json::to_writer(json, value).ok()
}

fn truth(cell: &Cell<'_>) -> Option<bool> {
    match cell {
        Cell::Integer(0) => Some(false),
        Cell::Integer(1) => Some(true),
        Cell::Text(text) => match &**text {
            "0" | "false" => Some(false),
            "1" | "true" => Some(true),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the shortest text from which the same number is parsed.
pub(crate) fn float_text(float: f64) -> String {
    format!("{float:?}")
}

enum Whole {
    Signed(i64),
    /// Greater than `i64::MAX`.
    Unsigned(u64),
}

impl Whole {
    fn wide(self) -> i128 {
        match self {
            Self::Signed(number) => number.into(),
            Self::Unsigned(number) => number.into(),
        }
    }
}

/// Reads an integer, also from a column of numbers with a fraction.
fn integer(cell: &Cell<'_>) -> Option<Whole> {
    let text = match cell {
        Cell::Null => return None,
        Cell::Integer(number) => return Some(Whole::Signed(*number)),
        Cell::Text(text) => &**text,
    };
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    whole.parse().map(Whole::Signed).or_else(|_| whole.parse().map(Whole::Unsigned)).ok()
}
