//! Arrays: lists, whose changes exclude each other, and sets, whose elements are added and removed individually.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;

use super::questions::Order;
use super::shape::{Shape, counts};
use super::sides::{Merge, Sides};
use super::text::{Path, array_text, items};

/// The elements of an array on each side.
struct Lists<'t> {
    before: Vec<&'t str>,
    ours: Vec<&'t str>,
    theirs: Vec<&'t str>,
    stored: Vec<&'t str>,
}

impl<'t> Lists<'t> {
    fn of(sides: Sides<'t>) -> Option<Self> {
        let (ours, theirs) = (items(sides.ours?)?, items(sides.theirs?)?);
        let before = sides.before.and_then(items).unwrap_or_default();
        let stored = sides.stored.and_then(items).unwrap_or_else(|| theirs.clone());
        Some(Self { before, ours, theirs, stored })
    }

    /// Returns elements that our side can have: enough, if possible, to find the meaning of their order.
    fn samples(&self) -> Vec<&'t str> {
        let are_enough = |list: &&Vec<&str>| {
            let shapes = Shape::all(list);
            shapes.iter().any(|shape| *shape != shapes[0])
        };
        let lists = [&self.ours, &self.theirs, &self.before];
        let of_one = lists.into_iter().find(are_enough).cloned();
        of_one.unwrap_or_else(|| lists.into_iter().flatten().copied().collect())
    }

    /// Returns one element on each side, given its places in the lists.
    fn element(&self, place: usize, ours: usize) -> Sides<'t> {
        let at = |list: &[&'t str]| list.get(place).copied();
        let (before, theirs, stored) = (at(&self.before), at(&self.theirs), at(&self.stored));
        Sides { before, ours: self.ours.get(ours).copied(), theirs, stored }
    }
}

impl<'t> Merge<'t> {
    /// Merges an array that both sides have.
    pub(super) fn array(&self, path: &Path<'t>, sides: Sides<'t>) -> Option<Cow<'t, str>> {
        if let Some(collection) = self.collection(path) {
            return self.rows(path, &collection.key, sides);
        }
        let mut lists = Lists::of(sides)?;
        let theirs = Shape::all(&lists.theirs);
        let is_ours_alone = sides.before.is_some() && Shape::all(&lists.before) == theirs;
        let stored = Shape::all(&lists.stored);
        let is_in_step = stored == theirs;
        if is_ours_alone && !is_in_step && counts(&stored) == counts(&theirs) {
            // The type decodes the stored text in another order.
            return Some(self.set(path, &lists, Order::Bag));
        }
        if !(is_ours_alone && is_in_step) {
            let order = self.questions.order(self.ours, path, &lists.samples());
            if order != Order::List {
                return Some(self.set(path, &lists, order));
            }
            if lists.stored.len() != lists.theirs.len() {
                lists.stored.clone_from(&lists.theirs);
            }
        }
        match () {
            () if is_ours_alone => Some(self.list(path, &lists)),
            () if self.is_tuple(path, &lists) => Some(self.tuple(path, &lists)),
            () => sides.ours.map(Cow::Borrowed),
        }
    }

    /// Applies our changes to a list that only we have changed: its elements keep the other fields stored in them.
    fn list(&self, path: &Path<'t>, lists: &Lists<'t>) -> Cow<'t, str> {
        let merged = align(&Shape::all(&lists.before), &Shape::all(&lists.ours));
        let merged = merged.into_iter().enumerate().filter_map(|(ours, place)| match place {
            Some(place) => self.value(&path.index(ours), lists.element(place, ours)),
            None => lists.ours.get(ours).copied().map(Cow::Borrowed),
        });
        Cow::Owned(array_text(merged))
    }

    fn is_tuple(&self, path: &Path<'t>, lists: &Lists<'t>) -> bool {
        let count = lists.ours.len();
        [&lists.before, &lists.theirs, &lists.stored].iter().all(|list| list.len() == count)
            && self.questions.is_tuple(self.ours, path, &lists.ours)
    }

    fn tuple(&self, path: &Path<'t>, lists: &Lists<'t>) -> Cow<'t, str> {
        let merged = (0..lists.ours.len()).filter_map(|i| self.value(&path.index(i), lists.element(i, i)));
        Cow::Owned(array_text(merged))
    }

    /// Applies our removals and additions.
    fn set(&self, path: &Path<'t>, lists: &Lists<'t>, order: Order) -> Cow<'t, str> {
        let (before, ours) = (Shape::all(&lists.before), Shape::all(&lists.ours));
        let theirs: HashSet<_> = Shape::all(&lists.theirs).into_iter().collect();
        let stored = lists.stored.iter().map(|element| match Shape::of(*element) {
            shape if theirs.contains(&shape) => shape,
            _ => self.shape_to_type(path, element),
        });
        let stored: Vec<_> = stored.collect();
        let (removed, added) = (less(&before, &ours), less(&ours, &before));
        let left = stays(&stored, &removed);
        let kept = lists.stored.iter().zip(&left).filter(|(_, stays)| **stays).map(|(element, _)| *element);
        let there: HashSet<_> = stored.iter().zip(&left).filter(|(_, stays)| **stays).map(|(shape, _)| shape).collect();
        let added = added.into_iter().filter(|new| order == Order::Bag || !there.contains(new));
        Cow::Owned(array_text(kept.chain(added.map(|shape| &*shape.text))))
    }

    /// Returns the shape of a stored element as the type encodes it.
    fn shape_to_type(&self, path: &Path<'_>, element: &'t str) -> Shape<'t> {
        let answer = self.questions.elements(self.theirs, path, &[element]);
        answer.and_then(|elements| elements.into_iter().next()).map_or_else(|| Shape::of(element), Shape::of)
    }
}

