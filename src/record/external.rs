//! External parts, which live outside the record: as they were loaded, and as a request has changed them.

use std::fmt;
use std::sync::Arc;

use super::json_text::JsonText;
use super::key::RecordKey;
use super::{Record, Version};
use crate::clock::Timestamp;

/// The kind of place of an external part, as far as it matters for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// A cookie that opens only in its session.
    BoundCookie,
    /// A separate cookie, independent of the session.
    FreeCookie,
    /// A separate record in a store.
    Store,
    /// Rows in tables, written in one transaction with the session's record.
    Tables,
}

/// The external parts that a request has used.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExternalParts {
    parts: Vec<ExternalPart>,
}

/// An external part. Its values are JSON texts.
#[derive(Clone)]
pub(crate) struct ExternalPart {
    pub(crate) name: &'static str,
    pub(crate) medium: Medium,
    /// The part as it was loaded, or as this request last saved it.
    pub(crate) base: Option<JsonText>,
    /// The current part.
    pub(crate) value: Option<JsonText>,
    /// Whether the stored part is removed without decoding it.
    is_reset: bool,
    /// For a part in a cookie: saved, but not yet sent in a response.
    pub(crate) is_unsent: bool,
    /// For a part in a store that the session refers to: the version of the part's record.
    pub(crate) stored: Option<Version>,
    /// For a part in a store: another request has written it since.
    pub(crate) is_stale: bool,
    /// For a part in a store: written, and invisible until the session's record refers to it.
    pub(crate) prepared: Option<Prepared>,
    /// For a part in a store that the session does not refer to: the version of its record when it was last prepared.
    /// The record may be gone since.
    pub(crate) doubted: Option<Version>,
    /// For a part in a store: the version and text of an unanswered write in place, which may have taken effect or
    /// still may.
    pub(crate) unanswered: Option<(Version, JsonText)>,
    /// For a part in a cookie: the received cookie.
    pub(crate) cookie: ReceivedPart,
}

/// A part received in a cookie.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceivedPart {
    /// The record that the cookie held, if it opened.
    pub(crate) record: Option<Arc<Record>>,
    /// Whether it must be resealed: it was sealed with a fallback key or long ago.
    pub(crate) needs_seal: bool,
    /// When the request has opened it.
    pub(crate) opened_at: Timestamp,
    /// The number of its cookies.
    pub(crate) chunks: usize,
}

/// A part that has been written to its store ahead of the session's record.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) reference: PartRef,
    /// The version of the part's record.
    pub(crate) version: Version,
    /// The text that was written.
    pub(crate) text: JsonText,
}

/// Distinguishes the texts in the record of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u64);

impl Slot {
    /// The only slot of a part whose session lives in a cookie and holds no references.
    pub(crate) const ONLY: Self = Self(0);

    /// Returns the slot of a text written with this version of the part's record.
    pub(crate) fn of(version: Version) -> Self {
        Self(version.as_u64())
    }

    pub(crate) fn as_u64(self) -> u64 {
        self.0
    }
}

/// Reference to a part in a store from the session's record: the slot of the part's current text, and a lower bound on
/// the lifetime of the part's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartRef {
    pub(crate) slot: Slot,
    pub(crate) expires_at: Timestamp,
}

impl PartRef {
    /// Returns the key that the reference to a part has in the session's record.
    pub(crate) fn key(part: &str) -> String {
        RecordKey::Reserved(part).stored().into_owned()
    }

    /// Returns `true` if a key of a record belongs to a reference.
    pub(crate) fn is_key(key: &str) -> bool {
        matches!(RecordKey::parse(key), RecordKey::Reserved(_))
    }

    /// Returns the reference to a part that a record has.
    pub(crate) fn of(record: &Record, part: &str) -> Option<Self> {
        Self::from_text(record.values.get(&Self::key(part))?)
    }

