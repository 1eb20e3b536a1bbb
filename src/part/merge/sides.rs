//! The values at one place of a part on all sides of a merge, and the rules for merging them.

use std::borrow::Cow;

use super::collection::Collection;
use super::extras::Extras;
use super::questions::Questions;
use super::shape::Shape;
use super::text::{Kind, Object, Path, items};

/// The texts of one value; `None` where it does not exist.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sides<'t> {
    /// The value before this request changed it.
    pub(super) before: Option<&'t str>,
    /// The value that this request wants.
    pub(super) ours: Option<&'t str>,
    /// The stored value, as the type encodes it.
    pub(super) theirs: Option<&'t str>,
    /// The stored value, byte for byte.
    pub(super) stored: Option<&'t str>,
}

/// A merge of one part.
pub(super) struct Merge<'t> {
    pub(super) questions: Questions<'t>,
    /// The whole part on the two sides, for the queries to the type.
    pub(super) ours: &'t str,
    pub(super) theirs: &'t str,
    pub(super) collections: &'t [Collection],
    pub(super) extras: Extras<'t>,
}

impl<'t> Merge<'t> {
    /// Returns the merged value, or `None` if it is removed.
    ///
    /// A removal is never undone by a change inside the removed value, whichever came first. If both sides changed the
    /// same leaf, ours wins.
    pub(super) fn value(&self, path: &Path<'t>, sides: Sides<'t>) -> Option<Cow<'t, str>> {
        if self.is_same(self.ours, path, sides.before, sides.ours) {
            return sides.stored.map(Cow::Borrowed);
        }
        let sides = self.with_empty(path, sides);
        let Sides { before, ours, theirs, stored } = sides;
        let (before, ours, theirs) = (before.map(Kind::of), ours.map(Kind::of), theirs.map(Kind::of));
        match (before, ours, theirs) {
            (_, Some(Kind::Object), Some(Kind::Object)) => self.object(path, sides),
            (_, Some(Kind::Array), Some(Kind::Array)) => self.array(path, sides),
            // The change is inside a value that they have removed or replaced by another kind.
            (Some(_), Some(_), None) => stored.map(Cow::Borrowed),
            (Some(Kind::Object), Some(Kind::Object), _) if !self.is_other_variant(path, sides) => {
                stored.map(Cow::Borrowed)
            }
            (Some(Kind::Array), Some(Kind::Array), Some(_)) => stored.map(Cow::Borrowed),
            _ => sides.ours.map(Cow::Borrowed),
        }
    }

    /// Treats a missing container on one side as an empty one, if the type leaves it out when it is empty: then only
    /// its contents were removed.
    fn with_empty(&self, path: &Path<'t>, sides: Sides<'t>) -> Sides<'t> {
        let Sides { before, ours, theirs, stored } = sides;
        let container = |there: Option<&str>| {
            let kind = Kind::of(before?);
            (kind != Kind::Leaf && Some(kind) == there.map(Kind::of)).then_some(kind)
        };
        if ours.is_none()
            && before != theirs
            && let Some(kind) = container(theirs)
            && self.questions.leaves_out_empty(self.theirs, path, kind)
        {
            return Sides { ours: kind.empty(), ..sides };
        }
        if theirs.is_none()
            && let Some(kind) = container(ours)
            && self.questions.leaves_out_empty(self.ours, path, kind)
        {
            return Sides { theirs: kind.empty(), stored: stored.or(kind.empty()), ..sides };
        }
        sides
    }

    /// Returns `true` if our change of an object made it another variant of an enum.
    pub(super) fn is_other_variant(&self, path: &Path<'_>, sides: Sides<'_>) -> bool {
        let both = sides.before.zip(sides.ours);
        both.is_some_and(|(before, ours)| self.questions.excludes(self.ours, path, before, ours))
    }

    /// Returns whether two values at a path of `whole`, the latter of which is there, are the same to the type.
    pub(super) fn is_same(&self, whole: &str, path: &Path<'_>, one: Option<&str>, other: Option<&str>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => {
                one == other || (Shape::of(one) == Shape::of(other) && self.is_same_order(whole, path, one, other))
            }
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    /// Returns whether two values that differ only in order are the same to the type.
    fn is_same_order(&self, whole: &str, path: &Path<'_>, one: &str, other: &str) -> bool {
        if let Some((one, other)) = Object::parse(one).zip(Object::parse(other)) {
            let is_same = |name: &Cow<'_, str>| {
                let (one, other) = (one.get(name), other.get(name));
                self.is_same(whole, &path.name(name), one, other)
            };
            return other.fields().iter().all(|field| is_same(&field.name))
                && (one.names().eq(other.names()) || !self.questions.keeps_field_order(whole, path, &other));
        }
        let Some((one, other)) = items(one).zip(items(other)) else { return false };
        if self.collection(path).is_some() {
            return true;
        }
        let in_order = one.iter().zip(&other).enumerate();
        let is_same = |(index, (one, other)): (usize, (&&str, &&str))| {
            self.is_same(whole, &path.index(index), Some(one), Some(other))
        };
        let is_in_step = one.iter().zip(&other).all(|(one, other)| Shape::of(*one) == Shape::of(*other));
        (is_in_step && in_order.clone().all(is_same)) || !self.questions.order(whole, path, &other).is_kept()
    }

    /// Returns the collection that the array at a path is, if it is one.
    pub(super) fn collection(&self, path: &Path<'_>) -> Option<&'t Collection> {
        let field = path.top_field()?;
        self.collections.iter().find(|collection| collection.field == field)
    }
}
