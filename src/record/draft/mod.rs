//! A record as a request sees it: the loaded record with the changes of the request so far.

mod moved;
mod to_record;

use std::convert::Infallible;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::changes::{Change, Key, Location};
use super::external::{ExternalParts, PartRef};
use super::json_text::JsonText;
use super::overlay::{Found, Overlay};
use super::size::{check_growth, counted_size};
use super::{Handle, Record};
use crate::clock::Timestamp;
use crate::error::Error;

/// The loaded record, if there is one, and the changes made to it. Reading from it copies nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    base: Option<Arc<Record>>,
    /// The values that were changed.
    overlay: Overlay,
    login: Option<Arc<str>>,
    /// Changes of fields that seldom change, if there are any. Boxed, since every request has a draft.
    rare: Option<Box<RareChanges>>,
    /// Another principal has taken over the session, which gets a new handle.
    is_new_identity: bool,
    /// `Some(None)` goes back to the layer's timeout.
    idle_timeout: Option<Option<Duration>>,
    absolute_timeout: Option<Option<Duration>>,
    /// Boxed, since few requests ask for a part outside the record.
    external: Option<Box<ExternalParts>>,
}

#[derive(Clone, Debug, Default)]
struct RareChanges {
    has_reauthenticated: bool,
    /// The label that was set, even if it equals the loaded one: it then survives a takeover. `Some(None)` removes it.
    label: Option<Option<Arc<str>>>,
}

impl Draft {
    pub(crate) fn new(base: Option<Arc<Record>>) -> Self {
        Self { base, ..Self::default() }
    }

    /// Makes a draft of a record and its external parts as they were loaded.
    pub(crate) fn of(base: Option<Arc<Record>>, mut external: Option<Box<ExternalParts>>) -> Self {
        if let Some(external) = &mut external {
            external.revert();
        }
        Self { base, external, ..Self::default() }
    }

    /// Makes a draft of external parts alone, as they are now.
    pub(crate) fn with_external(external: Option<Box<ExternalParts>>) -> Self {
        Self { external, ..Self::default() }
    }

