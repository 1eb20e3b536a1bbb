//! Configuration of a layer, shared by all of its requests.

use std::any::{TypeId, type_name};
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use super::client::{ClientState, Revocation};
use super::part::{PartCookie, PlacedIn, PlacedPart};
use super::server::{ServerState, SessionLimit};
use super::setup::Setup;
use crate::clock::{Clock, Timestamp};
use crate::cookie::{CookieConfig, CookieLifetime, CookieWriter};
use crate::error::ConfigError;
use crate::event::{Observers, SessionEvent};
use crate::part::{AnyPlacement, SessionPart};
use crate::record::Record;
use crate::record::id::IdDomain;
use crate::record::lifetime::{LONGEST_UNUSED, Timeouts};
use crate::store::ErasedStore;

/// Where the state lives.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Client(ClientState),
    Server(ServerState),
}

/// Configuration of a layer.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) state: State,
    pub(crate) timeouts: Timeouts,
    pub(crate) cookie: CookieConfig,
    pub(crate) cookie_writer: CookieWriter,
    /// Domain that binds the IDs of this layer.
    pub(crate) id_domain: IdDomain,
    /// Parts stored outside the session's record.
    pub(crate) parts: Vec<PlacedPart>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observers: Observers,
    /// Limit on concurrent sessions per principal.
    pub(crate) session_limit: Option<SessionLimit>,
    pub(crate) conflict_policy: ConflictPolicy,
    pub(crate) server_error_policy: ServerErrorPolicy,
    pub(crate) store_timeout: Duration,
    pub(crate) max_record_size: usize,
    /// What is wrong with the settings.
    pub(crate) setup: Setup,
}

/// Policy for concurrent changes of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictPolicy {
    /// Replays the later request's changes on the record written by the earlier one. No change is lost; if both set one
    /// key, the later commit wins. The default.
    #[default]
    Merge,
    /// Answers the later request with 409 and discards its changes. For state that the user or the client must review
    /// before changing it again.
    Fail,
}

/// Policy for the changes of a handler that answers with a status of 500 or above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerErrorPolicy {
    /// Keeps the changes, as for any other status. The default.
    #[default]
    Keep,
    /// Discards changes of values. Logouts, logins, renewals and timeout changes still take effect.
    Discard,
}

impl Config {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    #[inline]
    pub(crate) fn tell(&self, event: &SessionEvent) {
        self.observers.tell(event);
    }

    /// Checks the settings again after one of them has changed.
    pub(crate) fn judge_setup(&mut self) {
        self.setup.judge(&self.timeouts, self.store_timeout, self.max_record_size);
    }

