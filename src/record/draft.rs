//! A record as a request sees it: what was loaded, under the changes the request has made so far.

use std::sync::Arc;
use std::time::Duration;

use super::changes::Change;
use super::lifetime::{Age, Timeouts};
use super::values::{JsonText, frame_size, put_frame};
use super::{Handle, Record, Values};
use crate::clock::Timestamp;
use crate::error::Error;

/// The loaded record, if there is one, and the changes made to it. Reading from it copies nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    base: Option<Arc<Record>>,
    /// The base's values do not show through.
    cleared: bool,
    /// Values that were set, or removed (`None`), since.
    overlay: Vec<Overlaid>,
    login: Option<Arc<str>>,
    /// What was the session of one principal is now that of another, with a name of its own.
    is_new_identity: bool,
    /// `Some(None)` goes back to the layer's timeout.
    idle_timeout: Option<Option<Duration>>,
    absolute_timeout: Option<Option<Duration>>,
}

/// A key and its JSON text; `None` where it was removed.
type Overlaid = (Arc<str>, Option<Arc<[u8]>>);

impl Draft {
    pub(crate) fn new(base: Option<Arc<Record>>) -> Self {
        Self { base, ..Self::default() }
    }

    /// Makes a draft of a record with all of a request's changes.
    pub(crate) fn replay<'c>(
        base: Option<Arc<Record>>,
        changes: impl IntoIterator<Item = &'c Change>,
    ) -> Result<Self, Error> {
        let mut draft = Self::new(base);
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
            Change::Login { principal, fresh } => {
                if *fresh || self.principal().is_some_and(|former| former != principal) {
                    self.clear();
                    self.is_new_identity = true;
                }
                self.login = Some(Arc::clone(principal));
            }
            Change::IdleTimeout(timeout) => self.idle_timeout = Some(*timeout),
            Change::AbsoluteTimeout(timeout) => self.absolute_timeout = Some(*timeout),
        }
        Ok(())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        match self.overlay.iter().find(|(changed, _)| **changed == *key) {
            Some((_, value)) => value.as_deref(),
            None => self.base_values()?.get(key),
        }
    }

    /// Returns a value, to be used without this draft.
    pub(crate) fn text(&self, key: &str) -> Option<JsonText> {
        match self.overlay.iter().find(|(changed, _)| **changed == *key) {
            Some((_, value)) => value.clone().map(JsonText::from),
            None => self.base_values()?.text(key),
        }
    }

    /// Goes through the values, unchanged ones first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let kept = self.base_values().into_iter().flat_map(Values::iter).filter_map(|(key, value)| {
            match self.overlay.iter().find(|(changed, _)| **changed == *key) {
                Some((_, changed)) => Some((key, changed.as_deref()?)),
                None => Some((key, value)),
            }
        });
        let is_new = |key: &str| self.base_values().is_none_or(|values| values.get(key).is_none());
        let added = self.overlay.iter().filter_map(move |(key, value)| Some((&**key, value.as_deref()?)));
        kept.chain(added.filter(move |(key, _)| is_new(key)))
    }

    pub(crate) fn base(&self) -> Option<&Record> {
        self.base.as_deref()
    }

    pub(crate) fn principal(&self) -> Option<&Arc<str>> {
        self.login.as_ref().or_else(|| self.base.as_ref()?.principal.as_ref())
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
    }

    /// Whether there is anything that a new session would be made for.
    pub(crate) fn has_content(&self) -> bool {
        self.login.is_some()
            || self.idle_timeout.flatten().is_some()
            || self.absolute_timeout.flatten().is_some()
            || self.iter().next().is_some()
    }

    /// Makes the record that is to be stored `now`. `new_handle` names it if it is that of another session than
    /// the loaded one.
    pub(crate) fn to_record(&self, new_handle: Handle, timeouts: &Timeouts, now: Timestamp) -> Record {
        let base = self.base.as_deref();
        let age = Age { last_seen_at: now, ..self.age(timeouts, now) };
        Record {
            handle: base.filter(|_| !self.is_new_identity).map_or(new_handle, |record| record.handle),
            created_at: age.created_at,
            renewed_at: base.map_or(now, |record| record.renewed_at),
            last_seen_at: now,
            expires_at: timeouts.expires_at(age),
            idle_timeout: age.idle_timeout,
            absolute_timeout: age.absolute_timeout,
            principal: self.principal().cloned(),
            authenticated_at: if self.login.is_some() { Some(now) } else { base.and_then(|r| r.authenticated_at) },
            version: base.map_or(1, |record| record.version + 1),
            values: self.values(),
        }
    }

    fn values(&self) -> Values {
        if let (Some(values), true) = (self.base_values(), self.overlay.is_empty()) {
            return values.clone();
        }
        let mut frames = Vec::with_capacity(self.iter().map(|(key, value)| frame_size(key, value)).sum());
        for (key, value) in self.iter() {
            put_frame(&mut frames, key, value);
        }
        Values::from_written_frames(frames)
    }

    fn clear(&mut self) {
        self.cleared = self.base.as_ref().is_some_and(|record| !record.values.is_empty());
        self.overlay.clear();
    }

    pub(crate) fn put(&mut self, key: &Arc<str>, value: Option<Arc<[u8]>>) {
        if self.get(key) == value.as_deref() {
            return;
        }
        match self.overlay.iter_mut().find(|(changed, _)| changed == key) {
            Some((_, changed)) => *changed = value,
            None => self.overlay.push((Arc::clone(key), value)),
        }
    }

    fn base_values(&self) -> Option<&Values> {
        self.base.as_ref().filter(|_| !self.cleared).map(|record| &record.values)
    }
}
