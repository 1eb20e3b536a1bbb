//! Tests that values survive a round trip.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::engines::{Loaded as _, Scene, TestEngine, handle, key, on_each_engine, record, value};
use crate::error::ErrorKind;
use crate::part::SessionPart;
use crate::record::Generation;
use crate::store::Outcome;
use crate::store::RecordCall;

on_each_engine! {
    every_kind_of_value_comes_back
    floating_point_numbers_come_back_bit_by_bit
    texts_come_back_character_by_character
    keys_are_compared_byte_by_byte
    what_cannot_be_kept_is_told_with_its_column
    a_part_without_rows_is_none
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Size {
    #[default]
    Small,
    #[serde(rename = "very large")]
    Large,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kinds {
    lines: Vec<Kind>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kind {
    sku: u32,
    flag: bool,
    maybe_flag: Option<bool>,
    signed: i64,
    unsigned: u64,
    maybe_number: Option<i16>,
    single: f32,
    double: f64,
    maybe_double: Option<f64>,
    text: String,
    maybe_text: Option<String>,
    letter: char,
    size: Size,
    maybe_size: Option<Size>,
    nested: Vec<Option<(String, i64)>>,
    #[serde(default)]
    any: Value,
    maybe_any: Option<Value>,
}

impl SessionPart for Kinds {
    const NAME: &'static str = "kinds";
}

fn kinds() -> Kinds {
    let first = Kind { letter: '\'', ..Kind::default() };
    let second = Kind {
        sku: u32::MAX,
        flag: true,
        maybe_flag: Some(false),
        signed: i64::MIN,
        unsigned: i64::MAX as u64,
        maybe_number: Some(-1),
        single: 0.1,
        double: 0.1 + 0.2,
        maybe_double: Some(f64::MAX),
        text: "a \"quoted\" 'text' \\ with\nlines, a tab\t, `ticks`, $1, :rows, ? and @".to_owned(),
        maybe_text: Some(String::new()),
        letter: '😀',
        size: Size::Large,
        maybe_size: Some(Size::Small),
        nested: vec![None, Some(("ä\u{1F600}".to_owned(), i64::MIN)), Some((String::new(), 0))],
        any: json!({"a": [1, -2, "x", null, {"b": false}], "": {}}),
        maybe_any: Some(json!("text")),
    };
    let third =
        Kind { sku: 7, letter: '\n', signed: i64::MAX, any: json!(true), maybe_any: Some(json!(3)), ..Kind::default() };
    Kinds { lines: vec![first, third, second] }
}

async fn every_kind_of_value_comes_back<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Kinds>(&scene.with_lines()).await;
    let part = kinds();
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), None);
    assert_eq!(scene.create(&tables, 1, &part).await.expect("written"), Outcome::Done);
    let loaded = tables.mapped.loaded(handle(1)).await.expect("read").expect("there are rows");
    assert_eq!(serde_json::from_value::<Kinds>(loaded.clone()).expect("a part"), part);
    assert_eq!(loaded, value(&part), "in the same form");
    assert!(tables.mapped.difference(Some(&loaded), Some(&value(&part))).expect("written").is_empty());
    assert_eq!(tables.mapped.loaded(handle(2)).await.expect("read"), None, "another session has nothing");
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Floats {
    lines: Vec<Float>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Float {
    sku: u32,
    double: f64,
    single: f32,
}

impl SessionPart for Floats {
    const NAME: &'static str = "floats";
}

async fn floating_point_numbers_come_back_bit_by_bit<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Floats>(&scene.with_lines()).await;
    let mut state = 88_172_645_463_325_252_u64;
    let random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from_bits(state)
    };
    let special =
        [0.0, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 5e-324, -2.225_073_858_507_201e-308, 1e23, 0.1, 1e15, 1e16];
    let mut doubles: Vec<f64> = special.into_iter().chain((1..1100).map(|e| 2f64.powi(e - 1075))).collect();
    doubles.extend(std::iter::repeat_with(random).filter(|float| float.is_finite()).take(3000));
    // Common decimal numbers.
    doubles.extend((0..500).map(|n| f64::from(n) / 100.0));
    let line = |(sku, double): (usize, &f64)| {
        let single = f32::from_bits((double.to_bits() >> 20) as u32);
        Float {
            sku: sku as u32,
            double: *double,
            single: if single.is_finite() && single != 0.0 { single } else { 1.5 },
        }
    };
    let part = Floats { lines: doubles.iter().enumerate().map(line).collect() };
    scene.create(&tables, 1, &part).await.expect("written");
    let loaded = tables.mapped.load(handle(1), Generation::default()).await.expect("read").expect("there are rows");
    let loaded = read_floats(&loaded);
    assert_eq!(loaded.lines.len(), part.lines.len());
    for (loaded, line) in loaded.lines.iter().zip(&part.lines) {
        assert_eq!(loaded.double.to_bits(), line.double.to_bits(), "{:?} became {:?}", line.double, loaded.double);
        assert_eq!(loaded.single.to_bits(), line.single.to_bits(), "{:?} became {:?}", line.single, loaded.single);
    }
    let zero = Floats { lines: vec![Float { sku: 1, double: -0.0, single: -0.0 }] };
    scene.create(&tables, 2, &zero).await.expect("written");
    let loaded = tables.mapped.loaded(handle(2)).await.expect("read").expect("there are rows");
    let keeps_sign = D::STORE == "postgres";
    assert_eq!(loaded["lines"][0]["double"].as_f64().map(f64::is_sign_negative), Some(keeps_sign));
}