/// Returns the elements of `list` minus those of `other`, counting duplicates.
fn less<'s, 't>(list: &'s [Shape<'t>], other: &'s [Shape<'t>]) -> Vec<&'s Shape<'t>> {
    let other: Vec<_> = other.iter().collect();
    list.iter().zip(stays(list, &other)).filter(|(_, stays)| *stays).map(|(shape, _)| shape).collect()
}

/// Returns for each element of `list` whether it stays when each of `removed` removes one.
fn stays(list: &[Shape<'_>], removed: &[&Shape<'_>]) -> Vec<bool> {
    let mut removed = counts(removed.iter().copied());
    let is_left = |shape| match removed.get_mut(shape) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    list.iter().map(is_left).collect()
}

/// Returns for each element of `after` the place of the same element in `before`, if there is one.
///
/// Equal elements are the same, starting with the common prefix and suffix of the lists. If no element was added or
/// removed, the remaining elements were changed in place. Other fields stored in an element must not move to another
/// one.
fn align<S: Eq + Hash>(before: &[S], after: &[S]) -> Vec<Option<usize>> {
    let most = before.len().min(after.len());
    let head = before.iter().zip(after).take_while(|(one, other)| one == other).count();
    let tails = before.iter().rev().zip(after.iter().rev()).take(most - head);
    let tail = tails.take_while(|(one, other)| one == other).count();
    let mut unused: HashMap<&S, VecDeque<usize>> = HashMap::new();
    for (place, element) in before.iter().enumerate().take(before.len() - tail).skip(head) {
        unused.entry(element).or_default().push_back(place);
    }
    let equal = |at: usize| match at {
        _ if at < head => Some(at),
        _ if at >= after.len() - tail => Some(at + before.len() - after.len()),
        _ => unused.get_mut(&after[at])?.pop_front(),
    };
    let mut places: Vec<_> = (0..after.len()).map(equal).collect();
    if before.len() == after.len() {
        let used: HashSet<_> = places.iter().flatten().copied().collect();
        let left = places.iter_mut().enumerate().filter(|(at, place)| place.is_none() && !used.contains(at));
        left.for_each(|(at, place)| *place = Some(at));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn elements_are_identified_by_their_place_or_value() {
        let align = |before: &str, after: &str| {
            let [before, after] = [before, after].map(|list| list.chars().collect::<Vec<_>>());
            align(&before, &after)
        };
        assert_eq!(align("abc", "abc"), [Some(0), Some(1), Some(2)]);
        assert_eq!(align("abc", "aXc"), [Some(0), Some(1), Some(2)]);
        assert_eq!(align("abc", "ac"), [Some(0), Some(2)]);
        assert_eq!(align("abc", "abXc"), [Some(0), Some(1), None, Some(2)]);
        assert_eq!(align("abcd", "aXcYd"), [Some(0), None, Some(2), None, Some(3)]);
        assert_eq!(align("aa", "aaa"), [Some(0), Some(1), None]);
        assert_eq!(align("abc", "cba"), [Some(2), Some(1), Some(0)]);
        assert_eq!(align("abc", "Xab"), [None, Some(0), Some(1)]);
        assert_eq!(align("abcd", "bXaY"), [Some(1), None, Some(0), Some(3)]);
        assert_eq!(align("", "ab"), [None, None]);
        assert_eq!(align("ab", ""), []);
    }
}
