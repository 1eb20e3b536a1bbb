//! What a layer was told: the same for all of its requests.

use std::any::TypeId;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::cookie::{CookieConfig, CookieLifetime, CookieWriter};
use crate::error::{ConfigError, Error};
use crate::event::{Observers, SessionEvent};
use crate::part::{InCookie, Place, SessionPart};
use crate::record::Record;
use crate::record::lifetime::{LONGEST_UNUSED, Timeouts};
use crate::store::ErasedStore;

use super::SessionLimit;
use super::State;
use super::outside::OutsidePlace;
use super::sealed::SealedCookie;

/// What a layer was told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) state: State,
    pub(crate) timeouts: Timeouts,
    pub(crate) cookie: CookieConfig,
    pub(crate) cookie_writer: CookieWriter,
    /// Parts in cookies of their own.
    pub(crate) part_cookies: Vec<PartCookie>,
    /// Parts on the server, but outside the session's record.
    pub(crate) outside: Vec<OutsidePlace>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observers: Observers,
    /// How many sessions a principal may have.
    pub(crate) session_limit: Option<SessionLimit>,
    pub(crate) conflict_policy: ConflictPolicy,
    pub(crate) server_error_policy: ServerErrorPolicy,
    pub(crate) store_timeout: Duration,
    pub(crate) max_record_size: usize,
}

/// A part that lives in a cookie of its own.
#[derive(Clone, Debug)]
pub(crate) struct PartCookie {
    pub(crate) part: TypeId,
    pub(crate) cookie: Arc<SealedCookie>,
    pub(crate) timeouts: Arc<Timeouts>,
    /// Whether it opens only together with the session it was made in.
    pub(crate) is_bound: bool,
}

/// What happens when two requests change one session at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictPolicy {
    /// The changes of the later one are made again on what the earlier one left. Nothing is lost; where both set one
    /// key, the later commit wins. The default.
    #[default]
    Merge,
    /// The later request is answered with 409 and changes nothing. For state that must be judged anew by a human or by
    /// the client.
    Fail,
}

/// What happens to the changes of a handler that answers with a status of 500 or above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerErrorPolicy {
    /// They are kept, as with any other answer. The default.
    #[default]
    Keep,
    /// Changes of values are discarded. A logout, a login, a renewal and a changed timeout are carried out all the same.
    Discard,
}

impl PartCookie {
    fn new<T: SessionPart>(place: InCookie, session: &CookieConfig) -> Result<Self, ConfigError> {
        let InCookie { keys, algorithm, application, kept } = place;
        let cookie = SealedCookie {
            writer: CookieWriter::new(&session.for_part(T::NAME)?)?,
            keys,
            algorithm,
            what: T::NAME,
            purpose: format!("part:{}", T::NAME).into(),
            application,
            max_chunks: 1,
        };
        // What is bound to a session lives as long as that. What stands for itself is sealed anew at most once a day.
        let timeouts = Timeouts {
            idle: kept.map(|unused| unused.min(LONGEST_UNUSED)),
            absolute: None,
            touch_interval: Some(Duration::from_secs(24 * 60 * 60)),
            ..Timeouts::default()
        };
        let (cookie, timeouts) = (Arc::new(cookie), Arc::new(timeouts));
        Ok(Self { part: TypeId::of::<T>(), cookie, timeouts, is_bound: kept.is_none() })
    }
}

impl Config {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    #[inline]
    pub(crate) fn tell(&self, event: &SessionEvent) {
        self.observers.tell(event);
    }

    /// Takes over another cookie for the session, and derives the cookies of parts and state from it.
    pub(crate) fn set_cookie(&mut self, cookie: CookieConfig) -> Result<(), ConfigError> {
        self.cookie_writer = CookieWriter::new(&cookie)?;
        self.cookie = cookie;
        if let State::Client(client) = &mut self.state {
            client.cookie.writer = self.cookie_writer.clone();
        }
        for placed in &mut self.part_cookies {
            placed.cookie = Arc::new(placed.cookie.for_part_of(&self.cookie)?);
        }
        Ok(())
    }

    /// Says where a part lives, which no other part of this name may have said before.
    pub(crate) fn place_part<T: SessionPart>(&mut self, place: Place) -> Result<(), ConfigError> {
        let part = TypeId::of::<T>();
        self.part_cookies.retain(|other| other.part != part);
        self.outside.retain(|other| other.part != part);
        let names = self.part_cookies.iter().map(|other| other.cookie.what);
        if names.chain(self.outside.iter().map(|other| other.name)).any(|name| name == T::NAME) {
            return Err(ConfigError::new("another part has this name"));
        }
        match place {
            Place::Cookie(in_cookie) => self.part_cookies.push(PartCookie::new::<T>(in_cookie, &self.cookie)?),
            Place::Store(in_store) => self.outside.push(OutsidePlace::in_store::<T>(in_store)),
            Place::Tables(mapped) => {
                let is_there = match &self.state {
                    State::Server(server) => mapped.database().is_of(server.store.as_any()),
                    State::Client(_) => false,
                };
                if !is_there {
                    return Err(ConfigError::new(
                        "its tables refer to the session's row, so the layer must keep its sessions in the very store that \
                         the tables were checked with",
                    ));
                }
                self.outside.push(OutsidePlace::in_tables::<T>(mapped));
            }
        }
        Ok(())
    }

    /// Returns the stores that hold sessions, parts of them, or marks of those that were revoked.
    pub(crate) fn stores(&self) -> impl Iterator<Item = &dyn ErasedStore> {
        let of_sessions = match &self.state {
            State::Server(server) => Some(&*server.store),
            State::Client(client) => client.revocation.as_ref().map(|revocation| &*revocation.store),
        };
        of_sessions.into_iter().chain(self.outside.iter().filter_map(OutsidePlace::store))
    }

    /// Returns what the store of the sessions is called.
    pub(crate) fn store_name(&self) -> &'static str {
        match &self.state {
            State::Server(server) => server.store.name(),
            State::Client(_) => "cookie",
        }
    }

    pub(crate) fn part_cookie(&self, part: TypeId) -> Option<&PartCookie> {
        self.part_cookies.iter().find(|placed| placed.part == part)
    }

    pub(crate) fn outside_place(&self, part: TypeId) -> Option<&OutsidePlace> {
        self.outside.iter().find(|placed| placed.part == part)
    }

    /// Refuses a record that is larger than the layer allows.
    pub(crate) fn check_size(&self, record: &Record) -> Result<(), Error> {
        let size = record.values.as_frames().len() + record.principal.as_deref().map_or(0, str::len);
        if size > self.max_record_size {
            return Err(Error::too_large(Cow::Borrowed("session"), size, self.max_record_size));
        }
        Ok(())
    }

    /// Returns how long the browser is to keep the cookie of a session: `None` until it is closed.
    ///
    /// A session with a timeout of its own asked to be remembered, so its cookie is kept too.
    pub(crate) fn max_age(&self, record: &Record, now: Timestamp) -> Option<Duration> {
        let has_own_timeout = record.idle_timeout.is_some() || record.absolute_timeout.is_some();
        let is_persistent = has_own_timeout || self.cookie.lifetime() == CookieLifetime::Persistent;
        is_persistent.then(|| record.expires_at.since(now))
    }
}
