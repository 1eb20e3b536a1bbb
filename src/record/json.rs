//! Values as the text of one JSON object, for stores with readable columns.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::wire::put_bytes;
use super::{DecodeRecordError, Values};

impl Values {
    /// Returns the values as the text of one JSON object, each value in the bytes it came in.
    ///
    /// Returns `None` when one of them is not JSON. The values of a [`Session`](crate::Session) always are.
    ///
    /// ```
    /// use session_state::store::Values;
    ///
    /// let values = Values::from_pairs([("n", b"1.50".as_slice()), ("\"", b"[true]")]);
    /// assert_eq!(values.to_json().as_deref(), Some(r#"{"n":1.50,"\"":[true]}"#));
    /// assert_eq!(Values::from_json(r#"{"n":1.50,"\"":[true]}"#), Ok(values));
    /// ```
    #[must_use]
    pub fn to_json(&self) -> Option<String> {
        let mut out = String::with_capacity(self.as_frames().len() + 64);
        out.push('{');
        for (key, value) in self.iter() {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&serde_json::to_string(key).ok()?);
            out.push(':');
            let value: &RawValue = serde_json::from_slice(value).ok()?;
            out.push_str(value.get());
        }
        out.push('}');
        Some(out)
    }

    /// Reads the values from the text of a JSON object. Values keep their bytes, without surrounding white space, and
    /// their order. Of duplicate keys the first wins.
    ///
    /// # Errors
    ///
    /// [`DecodeRecordError`] when the text is not one JSON object.
    pub fn from_json(json: &str) -> Result<Self, DecodeRecordError> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let frames = deserializer.deserialize_map(Frames(Vec::with_capacity(json.len())));
        let ends = deserializer.end();
        frames
            .and_then(|frames| ends.map(|()| Self::from_written_frames(frames)))
            .map_err(|_| DecodeRecordError::malformed())
    }
}

/// Turns an object into frames, member by member.
struct Frames(Vec<u8>);

impl<'de> Visitor<'de> for Frames {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut members: M) -> Result<Vec<u8>, M::Error> {
        while members.next_key_seed(Key(&mut self.0))?.is_some() {
            let value: &RawValue = members.next_value()?;
            put_bytes(&mut self.0, value.get().as_bytes());
        }
        Ok(self.0)
    }
}

/// Appends a key to the frames: an unescaped key is in a temporary buffer.
struct Key<'f>(&'f mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        put_bytes(self.0, key.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts that the values and the JSON text convert into each other.
    fn assert_written_as(pairs: &[(&str, &str)], json: &str) {
        let values = Values::from_pairs(pairs.iter().map(|(key, value)| (*key, value.as_bytes())));
        assert_eq!(values.to_json().as_deref(), Some(json));
        assert_eq!(Values::from_json(json), Ok(values));
    }

    #[test]
    fn values_survive_a_round_trip_byte_for_byte_and_in_order() {
        assert_written_as(&[], "{}");
        assert_written_as(&[("b", "1"), ("a", "2")], r#"{"b":1,"a":2}"#);
        for value in
            ["1.0", "1e400", "-0", "123456789012345678901234567890", "\"\\u0000\\ud800\\/\"", "[ 1 ,\n2]", "null"]
        {
            assert_written_as(&[("k", value)], &format!("{{\"k\":{value}}}"));
        }
        assert_written_as(&[("k", r#"{"b":{},"a":[],"b":1}"#)], r#"{"k":{"b":{},"a":[],"b":1}}"#);
    }

    #[test]
    fn every_text_is_a_valid_key() {
        assert_written_as(&[("", "1")], r#"{"":1}"#);
        assert_written_as(&[("\0\"\\\n\u{7f}", "1")], "{\"\\u0000\\\"\\\\\\n\u{7f}\":1}");
        assert_written_as(&[("é😀\u{2028}", "1")], "{\"é😀\u{2028}\":1}");
        assert_written_as(&[("$serde_json::private::RawValue", "1")], r#"{"$serde_json::private::RawValue":1}"#);
    }

    #[test]
    fn foreign_json_is_accepted() {
        let values = Values::from_json(" { \"\\u0061\" : 1 , \"b\" : [ ] , \"a\" : 2 } ").expect("an object");
        assert_eq!((values.get("a"), values.get("b")), (Some(&b"1"[..]), Some(&b"[ ]"[..])), "the first of duplicates");
    }

    #[test]
    fn anything_but_one_object_is_rejected() {
        for text in [
            "",
            " ",
            "null",
            "1",
            "[]",
            "\"{}\"",
            "{",
            "{}}",
            "{} {}",
            "{a:1}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"\\ud800\":1}",
        ] {
            assert!(Values::from_json(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_that_are_not_json_are_rejected() {
        for value in [&b""[..], b"1,\"admin\":true", b"1}", b"\xff", b"\"\xff\"", b"\"\0\"", b"nul", b"'a'"] {
            let values = Values::from_pairs([("a", &b"1"[..]), ("b", value)]);
            assert_eq!(values.to_json(), None, "{value:?}");
        }
    }

    #[test]
    fn white_space_around_a_value_is_left_out() {
        assert_eq!(Values::from_pairs([("a", &b" 1\n"[..])]).to_json().as_deref(), Some(r#"{"a":1}"#));
    }

    #[test]
    fn a_value_may_be_nested_deeply() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_written_as(&[("k", &deep)], &format!("{{\"k\":{deep}}}"));
    }
}
