//! What changed in a part: the fields, not the whole; of a collection the rows, not the list.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

/// A field of a part that is a list of rows, which are told apart by some of their own fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Collection {
    pub(crate) field: String,
    pub(crate) key: Vec<String>,
}

/// The difference between two JSON values. Made on another value it changes what differed and leaves alone what did not,
/// such as fields that only a newer release of the application knows.
#[derive(Debug, PartialEq)]
pub(crate) enum Patch {
    Replace(Value),
    /// Fields that were changed (`Some`) or removed (`None`).
    Fields(Vec<(String, Option<Patch>)>),
    Rows(RowsPatch),
}

/// The difference between two lists of rows.
#[derive(Debug, PartialEq)]
pub(crate) struct RowsPatch {
    /// The fields that are the key of a row.
    key: Vec<String>,
    /// What becomes of the row of a key.
    rows: BTreeMap<String, RowPatch>,
}

#[derive(Debug, PartialEq)]
enum RowPatch {
    /// Stands in the place of the row with its key, or behind the others.
    Add(Value),
    /// Changes a row that is still there. One that somebody else has removed stays removed.
    Change(Patch),
    Remove,
}

impl RowPatch {
    fn added(&self) -> Option<&Value> {
        if let Self::Add(row) = self { Some(row) } else { None }
    }
}

impl Patch {
    /// Returns what turns `before` into `after`, or `None` if they are equal.
    pub(crate) fn between(before: &Value, after: Value) -> Option<Self> {
        Self::between_parts(before, after, &[])
    }

    /// Does so for a part, of which some fields are collections of rows.
    pub(crate) fn between_parts(before: &Value, after: Value, collections: &[Collection]) -> Option<Self> {
        match (before, after) {
            (before, after) if *before == after => None,
            (Value::Object(before), Value::Object(after)) => Some(Self::between_fields(before, after, collections)),
            (_, after) => Some(Self::Replace(after)),
        }
    }

    fn between_fields(before: &Map<String, Value>, after: Map<String, Value>, collections: &[Collection]) -> Self {
        let removed: Vec<_> = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
        let changed = after.into_iter().filter_map(|(name, after)| {
            let collection = collections.iter().find(|collection| collection.field == name);
            let patch = match (before.get(&name), after, collection) {
                (Some(Value::Array(before)), Value::Array(after), Some(collection)) => {
                    Self::Rows(RowsPatch::between(before, after, &collection.key)?)
                }
                (None, Value::Array(after), Some(collection)) => {
                    Self::Rows(RowsPatch::between(&[], after, &collection.key)?)
                }
                (Some(before), after, _) => Self::between(before, after)?,
                (None, after, _) => Self::Replace(after),
            };
            Some((name, Some(patch)))
        });
        Self::Fields(changed.chain(removed.into_iter().map(|name| (name, None))).collect())
    }

    /// Makes the change on a value, which becomes an object if it has to.
    pub(crate) fn apply(&self, value: &mut Value) {
        match self {
            Self::Replace(new) => *value = new.clone(),
            Self::Fields(fields) => {
                if !value.is_object() {
                    *value = Value::Object(Map::new());
                }
                let Value::Object(object) = value else { return };
                for (name, patch) in fields {
                    match patch {
                        Some(patch) => patch.apply(object.entry(name.as_str()).or_insert(Value::Null)),
                        None => drop(object.remove(name)),
                    }
                }
            }
            Self::Rows(patch) => {
                if !value.is_array() {
                    *value = Value::Array(Vec::new());
                }
                if let Value::Array(rows) = value {
                    patch.apply(rows);
                }
            }
        }
    }

    /// Whether both change the same field, or the same row.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fields(fields), Self::Fields(others)) => fields.iter().any(|(name, patch)| {
                let other = others.iter().find(|(other, _)| other == name);
                other.is_some_and(|(_, other)| match (patch, other) {
                    (Some(patch), Some(other)) => patch.overlaps(other),
                    _ => true,
                })
            }),
            (Self::Rows(patch), Self::Rows(other)) => patch.rows.keys().any(|key| other.rows.contains_key(key)),
            _ => true,
        }
    }
}

impl RowsPatch {
    /// Returns `None` if only the order differs, which rows do not have.
    fn between(before: &[Value], after: Vec<Value>, key: &[String]) -> Option<Self> {
        let mut gone: HashMap<_, _> = before.iter().map(|row| (key_of(row, key), row)).collect();
        let changed = after.into_iter().filter_map(|row| {
            let key = key_of(&row, key);
            let patch = match gone.remove(&key) {
                Some(before) => RowPatch::Change(Patch::between(before, row)?),
                None => RowPatch::Add(row),
            };
            Some((key, patch))
        });
        let mut rows: BTreeMap<_, _> = changed.collect();
        rows.extend(gone.into_keys().map(|key| (key, RowPatch::Remove)));
        (!rows.is_empty()).then(|| Self { key: key.to_vec(), rows })
    }