    /// Returns a name that cookies of both layers have.
    pub(crate) fn shared_cookie<'c>(&'c self, other: &Self) -> Option<&'c str> {
        self.cookie_names().find(|name| other.cookie_names().any(|other| other == *name))
    }

    /// Returns the names of the layer's cookies: the session's, and those of parts.
    fn cookie_names(&self) -> impl Iterator<Item = &str> {
        let of_parts = self.parts.iter().filter_map(|placed| placed.cookie().map(PartCookie::name));
        iter::once(self.cookie_writer.name()).chain(of_parts)
    }

    /// Replaces the session's cookie, and derives the cookies of parts and state from it.
    pub(crate) fn set_cookie(&mut self, cookie: CookieConfig) -> Result<(), ConfigError> {
        self.cookie_writer = CookieWriter::new(&cookie)?;
        self.id_domain = IdDomain::new(self.cookie_writer.name());
        self.cookie = cookie;
        if let State::Client(client) = &mut self.state {
            client.cookie.set_writer(self.cookie_writer.clone());
        }
        for part in &mut self.parts {
            if let PlacedIn::Cookie(placed) = &mut part.place {
                *placed = placed.for_session(&self.cookie)?;
            }
        }
        Ok(())
    }

    /// Sets the place of a part. Fails if another part has the same name.
    pub(crate) fn place_part<T: SessionPart>(&mut self, placement: AnyPlacement) -> Result<(), ConfigError> {
        let part = TypeId::of::<T>();
        self.parts.retain(|other| other.part != part);
        if let Some(other) = self.part_named(T::NAME) {
            return Err(ConfigError::new(format!(
                "the part types `{}` and `{}` are both named {:?}: give one of them another `NAME`",
                other.type_name,
                type_name::<T>(),
                T::NAME
            )));
        }
        let place = match placement {
            AnyPlacement::Cookie(in_cookie) => PlacedIn::Cookie(PartCookie::new(T::NAME, in_cookie, &self.cookie)?),
            AnyPlacement::Store(in_store) => PlacedIn::Store(in_store),
            AnyPlacement::Tables(mapped) => {
                let is_there = match &self.state {
                    State::Server(server) => mapped.database().is_of(server.store.as_any()),
                    State::Client(_) => false,
                };
                if !is_there {
                    return Err(ConfigError::new(format!(
                        "the tables of part {:?} refer to the session's row: keep this layer's sessions in the store that \
                         the tables were checked with",
                        T::NAME
                    )));
                }
                PlacedIn::Tables(mapped)
            }
        };
        self.parts.push(PlacedPart { part, type_name: type_name::<T>(), name: T::NAME, place });
        Ok(())
    }

    /// Returns the revocation settings, if sessions live in cookies and can be revoked.
    pub(crate) fn revocation(&self) -> Option<&Revocation> {
        match &self.state {
            State::Client(client) => client.revocation.as_ref(),
            State::Server(_) => None,
        }
    }

    /// Returns the stores that hold sessions, parts or revocation marks.
    pub(crate) fn stores(&self) -> impl Iterator<Item = &dyn ErasedStore> {
        let of_sessions = match &self.state {
            State::Server(server) => Some(&*server.store),
            State::Client(client) => client.revocation.as_ref().map(|revocation| &*revocation.store),
        };
        of_sessions.into_iter().chain(self.parts.iter().filter_map(PlacedPart::store))
    }

    /// Returns the name of the session store.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) fn store_name(&self) -> &'static str {
        match &self.state {
            State::Server(server) => server.store.name(),
            State::Client(_) => "cookie",
        }
    }

    /// Returns the place of a part, unless it lives in the session's record.
    pub(crate) fn placed_part(&self, part: TypeId) -> Option<&PlacedPart> {
        self.parts.iter().find(|placed| placed.part == part)
    }

    /// Returns whether a part has a cookie of this name.
    pub(crate) fn is_cookie_of_part(&self, cookie: &str) -> bool {
        self.parts.iter().filter_map(PlacedPart::cookie).any(|part| part.name() == cookie)
    }

    /// Returns the place of the part with this name, unless it lives in the session's record.
    pub(crate) fn part_named(&self, name: &str) -> Option<&PlacedPart> {
        self.parts.iter().find(|placed| placed.name == name)
    }

    /// Returns the `Max-Age` of the session's cookie: `None` for a cookie that ends with the browser session.
    pub(crate) fn max_age(&self, record: &Record, now: Timestamp) -> Option<Duration> {
        self.keeps_cookie(record).then(|| record.expires_at.since(now))
    }

    /// Returns the `Max-Age` of the cookie of a part that is bound to the session. Later uses of the session do not
    /// send it again, so it lasts as long as the session can.
    pub(crate) fn max_age_of_bound_part(&self, record: &Record, now: Timestamp) -> Option<Duration> {
        let deadline = self.timeouts.absolute_deadline(record.into());
        self.keeps_cookie(record).then(|| deadline.map_or(LONGEST_UNUSED, |deadline| deadline.since(now)))
    }

    /// Returns whether browsers keep the session's cookie when they are closed.
    #[inline(always)]
    pub(crate) fn keeps_cookie(&self, record: &Record) -> bool {
        match self.cookie.lifetime() {
            CookieLifetime::BrowserSession => false,
            CookieLifetime::PersistentIfLonger => self.timeouts.are_exceeded_by(record),
            CookieLifetime::Persistent => true,
        }
    }
}