    /// Returns the name of the part and the reference, if the key and text form one.
    pub(crate) fn parse<'k>(key: &'k str, text: &[u8]) -> Option<(&'k str, Self)> {
        let RecordKey::Reserved(part) = RecordKey::parse(key) else { return None };
        Some((part, Self::from_text(text)?))
    }

    /// Returns the JSON text of the reference.
    pub(crate) fn to_text(self) -> Arc<[u8]> {
        format!("[{},{}]", self.slot.0, self.expires_at.as_millis()).into_bytes().into()
    }

    fn from_text(text: &[u8]) -> Option<Self> {
        let (slot, expires_at) = serde_json::from_slice(text).ok()?;
        Some(Self { slot: Slot(slot), expires_at: Timestamp::from_millis(expires_at) })
    }
}

impl ExternalPart {
    fn empty(name: &'static str, medium: Medium) -> Self {
        let (base, value, stored, prepared, doubted, unanswered) = (None, None, None, None, None, None);
        let cookie = ReceivedPart::default();
        let (is_reset, is_unsent, is_stale) = (false, false, false);
        Self { name, medium, base, value, is_reset, is_unsent, stored, is_stale, prepared, doubted, unanswered, cookie }
    }

    pub(crate) fn is_changed(&self) -> bool {
        self.is_reset || self.value.as_ref().map(JsonText::as_bytes) != self.base.as_ref().map(JsonText::as_bytes)
    }

    /// Returns `true` if the client keeps the part.
    fn is_in_cookie(&self) -> bool {
        matches!(self.medium, Medium::BoundCookie | Medium::FreeCookie)
    }

    /// Returns whether the part can be written without the session's record, which keeps referring to it.
    pub(crate) fn is_written_in_place(&self) -> bool {
        self.is_stored() && self.is_changed() && self.stored.is_some() && self.value.is_some()
    }

    /// Returns `true` if the part must still be written to its store before the session's record refers to it.
    pub(crate) fn is_unprepared(&self) -> bool {
        self.is_stored() && self.is_changed() && self.value.is_some() && !self.is_prepared()
    }

    /// Returns `true` if the current part has been written to its store.
    pub(crate) fn is_prepared(&self) -> bool {
        let (Some(prepared), Some(value)) = (&self.prepared, &self.value) else { return false };
        prepared.text.as_bytes() == value.as_bytes()
    }

    /// Returns `true` if the stored part is removed without decoding it.
    pub(crate) fn is_reset(&self) -> bool {
        self.is_reset
    }

    /// Returns `true` if the part has a separate record.
    pub(crate) fn is_stored(&self) -> bool {
        self.medium == Medium::Store
    }

    fn revert(&mut self) {
        self.value = self.base.clone();
        self.is_reset = false;
    }
}

impl ExternalParts {
    /// Returns a part, whether it was loaded or not.
    pub(crate) fn find(&self, name: &str) -> Option<&ExternalPart> {
        self.parts.iter().find(|part| part.name == name)
    }

