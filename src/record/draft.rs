//! A record as a request sees it: what was loaded, under the changes the request has made so far.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::changes::{At, Change, Key};
use super::lifetime::{Age, Timeouts};
use super::outside::Outside;
use super::values::{Frame, JsonText, frame_size, put_frame};
use super::{Handle, Record, Values, version_after};
use crate::clock::Timestamp;
use crate::error::Error;

/// The loaded record, if there is one, and the changes made to it. Reading from it copies nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    base: Option<Arc<Record>>,
    /// The base's values do not show through.
    cleared: bool,
    /// In the order in which they stand in the record. Most requests change one value.
    overlay: SmallVec<[Overlaid; 1]>,
    login: Option<Arc<str>>,
    /// What is seldom changed, if any of it is. Boxed, since every request has a draft.
    rare: Option<Box<RareChanges>>,
    /// What was the session of one principal is now that of another, with a name of its own.
    is_new_identity: bool,
    /// `Some(None)` goes back to the layer's timeout.
    idle_timeout: Option<Option<Duration>>,
    absolute_timeout: Option<Option<Duration>>,
    /// Boxed, since few requests ask for a part that lives elsewhere.
    outside: Option<Box<Outside>>,
}

#[derive(Clone, Debug, Default)]
struct RareChanges {
    has_reauthenticated: bool,
    /// `Some(None)` removes the label.
    label: Option<Option<Arc<str>>>,
}

/// A value that was set or removed.
#[derive(Clone)]
struct Overlaid {
    key: Key,
    /// Its JSON text; `None` where it was removed.
    value: Option<Arc<[u8]>>,
    /// The frame of the base that it takes the place of.
    replaces: Option<Range<usize>>,
}

impl Overlaid {
    /// Returns where it stands: in the place of a frame of the base, or behind them all.
    fn place(&self) -> usize {
        self.replaces.as_ref().map_or(usize::MAX, |frame| frame.start)
    }
}

impl Draft {
    pub(crate) fn new(base: Option<Arc<Record>>) -> Self {
        Self { base, ..Self::default() }
    }

