//! What fields a type has, found out by asking its `Deserialize`.
//!
//! A type is given a [`Deserializer`](de::Deserializer) that notes what it is asked for first and then refuses. No value
//! is ever made up, so that a type that is particular about its values is no trouble. What is inside of a field is found
//! out by another question that leads there, and offers nothing else.

use std::cell::{Cell, OnceCell};
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer as _, Visitor};

/// A field of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether it is an `Option`.
    pub(crate) is_optional: bool,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Integer,
    Float32,
    Float64,
    /// Strings, characters, and enums whose variants hold nothing.
    Text,
    /// Whatever is made of several values.
    Json,
    /// It says what it is only when it is there.
    Any,
}

/// What a type that was to be a struct is instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoStruct {
    /// A map, or a struct with `#[serde(flatten)]`.
    Map,
    Other,
}

/// How to come to what is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Field(&'static str),
    Element,
    Variant(&'static str),
}

/// Returns the fields of the struct that is found at `path` in `T`.
pub(crate) fn fields<T: DeserializeOwned>(path: &[Step]) -> Result<Vec<Field>, NoStruct> {
    let names = match ask::<T>(path).what {
        Asked::Struct(names) => names,
        Asked::Map => return Err(NoStruct::Map),
        _ => return Err(NoStruct::Other),
    };
    let field = |name: &&'static str| {
        let path = [path, &[Step::Field(name)]].concat();
        let Answer { what, is_optional } = ask::<T>(&path);
        Field { name, kind: kind::<T>(what, &path), is_optional }
    };
    Ok(names.iter().map(field).collect())
}

/// Whether a sequence is found at `path` in `T`.
pub(crate) fn is_sequence<T: DeserializeOwned>(path: &[Step]) -> bool {
    matches!(ask::<T>(path), Answer { what: Asked::Seq, is_optional: false })
}

fn kind<T: DeserializeOwned>(what: Asked, path: &[Step]) -> Kind {
    match what {
        Asked::Bool => Kind::Bool,
        Asked::Integer => Kind::Integer,
        Asked::Float32 => Kind::Float32,
        Asked::Float64 => Kind::Float64,
        Asked::Text => Kind::Text,
        Asked::Any => Kind::Any,
        Asked::Enum(variants) => {
            let is_unit = |name: &&'static str| ask::<T>(&[path, &[Step::Variant(name)]].concat()).what == Asked::Unit;
            if variants.iter().all(is_unit) { Kind::Text } else { Kind::Json }
        }
        Asked::Struct(_) | Asked::Seq | Asked::Map | Asked::Unit | Asked::Other => Kind::Json,
    }
}

/// What a type asks for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Bool,
    Integer,
    Float32,
    Float64,
    Text,
    Any,
    Unit,
    Struct(&'static [&'static str]),
    Enum(&'static [&'static str]),
    Seq,
    Map,
    Other,
}

struct Answer {
    what: Asked,
    is_optional: bool,
}

fn ask<T: DeserializeOwned>(path: &[Step]) -> Answer {
    let (asked, is_optional) = (OnceCell::new(), Cell::new(false));
    // It always ends with an error, unless the type forgives it. Either way it has been asked.
    let _ = T::deserialize(Question { path, asked: &asked, is_optional: &is_optional });
    Answer { what: asked.get().copied().unwrap_or(Asked::Other), is_optional: is_optional.get() }
}

#[derive(Clone, Copy)]
struct Question<'q> {
    path: &'q [Step],
    asked: &'q OnceCell<Asked>,
    is_optional: &'q Cell<bool>,
}

impl Question<'_> {
    fn end<O>(self, asked: Asked) -> Result<O, Refused> {
        if self.path.is_empty() {
            // Only the first: a type that forgives errors may ask again.
            let _ = self.asked.set(asked);
        }
        Err(Refused)
    }
}

macro_rules! ends {
    ($($asked:ident: $($method:ident)*;)*) => {
        $($(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
            self.end(Asked::$asked)
        })*)*
    };
}

impl<'de> de::Deserializer<'de> for Question<'_> {
    type Error = Refused;

    ends! {
        Bool: deserialize_bool;
        Integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128;
        Integer: deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128;
        Float32: deserialize_f32;
        Float64: deserialize_f64;
        Text: deserialize_char deserialize_str deserialize_string;
        Map: deserialize_map;
        Any: deserialize_any;
        Other: deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_identifier deserialize_ignored_any;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        if self.path.is_empty() {
            self.is_optional.set(true);
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        match self.path {
            [Step::Field(name), rest @ ..] => {
                visitor.visit_map(Way { name: Some(name), to: Some(Question { path: rest, ..self }) })
            }
            _ => self.end(Asked::Struct(fields)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.path {
            [Step::Element, rest @ ..] => {
                visitor.visit_seq(Way { name: None, to: Some(Question { path: rest, ..self }) })
            }
            _ => self.end(Asked::Seq),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        match self.path {
            [Step::Variant(name), rest @ ..] => {
                visitor.visit_enum(Way { name: Some(name), to: Some(Question { path: rest, ..self }) })
            }
            _ => self.end(Asked::Enum(variants)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, _: V) -> Result<V::Value, Refused> {
        self.end(Asked::Other)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Refused> {
        self.end(Asked::Other)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, _: V) -> Result<V::Value, Refused> {
        self.end(Asked::Other)
    }
}

/// The one field, element or variant that leads on. It is there once: a type that forgives errors would go on for ever.
struct Way<'q> {
    name: Option<&'static str>,
    to: Option<Question<'q>>,
}

impl<'q> Way<'q> {
    fn go(&mut self) -> Result<Question<'q>, Refused> {
        self.to.take().ok_or(Refused)
    }
}

fn name_of<'de, S: DeserializeSeed<'de>>(name: Option<&'static str>, seed: S) -> Result<S::Value, Refused> {
    let name: StrDeserializer<'_, Refused> = name.unwrap_or_default().into_deserializer();
    seed.deserialize(name)
}

impl<'de> de::MapAccess<'de> for Way<'_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        if self.to.is_some() { name_of(self.name, seed).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        seed.deserialize(self.go()?)
    }
}

impl<'de> de::SeqAccess<'de> for Way<'_> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Refused> {
        self.to.take().map(|to| seed.deserialize(to)).transpose()
    }
}

impl<'de> de::EnumAccess<'de> for Way<'_> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Refused> {
        Ok((name_of(self.name, seed)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Way<'_> {
    type Error = Refused;

    fn unit_variant(mut self) -> Result<(), Refused> {
        self.go()?.end(Asked::Unit)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, _: S) -> Result<S::Value, Refused> {
        self.go()?.end(Asked::Other)
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, _: usize, _: V) -> Result<V::Value, Refused> {
        self.go()?.end(Asked::Other)
    }

    fn struct_variant<V: Visitor<'de>>(mut self, _: &'static [&'static str], _: V) -> Result<V::Value, Refused> {
        self.go()?.end(Asked::Other)
    }
}

/// How a question ends once it has been answered.
#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no value, only a question")
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}
