//! [`Session`]: the values and the lifecycle of a session.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Shared, check_readable, from_json, to_json};
use crate::error::Error;
use crate::record::Lifetime;
use crate::record::changes::{Change, Key, Location};
use crate::record::draft::Draft;
use crate::record::json_text::JsonText;
use crate::record::key::RecordKey;
use crate::state::SharedWork as _;

/// Marker of the session in an application with one layer. An application with two layers gives the second its own
/// marker: see [`SessionLayer::with_marker`](crate::SessionLayer::with_marker).
#[derive(Clone, Copy, Debug)]
pub enum Main {}

/// The session of a request.
///
/// As an argument of a handler it loads the session, once per request; later accesses are immediate. A client without a
/// session gets an empty one, and nothing is stored or sent until the handler writes to it. Changes are saved after the
/// handler has returned and before the response is sent.
///
/// Clones are cheap and share one session. The session can be moved into tasks and streams, which must
/// [save](Self::save) the changes they make after the response was sent.
///
/// # Examples
///
/// ```
/// use session_state::{Error, Session};
///
/// async fn visits(session: Session) -> Result<String, Error> {
///     let visits = session.update("visits", |visits: &mut u32| *visits += 1)?;
///     Ok(format!("visit number {visits}"))
/// }
/// ```
pub struct Session<M = Main> {
    pub(super) shared: Arc<Shared>,
    marker: PhantomData<fn() -> M>,
}