    /// Makes a draft of a record, and of the parts that live outside it, with all of a request's changes.
    pub(crate) fn replay<'c>(
        base: Option<Arc<Record>>,
        outside: Option<Box<Outside>>,
        changes: impl IntoIterator<Item = &'c Change>,
    ) -> Result<Self, Error> {
        let mut draft = Self { base, outside, ..Self::default() };
        for change in changes {
            draft.apply(change)?;
        }
        Ok(draft)
    }

    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), Error> {
        match change {
            Change::Set { key, value } => self.put(key, Some(Arc::clone(value))),
            Change::Remove { key } => self.put(key, None),
            Change::Clear => self.clear(),
            Change::Update { key, update } => {
                let value = update(self.get(key))?;
                self.put(key, Some(value));
            }
            Change::Outside { part, update } => {
                let value = update(self.outside_text(part).as_ref().map(JsonText::as_bytes))?;
                self.put_outside(part, value);
            }
            Change::Login { principal, .. } => {
                if self.is_taken_over_by(change) {
                    self.clear();
                    self.forget_outside();
                    self.is_new_identity = true;
                    // Nobody is remembered because somebody else was. What this request has set stays.
                    self.idle_timeout.get_or_insert(None);
                    self.absolute_timeout.get_or_insert(None);
                    self.rare_mut().label.get_or_insert(None);
                }
                self.login = Some(Arc::clone(principal));
            }
            Change::Reauthenticated if self.principal().is_some() => self.rare_mut().has_reauthenticated = true,
            Change::Reauthenticated => {}
            Change::Label(label) => self.set_label(label.clone()),
            Change::IdleTimeout(timeout) => self.idle_timeout = Some(*timeout),
            Change::AbsoluteTimeout(timeout) => self.absolute_timeout = Some(*timeout),
        }
        Ok(())
    }

    /// Whether a change makes the session that of another principal, or leaves nothing of what it was.
    pub(crate) fn is_taken_over_by(&self, change: &Change) -> bool {
        let Change::Login { principal, fresh } = change else { return false };
        *fresh || self.principal().is_some_and(|former| former != principal)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        match self.overlaid(key) {
            Some(overlaid) => overlaid.value.as_deref(),
            None => self.base_values()?.get(key),
        }
    }

    /// Returns a value, to be used without this draft.
    pub(crate) fn text(&self, key: &str) -> Option<JsonText> {
        match self.overlaid(key) {
            Some(overlaid) => overlaid.value.clone().map(JsonText::Own),
            None => JsonText::of(self.visible_base()?, key),
        }
    }

    /// Goes through the values, unchanged ones first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let kept =
            self.base_values().into_iter().flat_map(Values::iter).filter_map(|(key, value)| match self.overlaid(key) {
                Some(overlaid) => Some((key, overlaid.value.as_deref()?)),
                None => Some((key, value)),
            });
        let added = self.overlay.iter().filter(|overlaid| overlaid.replaces.is_none());
        kept.chain(added.filter_map(|overlaid| Some((&*overlaid.key, overlaid.value.as_deref()?))))
    }

    pub(crate) fn base(&self) -> Option<&Record> {
        self.base.as_deref()
    }

    pub(crate) fn principal(&self) -> Option<&Arc<str>> {
        self.login.as_ref().or_else(|| self.base.as_ref()?.principal.as_ref())
    }

    /// Whether the principal has proved who it is.
    pub(crate) fn authenticates(&self) -> bool {
        self.login.is_some() || self.rare.as_ref().is_some_and(|rare| rare.has_reauthenticated)
    }

    /// Returns when the principal last proved who it is, if it is `now` for what this request has done.
    pub(crate) fn authenticated_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.authenticates() { Some(now) } else { self.base.as_ref()?.authenticated_at }
    }

    /// Returns what the session is called in lists.
    pub(crate) fn label(&self) -> Option<&Arc<str>> {
        match self.rare.as_ref().and_then(|rare| rare.label.as_ref()) {
            Some(label) => label.as_ref(),
            None => self.base.as_ref()?.label.as_ref(),
        }
    }

    /// Sets or removes the label. One that stays the same is no change.
    fn set_label(&mut self, label: Option<Arc<str>>) {
        if self.label() != label.as_ref() {
            self.rare_mut().label = Some(label);
        }
    }

    fn rare_mut(&mut self) -> &mut RareChanges {
        self.rare.get_or_insert_default()
    }

    /// Returns what the record will say of its age when it is used `now`.
    pub(crate) fn age(&self, timeouts: &Timeouts, now: Timestamp) -> Age {
        let base = self.base.as_deref();
        let seen = base.filter(|record| !self.is_changed() && !timeouts.touch_is_due(record, now));
        Age {
            created_at: base.filter(|_| self.login.is_none()).map_or(now, |record| record.created_at),
            last_seen_at: seen.map_or(now, |record| record.last_seen_at),
            idle_timeout: self.idle_timeout.unwrap_or_else(|| base?.idle_timeout),
            absolute_timeout: self.absolute_timeout.unwrap_or_else(|| base?.absolute_timeout),
        }
    }

    /// Whether anything differs from the loaded record.
    pub(crate) fn is_changed(&self) -> bool {
        self.cleared
            || !self.overlay.is_empty()
            || self.login.is_some()
            || self.idle_timeout.is_some()
            || self.absolute_timeout.is_some()
            || self.rare.is_some()
            || self.outside.as_ref().is_some_and(|outside| outside.is_changed())
    }

    /// Whether there is anything that a new session would be made for.
    pub(crate) fn has_content(&self) -> bool {
        self.login.is_some()
            || self.idle_timeout.flatten().is_some()
            || self.absolute_timeout.flatten().is_some()
            || self.rare.as_ref().is_some_and(|rare| matches!(rare.label, Some(Some(_))))
            || self.overlay.iter().any(|overlaid| overlaid.value.is_some())
            || self.iter().next().is_some()
            || self.outside.as_ref().is_some_and(|outside| outside.has_content())
    }

    /// Returns the name of the loaded session, unless the record will be that of another one: there was none, or it is
    /// now that of another principal.
    pub(crate) fn kept_handle(&self) -> Option<Handle> {
        self.base.as_ref().filter(|_| !self.is_new_identity).map(|record| record.handle)
    }

    /// Makes the record that is to be stored `now`, under `new_handle` if it [keeps none](Self::kept_handle).
    pub(crate) fn to_record(&self, new_handle: Handle, mark: u32, timeouts: &Timeouts, now: Timestamp) -> Record {
        let base = self.base.as_deref();
        let age = Age { last_seen_at: now, ..self.age(timeouts, now) };
        Record {
            handle: self.kept_handle().unwrap_or(new_handle),
            created_at: age.created_at,
            renewed_at: base.map_or(now, |record| record.renewed_at),
            last_seen_at: now,
            expires_at: timeouts.expires_at(age),
            idle_timeout: age.idle_timeout,
            absolute_timeout: age.absolute_timeout,
            principal: self.principal().cloned(),
            authenticated_at: self.authenticated_at(now),
            label: self.label().cloned(),
            version: version_after(base.map_or(0, |record| record.version), mark),
            values: self.values(),
        }
    }

    /// Splices what was changed into the frames of the base: what lies between is copied as it is.
    fn values(&self) -> Values {
        let base = self.base_values().map_or(&[][..], Values::as_frames);
        let mut frames = Vec::with_capacity(self.size_of_values(base.len()));
        let mut copied = 0;
        for overlaid in &self.overlay {
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

    /// Returns how many bytes the values take, given what those of the base take.
    fn size_of_values(&self, base: usize) -> usize {
        self.overlay.iter().fold(base, |size, overlaid| {
            let old = overlaid.replaces.as_ref().map_or(0, Range::len);
            let new = overlaid.value.as_ref().map_or(0, |value| frame_size(&overlaid.key, value));
            size - old + new
        })
    }

    fn clear(&mut self) {
        self.cleared = self.base.as_ref().is_some_and(|record| !record.values.is_empty());
        self.overlay.clear();
    }

    /// Sets or removes a value. One that stays the same is no change.
    pub(crate) fn put(&mut self, key: &Key, value: Option<Arc<[u8]>>) {
        if let Some(overlaid) = self.overlay.iter_mut().find(|overlaid| overlaid.key == *key) {
            overlaid.value = value;
            return;
        }
        let frame = self.base_values().and_then(|values| values.find(key));
        self.lay_over(key, value, frame);
    }

    /// Lays a value over that in a frame of the base, if it has one. One that stays the same is no change.
    #[inline(always)]
    fn lay_over(&mut self, key: &Key, value: Option<Arc<[u8]>>, frame: Option<Frame>) {
        let before = frame.as_ref().and_then(|frame| Some(&self.base_values()?.as_frames()[frame.value.clone()]));
        if before != value.as_deref() {
            let overlaid = Overlaid { key: key.clone(), value, replaces: frame.map(|frame| frame.whole) };
            let place = self.overlay.iter().take_while(|other| other.place() <= overlaid.place()).count();
            self.overlay.insert(place, overlaid);
        }
    }

    /// Returns the parts that live outside the record, if the request has asked for one.
    #[inline]
    pub(crate) fn outside(&self) -> Option<&Outside> {
        self.outside.as_deref()
    }

    pub(crate) fn outside_mut(&mut self) -> &mut Outside {
        self.outside.get_or_insert_default()
    }

    /// Returns a part that lives outside the record.
    pub(crate) fn outside_text(&self, part: &str) -> Option<JsonText> {
        self.outside.as_ref()?.text(part)
    }

    pub(crate) fn put_outside(&mut self, part: &'static str, value: Arc<[u8]>) {
        self.outside_mut().put(part, value);
    }

    /// Returns the value in a place.
    #[inline]
    pub(crate) fn get_at(&self, at: &At) -> Option<&[u8]> {
        match at {
            At::Record(key) => self.get(key),
            At::Outside(part) => self.outside.as_ref()?.find(part)?.value.as_deref(),
        }
    }

    /// Returns the value in a place, to be used without this draft.
    #[inline]
    pub(crate) fn text_at(&self, at: &At) -> Option<JsonText> {
        match at {
            At::Record(key) => self.text(key),
            At::Outside(part) => self.outside_text(part),
        }
    }

    /// Sets a value that is still what it was `before`, and returns whether it is.
    pub(crate) fn replace_at(&mut self, at: &At, before: Option<&JsonText>, value: Arc<[u8]>) -> bool {
        if let (At::Record(key), Some(JsonText::OfRecord(record, frame))) = (at, before)
            && self.visible_base().is_some_and(|base| Arc::ptr_eq(base, record))
            && self.overlaid(key).is_none()
        {
            // As long as nobody has set it, the value is where it was found.
            self.lay_over(key, Some(value), Some(frame.clone()));
            return true;
        }
        if self.get_at(at) != before.map(JsonText::as_bytes) {
            return false;
        }
        match at {
            At::Record(key) => self.put(key, Some(value)),
            At::Outside(part) => self.put_outside(part, value),
        }
        true
    }

    fn forget_outside(&mut self) {
        if let Some(outside) = &mut self.outside {
            outside.forget();
        }
    }

    fn overlaid(&self, key: &str) -> Option<&Overlaid> {
        self.overlay.iter().find(|overlaid| *overlaid.key == *key)
    }

    fn base_values(&self) -> Option<&Values> {
        self.visible_base().map(|record| &record.values)
    }

    fn visible_base(&self) -> Option<&Arc<Record>> {
        self.base.as_ref().filter(|_| !self.cleared)
    }
}

/// Shows the key and whether it was removed, and no value.
impl fmt::Debug for Overlaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.value.is_some() { "set" } else { "removed" };
        write!(f, "{:?} {what}", self.key)
    }
}

