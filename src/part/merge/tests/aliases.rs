//! Renamed fields, next to fields that a newer release wrote.

use serde::{Deserialize, Serialize};

use super::{apply, change, decode, encode};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Renamed {
    #[serde(alias = "old", alias = "older")]
    new: String,
    #[serde(default, alias = "total")]
    sum: u32,
    #[serde(default, alias = "sub")]
    inner: Inner,
    #[serde(default, alias = "wish", skip_serializing_if = "Option::is_none")]
    wished: Option<String>,
    count: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Inner {
    #[serde(alias = "was")]
    is: u32,
}

const STORED: &str = r#"{"old":"a","future":{"x":1.50},"total":0,"sub":{"was":1},"wish":"w","count":1,"later":[1]}"#;

fn changed(edit: impl Fn(&mut Renamed)) -> String {
    let text = change::<Renamed>(STORED, &edit);
    let mut expected: Renamed = decode(STORED);
    edit(&mut expected);
    assert_eq!(decode::<Renamed>(&text), expected, "{text}");
    assert!(text.contains(r#""future":{"x":1.50}"#) && text.contains(r#""later":[1]"#), "{text}");
    text
}

#[test]
fn a_renamed_field_is_written_under_its_new_name_alone() {
    let text = changed(|part| part.new = "b".into());
    let own = r#""new":"b","sum":0,"inner":{"is":1},"wished":"w""#;
    assert_eq!(text, format!(r#"{{"future":{{"x":1.50}},"count":1,"later":[1],{own}}}"#), "no field keeps an old name");
    let again = change::<Renamed>(&text, |part| part.new = "c".into());
    assert_eq!(again, text.replace("\"b\"", "\"c\""));
    changed(|part| part.sum = 5);
    changed(|part| part.inner.is = 2);
    changed(|part| part.wished = None);
    changed(|part| part.wished = Some("x".into()));
}

#[test]
fn every_renamed_field_can_change_at_once() {
    let text = changed(|part| {
        (part.new, part.sum, part.inner.is, part.wished, part.count) = ("b".into(), 1, 2, Some("x".into()), 9);
    });
    for old in ["\"old\"", "\"total\"", "\"sub\"", "\"wish\""] {
        assert!(!text.contains(old), "{old} in {text}");
    }
}

#[test]
fn an_old_name_stays_while_its_field_does() {
    assert_eq!(changed(|part| part.count = 2), STORED.replace("\"count\":1", "\"count\":2"));
}

#[test]
fn a_renamed_field_that_a_newer_text_has_under_its_old_name_is_merged() {
    let before = decode::<Renamed>(STORED);
    let (mut ours, newer) = (before.clone(), STORED.replace("\"count\":1", "\"count\":7"));
    (ours.new, ours.inner.is) = ("b".into(), 3);
    let merged: Renamed = decode(&apply(&before, &ours, &newer, &[]));
    assert_eq!(merged, Renamed { count: 7, ..ours });
}

/// A type that prefers the old name if both are present.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Stubborn {
    new: u32,
    other: u32,
}

#[derive(Deserialize)]
struct Either {
    old: Option<u32>,
    new: Option<u32>,
    other: u32,
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Either { old, new, other } = Either::deserialize(deserializer)?;
        Ok(Self { new: old.or(new).unwrap_or_default(), other })
    }
}

#[test]
fn an_old_name_that_would_win_is_dropped() {
    let text = change::<Stubborn>(r#"{"old":1,"other":1,"future":1.50}"#, |part| part.new = 2);
    assert_eq!(text, r#"{"other":1,"future":1.50,"new":2}"#);
    assert_eq!(encode(&decode::<Stubborn>(&text)), r#"{"new":2,"other":1}"#);
}
