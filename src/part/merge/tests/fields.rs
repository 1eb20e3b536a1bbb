//! Structs, maps and options.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::super::{Collection, overlap};
use super::{apply, both, change, decode, encode, is_empty};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Line {
    count: u32,
    note: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cart {
    by_sku: BTreeMap<String, Line>,
    by_number: HashMap<u16, Line>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<char, u8>,
    gift: Option<Line>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wish: Option<Box<Line>>,
    title: String,
    #[serde(default)]
    seen: u128,
}

fn line(count: u32) -> Line {
    Line { count, note: None }
}

fn cart() -> Cart {
    Cart {
        by_sku: [("tea".to_owned(), line(1)), ("bun".to_owned(), line(1))].into(),
        by_number: [(1, line(1)), (2, line(2))].into(),
        gift: Some(line(5)),
        wish: Some(line(6).into()),
        ..Cart::default()
    }
}

#[test]
fn unchanged_fields_keep_the_changes_of_other_requests() {
    let merged = both(&cart(), |cart| cart.title = "a".into(), |cart| cart.seen = 7);
    assert_eq!(merged, Cart { title: "a".into(), seen: 7, ..cart() });
    let first = |cart: &mut Cart| cart.by_sku.get_mut("tea").expect("it is there").count = 9;
    let second = |cart: &mut Cart| cart.by_sku.get_mut("tea").expect("it is there").note = Some("hot".into());
    let merged = both(&cart(), first, second);
    assert_eq!(merged.by_sku["tea"], Line { count: 9, note: Some("hot".into()) });
}

#[test]
fn the_later_change_of_one_leaf_wins() {
    let merged = both(&cart(), |cart| cart.title = "a".into(), |cart| cart.title = "b".into());
    assert_eq!(merged.title, "b");
}

#[test]
fn a_removal_is_not_undone_by_a_change_inside_it() {
    type Edit = fn(&mut Cart);
    let cases: [(Edit, Edit); 4] = [
        (|cart| drop(cart.by_sku.remove("tea")), |cart| cart.by_sku.get_mut("tea").expect("it is there").count = 2),
        (|cart| drop(cart.by_number.remove(&1)), |cart| cart.by_number.get_mut(&1).expect("it is there").count = 2),
        (|cart| cart.gift = None, |cart| cart.gift.as_mut().expect("it is there").count = 2),
        (|cart| cart.wish = None, |cart| cart.wish.as_mut().expect("it is there").note = Some("x".into())),
    ];
    for (index, (remove, edit)) in cases.into_iter().enumerate() {
        let mut removed = cart();
        remove(&mut removed);
        assert_eq!(both(&cart(), remove, edit), removed, "case {index}, removed first");
        assert_eq!(both(&cart(), edit, remove), removed, "case {index}, removed last");
    }
}

#[test]
fn entries_of_maps_are_added_and_removed_individually() {
    let merged = both(
        &cart(),
        |cart| drop((cart.by_sku.remove("tea"), cart.by_number.insert(3, line(3)))),
        |cart| drop((cart.by_sku.insert("pie".into(), line(4)), cart.by_number.remove(&2))),
    );
    assert_eq!(merged.by_sku.keys().collect::<Vec<_>>(), ["bun", "pie"]);
    assert_eq!(merged.by_number, [(1, line(1)), (3, line(3))].into());
}

#[test]
fn entries_that_two_requests_add_to_a_map_that_was_left_out_are_both_there() {
    let add = |key: char| move |cart: &mut Cart| assert_eq!(cart.tags.insert(key, 1), None);
    let merged = both(&cart(), add('a'), add('b'));
    assert_eq!(merged.tags, [('a', 1), ('b', 1)].into());
    let tagged = Cart { tags: [('a', 1), ('b', 1)].into(), ..cart() };
    for emptied in
        [both(&tagged, |cart| cart.tags.clear(), add('c')), both(&tagged, add('c'), |cart| cart.tags.clear())]
    {
        assert_eq!(emptied.tags, [('c', 1)].into(), "only existing entries are removed");
    }
}

#[test]
fn an_option_that_two_requests_fill_has_the_later_content() {
    let empty = Cart { gift: None, ..cart() };
    let fill = |count| move |cart: &mut Cart| cart.gift = Some(line(count));
    assert_eq!(both(&empty, fill(1), fill(2)).gift, Some(line(2)));
}

#[test]
fn unchanged_values_keep_their_bytes() {
    let stored = r#"{"new":{"x":1.50},"title":"\u0061","by_sku":{"tea":{"count":1,"note":null,"big":1e400}},"by_number":{},"gift":null,"seen":1,"n":123456789012345678901234567890}"#;
    let more = change::<Cart>(stored, |cart| cart.by_sku.get_mut("tea").expect("it is there").count = 2);
    assert_eq!(more, stored.replace("\"count\":1", "\"count\":2"));
    let more = change::<Cart>(stored, |cart| cart.seen = u128::MAX);
    assert_eq!(more, stored.replace("\"seen\":1", &format!("\"seen\":{}", u128::MAX)));
    let more = change::<Cart>(stored, |cart| drop(cart.by_sku.insert("\"".into(), line(1))));
    assert_eq!(more, stored.replace("1e400}}", r#"1e400},"\"":{"count":1,"note":null}}"#));
}

#[test]
fn small_changes_of_numbers_are_seen() {
    type Numbers = (u128, i128, f64, f32, u64);
    let numbers: Numbers = (1 << 100, i128::MIN, 0.0, 0.1, u64::MAX);
    let mut more = numbers;
    more.0 += 1;
    assert!(!is_empty::<Numbers>(&encode(&numbers), &encode(&more)));
    let merged = both(&numbers, |n| n.0 += 1, |n| (n.1, n.2) = (n.1 + 1, -0.0));
    assert_eq!((merged.0, merged.1), ((1 << 100) + 1, i128::MIN + 1));
    assert!(merged.2.is_sign_negative(), "-0.0 is not 0.0");
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Outer {
    inner: Inner,
    #[serde(flatten)]
    flat: Inner2,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
    #[serde(rename = "other-name", skip_serializing_if = "is_zero")]
    renamed: u32,
    pair: (HashMap<String, u8>, u8),
    wrapped: Wrapped,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Inner {
    a: u32,
    b: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Inner2 {
    #[serde(default)]
    c: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Wrapped(BTreeMap<u8, char>);

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[test]
fn flattened_defaulted_and_renamed_fields_merge() {
    let merged = both(
        &Outer::default(),
        |outer| {
            outer.flat.c = 1;
            outer.rest.insert("x".into(), 1.into());
            outer.pair.0.insert("k".into(), 1);
            outer.wrapped.0.insert(1, 'a');
        },
        |outer| {
            outer.renamed = 2;
            outer.rest.insert("y".into(), 2.into());
            outer.pair.1 = 3;
            outer.wrapped.0.insert(2, 'b');
        },
    );
    let expected = Outer {
        flat: Inner2 { c: 1 },
        rest: [("x".into(), 1.into()), ("y".into(), 2.into())].into(),
        renamed: 2,
        pair: ([("k".into(), 1)].into(), 3),
        wrapped: Wrapped([(1, 'a'), (2, 'b')].into()),
        ..Outer::default()
    };
    assert_eq!(merged, expected);
}

#[test]
fn a_field_that_is_not_stored_is_written_whole() {
    let stored = change::<Outer>(r#"{"c":1}"#, |outer| outer.inner.b = 2);
    assert_eq!(decode::<Outer>(&stored).inner, Inner { a: 0, b: 2 });
    assert_eq!(stored, r#"{"c":1,"inner":{"a":0,"b":2}}"#);
}

/// A map in insertion order.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ordered(Vec<(String, u8)>);

impl Serialize for Ordered {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = Ordered;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[test]
fn the_order_of_entries_matters_if_the_type_keeps_it() {
    let entries = |keys: &str| Ordered(keys.chars().map(|key| (key.to_string(), 1)).collect());
    let base = entries("abc");
    assert_eq!(both(&base, |_| (), |map| map.0.reverse()), entries("cba"));
    assert_eq!(both(&base, |_| (), |map| map.0.insert(1, ("x".into(), 1))), entries("axbc"));
    assert_eq!(both(&base, |map| map.0.push(("y".into(), 1)), |map| map.0.swap(0, 1)), entries("bacy"));
    let (one, other) = (r#"{"a":1,"b":2,"c":3}"#, r#"{"b":2,"c":3,"a":1}"#);
    assert!(is_empty::<HashMap<String, u8>>(one, other) && is_empty::<BTreeMap<String, u8>>(one, other));
    assert!(!is_empty::<Ordered>(one, other));
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tables {
    lines: Vec<Row>,
    note: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Row {
    sku: String,
    n: u32,
}

fn tables(lines: &[(&str, u32)]) -> Tables {
    let row = |(sku, n): &(&str, u32)| Row { sku: (*sku).to_owned(), n: *n };
    Tables { lines: lines.iter().map(row).collect(), note: None }
}

fn lines() -> [Collection; 1] {
    [Collection { field: "lines".to_owned(), key: vec!["sku".to_owned()] }]
}

#[test]
fn unchanged_rows_keep_the_changes_of_other_requests() {
    let (before, after) = (tables(&[("a", 1), ("b", 1), ("c", 1)]), tables(&[("d", 4), ("c", 1), ("a", 2)]));
    let newer = r#"{"lines":[{"sku":"a","n":1,"new":7},{"sku":"c","n":9},{"sku":"e","n":5}],"note":"x"}"#;
    let merged = apply(&before, &after, newer, &lines());
    let expected =
        r#"{"lines":[{"sku":"a","n":2,"new":7},{"sku":"c","n":9},{"sku":"e","n":5},{"sku":"d","n":4}],"note":"x"}"#;
    assert_eq!(merged, expected);
}

#[test]
fn a_removed_row_stays_removed_and_a_row_added_twice_exists_once() {
    let merge = |before: &[(&str, u32)], after: &[(&str, u32)], newer: &[(&str, u32)]| {
        decode::<Tables>(&apply(&tables(before), &tables(after), &encode(&tables(newer)), &lines()))
    };
    assert_eq!(merge(&[("a", 1)], &[("a", 2)], &[]), tables(&[]));
    assert_eq!(merge(&[("a", 1)], &[], &[("a", 2)]), tables(&[]));
    assert_eq!(merge(&[], &[("a", 2), ("b", 1)], &[("c", 1), ("a", 1)]), tables(&[("c", 1), ("a", 2), ("b", 1)]));
    assert_eq!(merge(&[], &[("a", 1), ("a", 2)], &[]), tables(&[("a", 1), ("a", 2)]), "the table rejects duplicates");
}

#[test]
fn two_changes_overlap_where_they_meet_in_a_row_or_a_field() {
    let text = |note: &str, a: u32, b: u32| {
        format!(r#"{{"note":"{note}","in":{{"x":1,"y":{a}}},"lines":[{{"sku":"a","n":{a}}},{{"sku":"b","n":{b}}}]}}"#)
    };
    let field = |note: &str, x: u32| text(note, 1, 1).replace("\"x\":1", &format!("\"x\":{x}"));
    let meet = |ours: &str, theirs: &str| overlap(Some(&text("", 1, 1)), Some(ours), Some(theirs), &lines());
    assert!(!meet(&text("", 1, 2), &field("x", 2)));
    assert!(meet(&text("", 1, 2), &text("", 1, 3)) && meet(&text("", 1, 3), &text("", 1, 3)));
    assert!(!meet(&field("", 2), &text("", 1, 3)) && meet(&field("", 2), &field("", 3)));
    assert!(meet(&field("x", 1), &field("y", 1)) && !meet(&field("x", 1), &text("", 1, 1)));
    let removed = text("", 1, 1).replace(r#",{"sku":"b","n":1}"#, "");
    assert!(meet(&removed, &text("", 1, 2)) && !meet(&removed, &field("x", 1)));
    let swapped =
        text("", 1, 1).replace(r#"[{"sku":"a","n":1},{"sku":"b","n":1}]"#, r#"[{"sku":"b","n":1},{"sku":"a","n":1}]"#);
    assert!(!meet(&swapped, &text("", 1, 2)), "rows have no order");
    assert!(!overlap(None, Some(r#"{"lines":[{"sku":"a"}]}"#), Some(r#"{"lines":[{"sku":"b"}]}"#), &lines()));
    assert!(overlap(None, Some(r#"{"lines":[{"sku":"a"}]}"#), Some(r#"{"lines":[{"sku":"a"}]}"#), &lines()));
    assert!(overlap(Some("{}"), None, Some("[]"), &lines()) == overlap(Some("{}"), Some("{}"), Some("[]"), &lines()));
}
