//! Check for numbers that JSON cannot represent.

use std::fmt;

use serde::ser::{
    self, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Returns `true` if no float in a value is NaN or infinite.
pub(super) fn is_finite<T: Serialize + ?Sized>(value: &T) -> bool {
    value.serialize(Finite).is_ok()
}

/// Serializer that writes nothing and fails at the first float that is not finite.
#[derive(Clone, Copy)]
struct Finite;

/// Error for a value that contains such a float or fails to serialize.
#[derive(Debug)]
struct NotFinite;

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number is not finite")
    }
}

impl std::error::Error for NotFinite {}

impl ser::Error for NotFinite {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Scalar values other than floats.
macro_rules! plain {
    ($($method:ident($($argument:ty),*)),* $(,)?) => {
        $(fn $method(self, $(_: $argument),*) -> Result<(), NotFinite> {
            Ok(())
        })*
    };
}

impl Serializer for Finite {
    type Ok = ();
    type Error = NotFinite;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    plain! {
        serialize_bool(bool),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64), serialize_i128(i128),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_u128(u128),
        serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
        serialize_none(), serialize_unit(), serialize_unit_struct(&'static str),
        serialize_unit_variant(&'static str, u32, &'static str),
    }

    fn serialize_f32(self, value: f32) -> Result<(), NotFinite> {
        if value.is_finite() { Ok(()) } else { Err(NotFinite) }
    }

    fn serialize_f64(self, value: f64) -> Result<(), NotFinite> {
        if value.is_finite() { Ok(()) } else { Err(NotFinite) }
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), NotFinite> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotFinite> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), NotFinite> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), NotFinite> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, NotFinite> {
        Ok(self)
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, NotFinite> {
        Ok(self)
    }
}

/// Compound values, whose members must all be finite.
macro_rules! compound {
    ($($compound:ident: $method:ident($($name:ty)?)),* $(,)?) => {
        $(impl $compound for Finite {
            type Ok = ();
            type Error = NotFinite;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Result<(), NotFinite> {
                value.serialize(*self)
            }

            fn end(self) -> Result<(), NotFinite> {
                Ok(())
            }
        })*
    };
}

compound! {
    SerializeSeq: serialize_element(),
    SerializeTuple: serialize_element(),
    SerializeTupleStruct: serialize_field(),
    SerializeTupleVariant: serialize_field(),
    SerializeStruct: serialize_field(&'static str),
    SerializeStructVariant: serialize_field(&'static str),
}

impl SerializeMap for Finite {
    type Ok = ();
    type Error = NotFinite;

    /// The JSON serializer rejects a key that is not finite.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), NotFinite> {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotFinite> {
        value.serialize(*self)
    }

    fn end(self) -> Result<(), NotFinite> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::*;

    /// Every kind of container for a float.
    #[derive(Serialize)]
    enum Shape {
        Newtype(f64),
        Tuple(u8, f64),
        Struct { field: f64 },
        List(Vec<Option<f64>>),
        Map(BTreeMap<char, f64>),
        Inner(Inner),
    }

    #[derive(Serialize)]
    #[serde(tag = "kind")]
    enum Inner {
        Small(Small),
        Flat {
            #[serde(flatten)]
            small: Small,
        },
    }

    #[derive(Serialize)]
    struct Small {
        number: f32,
    }

    fn shapes(number: f64) -> Vec<Shape> {
        let small = || Small { number: number as f32 };
        vec![
            Shape::Newtype(number),
            Shape::Tuple(1, number),
            Shape::Struct { field: number },
            Shape::List(vec![None, Some(1.0), Some(number)]),
            Shape::Map(BTreeMap::from([('a', 1.0), ('b', number)])),
            Shape::Inner(Inner::Small(small())),
            Shape::Inner(Inner::Flat { small: small() }),
        ]
    }

    #[test]
    fn a_float_that_is_not_finite_is_found_in_every_container() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for (index, shape) in shapes(number).iter().enumerate() {
                assert!(!is_finite(shape), "{number} in shape {index}");
            }
        }
        assert!(shapes(f64::from(f32::MIN_POSITIVE)).iter().all(is_finite));
        assert!(is_finite(&(1_u128 << 100, i128::MIN, "NaN", 'x', (), None::<f64>, [true])));
    }
}
