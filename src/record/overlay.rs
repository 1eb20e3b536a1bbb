//! Values that a request has set or removed, on top of those of the loaded record.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use super::changes::Key;
use super::values::{Frame, Values, frame_size, put_frame};
use super::{Record, steps};

/// Changed values up to which a linear search counts as short.
const FEW_VALUES: usize = 16;

/// Bytes of the base's frames up to which a linear search counts as short.
const FEW_BYTES: usize = 1024;

/// Long searches before the index is built. Earlier it would cost more than it saves.
const FEW_SEARCHES: u32 = 16;

/// Values that a request has set or removed. The loaded record is their base.
///
/// The methods take the base as an argument and must get the same one every time.
#[derive(Clone, Default)]
pub(super) struct Overlay {
    /// Whether the base's values are hidden.
    hides_base: bool,
    /// In the order in which they were first set. Most requests change one value.
    list: SmallVec<[Overlaid; 1]>,
    /// Bytes that the frames of all values take beyond those of the visible base.
    growth: isize,
    index: Index,
}

/// A value that was set or removed.
#[derive(Clone)]
struct Overlaid {
    key: Key,
    /// Its JSON text; `None` if it was removed.
    value: Option<Arc<[u8]>>,
    /// The frame of the base that it replaces.
    replaces: Option<Range<usize>>,
    /// Size of its frame in bytes; 0 if it was removed.
    size: usize,
}

/// Where a key was found. Valid until the next change.
#[derive(Clone)]
pub(super) enum Found {
    /// In the list, at this place.
    Overlaid(usize),
    /// In the base, unless hidden.
    Base(Frame),
    Nowhere,
}

/// Hash table of all keys, built after a number of long searches: many keys then take linear time in total, and few
/// keys need no table. Clients may choose keys, so the hash is keyed against flooding.
#[derive(Default)]
struct Index {
    long_searches: AtomicU32,
    #[expect(clippy::box_collection, reason = "every request has a draft, and few need an index")]
    spots: OnceLock<Box<HashMap<Key, Spot>>>,
}

#[derive(Clone, Copy)]
enum Spot {
    /// In the list, at this place.
    Overlaid(usize),
    /// In the frame of the base that begins here.
    Base(usize),
}

impl Overlay {
    pub(super) fn is_changed(&self) -> bool {
        self.hides_base || !self.list.is_empty()
    }

    #[cfg(test)]
    pub(super) fn has_index(&self) -> bool {
        self.index.spots.get().is_some()
    }