    pub(crate) fn find_mut(&mut self, name: &str) -> Option<&mut ExternalPart> {
        self.parts.iter_mut().find(|part| part.name == name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ExternalPart> {
        self.parts.iter()
    }

    pub(crate) fn text(&self, name: &str) -> Option<JsonText> {
        self.find(name)?.value.clone()
    }

    /// Bases a part on the loaded text. Earlier changes are dropped.
    pub(crate) fn load(
        &mut self,
        name: &'static str,
        medium: Medium,
        value: Option<JsonText>,
        stored: Option<Version>,
    ) {
        let part = self.part(name, medium);
        let is_unsent = part.is_unsent;
        *part = ExternalPart { base: value.clone(), value, stored, is_unsent, ..ExternalPart::empty(name, medium) };
    }

    /// Bases a part on its cookie.
    pub(crate) fn receive(
        &mut self,
        name: &'static str,
        medium: Medium,
        value: Option<JsonText>,
        cookie: ReceivedPart,
    ) {
        let part = self.part(name, medium);
        *part = ExternalPart { base: value.clone(), value, cookie, ..ExternalPart::empty(name, medium) };
    }

    pub(crate) fn put(&mut self, name: &'static str, medium: Medium, value: JsonText) {
        self.part(name, medium).value = Some(value);
    }

    /// Removes a part without decoding it.
    pub(crate) fn reset(&mut self, name: &'static str, medium: Medium) {
        let part = self.part(name, medium);
        (part.value, part.is_reset) = (None, true);
    }

    /// Empties the parts of a session that the request no longer has.
    pub(crate) fn forget(&mut self) {
        for part in self.parts.iter_mut().filter(|part| part.medium != Medium::FreeCookie) {
            *part = ExternalPart::empty(part.name, part.medium);
        }
    }

    /// Reverts all changes.
    pub(crate) fn revert(&mut self) {
        self.parts.iter_mut().for_each(ExternalPart::revert);
    }

    /// Returns whether a change needs a write of the session's record. A single part in a store can be written in
    /// place.
    pub(crate) fn change_record(&self) -> bool {
        let changed = || self.parts.iter().filter(|part| !part.is_in_cookie() && part.is_changed());
        changed().count() > 1 || changed().any(|part| !part.is_written_in_place())
    }

    /// Returns `true` if a part that the server keeps has changed.
    pub(crate) fn change_server(&self) -> bool {
        self.parts.iter().any(|part| !part.is_in_cookie() && part.is_changed())
    }

    /// Returns `true` if a cookie bound to the session has changed, so that the session must still be live.
    pub(crate) fn change_bound_cookie(&self) -> bool {
        self.parts.iter().any(|part| part.medium == Medium::BoundCookie && part.is_changed())
    }

    /// Returns `true` if a part in a cookie has changed.
    pub(crate) fn change_cookie(&self) -> bool {
        self.parts.iter().any(|part| part.is_in_cookie() && part.is_changed())
    }

    /// Returns `true` if a part needs a session.
    pub(crate) fn has_content(&self) -> bool {
        self.parts.iter().any(|part| part.medium != Medium::FreeCookie && part.value.is_some())
    }

    /// Notes that all parts were saved as they are in `written`.
    pub(crate) fn note_saved(&mut self, written: &Self) {
        for saved in &written.parts {
            let part = self.part(saved.name, saved.medium);
            part.is_unsent |= saved.is_in_cookie() && saved.is_changed();
            part.is_reset &= !saved.is_reset;
            part.stored = match &saved.prepared {
                Some(prepared) => Some(prepared.version),
                None if saved.value.is_none() => None,
                None => saved.stored,
            };
            part.base = saved.value.clone();
            (part.prepared, part.doubted, part.unanswered) = (None, None, None);
        }
    }

    /// Notes the version that the record of a part has been written with.
    pub(crate) fn note_stored(&mut self, name: &str, version: Version) {
        if let Some(part) = self.find_mut(name) {
            part.stored = Some(version);
        }
    }

    /// Notes that a prepared text may be gone, and whether the session refers to the part.
    pub(crate) fn doubt_prepared(&mut self, name: &str, is_referred_to: bool) {
        if let Some(part) = self.find_mut(name)
            && let Some(prepared) = part.prepared.take()
        {
            let version = if is_referred_to { &mut part.stored } else { &mut part.doubted };
            *version = Some(prepared.version);
        }
    }

    /// Notes that the session may refer to a prepared text, which must not be overwritten before the part was reloaded.
    pub(crate) fn doubt_references(&mut self) {
        for part in &mut self.parts {
            part.is_stale |= part.prepared.take().is_some();
        }
    }

    /// Replaces a part.
    pub(crate) fn replace(&mut self, part: ExternalPart) {
        let (name, medium) = (part.name, part.medium);
        *self.part(name, medium) = part;
    }

    /// Takes the prepared texts. Returns their parts with the prepared texts.
    pub(crate) fn take_prepared(&mut self) -> Vec<ExternalPart> {
        let taken = self.parts.iter_mut().filter(|part| part.prepared.is_some());
        taken.map(|part| ExternalPart { prepared: part.prepared.take(), ..part.clone() }).collect()
    }

    fn part(&mut self, name: &'static str, medium: Medium) -> &mut ExternalPart {
        let place = self.parts.iter().position(|part| part.name == name).unwrap_or_else(|| {
            self.parts.push(ExternalPart::empty(name, medium));
            self.parts.len() - 1
        });
        &mut self.parts[place]
    }
}

/// Shows the name without the value.
impl fmt::Debug for ExternalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_changed() { "changed" } else { "as loaded" };
        write!(f, "{:?} {what}", self.name)
    }
}
