//! Texts that differ only in the order of fields and elements.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use super::text::{Object, array_text, items, object_text};

/// A text that is equal to those that differ from it at most in the order of fields and elements.
#[derive(Clone, Debug)]
pub(super) struct Shape<'t> {
    pub(super) text: Cow<'t, str>,
    sum: u64,
}

impl<'t> Shape<'t> {
    pub(super) fn of(text: impl Into<Cow<'t, str>>) -> Self {
        let text = text.into();
        let sum = sum(&text);
        Self { text, sum }
    }

    pub(super) fn all(texts: &[&'t str]) -> Vec<Self> {
        texts.iter().map(|text| Self::of(*text)).collect()
    }
}

impl PartialEq for Shape<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text || (self.sum == other.sum && canonical(&self.text) == canonical(&other.text))
    }
}

impl Eq for Shape<'_> {}

impl Hash for Shape<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.sum);
    }
}

/// Returns how many there are of each shape.
pub(super) fn counts<'s, 't: 's>(shapes: impl IntoIterator<Item = &'s Shape<'t>>) -> HashMap<&'s Shape<'t>, usize> {
    let mut counts = HashMap::new();
    for shape in shapes {
        *counts.entry(shape).or_default() += 1;
    }
    counts
}

/// Returns a checksum that does not depend on the order of the bytes. It distinguishes most different texts.
fn sum(text: &str) -> u64 {
    let cubes = text.bytes().map(|byte| u64::from(byte).pow(3));
    cubes.fold(text.len() as u64, u64::wrapping_add)
}

/// Returns the text with its fields and elements sorted.
fn canonical(text: &str) -> Cow<'_, str> {
    if let Some(object) = Object::parse(text) {
        let mut fields: Vec<_> = object.fields().iter().map(|f| (f.label, canonical(f.value))).collect();
        fields.sort_unstable();
        return Cow::Owned(object_text(fields));
    }
    let Some(items) = items(text) else { return Cow::Borrowed(text) };
    let mut items: Vec<_> = items.into_iter().map(canonical).collect();
    items.sort_unstable();
    Cow::Owned(array_text(items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_ignore_order_and_nothing_else() {
        let is_same = |one: &str, other: &str| Shape::of(one) == Shape::of(other);
        assert!(is_same(r#"{"a":[1,[3,2]],"b":2}"#, r#"{"b":2,"a":[[2,3],1]}"#));
        for other in [r#"{"a":[1,1]}"#, r#"{"a":[1,"2"]}"#, r#"{"a":[1]}"#, "[1,2]", r#"{"a":[1,2.0]}"#] {
            assert!(!is_same(r#"{"a":[1,2]}"#, other), "{other}");
        }
        assert!(!is_same("[12,3]", "[21,3]") && !is_same(r#""ab""#, r#""ba""#), "the same bytes");
    }
}
