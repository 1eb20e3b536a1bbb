//! Collections: lists of rows, which are identified by some of their own fields and have no order.

use std::borrow::Cow;
use std::collections::HashMap;

use super::collection::Collection;
use super::sides::{Merge, Sides};
use super::text::{Kind, Object, Path, array_text, items, unquoted};

/// The rows of one list, by their keys.
#[derive(Default)]
struct Rows<'t> {
    list: Vec<(String, &'t str)>,
    places: HashMap<String, usize>,
}

impl<'t> Rows<'t> {
    fn parse(text: Option<&'t str>, key: &[String]) -> Self {
        let rows = text.and_then(items).unwrap_or_default();
        let list: Vec<_> = rows.into_iter().map(|row| (key_of(row, key), row)).collect();
        let places = list.iter().enumerate().map(|(place, (key, _))| (key.clone(), place)).collect();
        Self { list, places }
    }

    fn get(&self, key: &str) -> Option<&'t str> {
        self.places.get(key).map(|place| self.list[*place].1)
    }

    fn has_one_key_twice(&self) -> bool {
        self.places.len() < self.list.len()
    }
}

/// Returns the key of a row as a JSON text.
fn key_of(row: &str, key: &[String]) -> String {
    let row = Object::parse(row).unwrap_or_default();
    let value = |field: &String| {
        let value = row.get(field).unwrap_or("null");
        unquoted(value).map_or(Cow::Borrowed(value), |text| format!("{text:?}").into())
    };
    key.iter().map(value).collect::<Vec<_>>().join(",")
}

impl<'t> Merge<'t> {
    /// Merges the rows of a collection. Stored rows keep their places, and new ones are appended.
    ///
    /// A change of a row that was removed meanwhile does not restore it.
    pub(super) fn rows(&self, path: &Path<'t>, key: &[String], sides: Sides<'t>) -> Option<Cow<'t, str>> {
        let ours = Rows::parse(sides.ours, key);
        if ours.has_one_key_twice() {
            // The table rejects duplicate keys.
            return sides.ours.map(Cow::Borrowed);
        }
        let (before, theirs) = (Rows::parse(sides.before, key), Rows::parse(sides.theirs, key));
        let stored = Rows::parse(sides.stored, key);
        let row = |key: &str, stored: Option<&'t str>| {
            let place = ours.places.get(key).copied().unwrap_or_default();
            let (before, ours, theirs) = (before.get(key), ours.get(key), theirs.get(key));
            self.value(&path.index(place), Sides { before, ours, theirs, stored })
        };
        let kept = stored.list.iter().filter_map(|(key, stored)| row(key, Some(stored)));
        let new = ours.list.iter().filter(|(key, _)| !stored.places.contains_key(key));
        let new = new.filter_map(|(key, _)| row(key, None));
        Some(Cow::Owned(array_text(kept.chain(new))))
    }
}

/// Returns `true` if two requests have changed the same field, or the same row, of `before`.
///
/// The texts have one origin: unchanged values have the same bytes.
pub(crate) fn overlap(
    before: Option<&str>,
    ours: Option<&str>,
    theirs: Option<&str>,
    collections: &[Collection],
) -> bool {
    let [before, ours, theirs] = [before, ours, theirs].map(|text| text.unwrap_or("{}"));
    let parsed = [before, ours, theirs].map(Object::parse);
    let [Some(before), Some(ours), Some(theirs)] = parsed else { return meet([before, ours, theirs].map(Some)) };
    let mut names = before.names().chain(ours.names()).chain(theirs.names());
    names.any(|name| {
        let sides = [&before, &ours, &theirs].map(|object| object.get(name));
        match collections.iter().find(|collection| collection.field == name) {
            Some(collection) => meet_in_rows(sides, &collection.key),
            None => meet(sides),
        }
    })
}

/// Returns `true` if both sides differ from before, and for objects, in the same field.
fn meet(sides: [Option<&str>; 3]) -> bool {
    let [before, ours, theirs] = sides;
    if before == ours || before == theirs {
        return false;
    }
    let [Some(before), Some(ours), Some(theirs)] = sides.map(|text| Object::parse(text?)) else { return true };
    let mut names = before.names().chain(ours.names()).chain(theirs.names());
    names.any(|name| meet([&before, &ours, &theirs].map(|object| object.get(name))))
}

/// Returns whether both sides changed the same row.
fn meet_in_rows(sides: [Option<&str>; 3], key: &[String]) -> bool {
    if sides.iter().flatten().any(|text| Kind::of(text) != Kind::Array) {
        return meet(sides);
    }
    let [before, ours, theirs] = sides.map(|text| Rows::parse(text, key));
    let differs = |rows: &Rows<'_>, key: &str| rows.get(key) != before.get(key);
    let mut keys = before.places.keys().chain(ours.places.keys());
    keys.any(|key| differs(&ours, key) && differs(&theirs, key))
}
