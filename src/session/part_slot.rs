//! The parts of a request that live in cookies of their own.

use std::sync::Arc;

use http::HeaderValue;

use crate::cookie::Received;
use crate::error::Error;
use crate::event::SessionEvent;
use crate::record::values::JsonText;
use crate::record::{Handle, Record, Values};
use crate::state::{Config, PartCookie, ROOM_TO_GROW};

/// Under which key the record in a part's cookie holds the part.
const PART_KEY: &str = "part";

/// The handle of a part's record, which names no session, and of a session that is not made yet.
pub(super) const NO_HANDLE: Handle = Handle::from_bytes([0; 16]);

/// A part that the request has asked for.
#[derive(Debug)]
pub(crate) struct PartSlot {
    pub(super) name: &'static str,
    pub(super) is_in_use: bool,
    /// The part's own cookie, if it lives in one.
    pub(super) stored: Option<StoredPart>,
}

/// A part that lives in a cookie of its own.
#[derive(Debug)]
pub(crate) struct StoredPart {
    pub(super) placed: PartCookie,
    /// The record that the cookie held.
    pub(crate) record: Option<Arc<Record>>,
    pub(crate) value: Option<JsonText>,
    pub(super) is_changed: bool,
    reseal: bool,
    chunks: usize,
}

impl PartSlot {
    pub(super) fn is_to_be_sealed(&self) -> bool {
        self.stored.as_ref().is_some_and(StoredPart::is_to_be_sealed)
    }

    fn is_written_to(&self, placed: &PartCookie) -> bool {
        self.stored.as_ref().is_some_and(|stored| stored.is_changed && stored.placed.part == placed.part)
    }
}

impl StoredPart {
    /// Opens the cookie of a part. One that is bound to its session opens only in `session`. The event that is to be told
    /// comes along: a subscriber of `tracing` is code of the application, and the caller holds a lock.
    pub(super) fn open(
        config: &Config,
        received: &Received,
        placed: &PartCookie,
        session: Option<Handle>,
    ) -> (Self, Option<SessionEvent>) {
        let mut stored =
            Self { placed: placed.clone(), record: None, value: None, is_changed: false, reseal: false, chunks: 0 };
        let binding = session.filter(|_| placed.is_bound);
        if placed.is_bound && binding.is_none() {
            return (stored, None);
        }
        let now = config.now();
        let opened = match placed.cookie.open(received, binding, &placed.timeouts, now) {
            Ok(opened) => opened,
            Err(event) => return (stored, event),
        };
        let is_due = !placed.is_bound && placed.timeouts.touch_is_due(&opened.record, now);
        stored.reseal = !opened.by_primary || is_due;
        stored.chunks = opened.chunks;
        stored.record = Some(Arc::new(opened.record));
        stored.discard_change();
        (stored, None)
    }

    /// Goes back to what the client has.
    pub(super) fn discard_change(&mut self) {
        self.value = self.record.as_ref().and_then(|record| JsonText::of(record, PART_KEY));
        self.is_changed = false;
    }

    /// Empties the part if it is bound to a session: that has ended, or is now another's.
    pub(super) fn forget_if_bound(&mut self) {
        if self.placed.is_bound {
            (self.record, self.value) = (None, None);
            (self.is_changed, self.reseal) = (false, false);
        }
    }

    /// Whether the part has changed or its seal is old.
    pub(super) fn is_to_be_sealed(&self) -> bool {
        self.is_changed || self.reseal
    }

    /// Seals the part, if it is to be.
    pub(super) fn seal(&self, config: &Config, session: Option<Handle>) -> Result<Vec<HeaderValue>, Error> {
        let PartCookie { cookie, timeouts, is_bound, .. } = &self.placed;
        let Some(value) = self.value.as_ref().filter(|_| self.is_to_be_sealed()) else { return Ok(Vec::new()) };
        let now = config.now();
        let created_at = self.record.as_ref().map_or(now, |record| record.created_at);
        let mut record = Record::new(NO_HANDLE, created_at, now);
        record.last_seen_at = now;
        record.expires_at = timeouts.expires_at((&record).into());
        record.values = Values::from_pairs([(PART_KEY, value.as_bytes())]);
        let room = if self.is_changed { ROOM_TO_GROW } else { 0 };
        match (is_bound, session) {
            (false, _) => cookie.seal(&record, None, Some(record.expires_at.since(now)), self.chunks, room),
            (true, Some(session)) => cookie.seal(&record, Some(session), None, self.chunks, room),
            // The session has ended in this request, and the part with it.
            (true, None) => Ok(Vec::new()),
        }
    }
}

/// Removes the cookies of parts that were bound to a session that has ended, but for those `written` to since.
pub(super) fn removals_of_ended(config: &Config, received: &Received, written: &[PartSlot]) -> Vec<HeaderValue> {
    let bound = config.part_cookies.iter().filter(|placed| placed.is_bound);
    let ended = bound.filter(|placed| !written.iter().any(|slot| slot.is_written_to(placed)));
    ended.flat_map(|placed| placed.cookie.removals_of_received(received)).collect()
}
