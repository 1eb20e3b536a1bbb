//! A sealed record in a cookie, of bounded size and age.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::clock::Timestamp;
use crate::cookie::{Chunks, CookieConfig, CookieWriter, Found, FoundChunks, Received};
use crate::error::{ConfigError, Error};
use crate::event::SessionEvent;
use crate::random;
use crate::record::Record;
use crate::record::lifetime::Timeouts;
use crate::seal::{self, Algorithm, Context, KeyRing, Place};
use crate::state::loaded::Binding;

/// Most characters by which a seal grows when only its times and version change: four varints, each up to five bytes
/// longer.
pub(crate) const ROOM_TO_GROW: usize = 32;

/// A cookie that holds a record.
#[derive(Clone, Debug)]
pub(crate) struct SealedCookie {
    writer: CookieWriter,
    keys: KeyRing,
    algorithm: Algorithm,
    /// `session`, or the name of the part it holds.
    what: &'static str,
    /// Binds the seal to its purpose, so that a part's cookie is not accepted as another part or as the session.
    purpose: Arc<str>,
    /// Binds the seal to an application. May be empty.
    application: Arc<str>,
    /// Cookie name, purpose and application as the seal is bound to them.
    place: Place,
    /// The most cookies the value may be split over.
    max_chunks: usize,
}

/// A record opened from a cookie.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) record: Record,
    /// Whether the primary key sealed it.
    pub(crate) by_primary: bool,
    /// How many cookies it came in.
    pub(crate) chunks: usize,
}

impl SealedCookie {
    /// Makes the cookie of `what`: `session`, or the name of a part.
    pub(crate) fn new(
        writer: CookieWriter,
        (algorithm, keys): (Algorithm, KeyRing),
        what: &'static str,
        purpose: &str,
        application: Arc<str>,
        max_chunks: usize,
    ) -> Self {
        let place = Place::new(writer.name(), purpose, &application);
        Self { writer, keys, algorithm, what, purpose: purpose.into(), application, place, max_chunks }
    }

    /// Returns the name of the cookie, or of its first chunk.
    pub(crate) fn name(&self) -> &str {
        self.writer.name()
    }

    pub(crate) fn set_writer(&mut self, writer: CookieWriter) {
        self.place = Place::new(writer.name(), &self.purpose, &self.application);
        self.writer = writer;
    }

    /// Opens the cookie. `binding` is the session and generation that it must be sealed for.
    ///
    /// The error is an event for the observers, or `None` if the client sent no cookie.
    pub(crate) fn open(
        &self,
        received: &Received,
        binding: Option<Binding>,
        timeouts: &Timeouts,
        now: Timestamp,
    ) -> Result<Opened, Option<SessionEvent>> {
        let name = self.writer.name().as_bytes();
        let (text, chunks) = if self.max_chunks > 1 {
            match received.find_chunks(name) {
                FoundChunks::Duplicate(_) => return Err(Some(SessionEvent::DuplicateCookie)),
                FoundChunks::Chunks(found) => {
                    let Some(last) = found.carried().last() else { return Err(None) };
                    let Some(text) = found.join(self.max_chunks) else { return Err(Some(SessionEvent::InvalidCookie)) };
                    (text, last + 1)
                }
            }
        } else {
            match received.find(name) {
                Found::Absent => return Err(None),
                Found::Duplicate => return Err(Some(SessionEvent::DuplicateCookie)),
                Found::One(text) => (Cow::Borrowed(text), 1),
            }
        };
        self.open_text(&text, chunks, binding, timeouts, now)
    }

    fn open_text(
        &self,
        text: &[u8],
        chunks: usize,
        binding: Option<Binding>,
        timeouts: &Timeouts,
        now: Timestamp,
    ) -> Result<Opened, Option<SessionEvent>> {
        let opened = self.with_context(binding, |context| seal::open(self.algorithm, &self.keys, context, text));
        let Some(opened) = opened else { return Err(Some(SessionEvent::InvalidCookie)) };
        // The seal is valid, so a record that does not decode comes from a later release. Records from far in the
        // future are rejected.
        let Ok(record) = Record::decode(opened.content()) else { return Err(Some(SessionEvent::UndecodableRecord)) };
        if Timeouts::is_from_the_future(&record, now) {
            return Err(Some(SessionEvent::InvalidCookie));
        }
        match timeouts.expiry(&record, now) {
            Some(expiry) => Err(Some(SessionEvent::Expired { session: record.handle, expiry })),
            None => Ok(Opened { record, by_primary: opened.by_primary, chunks }),
        }
    }