/// Reads the numbers bit by bit, unlike `serde_json` by default.
fn read_floats(json: &[u8]) -> Floats {
    #[derive(Deserialize)]
    struct Raw<'r> {
        #[serde(borrow)]
        lines: Vec<BTreeMap<&'r str, &'r RawValue>>,
    }
    let raw: Raw<'_> = serde_json::from_slice(json).expect("a part");
    let line = |line: &BTreeMap<&str, &RawValue>| Float {
        sku: line["sku"].get().parse().expect("a number"),
        double: line["double"].get().parse().expect("a number"),
        single: line["single"].get().parse::<f64>().expect("a number") as f32,
    };
    Floats { lines: raw.lines.iter().map(line).collect() }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Texts {
    pub(super) lines: Vec<Text>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Text {
    pub(super) sku: String,
    pub(super) text: Option<String>,
}

impl SessionPart for Texts {
    const NAME: &'static str = "texts";
}

pub(super) fn texts(pairs: &[(&str, &str)]) -> Texts {
    let line = |(sku, text): &(&str, &str)| Text { sku: (*sku).to_owned(), text: Some((*text).to_owned()) };
    Texts { lines: pairs.iter().map(line).collect() }
}

async fn texts_come_back_character_by_character<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Texts>(&scene.with_lines()).await;
    let long = "päge \"1\"\n".repeat(100_000);
    let controls: String = (1..=0x9f).filter_map(char::from_u32).collect();
    let odd = "\u{feff}\u{200b}\u{fffd}\u{fffe}\u{10ffff}e\u{301}\u{1F468}\u{200D}\u{1F469}\r\n\u{2028}";
    let mut pairs = vec![("long", &*long), ("controls", &controls), ("odd", odd), ("null", "null"), ("empty", "")];
    pairs.extend([
        ("json", "{\"a\":1}"),
        ("number", "007"),
        ("spaces", "  a  "),
        ("bool", "true"),
        ("escape", "\\u0041"),
    ]);
    if D::STORE != "postgres" {
        pairs.push(("nul", "a\0b\0"));
    }
    pairs.sort();
    let part = texts(&pairs);
    scene.create(&tables, 1, &part).await.expect("written");
    let loaded = tables.mapped.loaded(handle(1)).await.expect("read").expect("there are rows");
    let loaded: Texts = serde_json::from_value(loaded).expect("a part");
    for (loaded, line) in loaded.lines.iter().zip(&part.lines) {
        assert!(loaded == line, "{:?} did not survive", line.sku);
    }
    assert_eq!(loaded.lines.len(), part.lines.len());
}

async fn keys_are_compared_byte_by_byte<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Texts>(&scene.with_lines()).await;
    let skus = ["", " ", "A", "A ", "a", "a\t", "a ", "ae", "e\u{301}", "ss", "ß", "à", "ä", "é", "\u{1F600}"];
    let all = texts(&skus.map(|sku| (sku, sku)));
    scene.create(&tables, 1, &all).await.expect("written");
    let mut loaded = tables.mapped.loaded(handle(1)).await.expect("read").expect("there are rows");
    assert_eq!(loaded, value(&all), "in the order of their bytes");
    for sku in skus {
        // One is changed and then removed; all others stay.
        let lines = loaded["lines"].as_array_mut().expect("a list");
        let at = lines.iter().position(|line| line["sku"] == sku).expect("it is there");
        lines[at]["text"] = json!("changed");
        assert_eq!(format!("{:?}", scene.change(&*tables.mapped, 1, Some(&loaded)).await), PUT_ONE, "{sku:?}");
        assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read").as_ref(), Some(&loaded), "{sku:?}");
        let lines = loaded["lines"].as_array_mut().expect("a list");
        lines.remove(at);
        assert_eq!(format!("{:?}", scene.change(&*tables.mapped, 1, Some(&loaded)).await), REMOVE_ONE, "{sku:?}");
        let left = tables.mapped.loaded(handle(1)).await.expect("read");
        assert_eq!(left.unwrap_or_else(|| json!({"lines": []})), loaded, "{sku:?}");
    }
}