    /// Returns the base, unless its values are hidden.
    pub(super) fn visible<'b>(&self, base: Option<&'b Arc<Record>>) -> Option<&'b Arc<Record>> {
        base.filter(|_| !self.hides_base)
    }

    /// Returns the bytes that the frames of all values take.
    pub(super) fn size(&self, base: Option<&Arc<Record>>) -> usize {
        self.frames(base).len().wrapping_add_signed(self.growth)
    }

    /// Finds a key, including one whose value the request has removed.
    #[inline]
    pub(super) fn find(&self, base: Option<&Arc<Record>>, key: &str) -> Found {
        match self.index.spots.get() {
            None => self.search(base, key),
            Some(spots) => self.look_up(base, spots, key),
        }
    }

    #[inline(never)]
    fn look_up(&self, base: Option<&Arc<Record>>, spots: &HashMap<Key, Spot>, key: &str) -> Found {
        steps::count();
        match spots.get(key) {
            Some(Spot::Overlaid(place)) => Found::Overlaid(*place),
            Some(Spot::Base(start)) => self.values(base).and_then(|values| values.frame_at(*start)).into(),
            None => Found::Nowhere,
        }
    }

    fn search(&self, base: Option<&Arc<Record>>, key: &str) -> Found {
        let (found, bytes) = match self.position(key) {
            Some(place) => (Found::Overlaid(place), 0),
            None => match self.values(base).and_then(|values| values.find(key)) {
                Some(frame) => (Found::Base(frame.clone()), frame.whole.start),
                None => (Found::Nowhere, self.frames(base).len()),
            },
        };
        if self.list.len() > FEW_VALUES || bytes > FEW_BYTES {
            self.note_long_search(base);
        }
        found
    }

    /// Searches the list alone.
    fn position(&self, key: &str) -> Option<usize> {
        self.list.iter().position(|overlaid| {
            steps::count();
            overlaid.is_of(key)
        })
    }

    #[cold]
    fn note_long_search(&self, base: Option<&Arc<Record>>) {
        if self.index.long_searches.fetch_add(1, Ordering::Relaxed) >= FEW_SEARCHES {
            self.index.spots.get_or_init(|| Box::new(self.spots(base)));
        }
    }

    fn spots(&self, base: Option<&Arc<Record>>) -> HashMap<Key, Spot> {
        let mut spots = HashMap::new();
        for (start, key, _) in self.values(base).into_iter().flat_map(Values::located) {
            steps::count();
            // Of duplicate keys the first wins.
            spots.entry(Key::new(key)).or_insert(Spot::Base(start));
        }
        for (place, overlaid) in self.list.iter().enumerate() {
            steps::count();
            spots.insert(overlaid.key.clone(), Spot::Overlaid(place));
        }
        spots
    }

    /// Returns whether the request has set or removed the value of a key.
    pub(super) fn has(&self, key: &str) -> bool {
        match self.index.spots.get() {
            Some(spots) => matches!(spots.get(key), Some(Spot::Overlaid(_))),
            None => self.position(key).is_some(),
        }
    }

    /// Returns the JSON text of a value in the list, unless it was removed.
    pub(super) fn text(&self, place: usize) -> Option<&Arc<[u8]>> {
        self.list[place].value.as_ref()
    }

    /// Sets or removes a value where its key was found. Setting an equal value is not a change.
    ///
    /// If the values would grow, `check` gets their size before and after, and its error prevents the change.
    #[inline(always)]
    pub(super) fn put<E>(
        &mut self,
        base: Option<&Arc<Record>>,
        key: &Key,
        value: Option<Arc<[u8]>>,
        found: Found,
        check: impl FnOnce(usize, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let size = value.as_ref().map_or(0, |value| frame_size(key, value));
        let growth = size.wrapping_sub(self.size_at(&found)).cast_signed();
        if growth > 0 {
            let before = self.size(base);
            check(before, before.wrapping_add_signed(growth))?;
        }
        let replaces = match found {
            Found::Overlaid(place) => {
                self.growth += growth;
                let overlaid = &mut self.list[place];
                (overlaid.value, overlaid.size) = (value, size);
                return Ok(());
            }
            Found::Base(frame) if self.frames(base).get(frame.value.clone()) == value.as_deref() => return Ok(()),
            Found::Base(frame) => Some(frame.whole),
            Found::Nowhere if value.is_none() => return Ok(()),
            Found::Nowhere => None,
        };
        if let Some(spots) = self.index.spots.get_mut() {
            spots.insert(key.clone(), Spot::Overlaid(self.list.len()));
        }
        self.growth += growth;
        self.list.push(Overlaid { key: key.clone(), value, replaces, size });
        Ok(())
    }

    /// Returns the bytes of the frame that was found.
    fn size_at(&self, found: &Found) -> usize {
        match found {
            Found::Overlaid(place) => self.list[*place].size,
            Found::Base(frame) => frame.whole.len(),
            Found::Nowhere => 0,
        }
    }

    /// Forgets all changes.
    #[inline]
    pub(super) fn reset(&mut self) {
        let Self { hides_base, list, growth, index } = self;
        (*hides_base, *growth) = (false, 0);
        list.clear();
        index.spots.take();
        *index.long_searches.get_mut() = 0;
    }

    /// Removes all values, those of the base too.
    pub(super) fn clear(&mut self, base: Option<&Arc<Record>>) {
        let hides_base = base.is_some_and(|record| !record.values.is_empty());
        *self = Self { hides_base, ..Self::default() };
    }

    /// Returns whether the request has set a value that is still there.
    pub(super) fn sets_value(&self) -> bool {
        self.list.iter().any(|overlaid| overlaid.value.is_some())
    }

    /// Iterates over the values: first those of the base in their order, changed or not, then the new ones.
    pub(super) fn iter<'o>(&'o self, base: Option<&'o Arc<Record>>) -> impl Iterator<Item = (&'o str, &'o [u8])> {
        let mut changed = self.in_place().into_iter().peekable();
        let kept =
            self.values(base).into_iter().flat_map(Values::located).filter_map(
                move |(start, key, value)| match changed.next_if(|overlaid| overlaid.place() == start) {
                    Some(overlaid) => Some((key, overlaid.value.as_deref()?)),
                    None => Some((key, value)),
                },
            );
        let added = self.list.iter().filter(|overlaid| overlaid.replaces.is_none());
        kept.chain(added.filter_map(|overlaid| Some((&*overlaid.key, overlaid.value.as_deref()?))))
    }

    /// Returns the values as a record holds them.
    pub(super) fn to_values(&self, base: Option<&Arc<Record>>) -> Values {
        let (base, size) = (self.frames(base), self.size(base));
        if self.is_in_place() { splice(base, &self.list, size) } else { splice(base, self.in_place(), size) }
    }

    fn is_in_place(&self) -> bool {
        self.list.is_sorted_by_key(Overlaid::place)
    }

    /// Returns the changes in the order of the record.
    fn in_place(&self) -> Vec<&Overlaid> {
        let mut list: Vec<_> = self.list.iter().collect();
        if !self.is_in_place() {
            list.sort_by_key(|overlaid| {
                steps::count();
                overlaid.place()
            });
        }
        list
    }

    fn values<'b>(&self, base: Option<&'b Arc<Record>>) -> Option<&'b Values> {
        self.visible(base).map(|record| &record.values)
    }

    fn frames<'b>(&self, base: Option<&'b Arc<Record>>) -> &'b [u8] {
        self.values(base).map_or(&[], Values::as_frames)
    }
}

