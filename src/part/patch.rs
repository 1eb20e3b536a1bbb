//! What changed in a part: the fields, not the whole.

use serde_json::{Map, Value};

/// The difference between two JSON values. Made on another value it changes what differed and leaves alone what did not,
/// such as fields that only a newer release of the application knows.
#[derive(Debug, PartialEq)]
pub(crate) enum Patch {
    Replace(Value),
    /// Fields that were changed (`Some`) or removed (`None`).
    Fields(Vec<(String, Option<Patch>)>),
}

/// A field that is a list of rows, and the fields of a row that tell it from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Collection {
    pub(crate) field: String,
    pub(crate) key: Vec<String>,
}

impl Patch {
    /// Returns what turns `before` into `after`, or `None` if they are equal.
    pub(crate) fn between(before: &Value, after: Value) -> Option<Self> {
        match (before, after) {
            (before, after) if *before == after => None,
            (Value::Object(before), Value::Object(after)) => Some(Self::between_fields(before, after)),
            (_, after) => Some(Self::Replace(after)),
        }
    }

    fn between_fields(before: &Map<String, Value>, after: Map<String, Value>) -> Self {
        let removed: Vec<_> = before.keys().filter(|name| !after.contains_key(*name)).cloned().collect();
        let changed = after.into_iter().filter_map(|(name, value)| {
            let patch = match before.get(&name) {
                Some(before) => Self::between(before, value)?,
                None => Self::Replace(value),
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
        }
    }
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
}
