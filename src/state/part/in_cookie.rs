//! Parts in separate cookies.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::clock::Timestamp;
use crate::cookie::{CookieConfig, CookieWriter, Received};
use crate::error::{ConfigError, Error};
use crate::event::SessionEvent;
use crate::part::InCookie;
use crate::record::external::{ExternalPart, ReceivedPart};
use crate::record::json_text::JsonText;
use crate::record::lifetime::{LONGEST_UNUSED, RESEND_WINDOW, Timeouts};
use crate::record::{Handle, Record, Values};
use crate::state::client::{ROOM_TO_GROW, SealedCookie};
use crate::state::loaded::Binding;

/// Key of the part in the cookie's record.
const PART_KEY: &str = "part";

/// Handle of the cookie's record, which belongs to no session.
const NO_HANDLE: Handle = Handle::from_bytes([0; 16]);

/// How often an unbound cookie is resealed to update its age.
const TOUCH_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The cookie of a part.
#[derive(Clone, Debug)]
pub(crate) struct PartCookie {
    cookie: Arc<SealedCookie>,
    timeouts: Arc<Timeouts>,
    /// Whether it opens only in the session it was sealed for.
    pub(crate) is_bound: bool,
}

impl PartCookie {
    pub(crate) fn new(name: &'static str, place: InCookie, session: &CookieConfig) -> Result<Self, ConfigError> {
        let InCookie { keys, algorithm, application, retention } = place;
        if retention.is_some_and(|retention| retention.is_zero()) {
            return Err(ConfigError::new(format!(
                "part {name:?} has a retention of zero and is forgotten at once: lengthen `with_retention`"
            )));
        }
        let writer = CookieWriter::new(&session.for_part(name)?)?;
        let purpose = format!("part:{name}");
        let cookie = SealedCookie::new(writer, (algorithm, keys), name, &purpose, application, 1);
        // A bound cookie lives as long as its session.
        let idle = retention.map(|unused| unused.min(LONGEST_UNUSED));
        let touch_interval = Some(TOUCH_INTERVAL);
        let timeouts = Timeouts { idle, absolute: None, touch_interval, ..Timeouts::default() };
        Ok(Self { cookie: Arc::new(cookie), timeouts: Arc::new(timeouts), is_bound: retention.is_none() })
    }

    /// Returns the cookie of the same part for a layer whose session has another cookie.
    pub(crate) fn for_session(&self, session: &CookieConfig) -> Result<Self, ConfigError> {
        Ok(Self { cookie: Arc::new(self.cookie.for_part_of(session)?), ..self.clone() })
    }

    pub(crate) fn name(&self) -> &str {
        self.cookie.name()
    }

    /// Opens the received cookie, if it is bound to no session or to this one.
    pub(crate) fn open(
        &self,
        received: &Received,
        session: Option<Binding>,
        now: Timestamp,
    ) -> (Option<JsonText>, ReceivedPart, Option<SessionEvent>) {
        let binding = session.filter(|_| self.is_bound);
        if self.is_bound && binding.is_none() {
            return (None, ReceivedPart::default(), None);
        }
        match self.cookie.open(received, binding, &self.timeouts, now) {
            Ok(opened) => {
                let is_due = !self.is_bound && self.timeouts.touch_is_due(&opened.record, now);
                let (needs_seal, record) = (is_due || !opened.by_primary, Arc::new(opened.record));
                let value = JsonText::of(&record, PART_KEY);
                let chunks = opened.chunks;
                (value, ReceivedPart { record: Some(record), needs_seal, opened_at: now, chunks }, None)
            }
            Err(event) => (None, ReceivedPart::default(), event),
        }
    }

    /// Fails if a part does not fit its cookie.
    pub(crate) fn check_fit(&self, part: &ExternalPart, now: Timestamp) -> Result<(), Error> {
        match &part.value {
            Some(value) if is_to_be_sent(part, now) => {
                self.cookie.check_fit(&self.record(part, value, now), room(part))
            }
            _ => Ok(()),
        }
    }

    /// Returns the cookies that update the client's copy of a part. `session` is the request's final session, with the
    /// `Max-Age` of cookies that are bound to it.
    pub(crate) fn to_send(
        &self,
        part: &ExternalPart,
        received: &Received,
        session: Option<(Binding, Option<Duration>)>,
        now: Timestamp,
    ) -> Result<Vec<HeaderValue>, Error> {
        if !is_to_be_sent(part, now) {
            return Ok(Vec::new());
        }
        let Some(value) = &part.value else { return Ok(self.removals(received)) };
        let record = self.record(part, value, now);
        match (self.is_bound, session) {
            (false, _) => {
                let max_age = Some(record.expires_at.since(now));
                self.cookie.seal(&record, None, max_age, part.cookie.chunks, room(part))
            }
            (true, Some((session, max_age))) => {
                self.cookie.seal(&record, Some(session), max_age, part.cookie.chunks, room(part))
            }
            // The part ended with its session.
            (true, None) => Ok(Vec::new()),
        }
    }

    /// Reseals an unchanged part after a login: cookies sealed before the login no longer open.
    pub(crate) fn rebind(
        &self,
        received: &Received,
        before: Binding,
        (after, max_age): (Binding, Option<Duration>),
        now: Timestamp,
    ) -> Result<Vec<HeaderValue>, Error> {
        match self.cookie.open(received, Some(before), &self.timeouts, now) {
            Ok(opened) => self.cookie.seal(&opened.record, Some(after), max_age, opened.chunks, 0),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Returns the removals of the part's cookies that the client sent.
    pub(crate) fn removals(&self, received: &Received) -> Vec<HeaderValue> {
        self.cookie.removals_of_received(received)
    }

    /// Returns the names of the part's cookies that the client sent, if one has different values.
    pub(crate) fn duplicates(&self, received: &Received) -> Vec<String> {
        self.cookie.duplicates(received)
    }

    fn record(&self, part: &ExternalPart, value: &JsonText, now: Timestamp) -> Record {
        let created_at = part.cookie.record.as_ref().map_or(now, |record| record.created_at);
        let mut record = Record::new(NO_HANDLE, created_at, now);
        record.last_seen_at = now;
        record.expires_at = self.timeouts.expires_at((&record).into());
        record.values = Values::from_pairs([(PART_KEY, value.as_bytes())]);
        record
    }
}

/// Returns `true` if the client's copy of a part is outdated, or has just been opened and must be resealed. A late one
/// could overwrite what another request has changed.
fn is_to_be_sent(part: &ExternalPart, now: Timestamp) -> bool {
    let may_resend = now.since(part.cookie.opened_at) <= RESEND_WINDOW;
    part.is_unsent || part.is_changed() || (part.cookie.needs_seal && may_resend)
}

/// Returns the room that a new value must leave, so that requests that only read can reseal it with later times.
fn room(part: &ExternalPart) -> usize {
    if part.is_unsent || part.is_changed() { ROOM_TO_GROW } else { 0 }
}