/// Splices the changes into the frames of the base, and copies the frames in between unchanged.
fn splice<'o>(base: &[u8], changed: impl IntoIterator<Item = &'o Overlaid>, size: usize) -> Values {
    let mut frames = Vec::with_capacity(size);
    let mut copied = 0;
    for overlaid in changed {
        let frame = overlaid.replaces.clone().unwrap_or(base.len()..base.len());
        frames.extend_from_slice(&base[copied..frame.start]);
        copied = frame.end;
        if let Some(value) = &overlaid.value {
            put_frame(&mut frames, &overlaid.key, value);
        }
    }
    frames.extend_from_slice(&base[copied..]);
    Values::from_written_frames(frames)
}

impl Overlaid {
    fn is_of(&self, key: &str) -> bool {
        // As in `Values::find`: most keys differ without a full comparison.
        let (ours, theirs) = (self.key.as_bytes(), key.as_bytes());
        ours.len() == theirs.len() && ours.last() == theirs.last() && ours == theirs
    }

    /// Returns its position: that of the replaced frame, or the end.
    fn place(&self) -> usize {
        self.replaces.as_ref().map_or(usize::MAX, |frame| frame.start)
    }
}

impl From<Option<Frame>> for Found {
    fn from(frame: Option<Frame>) -> Self {
        frame.map_or(Self::Nowhere, Self::Base)
    }
}

/// A clone starts without an index: few clones are made, and fewer are searched.
impl Clone for Index {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay")
            .field("hides_base", &self.hides_base)
            .field("list", &self.list)
            .finish_non_exhaustive()
    }
}

/// Shows the key and whether it was removed, without the value.
impl fmt::Debug for Overlaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.value.is_some() { "set" } else { "removed" };
        write!(f, "{:?} {what}", self.key)
    }
}
