//! Finds the fields of a type by probing its `Deserialize`.
//!
//! The probe is a [`Deserializer`](de::Deserializer) that records the first type it is asked for and then fails. It
//! never invents a value, so types that validate their values work. The type inside a field needs another probe, which
//! offers only the path to that field.

use std::cell::{Cell, OnceCell};
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer as _, Visitor};

/// A field of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The kind of the elements, if it is a list.
    pub(crate) elements: Option<Kind>,
    /// Whether it is an `Option`.
    pub(crate) is_optional: bool,
}

/// The kind of value that a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Integer,
    Float32,
    Float64,
    /// Strings, characters, and enums of unit variants.
    Text,
    /// Values that consist of several values.
    Json,
    /// Values whose type is only known once they are present (`deserialize_any`).
    Any,
}

/// Why a type has no fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAStruct {
    /// A map, or a struct with `#[serde(flatten)]`.
    Map,
    Other,
}

/// A segment of the path from a type to one inside it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PathSegment {
    Field(&'static str),
    Element,
    Variant(&'static str),
}

/// Returns the fields of the struct at `path` in `T`.
pub(crate) fn fields<T: DeserializeOwned>(path: &[PathSegment]) -> Result<Vec<Field>, NotAStruct> {
    let names = match probe::<T>(path).requested {
        RequestedType::Struct(names) => names,
        RequestedType::Map => return Err(NotAStruct::Map),
        _ => return Err(NotAStruct::Other),
    };
    let field = |name: &&'static str| {
        let path = [path, &[PathSegment::Field(name)]].concat();
        let Request { requested, is_optional } = probe::<T>(&path);
        let elements = (requested == RequestedType::Seq).then(|| {
            let path = [&*path, &[PathSegment::Element]].concat();
            kind::<T>(probe::<T>(&path).requested, &path)
        });
        Field { name, kind: kind::<T>(requested, &path), elements, is_optional }
    };
    Ok(names.iter().map(field).collect())
}

/// Returns whether the type at `path` in `T` is a sequence.
pub(crate) fn is_sequence<T: DeserializeOwned>(path: &[PathSegment]) -> bool {
    matches!(probe::<T>(path), Request { requested: RequestedType::Seq, is_optional: false })
}

fn kind<T: DeserializeOwned>(requested: RequestedType, path: &[PathSegment]) -> Kind {
    match requested {
        RequestedType::Bool => Kind::Bool,
        RequestedType::Integer => Kind::Integer,
        RequestedType::Float32 => Kind::Float32,
        RequestedType::Float64 => Kind::Float64,
        RequestedType::Text => Kind::Text,
        RequestedType::Any => Kind::Any,
        RequestedType::Enum(variants) => {
            let is_unit = |name: &&'static str| {
                probe::<T>(&[path, &[PathSegment::Variant(name)]].concat()).requested == RequestedType::Unit
            };
            if variants.iter().all(is_unit) { Kind::Text } else { Kind::Json }
        }
        RequestedType::Struct(_)
        | RequestedType::Seq
        | RequestedType::Map
        | RequestedType::Unit
        | RequestedType::Other => Kind::Json,
    }
}

/// The first type that a `Deserialize` requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestedType {
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

struct Request {
    requested: RequestedType,
    is_optional: bool,
}

fn probe<T: DeserializeOwned>(path: &[PathSegment]) -> Request {
    let (requested, is_optional) = (OnceCell::new(), Cell::new(false));
    // It returns an error, unless the type handles it. Either way the request has been recorded.
    let _ = T::deserialize(Probe { path, requested: &requested, is_optional: &is_optional });
    Request { requested: requested.get().copied().unwrap_or(RequestedType::Other), is_optional: is_optional.get() }
}

#[derive(Clone, Copy)]
struct Probe<'p> {
    path: &'p [PathSegment],
    requested: &'p OnceCell<RequestedType>,
    is_optional: &'p Cell<bool>,
}

