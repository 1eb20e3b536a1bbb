//! Queries to the type of a part about the meaning of its text.
//!
//! A JSON array is a list, a set or a tuple; an object is a struct, a map or a variant of an enum. The text alone does
//! not show which. So the type is queried: it decodes a text made for the question and encodes it again, and the
//! outcome is the answer.

use std::cell::Cell;
use std::collections::HashSet;

use super::shape::{Shape, counts};
use super::text::{Field, Kind, Object, Path, array_text, items, object_text};

/// The type of a part, as a function of texts.
pub(crate) trait Codec {
    /// Decodes a text and encodes the value again. Returns `None` if either fails.
    fn again(&self, text: &str) -> Option<String>;
}

/// The most questions that one merge asks. Each decodes and encodes the whole part.
const MOST: u32 = 256;

/// How often to repeat a question whose answer is random: a `HashSet` of two keeps an order every other time.
const REPEATS: u32 = 16;

/// A string that is not the name of any variant.
const ODD: &str = r#""\u0001""#;

/// The meaning of the order and the number of equal elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Both are kept, or the array is a tuple.
    List,
    /// Without duplicates; the order is kept.
    OrderedSet,
    /// Without duplicates.
    Set,
    /// The order is not kept, and duplicates are possible.
    Bag,
}

impl Order {
    pub(super) fn is_kept(self) -> bool {
        matches!(self, Self::List | Self::OrderedSet)
    }
}

pub(super) struct Questions<'c> {
    codec: &'c dyn Codec,
    left: Cell<u32>,
}

impl<'c> Questions<'c> {
    pub(super) fn new(codec: &'c dyn Codec) -> Self {
        Self { codec, left: Cell::new(MOST) }
    }

    /// Returns `text` decoded and encoded again.
    pub(super) fn again(&self, text: &str) -> Option<String> {
        self.left.set(self.left.get().checked_sub(1)?);
        self.codec.again(text)
    }

    /// Returns `whole` with `value` at a path, decoded and encoded again.
    fn with(&self, whole: &str, path: &Path<'_>, value: &str) -> Option<String> {
        self.again(&path.put(whole, value)?)
    }

    /// Returns `elements` at a path, decoded and encoded again.
    pub(super) fn elements(&self, whole: &str, path: &Path<'_>, elements: &[&str]) -> Option<Vec<String>> {
        let answer = self.with(whole, path, &array_text(elements))?;
        Some(items(path.find(&answer)?)?.into_iter().map(str::to_owned).collect())
    }

    /// Returns the meaning of order in the array at a path of `whole`, given some elements that it can have.
    ///
    /// The probe has each element twice, first backwards and then forwards: a list keeps all of them in order, a set
    /// drops the second half.
    pub(super) fn order(&self, whole: &str, path: &Path<'_>, elements: &[&str]) -> Order {
        let mut once = distinct_backwards(elements);
        if once.len() < 2 {
            return Order::List;
        }
        for round in 0..REPEATS {
            let twice: Vec<_> = once.iter().chain(&once).copied().collect();
            let (single, double) = (Shape::all(&once), Shape::all(&twice));
            // A tuple does not decode with more elements than it has.
            let Some(kept) = self.elements(whole, path, &twice) else { return Order::List };
            let kept: Vec<_> = kept.into_iter().map(Shape::of).collect();
            match () {
                () if kept == single => {}
                () if kept == double && round == 0 => {}
                () if kept != double && is_permutation(&kept, &single) => return Order::Set,
                () if kept != double && is_permutation(&kept, &double) => return Order::Bag,
                () => return Order::List,
            }
            once.reverse();
        }
        Order::OrderedSet
    }

    /// Returns whether the object at a path of `whole` keeps the order of its fields, as an `IndexMap` does.
    pub(super) fn keeps_field_order(&self, whole: &str, path: &Path<'_>, object: &Object<'_>) -> bool {
        let backwards = object_text(object.fields().iter().rev().map(Field::as_pair));
        let keeps = || {
            let answer = self.with(whole, path, &backwards)?;
            Some(Object::parse(path.find(&answer)?)?.names().eq(object.names().rev()))
        };
        object.len() > 1 && (0..REPEATS).all(|_| keeps() == Some(true))
    }

