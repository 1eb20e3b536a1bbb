//! JSON texts, split into slices of themselves and assembled again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The kind of a JSON text, as far as a merge distinguishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Leaf,
}

impl Kind {
    pub(super) fn of(text: &str) -> Self {
        match text.as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            _ => Self::Leaf,
        }
    }

    /// Returns the text of a container without contents.
    pub(super) fn empty(self) -> Option<&'static str> {
        match self {
            Self::Object => Some("{}"),
            Self::Array => Some("[]"),
            Self::Leaf => None,
        }
    }
}

/// One step from a value to a value inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<'t> {
    Name(Cow<'t, str>),
    Index(usize),
}

/// The path from the whole text to a value inside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path<'t>(Vec<Step<'t>>);

impl<'t> Path<'t> {
    pub(super) fn name(&self, name: &Cow<'t, str>) -> Self {
        self.with(Step::Name(name.clone()))
    }

    pub(super) fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    /// Returns the name of a field of the whole, if the path leads to one.
    pub(super) fn top_field(&self) -> Option<&str> {
        if let [Step::Name(name)] = &self.0[..] { Some(name) } else { None }
    }

    fn with(&self, step: Step<'t>) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }

    /// Returns the value to which the path leads in `text`.
    pub(super) fn find<'s>(&self, text: &'s str) -> Option<&'s str> {
        self.0.iter().try_fold(text, |text, step| match step {
            Step::Name(name) => Object::parse(text)?.get(name),
            Step::Index(index) => items(text)?.get(*index).copied(),
        })
    }

    /// Returns `text` with `value` at the end of the path, where the last step may be new.
    pub(super) fn put(&self, text: &str, value: &str) -> Option<String> {
        let mut parents = vec![text];
        for step in self.0.iter().take(self.0.len().saturating_sub(1)) {
            parents.push(Path(vec![step.clone()]).find(parents.last()?)?);
        }
        let mut steps = self.0.iter().zip(parents).rev();
        steps.try_fold(value.to_owned(), |value, (step, parent)| step.put(parent, &value))
    }
}

impl Step<'_> {
    fn put(&self, parent: &str, value: &str) -> Option<String> {
        match self {
            Self::Name(name) => {
                let object = Object::parse(parent)?;
                let pick = |field: &Field<'_>| field.name == *name;
                let label = if object.get(name).is_some() { None } else { Some(serde_json::to_string(name).ok()?) };
                let fields = object.fields().iter().map(|f| (f.label, if pick(f) { value } else { f.value }));
                Some(object_text(fields.chain(label.as_deref().map(|label| (label, value)))))
            }
            Self::Index(index) => {
                let mut items = items(parent)?;
                *items.get_mut(*index)? = value;
                Some(array_text(items))
            }
        }
    }
}

/// A field of an object.
#[derive(Clone, Debug)]
pub(super) struct Field<'t> {
    pub(super) name: Cow<'t, str>,
    /// The name as a JSON string, with its quotes.
    pub(super) label: &'t str,
    pub(super) value: &'t str,
}

impl<'t> Field<'t> {
    pub(super) fn as_pair(&self) -> (&'t str, &'t str) {
        (self.label, self.value)
    }
}

/// Number of fields from which an object has a look-up table. A linear search is faster for a few.
const MANY: usize = 16;

/// An object: its fields in their order.
#[derive(Debug, Default)]
pub(super) struct Object<'t> {
    fields: Vec<Field<'t>>,
    /// The index of each field, if there are many.
    places: HashMap<Cow<'t, str>, usize>,
}

impl<'t> Object<'t> {
    /// Returns `None` if the text is not an object.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        if Kind::of(text) == Kind::Object { serde_json::from_str(text).ok() } else { None }
    }

    /// Makes an object from fields. Of duplicate names the last wins.
    pub(super) fn of(fields: Vec<Field<'t>>) -> Self {
        let is_looked_up = fields.len() >= MANY;
        let names = fields.iter().take_while(|_| is_looked_up).map(|field| field.name.clone());
        let places = names.enumerate().map(|(place, name)| (name, place)).collect();
        Self { fields, places }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'t str> {
        if self.places.is_empty() {
            return self.fields.iter().rfind(|field| field.name == name).map(|field| field.value);
        }
        self.places.get(name).map(|place| self.fields[*place].value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn fields(&self) -> &[Field<'t>] {
        &self.fields
    }

    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(super) fn names(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.fields.iter().map(|field| &*field.name)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some((label, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let (label, value) = (label.get(), value.get());
            let name = unquoted(label).ok_or_else(|| serde::de::Error::custom("a name that is not a string"))?;
            fields.push(Field { name, label, value });
        }
        Ok(Object::of(fields))
    }
}

/// Returns the content of a JSON string, or `None` if the text is not one.
pub(super) fn unquoted(text: &str) -> Option<Cow<'_, str>> {
    match text.strip_prefix('"')?.strip_suffix('"')? {
        plain if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
        _ => serde_json::from_str(text).ok().map(Cow::Owned),
    }
}

/// Returns the elements of an array, or `None` if the text is not one.
pub(super) fn items(text: &str) -> Option<Vec<&str>> {
    if Kind::of(text) != Kind::Array {
        return None;
    }
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

/// Writes an object of labels and values.
pub(super) fn object_text<L: AsRef<str>, V: AsRef<str>>(fields: impl IntoIterator<Item = (L, V)>) -> String {
    let mut text = String::from("{");
    for (label, value) in fields {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(label.as_ref());
        text.push(':');
        text.push_str(value.as_ref());
    }
    text.push('}');
    text
}

/// Writes an array.
pub(super) fn array_text<V: AsRef<str>>(items: impl IntoIterator<Item = V>) -> String {
    let mut text = String::from("[");
    for item in items {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(item.as_ref());
    }
    text.push(']');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_assembled_from_its_own_bytes() {
        let text = r#"{"a":1.50,"\u0062":[ 1, {"x":1e400} ],"":"\"}"}"#;
        let object = Object::parse(text).expect("an object");
        assert_eq!(object.names().collect::<Vec<_>>(), ["a", "b", ""]);
        assert_eq!((object.get("b"), object.get("c")), (Some(r#"[ 1, {"x":1e400} ]"#), None));
        assert_eq!(object_text(object.fields().iter().map(|field| (field.label, field.value))), text);
        assert_eq!(items(" [1]"), None, "texts are trimmed by the caller");
        assert_eq!(items("[1, [2] ,\"]\"]"), Some(vec!["1", "[2]", "\"]\""]));
    }

    #[test]
    fn paths_find_and_replace_one_value() {
        let text = r#"{"a":[1,{"b":2,"c":3}]}"#;
        let path = Path::default().name(&"a".into()).index(1).name(&"b".into());
        assert_eq!(path.find(text), Some("2"));
        assert_eq!(path.put(text, "[]").as_deref(), Some(r#"{"a":[1,{"b":[],"c":3}]}"#));
        let new = Path::default().name(&"n\"".into());
        assert_eq!((new.find(text), new.put("{}", "1").as_deref()), (None, Some(r#"{"n\"":1}"#)));
        assert_eq!(Path::default().put(text, "1").as_deref(), Some("1"));
        assert_eq!(Path::default().index(2).put("[1]", "2"), None);
    }
}
