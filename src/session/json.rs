//! Values as JSON, within limits, and errors that do not quote them.

use std::any::TypeId;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::ser::Formatter;

use super::finite::is_finite;
use crate::error::Error;

/// How deep a value may be nested. The JSON parser stops at 128, so anything stored can be read again.
const MAX_DEPTH: usize = 120;

/// Encodes a value.
///
/// JSON has no text for NaN and the infinities: `serde_json` writes `null`, which reads back as `None` or not at all.
/// They are an error here. Only a value whose text has a `null` is searched for them.
pub(crate) fn to_json<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Arc<[u8]>, Error> {
    let mut has_null = false;
    let mut text = Text::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, NoticeNull(&mut has_null));
    value.serialize(&mut serializer).map_err(|error| Error::encode_as::<T>(key, JsonError::from(&error).into()))?;
    if has_null && !is_finite(value) {
        return Err(Error::encode_as::<T>(key, JsonError::NotFinite.into()));
    }
    if is_too_deep(text.as_slice()) {
        return Err(Error::encode_as::<T>(key, JsonError::TooDeep.into()));
    }
    Ok(text.as_slice().into())
}

/// Writes compact JSON, and notes whether it has a `null`.
struct NoticeNull<'n>(&'n mut bool);

impl Formatter for NoticeNull<'_> {
    #[inline]
    fn write_null<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        *self.0 = true;
        writer.write_all(b"null")
    }
}

/// Buffer for a value. Most values are short and need no allocation; a serializer writes in many small pieces.
struct Text {
    short: [u8; 256],
    len: usize,
    /// The whole text, once it is too long for the array.
    long: Vec<u8>,
}

impl Text {
    fn new() -> Self {
        Self { short: [0; 256], len: 0, long: Vec::new() }
    }

    fn as_slice(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.len] } else { &self.long }
    }
}

impl io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.short.get_mut(self.len..self.len + bytes.len()) {
            Some(room) if self.long.is_empty() => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            _ => {
                if self.long.is_empty() {
                    self.long.extend_from_slice(&self.short[..self.len]);
                }
                self.long.extend_from_slice(bytes);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn from_json<T: DeserializeOwned>(key: &str, json: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|error| Error::decode_as::<T>(key, JsonError::from(&error).into()))
}

/// Fails if the encoded text does not decode: a type may encode texts that it does not decode.
pub(crate) fn check_readable<T: DeserializeOwned + 'static>(key: &str, json: &[u8]) -> Result<(), Error> {
    if is_always_readable::<T>() {
        return Ok(());
    }
    let read = serde_json::from_slice::<T>(json);
    read.map(drop).map_err(|error| Error::encode_as::<T>(key, JsonError::from(&error).into()))
}

/// Whether `T` is a plain type that decodes every text it encodes. The compiler answers this, not each call.
fn is_always_readable<T: 'static>() -> bool {
    macro_rules! is_one_of {
        ($($plain:ty),*) => { $(TypeId::of::<T>() == TypeId::of::<$plain>())||* };
    }
    is_one_of!(bool, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, char, String)
}

fn is_too_deep(json: &[u8]) -> bool {
    if json.len() <= MAX_DEPTH || !matches!(json.first(), Some(b'[' | b'{')) {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    false
}

/// The error in a value, without the value: the parser's own message would quote it.
#[derive(Debug)]
enum JsonError {
    TooDeep,
    NotFinite,
    Parse { category: Category, line: usize, column: usize },
}

impl From<&serde_json::Error> for JsonError {
    fn from(error: &serde_json::Error) -> Self {
        Self::Parse { category: error.classify(), line: error.line(), column: error.column() }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, line, column) = match self {
            Self::TooDeep => return write!(f, "nested deeper than {MAX_DEPTH} levels"),
            Self::NotFinite => return f.write_str("a number is nan or infinite, which json cannot hold"),
            Self::Parse { category: Category::Data, line, column } => ("a field or type does not match", line, column),
            Self::Parse { category: Category::Eof, line, column } => ("the json ends early", line, column),
            Self::Parse { line, column, .. } => ("it is not json", line, column),
        };
        write!(f, "{what}, at line {line} column {column}")
    }
}

