//! Tests of the shapes of types.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::part::in_tables::sql::shape::{Field, Kind, NotAStruct, PathSegment, fields, is_sequence};

fn found<T: serde::de::DeserializeOwned>(path: &[PathSegment]) -> Vec<(&'static str, Kind, bool)> {
    let fields = fields::<T>(path).expect("it is a struct");
    fields.into_iter().map(|Field { name, kind, is_optional, .. }| (name, kind, is_optional)).collect()
}

#[derive(Deserialize)]
enum Plain {
    One,
    #[serde(rename = "zwei")]
    Two,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape matters")]
enum Full {
    One,
    Two(u8),
}

#[derive(Deserialize)]
#[serde(tag = "type")]
#[expect(dead_code, reason = "only its shape matters")]
enum Tagged {
    One { a: u8 },
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape matters")]
struct Meters(f64);

#[derive(Deserialize)]
#[serde(transparent)]
#[expect(dead_code, reason = "only its shape matters")]
struct Name {
    inner: Option<Box<str>>,
}

/// Accepts only strings with an `@`.
struct Email;

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.contains('@') { Ok(Self) } else { Err(D::Error::custom("no address")) }
    }
}

/// Falls back to its default for other types.
#[derive(Default)]
struct Forgiving;

impl<'de> Deserialize<'de> for Forgiving {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(u16::deserialize(deserializer).map(|_| Self).unwrap_or_default())
    }
}

#[test]
fn every_kind_of_field_is_found() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape matters")]
    #[serde(rename_all = "camelCase")]
    struct Everything {
        is_on: bool,
        small: i8,
        large: u128,
        counted: NonZeroU32,
        single: f32,
        double: Meters,
        text: Box<str>,
        letter: char,
        name: Name,
        email: Email,
        #[serde(rename = "E-Mail2")]
        other: Option<Email>,
        forgiving: Forgiving,
        plain: Plain,
        maybe: Option<Option<Plain>>,
        full: Full,
        tagged: Tagged,
        any: Option<Value>,
        list: Vec<u8>,
        set: HashSet<String>,
        map: BTreeMap<String, u8>,
        pair: (u8, u8),
        unit: (),
        #[serde(default)]
        inner: Inner,
        #[serde(skip)]
        skipped: u8,
    }

    #[derive(Default, Deserialize)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Inner {
        a: u8,
    }

    let expected = [
        ("isOn", Kind::Bool, false),
        ("small", Kind::Integer, false),
        ("large", Kind::Integer, false),
        ("counted", Kind::Integer, false),
        ("single", Kind::Float32, false),
        ("double", Kind::Float64, false),
        ("text", Kind::Text, false),
        ("letter", Kind::Text, false),
        ("name", Kind::Text, true),
        ("email", Kind::Text, false),
        ("E-Mail2", Kind::Text, true),
        ("forgiving", Kind::Integer, false),
        ("plain", Kind::Text, false),
        ("maybe", Kind::Text, true),
        ("full", Kind::Json, false),
        ("tagged", Kind::Any, false),
        ("any", Kind::Any, true),
        ("list", Kind::Json, false),
        ("set", Kind::Json, false),
        ("map", Kind::Json, false),
        ("pair", Kind::Json, false),
        ("unit", Kind::Json, false),
        ("inner", Kind::Json, false),
    ];
    assert_eq!(found::<Everything>(&[]), expected);
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape matters")]
struct Line {
    sku: Email,
    price: Option<f64>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape matters")]
struct Wrapped(Cart);

#[derive(Deserialize)]
#[expect(dead_code, reason = "only its shape matters")]
struct Cart {
    lines: Vec<Line>,
    maybe: Option<Vec<Line>>,
    forgiving: Vec<Forgiving>,
    flat: Vec<Flat>,
}

#[derive(Serialize, Deserialize)]
struct Flat {
    a: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[test]
fn rows_of_a_list_have_a_shape() {
    let lines = [PathSegment::Field("lines"), PathSegment::Element];
    let expected = [("sku", Kind::Text, false), ("price", Kind::Float64, true)];
    assert_eq!(found::<Cart>(&lines), expected);
    assert_eq!(found::<Wrapped>(&lines), expected, "a newtype has the shape of its content");
    for (field, is_list) in [("lines", true), ("maybe", false), ("forgiving", true), ("nowhere", false)] {
        assert_eq!(is_sequence::<Cart>(&[PathSegment::Field(field)]), is_list, "{field}");
    }
}

#[test]
fn types_without_fields_are_distinguished_from_maps() {
    assert_eq!(fields::<Flat>(&[]), Err(NotAStruct::Map));
    assert_eq!(fields::<BTreeMap<String, u8>>(&[]), Err(NotAStruct::Map));
    assert_eq!(fields::<Vec<Line>>(&[]), Err(NotAStruct::Other));
    assert_eq!(fields::<Value>(&[]), Err(NotAStruct::Other));
    assert_eq!(fields::<(u8, u8)>(&[]), Err(NotAStruct::Other));
    assert_eq!(fields::<Cart>(&[PathSegment::Field("flat"), PathSegment::Element]), Err(NotAStruct::Map));
    assert_eq!(fields::<Cart>(&[PathSegment::Field("forgiving"), PathSegment::Element]), Err(NotAStruct::Other));
}