    /// Applies changes, which runs code of the application.
    pub(crate) fn apply_all<'c>(&mut self, changes: impl IntoIterator<Item = &'c Change>) -> Result<(), Error> {
        changes.into_iter().try_for_each(|change| self.apply(change))
    }

    /// Bases a draft of external parts alone on a record.
    pub(crate) fn load(&mut self, base: Option<Arc<Record>>) {
        self.base = base;
    }

    /// Continues on another version of the same record.
    pub(crate) fn rebase(&mut self, record: &Arc<Record>) {
        if let Some(base) = &mut self.base {
            *base = Arc::clone(record);
        }
    }

    /// Continues on the record that was written from this draft, and keeps the changes that came `later`. Runs no code
    /// of the application.
    #[inline]
    pub(crate) fn note_written(&mut self, record: Arc<Record>, written: Option<&ExternalParts>, later: &[Change]) {
        if later.is_empty() {
            self.reset(record);
            if let (Some(external), Some(written)) = (&mut self.external, written) {
                external.note_saved(written);
            }
            return;
        }
        let before = mem::replace(self, Self::new(Some(record)));
        let mut is_taken_over = false;
        for change in later {
            is_taken_over |= self.is_taken_over_by(change);
            match change {
                Change::Set { key, .. }
                | Change::Remove { key }
                | Change::RemoveSeen { key, .. }
                | Change::Update { key, .. } => {
                    self.put(key, before.get(key).map(Arc::from));
                }
                Change::UpdateExternal { part, medium, .. } | Change::RemoveExternal { part, medium } => {
                    self.follow_former(&before, part, *medium);
                }
                // The other changes cannot fail.
                change => drop(self.apply(change)),
            }
        }
        self.external = before.external;
        if let (Some(external), Some(written), false) = (&mut self.external, written, is_taken_over) {
            external.note_saved(written);
        }
    }

    /// Bases the draft on a record, without changes. External parts stay. This is in place: most commits end here.
    fn reset(&mut self, record: Arc<Record>) {
        let Self { base, overlay, login, rare, is_new_identity, idle_timeout, absolute_timeout, external: _ } = self;
        *base = Some(record);
        overlay.reset();
        (*login, *rare, *is_new_identity) = (None, None, false);
        (*idle_timeout, *absolute_timeout) = (None, None);
    }

    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), Error> {
        match change {
            Change::Set { key, value } => self.put(key, Some(Arc::clone(value))),
            Change::Remove { key } => self.put(key, None),
            Change::RemoveSeen { key, seen } if self.get(key) == Some(seen.as_bytes()) => self.put(key, None),
            Change::RemoveSeen { .. } => {}
            Change::Clear => self.clear(),
            Change::Update { key, update } => {
                let value = update(key, self.get(key))?;
                self.put(key, Some(value));
            }
            Change::UpdateExternal { part, medium, update } => {
                let before = self.external_text(part, *medium);
                let value = update(part, before.as_ref().map(JsonText::as_bytes))?;
                self.put_external(part, *medium, value);
            }
            Change::RemoveExternal { part, medium } => self.reset_external(part, *medium),
            Change::Login { principal, .. } => {
                if self.is_taken_over_by(change) {
                    self.forget_values();
                    self.forget_external();
                    self.is_new_identity = true;
                    // Drops the former principal's timeouts, and keeps those set by this request.
                    self.idle_timeout.get_or_insert(None);
                    self.absolute_timeout.get_or_insert(None);
                    self.rare_mut().label.get_or_insert(None);
                }
                self.login = Some(Arc::clone(principal));
            }
            Change::Reauthenticated if self.principal().is_some() => self.rare_mut().has_reauthenticated = true,
            Change::Reauthenticated => {}
            Change::Label(label) => self.rare_mut().label = Some(label.clone()),
            Change::IdleTimeout(timeout) => self.idle_timeout = Some(*timeout),
            Change::AbsoluteTimeout(timeout) => self.absolute_timeout = Some(*timeout),
        }
        Ok(())
    }

    /// Returns `true` if a change hands the session over to another principal, or discards all of its values.
    pub(crate) fn is_taken_over_by(&self, change: &Change) -> bool {
        let Change::Login { principal, fresh } = change else { return false };
        *fresh || self.principal().is_some_and(|former| former != principal)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        match self.find(key) {
            Found::Overlaid(place) => self.overlay.text(place).map(|text| &**text),
            Found::Base(frame) => self.base()?.values.as_frames().get(frame.value),
            Found::Nowhere => None,
        }
    }

    /// Returns a value that can be used without this draft.
    pub(crate) fn text(&self, key: &str) -> Option<JsonText> {
        match self.find(key) {
            Found::Overlaid(place) => self.overlay.text(place).cloned().map(JsonText::Own),
            Found::Base(frame) => Some(JsonText::OfRecord(self.base.clone()?, frame)),
            Found::Nowhere => None,
        }
    }

    #[inline]
    fn find(&self, key: &str) -> Found {
        self.overlay.find(self.base.as_ref(), key)
    }

    /// Iterates over the values: first those of the base in their order, changed or not, then the new ones.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.overlay.iter(self.base.as_ref())
    }

    pub(crate) fn base(&self) -> Option<&Record> {
        self.base.as_deref()
    }

    pub(crate) fn principal(&self) -> Option<&Arc<str>> {
        self.login.as_ref().or_else(|| self.base.as_ref()?.principal.as_ref())
    }

    /// Returns whether the principal has authenticated.
    pub(crate) fn authenticates(&self) -> bool {
        self.login.is_some() || self.rare.as_ref().is_some_and(|rare| rare.has_reauthenticated)
    }

    /// Returns when the principal last authenticated; `now` is the time of a login of this request.
    pub(crate) fn authenticated_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.authenticates() { Some(now) } else { self.base.as_ref()?.authenticated_at }
    }

    /// Returns the label of the session.
    pub(crate) fn label(&self) -> Option<&Arc<str>> {
        match self.rare.as_ref().and_then(|rare| rare.label.as_ref()) {
            Some(label) => label.as_ref(),
            None => self.base.as_ref()?.label.as_ref(),
        }
    }

    /// Returns whether the label differs from that of the loaded record.
    fn changes_label(&self) -> bool {
        let loaded = self.base.as_ref().and_then(|record| record.label.as_ref());
        self.label() != loaded
    }

    fn rare_mut(&mut self) -> &mut RareChanges {
        self.rare.get_or_insert_default()
    }

    /// Returns whether the record has to be written.
    pub(crate) fn is_changed(&self) -> bool {
        self.overlay.is_changed()
            || self.login.is_some()
            || self.idle_timeout.is_some()
            || self.absolute_timeout.is_some()
            || self.rare.as_ref().is_some_and(|rare| rare.has_reauthenticated || self.changes_label())
            || self.external.as_ref().is_some_and(|external| external.change_record())
    }

    /// Returns whether the record, or a part that the server keeps, differs from the loaded one.
    pub(crate) fn has_changes(&self) -> bool {
        self.is_changed() || self.external.as_ref().is_some_and(|external| external.change_server())
    }

    /// Returns `true` if the draft needs a session.
    pub(crate) fn has_content(&self) -> bool {
        self.login.is_some()
            || self.idle_timeout.flatten().is_some()
            || self.absolute_timeout.flatten().is_some()
            || self.rare.as_ref().is_some_and(|rare| matches!(rare.label, Some(Some(_))))
            || self.overlay.sets_value()
            || self.iter().next().is_some()
            || self.external.as_ref().is_some_and(|external| external.has_content())
    }

    /// Returns the handle of the loaded session, unless the record will belong to a new one: none was loaded, or
    /// another principal has taken it over.
    pub(crate) fn kept_handle(&self) -> Option<Handle> {
        self.base.as_ref().filter(|_| !self.is_new_identity).map(|record| record.handle)
    }

    /// Removes all values. Keeps the references to parts in stores, which are not values.
    fn clear(&mut self) {
        self.forget_values();
        let Some(base) = self.base.clone() else { return };
        for (key, text) in base.values.iter().filter(|(key, _)| PartRef::is_key(key)) {
            self.put(&Key::new(key), Some(text.into()));
        }
    }

    fn forget_values(&mut self) {
        self.overlay.clear(self.base.as_ref());
    }

    /// Sets or removes a value. Setting an equal value is not a change.
    pub(crate) fn put(&mut self, key: &Key, value: Option<Arc<[u8]>>) {
        let found = self.find(key);
        let Ok(()) = self.overlay.put(self.base.as_ref(), key, value, found, |_, _| Ok::<_, Infallible>(()));
    }

    /// Sets a value. Fails and changes nothing if that would make the record larger than `limit`.
    pub(crate) fn put_within(&mut self, limit: usize, key: &Key, value: Arc<[u8]>) -> Result<(), Error> {
        let found = self.find(key);
        self.put_found(limit, key, value, found)
    }

    /// Like [`put_within`](Self::put_within), for a key that has been looked up.
    #[inline(always)]
    fn put_found(&mut self, limit: usize, key: &Key, value: Arc<[u8]>, found: Found) -> Result<(), Error> {
        let (base, login) = (self.base.as_ref(), self.login.as_ref());
        self.overlay.put(base, key, Some(value), found, |before, after| {
            let principal = login.or_else(|| base?.principal.as_ref());
            check_growth(counted_size(before, principal), counted_size(after, principal), limit)
        })
    }

    /// Returns the external parts, if the request has used one.
    #[inline]
    pub(crate) fn external(&self) -> Option<&ExternalParts> {
        self.external.as_deref()
    }

    pub(crate) fn external_mut(&mut self) -> &mut ExternalParts {
        self.external.get_or_insert_default()
    }

    /// Returns the value at a location, which can be used without this draft.
    #[inline]
    pub(crate) fn text_at(&self, location: &Location) -> Option<JsonText> {
        match location {
            Location::Record(key) => self.text(key),
            Location::External(part, medium) => self.external_text(part, *medium),
        }
    }

    /// Sets a value if it still equals `before`. Returns whether it does. Fails and changes nothing if that would make
    /// the record larger than `limit`.
    pub(crate) fn replace_at(
        &mut self,
        location: &Location,
        before: Option<&JsonText>,
        value: Arc<[u8]>,
        limit: usize,
    ) -> Result<bool, Error> {
        if let (Location::Record(key), Some(JsonText::OfRecord(record, frame))) = (location, before)
            && self.overlay.visible(self.base.as_ref()).is_some_and(|base| Arc::ptr_eq(base, record))
            && !self.overlay.has(key)
        {
            // The value was not set in between, so its place is unchanged.
            self.put_found(limit, key, value, Found::Base(frame.clone()))?;
            return Ok(true);
        }
        if self.text_at(location).as_ref().map(JsonText::as_bytes) != before.map(JsonText::as_bytes) {
            return Ok(false);
        }
        match location {
            Location::Record(key) => self.put_within(limit, key, value)?,
            Location::External(part, medium) => self.put_external(part, *medium, value),
        }
        Ok(true)
    }

    fn forget_external(&mut self) {
        if let Some(external) = &mut self.external {
            external.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::lifetime::Timeouts;
    use super::super::version::Stamp;
    use super::super::{Values, steps};
    use super::*;
    use crate::error::ErrorKind;

    const NOW: Timestamp = Timestamp::from_millis(0);

    fn record<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> Record {
        let mut record = Record::new(Handle::from_bytes([0; 16]), NOW, NOW);
        record.values = Values::from_pairs(pairs.into_iter().map(|(key, value)| (key, value.as_bytes())));
        record
    }

    fn base(pairs: &[(&str, &str)]) -> Option<Arc<Record>> {
        Some(Arc::new(record(pairs.iter().copied())))
    }

    fn set(draft: &mut Draft, key: &str, value: &str) {
        draft.put(&key.into(), Some(value.as_bytes().into()));
    }

    fn texts<'v>(values: impl Iterator<Item = (&'v str, &'v [u8])>) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the test writes text");
        values.map(|(key, value)| (key.to_owned(), text(value))).collect()
    }

    fn shown(draft: &Draft) -> Vec<(String, String)> {
        texts(draft.iter())
    }

    fn values(draft: &Draft) -> Values {
        let new_handle = Handle::from_bytes([1; 16]);
        draft.to_record(Stamp { new_handle, write_id: 1, login_id: None }, &Timeouts::default(), NOW).values
    }

    fn login(principal: &str) -> Change {
        Change::Login { principal: principal.into(), fresh: false }
    }

    fn next(random: &mut u64) -> u64 {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *random >> 33
    }

    /// Makes a random change to a draft and to a model of its values.
    fn change(draft: &mut Draft, model: &mut BTreeMap<String, String>, keys: &[String], random: &mut u64) {
        let (key, value) = (&keys[next(random) as usize % keys.len()], format!("{}", next(random) % 1000));
        match next(random) % 64 {
            // Rare enough to let many keys accumulate.
            0 if next(random).is_multiple_of(keys.len() as u64 / 8 + 1) => {
                draft.clear();
                model.clear();
            }
            1 if next(random).is_multiple_of(keys.len() as u64 / 8 + 1) => {
                let login = login(&value);
                if draft.is_taken_over_by(&login) {
                    model.clear();
                }
                draft.apply(&login).expect("a login cannot fail");
            }
            2 if next(random).is_multiple_of(8) => *draft = draft.clone(),
            0..24 => {
                draft.put(&key.into(), None);
                model.remove(key);
            }
            24..32 => {
                let before = draft.text(key);
                let replaced =
                    draft.replace_at(&Location::Record(key.into()), before.as_ref(), bytes(&value), usize::MAX);
                assert!(replaced.expect("there is no limit"));
                model.insert(key.clone(), value);
            }
            32..56 => {
                set(draft, key, &value);
                model.insert(key.clone(), value);
            }
            _ => assert_eq!(draft.get(key), model.get(key).map(String::as_bytes)),
        }
    }

    fn bytes(text: &str) -> Arc<[u8]> {
        text.as_bytes().into()
    }

    /// Iteration, the stored record and single look-ups must give the same values.
    #[test]
    fn a_draft_shows_and_stores_the_same_values_after_random_changes() {
        let (mut random, mut lost_index) = (1, 0);
        // A few keys are searched linearly; many keys have an index.
        for (rounds, stored, keys, changes) in
            [(2000, 4, 5, 6), (200, 20, 30, 100), (5, 1000, 1500, 6000), (5, 0, 1500, 6000)]
        {
            let keys: Vec<String> = (0..keys).map(|n| format!("{n:x}key")).collect();
            for _ in 0..rounds {
                let loaded = record(keys[..stored].iter().map(|key| (&**key, "1")));
                let loaded = Record { principal: Some("0".into()), ..loaded };
                let mut draft = Draft::new(Some(Arc::new(loaded)));
                let mut model: BTreeMap<_, _> = shown(&draft).into_iter().collect();
                for _ in 0..changes {
                    let had_index = draft.overlay.has_index();
                    change(&mut draft, &mut model, &keys, &mut random);
                    lost_index += usize::from(had_index && !draft.overlay.has_index());
                }
                for key in &keys {
                    let expected = model.get(key).map(String::as_bytes);
                    assert_eq!(draft.get(key), expected);
                    assert_eq!(draft.text(key).as_ref().map(JsonText::as_bytes), expected);
                }
                let written = values(&draft);
                assert_eq!(texts(written.iter()), shown(&draft));
                assert_eq!(shown(&draft).into_iter().collect::<BTreeMap<_, _>>(), model);
                assert_eq!(shown(&draft).len(), model.len(), "no key occurs twice");
                let principal = draft.principal().map_or(0, |principal| principal.len());
                assert_eq!(draft.size(), written.as_frames().len() + principal);
            }
        }
        assert!(lost_index > 10, "both searches are covered");
    }

    /// Returns the average number of steps per key, of `n`, for each operation on all of them.
    fn steps_of_one_in(n: usize) -> [usize; 6] {
        let keys: Vec<Key> = (0..n).map(|i| format!("{i:06}k").into()).collect();
        let mut random = 7;
        let mut shuffled = keys.clone();
        for i in (1..n).rev() {
            shuffled.swap(i, next(&mut random) as usize % (i + 1));
        }
        let counted = |work: &mut dyn FnMut()| {
            let before = steps::taken();
            work();
            (steps::taken() - before) / n
        };
        let mut draft = Draft::default();
        let filled = counted(&mut || keys.iter().for_each(|key| set(&mut draft, key, "1")));
        let stored = Some(Arc::new(Record { values: values(&draft), ..record([]) }));
        let looked = Draft::new(stored.clone());
        let read = counted(&mut || shuffled.iter().for_each(|key| assert!(looked.get(key).is_some())));
        let missed = counted(&mut || (0..n).for_each(|i| assert!(looked.text(&format!("{i:06}x")).is_none())));
        let mut draft = Draft::new(stored);
        let changed = counted(&mut || shuffled.iter().for_each(|key| set(&mut draft, key, "2")));
        let seen = counted(&mut || assert_eq!((draft.iter().count(), values(&draft).iter().count()), (n, n)));
        let removed = counted(&mut || {
            shuffled.iter().for_each(|key| draft.put(key, None));
            assert!(draft.is_changed() && !draft.has_content());
        });
        [filled, read, missed, changed, seen, removed]
    }

    #[test]
    fn the_steps_per_key_do_not_grow_with_the_number_of_keys() {
        let (few, many) = (steps_of_one_in(1000), steps_of_one_in(32_000));
        // Sorting the changes takes a logarithmic number of steps each.
        assert!(many.iter().all(|steps| *steps < 100), "{many:?}");
        assert!(few.iter().zip(&many).all(|(few, many)| *many <= few + 32), "{few:?} {many:?}");
    }

    #[test]
    fn few_keys_need_no_index() {
        let loaded = record([("a", "1"), ("b", "2")]);
        let before = steps::taken();
        let mut draft = Draft::new(Some(Arc::new(loaded)));
        for _ in 0..1000 {
            set(&mut draft, "b", "3");
            assert_eq!(draft.get("a"), Some(&b"1"[..]));
        }
        assert!(steps::taken() - before <= 1000 * (2 + 2) + 2);
        assert!(!draft.overlay.has_index());
    }

    #[test]
    fn the_first_of_duplicate_keys_wins_with_an_index_too() {
        let keys: Vec<String> = (0..500).map(|n| format!("key {n}")).collect();
        let pairs = ["1", "2"].iter().flat_map(|value| keys.iter().map(move |key| (&**key, *value)));
        let draft = Draft::new(Some(Arc::new(record(pairs))));
        assert!(keys.iter().all(|key| draft.get(key) == Some(b"1")));
        assert!(draft.overlay.has_index());
    }

    #[test]
    fn unchanged_values_keep_their_place_and_bytes() {
        let mut draft = Draft::new(base(&[("a", " 1 "), ("b", "2"), ("c", "{ \"odd\" : 1}")]));
        set(&mut draft, "new", "4");
        set(&mut draft, "b", "3");
        let values = values(&draft);
        let pairs: Vec<_> = values.iter().collect();
        let expected: [(&str, &[u8]); 4] = [("a", b" 1 "), ("b", b"3"), ("c", b"{ \"odd\" : 1}"), ("new", b"4")];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn setting_an_equal_value_is_not_a_change() {
        let mut loaded = record([("a", "1")]);
        loaded.label = Some("phone".into());
        let mut draft = Draft::new(Some(Arc::new(loaded)));
        set(&mut draft, "a", "1");
        draft.put(&"b".into(), None);
        draft.apply(&Change::Label(Some("phone".into()))).expect("it cannot fail");
        assert!(!draft.is_changed());
        set(&mut draft, "a", "2");
        assert!(draft.is_changed());
    }

    #[test]
    fn a_takeover_keeps_only_what_the_request_has_set() {
        let hour = Duration::from_secs(3600);
        let mut loaded = record([("a", "1")]);
        (loaded.principal, loaded.label) = (Some("alice".into()), Some("phone".into()));
        (loaded.idle_timeout, loaded.absolute_timeout) = (Some(hour), Some(hour));
        let loaded = Arc::new(loaded);
        let after = |changes: &[Change]| {
            let mut draft = Draft::new(Some(Arc::clone(&loaded)));
            draft.apply_all(changes).expect("none of them fails");
            let record = draft.to_record(
                Stamp { new_handle: Handle::from_bytes([1; 16]), write_id: 1, login_id: None },
                &Timeouts::default(),
                NOW,
            );
            (
                record.label.as_deref().map(str::to_owned),
                record.idle_timeout,
                record.absolute_timeout,
                record.values.is_empty(),
            )
        };
        let phone = || Change::Label(Some("phone".into()));
        let label = Some("phone".to_owned());
        assert_eq!(after(&[login("bob")]), (None, None, None, true));
        assert_eq!(after(&[phone(), login("bob")]), (label.clone(), None, None, true));
        assert_eq!(after(&[login("bob"), phone()]), (label.clone(), None, None, true));
        assert_eq!(after(&[phone(), login("bob"), login("carol")]), (label.clone(), None, None, true));
        assert_eq!(after(&[Change::Label(None), login("bob")]), (None, None, None, true));
        assert_eq!(after(&[Change::IdleTimeout(Some(hour)), login("bob")]), (None, Some(hour), None, true));
        assert_eq!(after(&[Change::AbsoluteTimeout(Some(hour)), login("bob")]), (None, None, Some(hour), true));
        assert_eq!(after(&[phone(), login("alice")]), (label, Some(hour), Some(hour), false));
    }

    #[test]
    fn growth_beyond_the_limit_is_rejected_and_shrinking_is_allowed() {
        let mut loaded = record([("a", "12345"), ("b", "1")]);
        loaded.principal = Some("al".into());
        let size = loaded.values.as_frames().len() + 2;
        let mut draft = Draft::new(Some(Arc::new(loaded)));
        assert_eq!(draft.size(), size);
        let mut put = |limit: usize, key: &str, value: &str| {
            let before = (shown(&draft), draft.size(), draft.is_changed());
            let done = draft.put_within(limit, &key.into(), bytes(value));
            if let Err(error) = &done {
                assert_eq!((shown(&draft), draft.size(), draft.is_changed()), before);
                let ErrorKind::TooLarge { what, size, limit: told } = error.kind() else { panic!("{error}") };
                assert_eq!((what.as_ref(), *told), ("session", limit));
                assert!(*size > limit && *size > before.1);
            }
            done.is_ok()
        };
        assert!(!put(size, "new", "1") && !put(size, "b", "12"));
        assert!(put(size + 6, "new", "1"), "its frame takes two bytes more than its key and text");
        assert!(!put(size + 6, "b", "12") && !put(0, "new", "12"));
        // Over its limit, the record may still become smaller or stay as large as it is.
        assert!(put(0, "new", "2") && put(0, "a", "1234") && put(0, "a", "2234"));
        assert!(!put(0, "a", "12345"));
        let text = draft.text("b");
        let at = Location::Record("b".into());
        assert!(draft.replace_at(&at, text.as_ref(), bytes("12"), 0).is_err());
        assert_eq!(draft.get("b"), Some(&b"1"[..]));
        assert!(draft.replace_at(&at, text.as_ref(), bytes("2"), 0).expect("it does not grow"));
        assert_eq!(draft.size(), size + 6 - 1);
    }

    #[test]
    fn a_record_that_was_stored_under_a_larger_limit_may_stay_as_large_as_it_is() {
        let mut loaded = record([("a", "12345")]);
        loaded.principal = Some("alice".into());
        let mut draft = Draft::new(Some(Arc::new(loaded)));
        assert!(draft.check_size(0).is_ok());
        set(&mut draft, "a", "22345");
        assert!(draft.check_size(0).is_ok());
        set(&mut draft, "a", "123456");
        assert!(draft.check_size(draft.size() - 1).is_err() && draft.check_size(draft.size()).is_ok());
        // The record of another principal is a new one.
        draft.apply(&login("bob")).expect("a login cannot fail");
        assert!(draft.check_size(2).is_err() && draft.check_size(3).is_ok());
    }
}