impl StdError for JsonError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_do_not_quote_values() {
        let error = from_json::<u8>("pin", b"\"1234\"").expect_err("a string is no number");
        let source = error.source().expect("the parser's error").to_string();
        assert_eq!(source, "a field or type does not match, at line 1 column 6");
        assert!(!format!("{error:?} {error} {source}").contains("1234"));
    }

    #[test]
    fn numbers_survive_a_round_trip_bit_by_bit() {
        let mut random = 1_u64;
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = f64::from_bits(random);
            if number.is_finite() {
                let json = to_json("k", &number).expect("it is finite");
                let read: f64 = from_json("k", &json).expect("it is a number");
                assert_eq!(read.to_bits(), number.to_bits(), "{number:e}");
            }
        }
    }

    #[test]
    fn plain_types_decode_the_ends_of_their_ranges() {
        fn assert_reads<T: Serialize + DeserializeOwned + PartialEq + 'static>(values: &[T]) {
            assert!(is_always_readable::<T>());
            for value in values {
                let json = to_json("k", value).expect("it can be written");
                assert!(from_json::<T>("k", &json).expect("it can be read") == *value);
            }
        }
        macro_rules! assert_reads_ends {
            ($($number:ty),*) => { $(assert_reads(&[<$number>::MIN, <$number>::MAX]);)* };
        }
        assert_reads_ends!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize);
        assert_reads(&[f32::MIN, f32::MAX, f32::MIN_POSITIVE, -0.0, f32::from_bits(1)]);
        assert_reads(&[f64::MIN, f64::MAX, f64::MIN_POSITIVE, -0.0, f64::from_bits(1)]);
        assert_reads(&[false, true]);
        assert_reads(&['\0', '"', '\u{7f}', '\u{2028}', char::MAX]);
        assert_reads(&["", "\0\u{1f}\"\\/\u{2029}\u{fffd}\u{10ffff}"].map(String::from));
        assert!(!is_always_readable::<Option<String>>() && !is_always_readable::<Vec<u8>>());
    }

    #[test]
    fn numbers_that_json_cannot_hold_are_an_error_and_a_null_is_none() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = to_json("k", &(1, Some(number))).expect_err("it would become null");
            assert!(matches!(error.kind(), crate::ErrorKind::Encode { key } if key == "k"), "{error:?}");
            let source = error.source().expect("the reason is kept").to_string();
            assert_eq!(source, "a number is nan or infinite, which json cannot hold");
        }
        let nothing = to_json("k", &(None::<f64>, (), Some(1.5), "null")).expect("all of it is finite");
        assert_eq!(String::from_utf8_lossy(&nothing), "[null,null,1.5,\"null\"]");
        assert_eq!(&*to_json("k", &-0.0).expect("it is finite"), b"-0.0");
    }

    #[test]
    fn values_of_every_length_are_written_whole() {
        for length in 0..800 {
            let text = "x".repeat(length);
            let json = to_json("k", &(7, &text, [1, 2])).expect("it is short");
            assert_eq!(String::from_utf8_lossy(&json), format!("[7,\"{text}\",[1,2]]"));
        }
    }

    #[test]
    fn nesting_is_bounded_and_braces_in_strings_do_not_count() {
        let nested = |depth: usize| {
            (0..depth).fold(serde_json::Value::from(1), |inner, _| serde_json::Value::Array(vec![inner]))
        };
        assert!(to_json("k", &nested(MAX_DEPTH)).is_ok());
        assert!(to_json("k", &nested(MAX_DEPTH + 1)).is_err());
        assert!(to_json("k", &"[{\\\"[".repeat(200)).is_ok());
        let deepest = to_json("k", &nested(MAX_DEPTH)).expect("within bounds");
        assert!(from_json::<serde_json::Value>("k", &deepest).is_ok(), "what was stored can be read");
    }
}