    fn apply(&self, rows: &mut Vec<Value>) {
        let mut added: BTreeMap<_, _> =
            self.rows.iter().filter_map(|(key, patch)| Some((key, patch.added()?))).collect();
        rows.retain_mut(|row| {
            let key = key_of(row, &self.key);
            match self.rows.get(&key) {
                None => return true,
                Some(RowPatch::Add(new)) => *row = new.clone(),
                Some(RowPatch::Change(patch)) => patch.apply(row),
                Some(RowPatch::Remove) => return false,
            }
            added.remove(&key);
            true
        });
        rows.extend(added.into_values().cloned());
    }
}

/// Returns what tells a row from others: its key as a JSON text.
fn key_of(row: &Value, key: &[String]) -> String {
    let values: Vec<_> = key.iter().map(|field| row.get(field).unwrap_or(&Value::Null).to_string()).collect();
    values.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_values_have_no_difference() {
        assert_eq!(Patch::between(&json!({"a": [1, {"b": null}]}), json!({"a": [1, {"b": null}]})), None);
    }

    #[test]
    fn a_patch_turns_one_value_into_the_other() {
        let values = [
            json!(null),
            json!(1),
            json!([1, 2]),
            json!({}),
            json!({"a": 1}),
            json!({"a": 2, "b": {"c": 1, "d": 2}}),
            json!({"b": {"c": 1}}),
        ];
        for before in &values {
            for after in &values {
                let mut value = before.clone();
                if let Some(patch) = Patch::between(before, after.clone()) {
                    patch.apply(&mut value);
                }
                assert_eq!(value, *after, "{before} to {after}");
            }
        }
    }

    #[test]
    fn fields_that_did_not_change_keep_what_others_made_of_them() {
        let patch = Patch::between(&json!({"mine": 1, "theirs": 1, "in": {"mine": 1}}), {
            json!({"mine": 2, "theirs": 1, "in": {"mine": 2}})
        })
        .expect("they differ");
        let mut newer = json!({"mine": 1, "theirs": 7, "unknown": [1], "in": {"mine": 1, "unknown": 5}});
        patch.apply(&mut newer);
        assert_eq!(newer, json!({"mine": 2, "theirs": 7, "unknown": [1], "in": {"mine": 2, "unknown": 5}}));
    }

    fn lines() -> [Collection; 1] {
        [Collection { field: "lines".to_owned(), key: vec!["sku".to_owned()] }]
    }

    fn between(before: &Value, after: Value) -> Patch {
        Patch::between_parts(before, after, &lines()).expect("they differ")
    }

    #[test]
    fn rows_that_did_not_change_keep_what_others_made_of_them() {
        let before = json!({"lines": [{"sku": "a", "n": 1}, {"sku": "b", "n": 1}, {"sku": "c", "n": 1}]});
        let patch =
            between(&before, json!({"lines": [{"sku": "a", "n": 2}, {"sku": "c", "n": 1}, {"sku": "d", "n": 4}]}));
        let mut newer = json!({"lines": [{"sku": "a", "n": 1, "new": 7}, {"sku": "c", "n": 9}, {"sku": "e", "n": 5}]});
        patch.apply(&mut newer);
        let lines =
            json!([{"sku": "a", "n": 2, "new": 7}, {"sku": "c", "n": 9}, {"sku": "e", "n": 5}, {"sku": "d", "n": 4}]);
        assert_eq!(newer, json!({ "lines": lines }));
    }

    #[test]
    fn a_change_of_a_row_that_somebody_removed_does_not_bring_it_back() {
        let patch = between(&json!({"lines": [{"sku": "a", "n": 1}]}), json!({"lines": [{"sku": "a", "n": 2}]}));
        let mut newer = json!({"lines": []});
        patch.apply(&mut newer);
        assert_eq!(newer, json!({"lines": []}));
    }

    #[test]
    fn the_order_of_rows_is_no_difference() {
        let before = json!({"lines": [{"sku": "a"}, {"sku": "b"}]});
        let patch = between(&before, json!({"lines": [{"sku": "b"}, {"sku": "a"}]}));
        assert_eq!(patch, Patch::Fields(Vec::new()));
    }

    #[test]
    fn two_changes_overlap_where_they_meet_in_a_row_or_a_field() {
        let before = json!({"note": "", "gift": false, "lines": [{"sku": "a", "n": 1}, {"sku": "b", "n": 1}]});
        let changed =
            |note, a, b| json!({"note": note, "gift": false, "lines": [{"sku": "a", "n": a}, {"sku": "b", "n": b}]});
        let patch = |note, a, b| between(&before, changed(note, a, b));
        assert!(!patch("", 2, 1).overlaps(&patch("", 1, 2)));
        assert!(patch("", 2, 1).overlaps(&patch("", 3, 1)));
        assert!(!patch("x", 1, 1).overlaps(&patch("", 3, 1)));
        assert!(patch("x", 1, 1).overlaps(&patch("y", 3, 1)));
        let removed = between(&before, json!({"note": "", "gift": false, "lines": [{"sku": "b", "n": 1}]}));
        assert!(removed.overlaps(&patch("", 2, 1)) && !removed.overlaps(&patch("", 1, 2)));
    }
}