const PUT_ONE: &str = "[TableWrites { table: 0, clears: false, removed: 0, put: 1 }]";
const REMOVE_ONE: &str = "[TableWrites { table: 0, clears: false, removed: 1, put: 0 }]";

async fn what_cannot_be_kept_is_told_with_its_column<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Kinds>(&scene.with_lines()).await;
    let broken = |break_it: &dyn Fn(&mut Kind)| {
        let mut part = kinds();
        break_it(&mut part.lines[0]);
        let error = tables.mapped.difference(None, Some(&value(&part))).expect_err("the value cannot be stored");
        assert!(matches!(error.kind(), ErrorKind::Encode { key } if key == "kinds"), "{error:?}");
        std::error::Error::source(&error).expect("a cause").to_string()
    };
    let at = |column: &str| format!("column \"{column}\" of table \"{}_lines\": ", scene.name);
    let unsigned = broken(&|kind| kind.unsigned = i64::MAX as u64 + 1);
    assert_eq!(unsigned, at("unsigned") + "it is not a signed 64-bit integer");
    assert_eq!(broken(&|kind| kind.double = f64::NAN), at("double") + "it is null, or a number that is not finite");
    assert_eq!(broken(&|kind| kind.sku = 7), at("sku") + "two rows have the same key");
    let (text, any) = (|kind: &mut Kind| kind.text = "a\0".to_owned(), |kind: &mut Kind| kind.any = json!([{"\0": 1}]));
    if D::STORE == "postgres" {
        let nul = "it contains the character NUL, which the database cannot store";
        assert_eq!(broken(&text), at("text") + nul);
        assert_eq!(broken(&any), at("any") + nul);
    }
    for (wrong, why) in
        [(json!([]), "the part is not a struct"), (json!({"lines": {}}), "the collection is not a list")]
    {
        let error = tables.mapped.difference(None, Some(&wrong)).expect_err("the value is not a part");
        assert!(format!("{error:?}").contains(why), "{error:?}");
    }
    let left_out =
        tables.mapped.difference(None, Some(&json!({"lines": [{"sku": 1}]}))).expect_err("the value is not a part");
    assert!(format!("{left_out:?}").contains("the field is missing"), "{left_out:?}");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Form {
    step: u32,
    note: Option<String>,
    lines: Vec<Text>,
}

impl Default for Form {
    fn default() -> Self {
        Self { step: 1, note: Some("new".to_owned()), lines: texts(&[("x", "default")]).lines }
    }
}

impl SessionPart for Form {
    const NAME: &'static str = "form";
}

async fn a_part_without_rows_is_none<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.with_lines().with_row(&format!("{}_row", scene.name));
    let tables = scene.made::<Form>(&tables).await;
    let mapped = &*tables.mapped;
    let loaded = async || mapped.loaded(handle(1)).await.expect("read");
    let call = RecordCall::Create { key: &key(1), record: record(1, 1) };
    assert_eq!(mapped.database().write(call, &[], super::engines::NOW).await.expect("written"), Outcome::Done);
    assert_eq!(loaded().await, None);
    let empty = json!({"step": 3, "note": null, "lines": []});
    scene.change(mapped, 1, Some(&empty)).await;
    assert_eq!(loaded().await, Some(empty.clone()), "an empty list is not the default");
    let full = value(&Form { step: 4, note: Some(String::new()), lines: texts(&[("a", "1"), ("b", "2")]).lines });
    scene.change(mapped, 1, Some(&full)).await;
    assert_eq!(loaded().await, Some(full));
    scene.run("DELETE FROM @_row").await;
    let orphans = json!({"step": 1, "note": "new", "lines": [{"sku": "a", "text": "1"}, {"sku": "b", "text": "2"}]});
    assert_eq!(loaded().await, Some(orphans.clone()), "fields without a row have their default");
    let mut changed = orphans;
    changed["step"] = json!(9);
    scene.change(mapped, 1, Some(&changed)).await;
    assert_eq!(loaded().await, Some(changed), "the missing row is created");
    scene.change(mapped, 1, None).await;
    assert_eq!((loaded().await, scene.count("row").await, scene.count("lines").await), (None, 0, 0));
}