impl<M: 'static> Session<M> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, marker: PhantomData }
    }

    /// Returns the value of `key`, if there is one.
    ///
    /// # Errors
    ///
    /// [`Decode`](crate::ErrorKind::Decode) when the value is not a `T`. The value stays.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let text = self.draft(|draft| draft.text(&storage_key(key)));
        self.shared.noting(text.map(|text| from_json(key, text.as_bytes())).transpose())
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    ///
    /// [`Encode`](crate::ErrorKind::Encode) when the value cannot be written as JSON, or is nested deeper than 120
    /// levels. [`TooLarge`](crate::ErrorKind::TooLarge) when the value would make the session larger than the layer's
    /// [limit](crate::SessionLayer::with_max_record_size). After an error the value of `key` stays as it was. Whether
    /// the session fits a cookie shows when it is [saved](Self::save).
    pub fn insert(&self, key: &str, value: impl Serialize) -> Result<(), Error> {
        let value = self.shared.noting(to_json(key, &value))?;
        let key = Key::new(storage_key(key));
        let limit = self.shared.config().max_record_size;
        let inserted = self.shared.with(|work| {
            work.draft.put_within(limit, &key, Arc::clone(&value))?;
            work.changes.push(Change::Set { key, value });
            Ok(())
        });
        self.shared.noting(inserted)
    }

    /// Changes the value of `key`, beginning with `T::default()` if there is none, and returns the new value.
    ///
    /// When another request changes the session concurrently, `change` runs again on the newer value: counters add up,
    /// and no element pushed to a list is lost. It may therefore run several times, possibly after the handler has
    /// returned, and should do nothing but change the value.
    ///
    /// # Errors
    ///
    /// [`Decode`](crate::ErrorKind::Decode) when the current value is not a `T`, [`Encode`](crate::ErrorKind::Encode)
    /// when the new one cannot be encoded as JSON or does not decode again, [`TooLarge`](crate::ErrorKind::TooLarge)
    /// when it would make the session larger than the layer's [limit](crate::SessionLayer::with_max_record_size). After
    /// an error the value stays as it was.
    pub fn update<T, F>(&self, key: &str, change: F) -> Result<T, Error>
    where
        T: DeserializeOwned + Serialize + Default + 'static,
        F: Fn(&mut T) + Send + Sync + 'static,
    {
        let stored = Key::new(storage_key(key));
        let updated = self.shared.update(&Location::Record(stored), move |stored, before| {
            let name = application_key(stored).unwrap_or_default();
            let mut value = before.map(|json| from_json(name, json)).transpose()?.unwrap_or_default();
            change(&mut value);
            let json = to_json(name, &value)?;
            check_readable::<T>(name, &json)?;
            Ok((value, json))
        });
        self.shared.noting(updated)
    }

    /// Removes the value of `key`, and returns whether there was one.
    ///
    /// The removal is of the value that this request has seen: if another request changes the value at the same time,
    /// its value stays. [`update`](Self::update) changes lists element by element.
    pub fn remove(&self, key: &str) -> bool {
        let is_there = self.remove_seen(key).is_some();
        if !is_there {
            // Without effect, unless the session has just ended or got another ID: then the request is told.
            self.shared.with(|work| work.remove_without_session(Key::new(storage_key(key))));
        }
        is_there
    }

    /// Removes the value of `key` and returns it: for messages that are shown once.
    ///
    /// As with [`remove`](Self::remove), a value that another request sets at the same time stays, to be taken by a
    /// later request: nothing is removed unseen.
    ///
    /// # Errors
    ///
    /// [`Decode`](crate::ErrorKind::Decode) when the value is not a `T`. It is removed all the same.
    pub fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        self.remove_seen(key).map(|text| from_json(key, text.as_bytes())).transpose()
    }

    fn remove_seen(&self, key: &str) -> Option<JsonText> {
        let key = Key::new(storage_key(key));
        self.shared.with(|work| {
            let seen = work.draft.text(&key)?;
            work.draft.put(&key, None);
            work.changes.push(Change::RemoveSeen { key, seen: seen.clone() });
            Some(seen)
        })
    }

    /// Returns whether `key` has a value.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.draft(|draft| draft.get(&storage_key(key)).is_some())
    }

    /// Returns the keys that have a value, in the order in which they were first set, without parts.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.draft(|draft| draft.iter().filter_map(|(key, _)| application_key(key)).map(str::to_owned).collect())
    }

    /// Returns the number of keys that have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.draft(|draft| draft.iter().filter(|(key, _)| application_key(key).is_some()).count())
    }

    /// Returns whether no key has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all values, and the parts that live with the session. This includes values that another request has
    /// added at the same time, if it saves first.
    ///
    /// The session itself stays, with its ID and principal. Parts stored outside the session's record stay unchanged.
    pub fn clear(&self) {
        self.shared.change(Change::Clear);
    }

    /// Gives the session a new ID. The values stay.
    ///
    /// For events other than a [login](Self::login) after which a leaked ID must be useless; a login renews the ID by
    /// itself. Concurrent requests with the old ID still find the session for the layer's grace period, 10 seconds by
    /// default, and their responses carry the new ID too.
    ///
    /// An empty session has no ID to renew, and a session created by this request has a new one anyway. State in the
    /// cookie has no ID either, and is resealed.
    pub fn renew(&self) {
        self.shared.with(|work| work.changes.renews = true);
    }

    /// Logs the principal out: an alias of [`destroy`](Self::destroy).
    ///
    /// # Security
    ///
    /// With state in the cookie, a copy of the cookie outlives the logout unless
    /// [revocation](crate::CookieState::with_revocation) is on: see [`destroy`](Self::destroy).
    pub fn logout(&self) {
        self.destroy();
    }

    /// Ends the session: removes the record and the cookie.
    ///
    /// Concurrent requests of the session cannot revive it. For a minute, a request that comes with its ID and writes
    /// gets [`Ended`](crate::ErrorKind::Ended) (409), unless it logs in. Values written after this call, such as a
    /// goodbye message, begin a new session. Parts in cookies that are bound to the session are removed with it; those
    /// with a retention stay.
    ///
    /// # Security
    ///
    /// State in the cookie is only removed from the browser: a copy of the cookie stays valid until it has been idle
    /// for the idle timeout, and with steady use until the absolute timeout, by default 12 hours after the login. [With
    /// revocation](crate::CookieState::with_revocation) every copy is rejected once the response of this request has
    /// been sent, on other nodes after their [delay](crate::CookieState::with_revocation_delay) at the latest. If the
    /// revocation cannot be stored, the response is 503 and the session stays.
    pub fn destroy(&self) {
        self.shared.end_session();
    }

    /// Sets the idle timeout of this session, instead of the layer's.
    ///
    /// The absolute timeout still ends the session: see [`set_absolute_timeout`](Self::set_absolute_timeout).
    ///
    /// With a timeout longer than the layer's, the cookie survives a restart of the browser ("remember me"), unless the
    /// [`CookieLifetime`](crate::CookieLifetime) says otherwise. A shorter one leaves the cookie as it is.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use session_state::Session;
    ///
    /// async fn remember(session: Session) {
    ///     const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    ///     session.set_idle_timeout(14 * DAY);
    ///     session.set_absolute_timeout(90 * DAY);
    /// }
    /// ```
    pub fn set_idle_timeout(&self, timeout: Duration) {
        self.shared.change(Change::IdleTimeout(Some(timeout)));
    }

    /// Sets the absolute timeout of this session, instead of the layer's.
    ///
    /// It counts from when the session began or its principal logged in. The idle timeout still applies. A timeout
    /// longer than the layer's keeps the cookie, as for [`set_idle_timeout`](Self::set_idle_timeout).
    pub fn set_absolute_timeout(&self, timeout: Duration) {
        self.shared.change(Change::AbsoluteTimeout(Some(timeout)));
    }

    /// Restores the timeouts of the layer.
    pub fn reset_timeouts(&self) {
        self.shared.change(Change::IdleTimeout(None));
        self.shared.change(Change::AbsoluteTimeout(None));
    }

    /// Returns `true` if the request came without a live session, or if the session has ended since: by this request,
    /// or by another one, as a [save](Self::save) has found.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.draft(|draft| draft.base().is_none())
    }

    /// Returns when the session began or its principal logged in. `None` for a session that this request creates.
    #[must_use]
    pub fn created_at(&self) -> Option<SystemTime> {
        self.draft(|draft| draft.base().map(|record| record.created_at.into()))
    }

    /// Returns when the session ends if it is not used again after this request: the sooner of its two deadlines.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        let (timeouts, now) = (&self.shared.config().timeouts, self.shared.config().now());
        self.shared.with(|work| timeouts.expires_at(work.age(timeouts, now)).into())
    }

    /// Returns the timeouts of the session and their remaining time.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        let (timeouts, now) = (&self.shared.config().timeouts, self.shared.config().now());
        self.shared.with(|work| timeouts.lifetime(work.age(timeouts, now), now))
    }

    /// Returns the size of the session's keys and values in bytes, including parts that live with it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.draft(|draft| draft.iter().map(|(key, value)| key.len() + value.len()).sum())
    }

    /// Saves the session now.
    ///
    /// The layer saves after the handler has returned, so this is for code that runs longer: streams, server-sent
    /// events, WebSockets, spawned tasks. It also tells a handler whether the state fits its cookie or store. `Ok`
    /// means that all changes made before the call are stored; a part in a cookie, and a new ID, reach the client with
    /// the response.
    ///
    /// A save is a use of a session in a store, also without changes: it keeps a session alive for as long as a socket
    /// is open. If it finds that the session has ended, [`is_new`](Self::is_new) is true from then on. It looks at the
    /// store at most once per [touch interval](crate::SessionLayer::with_touch_interval).
    ///
    /// # Errors
    ///
    /// After these errors the unsaved changes are dropped:
    ///
    /// - [`Ended`](crate::ErrorKind::Ended): another request has ended the session, or logged in, during this one.
    /// - [`TooManySessions`](crate::ErrorKind::TooManySessions): the login was refused.
    /// - [`Abandoned`](crate::ErrorKind::Abandoned): the request ended without a response, because its handler panicked
    ///   or its client disconnected. Changes saved before stay.
    ///
    /// After any other error the changes stay with the request, and the next save replays them on the stored state:
    ///
    /// - [`TooLate`](crate::ErrorKind::TooLate): the change needs a cookie and the response head has been sent. This
    ///   applies to state and parts in cookies, a new session, a renewal, a login and a logout.
    /// - [`Conflict`](crate::ErrorKind::Conflict), [`TooLarge`](crate::ErrorKind::TooLarge) and
    ///   [`Constraint`](crate::ErrorKind::Constraint): nothing was written.
    /// - [`Unavailable`](crate::ErrorKind::Unavailable): the store failed. The outcome of a write whose reply was lost
    ///   is looked up before anything is written again, so it is not applied twice. If another request has written
    ///   since and hides the outcome, the save fails once more and counts the write as not made: an
    ///   [`update`](Self::update) that is saved after that may be applied twice.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the changes with the request, and they can be saved again. A write that had begun may
    /// have taken effect; its outcome is looked up first, as after a lost reply.
    pub async fn save(&self) -> Result<(), Error> {
        self.shared.noting_late(self.shared.save().await)
    }

    pub(super) fn draft<T>(&self, look: impl FnOnce(&Draft) -> T) -> T {
        self.shared.with(|work| look(&work.draft))
    }
}

impl<M> Clone for Session<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), marker: PhantomData }
    }
}

/// A handler that panics drops its session during unwinding. Then none of its changes are committed, even if a
/// middleware inside the layer turns the panic into a response.
impl<M> Drop for Session<M> {
    fn drop(&mut self) {
        self.shared.note_panic();
    }
}

/// Does not show the values.
impl<M> fmt::Debug for Session<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// Returns the key under which the record keeps the value of an application's `key`.
fn storage_key(key: &str) -> Cow<'_, str> {
    RecordKey::Application(key).stored()
}

/// Returns the application's key that is stored as `key`, or `None` for the crate's own keys.
fn application_key(key: &str) -> Option<&str> {
    RecordKey::parse(key).application()
}