    /// Seals a record. Returns the cookies that carry it, and the removals of those no longer needed.
    ///
    /// Fails unless the cookies have `room` to spare: [`ROOM_TO_GROW`] for new values, so that requests that only read
    /// can reseal the record with zero.
    pub(crate) fn seal(
        &self,
        record: &Record,
        binding: Option<Binding>,
        max_age: Option<Duration>,
        chunks_before: usize,
        room: usize,
    ) -> Result<Vec<HeaderValue>, Error> {
        let nonce = match self.algorithm {
            Algorithm::Encrypted => random::nonce(),
            Algorithm::Signed => [0; _],
        };
        let seal = self.with_context(binding, |context| {
            let (size, put_record) = (record.most_encoded_bytes(), |out: &mut Vec<u8>| record.encode_onto(out));
            seal::seal(self.algorithm, &self.keys, context, &nonce, size, put_record)
        });
        let length = seal.text_len();
        let limit = self.writer.capacity(self.max_chunks) - room;
        if length > limit {
            return Err(Error::too_large(self.what, length, limit));
        }
        let mut cookies = if length <= self.writer.capacity(1) {
            vec![self.writer.set_with(length, max_age, |out| seal.put_text(out))]
        } else {
            let mut text = Vec::with_capacity(length);
            seal.put_text(&mut text);
            self.set_chunks(&text, max_age)?
        };
        cookies.extend(self.removals(cookies.len(), chunks_before));
        Ok(cookies)
    }

    /// Fails if a record is too large to be sealed.
    pub(crate) fn check_fit(&self, record: &Record, room: usize) -> Result<(), Error> {
        let length = seal::sealed_len(self.algorithm, record.encode().len());
        let limit = self.writer.capacity(self.max_chunks) - room;
        if length > limit { Err(Error::too_large(self.what, length, limit)) } else { Ok(()) }
    }

    fn set_chunks(&self, text: &[u8], max_age: Option<Duration>) -> Result<Vec<HeaderValue>, Error> {
        let text = str::from_utf8(text).map_err(|source| Error::encode(self.what, source.into()))?;
        let too_large = || Error::too_large(self.what, text.len(), self.writer.capacity(self.max_chunks));
        let values = self.writer.split(text, self.max_chunks).ok_or_else(too_large)?;
        Ok(values.iter().enumerate().map(|(index, value)| self.chunk(index).set(value, max_age)).collect())
    }

    /// Returns the removals of the client's chunks from number `from` on.
    pub(crate) fn removals(&self, from: usize, chunks_before: usize) -> impl Iterator<Item = HeaderValue> {
        (from..chunks_before).map(|index| self.chunk(index).removal())
    }

    /// Returns the number of chunks up to the last one the client sent, also those of a release that allowed more.
    pub(crate) fn received_chunks(&self, received: &Received) -> usize {
        self.find_chunks(received).carried().last().map_or(0, |last| last + 1)
    }

    /// Returns the removals of the cookies of this name that the client sent.
    pub(crate) fn removals_of_received(&self, received: &Received) -> Vec<HeaderValue> {
        self.find_chunks(received).carried().map(|index| self.chunk(index).removal()).collect()
    }

    /// Returns the names of the cookies that the client sent, if they do not open because one has different values.
    pub(crate) fn duplicates(&self, received: &Received) -> Vec<String> {
        received.duplicates(&self.writer, self.max_chunks)
    }

    fn find_chunks<'r>(&self, received: &'r Received) -> Chunks<'r> {
        match received.find_chunks(self.writer.name().as_bytes()) {
            FoundChunks::Chunks(found) | FoundChunks::Duplicate(found) => found,
        }
    }

    /// Returns the cookie of the same part for another session cookie.
    pub(crate) fn for_part_of(&self, session: &CookieConfig) -> Result<Self, ConfigError> {
        let writer = CookieWriter::new(&session.for_part(self.what)?)?;
        let mut cookie = self.clone();
        cookie.set_writer(writer);
        Ok(cookie)
    }

    fn chunk(&self, index: usize) -> Cow<'_, CookieWriter> {
        if index == 0 { Cow::Borrowed(&self.writer) } else { Cow::Owned(self.writer.chunk(index)) }
    }

    fn with_context<T>(&self, binding: Option<Binding>, work: impl FnOnce(&Context<'_>) -> T) -> T {
        let bytes = binding.map(Binding::to_bytes);
        let binding = bytes.as_ref().map_or(&[][..], <[u8; 24]>::as_slice);
        work(&Context { place: &self.place, binding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Handle;
    use crate::state::CookieState;

    #[test]
    fn a_sealed_record_of_an_unknown_format_is_undecodable_and_not_a_forgery() {
        let writer = CookieWriter::new(&CookieConfig::new()).expect("the default cookie");
        let keys = KeyRing::generate().expect("random bytes");
        let cookie = CookieState::signed(keys).into_state(writer).cookie;
        let sealed = |plaintext: &[u8]| {
            let mut text = Vec::new();
            let put = |out: &mut Vec<u8>| out.extend_from_slice(plaintext);
            cookie.with_context(None, |context| {
                seal::seal(cookie.algorithm, &cookie.keys, context, &[0; _], plaintext.len(), put).put_text(&mut text);
            });
            text
        };
        let now = Timestamp::from_millis(1_000);
        let open = |text: &[u8]| cookie.open_text(text, 1, None, &Timeouts::default(), now);
        let mut record = Record::new(Handle::from_bytes([1; 16]), now, now.after(Duration::from_secs(1))).encode();
        assert!(open(&sealed(&record)).is_ok());
        record[0] = u8::MAX;
        assert!(matches!(open(&sealed(&record)), Err(Some(SessionEvent::UndecodableRecord))), "a future format");
        let mut forged = sealed(&record);
        forged[20] ^= 1;
        assert!(matches!(open(&forged), Err(Some(SessionEvent::InvalidCookie))));
    }
}