/// Shows how long the text is, and none of it.
impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonText({} bytes)", self.as_bytes().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(0);

    fn base(pairs: &[(&str, &str)]) -> Option<Arc<Record>> {
        let mut record = Record::new(Handle::from_bytes([0; 16]), NOW, NOW);
        record.values = Values::from_pairs(pairs.iter().map(|(key, value)| (*key, value.as_bytes())));
        Some(Arc::new(record))
    }

    fn set(draft: &mut Draft, key: &str, value: &str) {
        draft.put(&key.into(), Some(value.as_bytes().into()));
    }

    fn shown(draft: &Draft) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the test writes text");
        draft.iter().map(|(key, value)| (key.to_owned(), text(value))).collect()
    }

    /// What a draft shows, what it becomes, and what single look-ups give are three ways to the same values.
    #[test]
    fn a_draft_becomes_what_it_shows_whatever_was_done_in_whatever_order() {
        let keys = ["a", "b", "c", "d", "e"];
        let mut random = 1_u64;
        for _ in 0..2000 {
            let mut draft = Draft::new(base(&[("a", "1"), ("b", "22"), ("c", "333"), ("d", "4")]));
            let mut model: Vec<(String, String)> = shown(&draft);
            for _ in 0..6 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (key, value) = (keys[(random >> 33) as usize % 5], format!("{}", (random >> 40) % 1000));
                match (random >> 60) % 8 {
                    0..4 => {
                        set(&mut draft, key, &value);
                        match model.iter_mut().find(|(known, _)| known == key) {
                            Some((_, known)) => *known = value,
                            None => model.push((key.to_owned(), value)),
                        }
                    }
                    4..7 => {
                        draft.put(&key.into(), None);
                        model.retain(|(known, _)| known != key);
                    }
                    _ => {
                        draft.clear();
                        model.clear();
                    }
                }
            }
            for key in keys {
                let expected = model.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_bytes());
                assert_eq!(draft.get(key), expected);
                assert_eq!(draft.text(key).as_ref().map(JsonText::as_bytes), expected);
            }
            let values = draft.values();
            let mut written: Vec<_> = values.iter().map(|(key, value)| (key.to_owned(), value.to_vec())).collect();
            let mut visible: Vec<_> = shown(&draft).into_iter().map(|(key, v)| (key, v.into_bytes())).collect();
            let mut expected: Vec<_> = model.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
            for list in [&mut written, &mut visible, &mut expected] {
                list.sort();
            }
            assert_eq!(written, expected);
            assert_eq!(visible, expected);
            assert_eq!(
                draft.size_of_values(draft.base_values().map_or(0, |v| v.as_frames().len())),
                values.as_frames().len()
            );
        }
    }

    #[test]
    fn values_that_nobody_changed_keep_their_place_and_their_bytes() {
        let mut draft = Draft::new(base(&[("a", " 1 "), ("b", "2"), ("c", "{ \"odd\" : 1}")]));
        set(&mut draft, "b", "3");
        set(&mut draft, "new", "4");
        let values = draft.values();
        let pairs: Vec<_> = values.iter().collect();
        let expected: [(&str, &[u8]); 4] = [("a", b" 1 "), ("b", b"3"), ("c", b"{ \"odd\" : 1}"), ("new", b"4")];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn setting_what_is_there_is_no_change() {
        let mut draft = Draft::new(base(&[("a", "1")]));
        set(&mut draft, "a", "1");
        draft.put(&"b".into(), None);
        assert!(!draft.is_changed());
        set(&mut draft, "a", "2");
        assert!(draft.is_changed());
    }
}
