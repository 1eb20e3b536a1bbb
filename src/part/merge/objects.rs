//! Objects, merged field by field.

use std::borrow::Cow;
use std::collections::HashMap;

use super::sides::{Merge, Sides};
use super::text::{Object, Path, object_text};

/// A field of the outcome: its label and its value.
type Pair<'t> = (&'t str, Cow<'t, str>);

impl<'t> Merge<'t> {
    /// Merges an object that both sides have. Stored fields keep their places, and new ones are appended.
    pub(super) fn object(&self, path: &Path<'t>, sides: Sides<'t>) -> Option<Cow<'t, str>> {
        if !self.is_same(self.theirs, path, sides.before, sides.theirs)
            && let Some(winner) = self.one_variant(path, sides)
        {
            return Some(winner);
        }
        let (ours, theirs) = (Object::parse(sides.ours?)?, Object::parse(sides.theirs?)?);
        let before = sides.before.and_then(Object::parse).unwrap_or_default();
        // A field that is stored in another form, or under an alias, is written as the type encodes it.
        let stored = sides.stored.and_then(Object::parse).or_else(|| Object::parse(sides.theirs?))?;
        let stored = self.extras.choose(path, stored, &theirs, &ours);
        let field = |name: &Cow<'t, str>| {
            let (before, ours, theirs) = (before.get(name), ours.get(name), theirs.get(name));
            self.value(&path.name(name), Sides { before, ours, theirs, stored: stored.get(name) })
        };
        let kept = stored.fields().iter().filter_map(|f| Some((f.label, field(&f.name)?)));
        let new = ours.fields().iter().filter(|f| !stored.has(&f.name));
        let new = new.filter_map(|f| Some((f.label, field(&f.name)?)));
        let mut fields: Vec<Pair<'t>> = kept.chain(new).collect();
        if !stands_in_order(&before, &ours) && self.questions.keeps_field_order(self.ours, path, &ours) {
            put_in_order(&mut fields, &ours);
        }
        Some(Cow::Owned(object_text(fields)))
    }

    /// Returns the side that wins if the two have made different variants of an enum: ours, or theirs if we only
    /// changed something inside the variant that they replaced.
    fn one_variant(&self, path: &Path<'_>, sides: Sides<'t>) -> Option<Cow<'t, str>> {
        let (ours, theirs) = (sides.ours?, sides.theirs?);
        if !self.questions.excludes(self.ours, path, ours, theirs) {
            return None;
        }
        let was_object = sides.before.and_then(Object::parse).is_some();
        let counts =
            if was_object && !self.is_other_variant(path, sides) { sides.stored.or(Some(theirs))? } else { ours };
        Some(Cow::Borrowed(counts))
    }
}

/// Returns `true` if our fields are the kept ones in their old order, followed by new ones.
fn stands_in_order(before: &Object<'_>, ours: &Object<'_>) -> bool {
    let kept = before.names().filter(|name| ours.has(name));
    kept.chain(ours.names().filter(|name| !before.has(name))).eq(ours.names())
}

/// Reorders our fields in our order, within the places that they have among the others.
fn put_in_order(fields: &mut [Pair<'_>], ours: &Object<'_>) {
    let ranks: HashMap<_, _> = ours.fields().iter().enumerate().map(|(rank, field)| (field.label, rank)).collect();
    let rank = |label: &str| ranks.get(label);
    let places: Vec<_> = (0..fields.len()).filter(|place| rank(fields[*place].0).is_some()).collect();
    let mut sorted: Vec<_> = places.iter().map(|place| fields[*place].clone()).collect();
    sorted.sort_by_key(|(label, _)| rank(label));
    for (place, field) in places.into_iter().zip(sorted) {
        fields[place] = field;
    }
}