    /// Returns whether the array at a path of `whole` cannot have fewer elements.
    pub(super) fn is_tuple(&self, whole: &str, path: &Path<'_>, elements: &[&str]) -> bool {
        elements.split_last().is_some_and(|(_, fewer)| self.elements(whole, path, fewer).is_none())
    }

    /// Returns whether the type leaves the container at a path of `whole` out when it is empty.
    pub(super) fn leaves_out_empty(&self, whole: &str, path: &Path<'_>, kind: Kind) -> bool {
        let answer = kind.empty().and_then(|empty| self.with(whole, path, empty));
        answer.is_some_and(|answer| path.find(&answer).is_none())
    }

    /// Returns whether two objects at a path of `whole` have fields that cannot stand together: they are variants of an
    /// enum.
    pub(super) fn excludes(&self, whole: &str, path: &Path<'_>, one: &str, other: &str) -> bool {
        let Some((one, other)) = Object::parse(one).zip(Object::parse(other)) else { return false };
        self.is_torn(whole, path, &one, &other) || self.is_torn(whole, path, &other, &one)
    }

    /// Returns whether the type drops or refuses a field of `one` under the tags of `other`, with what only `other`
    /// has.
    ///
    /// It may refuse them because the values of a struct do not fit together. With an enum, it also refuses an odd name
    /// for the variant: in the place of a string that may be its tag, or beside the fields of one that takes no others.
    fn is_torn(&self, whole: &str, path: &Path<'_>, one: &Object<'_>, other: &Object<'_>) -> bool {
        let tags: Vec<_> = one.fields().iter().filter_map(|field| tag_of(other, field)).collect();
        let more = other.fields().iter().filter(|field| !one.has(&field.name));
        let has_more = more.clone().next().is_some();
        if tags.is_empty() && !has_more {
            return false;
        }
        let fields = one.fields().iter().map(|f| (f.label, tag_of(other, f).map_or(f.value, |(_, value)| value)));
        let mixture = object_text(fields.chain(more.map(Field::as_pair)));
        if let Some(answer) = self.with(whole, path, &mixture) {
            return path.find(&answer).is_none_or(|kept| !has_fields_of(kept, &mixture));
        }
        let own = || one.fields().iter().map(Field::as_pair);
        let refuses = |odd: String| self.with(whole, path, &odd).is_none();
        let odd_tag = |tag: &str| object_text(own().map(|(l, value)| (l, if l == tag { ODD } else { value })));
        let odd_field = || object_text(own().chain(own().take(1).map(|(_, value)| (ODD, value))));
        (has_more && refuses(odd_field())) || tags.iter().any(|(tag, _)| refuses(odd_tag(tag)))
    }
}

/// Returns the label and the value that a field has in `other`, if both values are strings and differ.
fn tag_of<'o>(other: &Object<'o>, field: &Field<'o>) -> Option<(&'o str, &'o str)> {
    let tag = other.get(&field.name)?;
    (tag != field.value && [tag, field.value].iter().all(|text| text.starts_with('"'))).then_some((field.label, tag))
}

/// Returns whether `kept` has all fields of `asked`, and so on down the objects.
fn has_fields_of(kept: &str, asked: &str) -> bool {
    let Some(asked) = Object::parse(asked) else { return true };
    let Some(kept) = Object::parse(kept) else { return false };
    asked.fields().iter().all(|field| kept.get(&field.name).is_some_and(|kept| has_fields_of(kept, field.value)))
}

/// Returns the elements from the last to the first, each shape once.
fn distinct_backwards<'t>(elements: &[&'t str]) -> Vec<&'t str> {
    let mut seen = HashSet::new();
    elements.iter().rev().copied().filter(|element| seen.insert(Shape::of(*element))).collect()
}

fn is_permutation(one: &[Shape<'_>], other: &[Shape<'_>]) -> bool {
    counts(one) == counts(other)
}
