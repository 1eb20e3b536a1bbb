//! Values as the texts that go into columns and come out of them.

use serde_json::{Number, Value};

/// In what form a column has its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `0` or `1`; the engines also say `false` and `true`.
    Bool,
    Integer,
    Float,
    Text,
    /// The text of a JSON value.
    Json,
    /// The text of a JSON array, for a list of the engine's own.
    Array,
}

/// A value that a column of this form cannot have.
pub(crate) type Unfit = &'static str;

impl Form {
    /// Returns the text that goes into a column; `None` for `NULL`.
    pub(crate) fn to_cell(self, value: &Value, is_nullable: bool) -> Result<Option<String>, Unfit> {
        if value.is_null() && (is_nullable || self != Self::Json) {
            return if is_nullable { Ok(None) } else { Err("it is nothing, or not a finite number") };
        }
        match (self, value) {
            (Self::Bool, Value::Bool(value)) => Ok(if *value { "1" } else { "0" }.to_owned()),
            (Self::Integer, Value::Number(value)) => match value.as_i64() {
                Some(value) => Ok(value.to_string()),
                None => Err("it is not an integer of 64 bits with a sign"),
            },
            (Self::Float, Value::Number(value)) => value.as_f64().map(float_text).ok_or("it is not a number"),
            (Self::Text, Value::String(value)) => Ok(value.clone()),
            // Numbers of a fixed precision, by types that take numbers for them.
            (Self::Text, Value::Number(value)) => Ok(value.to_string()),
            (Self::Array, Value::Array(values)) if values.iter().any(|value| value.is_array() || value.is_object()) => {
                Err("it is a list of more than plain values")
            }
            (Self::Array, Value::Array(_)) | (Self::Json, _) => Ok(value.to_string()),
            _ => Err("it is not what the field was when the tables were checked"),
        }
        .map(Some)
    }

    /// Reads the text that came out of a column.
    pub(crate) fn to_value(self, cell: &str) -> Option<Value> {
        match self {
            Self::Bool => match cell {
                "0" | "false" => Some(false.into()),
                "1" | "true" => Some(true.into()),
                _ => None,
            },
            Self::Integer => integer(cell),
            Self::Float => cell.parse().ok().and_then(Number::from_f64).map(Value::Number),
            Self::Text => Some(cell.into()),
            Self::Json | Self::Array => serde_json::from_str(cell).ok(),
        }
    }
}

/// The shortest text that is this number and no other.
pub(crate) fn float_text(float: f64) -> String {
    format!("{float:?}")
}

/// An integer, also of a column that could have a fraction.
fn integer(cell: &str) -> Option<Value> {
    let whole = match cell.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return None,
        None => cell,
    };
    whole.parse::<i64>().map(Value::from).or_else(|_| whole.parse::<u64>().map(Value::from)).ok()
}