impl Probe<'_> {
    fn record<O>(self, requested: RequestedType) -> Result<O, ProbeEnded> {
        if self.path.is_empty() {
            // Only the first request: a type that handles errors may make another one.
            let _ = self.requested.set(requested);
        }
        Err(ProbeEnded)
    }
}

macro_rules! records {
    ($($requested:ident: $($method:ident)*;)*) => {
        $($(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ProbeEnded> {
            self.record(RequestedType::$requested)
        })*)*
    };
}

impl<'de> de::Deserializer<'de> for Probe<'_> {
    type Error = ProbeEnded;

    records! {
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

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ProbeEnded> {
        if self.path.is_empty() {
            self.is_optional.set(true);
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ProbeEnded> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ProbeEnded> {
        match self.path {
            [PathSegment::Field(name), rest @ ..] => {
                visitor.visit_map(PathAccess { name: Some(name), next: Some(Probe { path: rest, ..self }) })
            }
            _ => self.record(RequestedType::Struct(fields)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ProbeEnded> {
        match self.path {
            [PathSegment::Element, rest @ ..] => {
                visitor.visit_seq(PathAccess { name: None, next: Some(Probe { path: rest, ..self }) })
            }
            _ => self.record(RequestedType::Seq),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ProbeEnded> {
        match self.path {
            [PathSegment::Variant(name), rest @ ..] => {
                visitor.visit_enum(PathAccess { name: Some(name), next: Some(Probe { path: rest, ..self }) })
            }
            _ => self.record(RequestedType::Enum(variants)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, _: V) -> Result<V::Value, ProbeEnded> {
        self.record(RequestedType::Other)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, ProbeEnded> {
        self.record(RequestedType::Other)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        _: V,
    ) -> Result<V::Value, ProbeEnded> {
        self.record(RequestedType::Other)
    }
}

/// Offers the one field, element or variant on the path, and only once: a type that handles errors would loop for ever.
struct PathAccess<'p> {
    name: Option<&'static str>,
    next: Option<Probe<'p>>,
}

impl<'p> PathAccess<'p> {
    fn take(&mut self) -> Result<Probe<'p>, ProbeEnded> {
        self.next.take().ok_or(ProbeEnded)
    }
}

fn name_of<'de, S: DeserializeSeed<'de>>(name: Option<&'static str>, seed: S) -> Result<S::Value, ProbeEnded> {
    let name: StrDeserializer<'_, ProbeEnded> = name.unwrap_or_default().into_deserializer();
    seed.deserialize(name)
}

impl<'de> de::MapAccess<'de> for PathAccess<'_> {
    type Error = ProbeEnded;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ProbeEnded> {
        if self.next.is_some() { name_of(self.name, seed).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ProbeEnded> {
        seed.deserialize(self.take()?)
    }
}

impl<'de> de::SeqAccess<'de> for PathAccess<'_> {
    type Error = ProbeEnded;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ProbeEnded> {
        self.next.take().map(|next| seed.deserialize(next)).transpose()
    }
}

impl<'de> de::EnumAccess<'de> for PathAccess<'_> {
    type Error = ProbeEnded;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), ProbeEnded> {
        Ok((name_of(self.name, seed)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for PathAccess<'_> {
    type Error = ProbeEnded;

    fn unit_variant(mut self) -> Result<(), ProbeEnded> {
        self.take()?.record(RequestedType::Unit)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, _: S) -> Result<S::Value, ProbeEnded> {
        self.take()?.record(RequestedType::Other)
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, _: usize, _: V) -> Result<V::Value, ProbeEnded> {
        self.take()?.record(RequestedType::Other)
    }

    fn struct_variant<V: Visitor<'de>>(mut self, _: &'static [&'static str], _: V) -> Result<V::Value, ProbeEnded> {
        self.take()?.record(RequestedType::Other)
    }
}

/// The error that ends every probe.
#[derive(Debug)]
struct ProbeEnded;

impl fmt::Display for ProbeEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a probe has no value")
    }
}

impl std::error::Error for ProbeEnded {}

impl de::Error for ProbeEnded {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}
