//! Revokes sessions in cookies, with marks in a store.
//!
//! A cookie cannot be taken back, but it can be rejected. The store keeps two kinds of marks, and no sessions:
//!
//! - **An ended session**, under a key made of its handle, which is in each copy of its cookie. The mark stays while
//!   any copy could be valid. A copy may outlive the one that logs out, if a late response or an attacker gave the
//!   session a longer timeout. So each longer timeout is noted under another key. Lengthening writes the note and then
//!   checks the mark; ending writes the mark and then checks the note: at least one of two concurrent requests sees the
//!   other.
//! - **A principal's not-before**: sessions [stamped](Cutoff) before it are rejected. It only moves forward: each write
//!   is a compare-and-swap. A login reads it and gets a later stamp.
//!
//! A load reads both concurrently. A node may [cache](super::cache) answers for the configured delay; its own
//! revocations apply at once.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::super::super::config::Config;
use super::super::super::part::PartRecord;
use super::super::super::retry::{Calls, MAX_ATTEMPTS, pause};
use super::super::cookie_state::ClientState;
use super::cutoff::{Cutoff, Login, handle_of, life_with, stamp_of};
use super::settings::Revocation;
use crate::base64url;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::event::{RevocationCause, SessionEvent};
use crate::random;
use crate::record::lifetime::{CLOCK_SKEW, LONGEST_UNUSED};
use crate::record::{Handle, Record, StoreKey, Values, Version};
use crate::store::{DecodeRecordError, Entry, Forward, Outcome, StoreError, StoreErrorKind, Touch};

/// The value of a session's mark that names the session which continues it after a login.
const SUCCESSOR: &str = "successor";

/// The value of an anonymous session's mark that a login has left.
const BY_LOGIN: &str = "by_login";

/// Largest number of logins that are followed from an old handle of a session to its newest. Only a bound: no session
/// logs in that often while the mark of its old handle lasts.
const MAX_SUCCESSORS: usize = 10_000;

/// The marks in the store, with the layer's configuration.
#[derive(Clone, Copy)]
pub(crate) struct RevocationList<'c> {
    pub(super) config: &'c Config,
    pub(super) revocation: &'c Revocation,
}

/// Reads the cutoff of a mark.
type Read = fn(&Record) -> Option<Cutoff>;

impl<'c> RevocationList<'c> {
    /// Returns the list of a layer.
    pub(crate) fn new(config: &'c Config, revocation: &'c Revocation) -> Self {
        Self { config, revocation }
    }

    #[inline]
    pub(in crate::state) fn of_client(config: &'c Config, client: &'c ClientState) -> Option<Self> {
        client.revocation.as_ref().map(|revocation| Self::new(config, revocation))
    }

    /// Returns the stamp for the record of a login, or a reauthentication, in a session: later than all earlier
    /// revocations of its principal. A revoked session can be logged in again, but not reauthenticated.
    pub(in crate::state::client) async fn login(
        self,
        record: &Record,
        session: Option<&Record>,
        logs_in: bool,
        now: Timestamp,
    ) -> Result<Login, Error> {
        let Some(principal) = &record.principal else { return Ok(Login::None) };
        let not_before = self.find(StoreKey::of_not_before(principal), Cutoff::from_record);
        let (ended, not_before) = match session {
            Some(session) => both(self.find(StoreKey::of_ended(session.handle), read_mark), not_before).await?,
            None => (None, not_before.await?),
        };
        let is_revoked = |session| not_before.is_some_and(|limit| limit.ends(session));
        if !logs_in && session.is_some_and(is_revoked) {
            return Ok(Login::InEnded);
        }
        if let Some(session) = session.filter(|_| ended.is_some_and(|end| !end.by_login))
            && !self.is_replaced_by(StoreKey::of_ended(session.handle), record.handle).await?
        {
            return Ok(Login::InEnded);
        }
        Ok(Login::At(not_before.map_or(now, |limit| now.max(just_after(limit.until)))))
    }

    /// Notes that a record about to be sealed outlives the layer's absolute timeout, if that is new. Returns `false` if
    /// another request has ended the session.
    pub(in crate::state::client) async fn lengthen(
        self,
        record: &Record,
        before: Option<&Record>,
    ) -> Result<bool, Error> {
        let timeouts = &self.config.timeouts;
        let life = life_with(record.absolute_timeout, timeouts);
        let is_noted = |before: &Record| life <= life_with(before.absolute_timeout, timeouts);
        if life <= life_with(None, timeouts) || before.is_some_and(is_noted) {
            return Ok(true);
        }
        self.keep(StoreKey::of_longer(record.handle), life).await?;
        // No other request can have ended a session that this request makes.
        let mark = before.map(|before| self.find(StoreKey::of_ended(before.handle), read_mark));
        Ok(match mark {
            Some(mark) => mark.await?.is_none(),
            None => true,
        })
    }

    /// Marks a session as ended.
    pub(in crate::state::client) async fn end(self, session: &Record) -> Result<(), Error> {
        self.mark(session.handle, life_with(session.absolute_timeout, &self.config.timeouts)).await.map(drop)
    }

    /// Marks a session as ended by a login, which continues it under another handle. Returns `false` if another request
    /// has ended it.
    pub(in crate::state::client) async fn replace(self, session: &Record, successor: Handle) -> Result<bool, Error> {
        let (key, now) = (StoreKey::of_ended(session.handle), self.config.now());
        let life = life_with(session.absolute_timeout, &self.config.timeouts);
        let mut mark = mark_of(&key, now, life);
        mark.values = Values::from_pairs([(SUCCESSOR, format!("\"{successor}\"").as_bytes())]);
        let mark = Arc::new(mark);
        let created = self.calls().ask(|store| store.create(&key, Arc::clone(&mark), now)).await;
        // An earlier attempt of this login, or a call whose reply was lost, may have written the mark.
        if !matches!(created, Ok(true)) && !self.is_replaced_by(key, successor).await? {
            return created.map(|_| false).map_err(Error::from);
        }
        self.note(key, Some(Cutoff::of_ended(now)), now);
        // From here on the former cookie is rejected: if the login failed now, the client would be logged out.
        if let Err(error) = self.keep_as_long_as_noted(key, session.handle, life).await {
            self.config.tell(&SessionEvent::StoreFailed { error });
        }
        Ok(true)
    }

    /// Marks an anonymous session as taken along by a login, for as long as requests with its former cookie may be on
    /// their way. Returns `false` if another request has ended it.
    pub(in crate::state::client) async fn take_along(self, session: &Record) -> Result<bool, Error> {
        let (key, now) = (StoreKey::of_ended(session.handle), self.config.now());
        let mut mark = Record::new(handle_of(&key), now, now.after(Forward::JUST_DIED));
        mark.values = Values::from_pairs([(BY_LOGIN, b"true".as_slice())]);
        let mark = Arc::new(mark);
        if !self.calls().ask(|store| store.create(&key, Arc::clone(&mark), now)).await? {
            return Ok(self.find(key, read_mark).await?.is_none_or(|end| end.by_login));
        }
        self.note(key, read_mark(&mark), now);
        Ok(true)
    }

    /// Returns `true` if the mark under a key is that of a login that gave the session the handle `successor`.
    async fn is_replaced_by(self, key: StoreKey, successor: Handle) -> Result<bool, StoreError> {
        let now = self.config.now();
        let found = self.calls().ask(|store| store.load(&key, now)).await?;
        Ok(matches!(found, Some(Entry::Live(mark)) if successor_of(&mark) == Some(successor)))
    }

    /// Ends a session by its handle alone.
    pub(crate) async fn revoke(self, session: Handle) -> Result<(), Error> {
        let last = self.mark(session, LONGEST_UNUSED).await?;
        self.delete_parts(session).await;
        self.config.tell(&SessionEvent::Revoked { session: last, cause: RevocationCause::Asked });
        Ok(())
    }

    /// Marks a session as ended, and those that continue it after logins: such a login came first, and then the request
    /// to end the session. Returns its last handle.
    async fn mark(self, mut session: Handle, life: Duration) -> Result<Handle, Error> {
        for _ in 0..MAX_SUCCESSORS {
            let (key, now) = (StoreKey::of_ended(session), self.config.now());
            let is_new = self.keep(key, life).await?;
            self.note(key, Some(Cutoff::of_ended(now)), now);
            self.keep_as_long_as_noted(key, session, life).await?;
            if is_new {
                return Ok(session);
            }
            let found = self.calls().ask(|store| store.load(&key, now)).await?;
            let Some(Entry::Live(mark)) = found else { return Ok(session) };
            let Some(successor) = successor_of(&mark) else { return Ok(session) };
            self.delete_parts(successor).await;
            session = successor;
        }
        Err(Error::conflict())
    }

    /// Removes the parts of an ended session in stores.
    async fn delete_parts(self, session: Handle) {
        for placed in &self.config.parts {
            if let Some(in_store) = placed.in_store() {
                PartRecord::new(self.config, in_store, placed.name, session).delete().await;
            }
        }
    }

    /// Keeps the mark of a session that was given a longer lifetime, for that time.
    async fn keep_as_long_as_noted(self, key: StoreKey, session: Handle, life: Duration) -> Result<(), Error> {
        let (longer, now) = (StoreKey::of_longer(session), self.config.now());
        if life < LONGEST_UNUSED
            && let Some(Entry::Live(note)) = self.calls().ask(|store| store.load(&longer, now)).await?
        {
            self.keep(key, note.expires_at.since(now)).await?;
        }
        Ok(())
    }

    /// Keeps a record under a key for at least `life`. Returns whether it is new.
    async fn keep(self, key: StoreKey, life: Duration) -> Result<bool, Error> {
        let now = self.config.now();
        let record = Arc::new(mark_of(&key, now, life));
        let expires_at = record.expires_at;
        for attempt in 0..MAX_ATTEMPTS {
            if self.calls().ask(|store| store.create(&key, Arc::clone(&record), now)).await? {
                return Ok(true);
            }
            // It exists already. A touch only moves the deadline to a later time.
            let touched = self
                .calls()
                .ask(|store| store.touch(&key, Touch { expected: record.version, last_seen_at: now, expires_at }, now))
                .await?;
            if touched == Outcome::Done {
                return Ok(false);
            }
            pause(attempt).await?;
        }
        Err(Error::conflict())
    }

    /// Ends the sessions of a principal, except one. Sessions that begin after this call stay valid.
    pub(crate) async fn revoke_all(self, principal: &str, except: Option<&Record>) -> Result<(), Error> {
        let key = StoreKey::of_not_before(principal);
        let mut has_failed = false;
        for attempt in 0..MAX_ATTEMPTS {
            match self.move_limit(&key, except).await {
                Ok(true) => return Ok(()),
                Ok(false) => pause(attempt).await?,
                // The call is idempotent: repeat it once.
                Err(error) if error.kind() == StoreErrorKind::Failed && !has_failed => has_failed = true,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::conflict())
    }

    /// Moves a principal's not-before past the clocks of all nodes and past the stamps of all earlier logins. Returns
    /// `false` on a conflict with another request.
    async fn move_limit(self, key: &StoreKey, except: Option<&Record>) -> Result<bool, StoreError> {
        let (store, now) = (&self.revocation.store, self.config.now());
        let current = self.calls().limit(store.load(key, now)).await?;
        let current = current.map(|entry| self.read_current(entry)).transpose()?;
        let until = now.after(CLOCK_SKEW);
        let before = current.as_ref().map(|(limit, _)| limit);
        let limit = Cutoff {
            until: before.map_or(until, |before| until.max(just_after(before.until))),
            // A session that was already rejected must not become the exception.
            except: except
                .filter(|session| before.is_none_or(|before| !before.ends(session)))
                .map(|session| (session.handle, stamp_of(session))),
            made_at: now,
            by_login: false,
        };
        let mark = u32::from_ne_bytes(random::nonce());
        let mut record = limit.to_record(key, now.after(LONGEST_UNUSED).after(CLOCK_SKEW));
        let is_moved = match current {
            None => {
                record.version = Version::NONE.next(mark);
                self.calls().limit(store.create(key, Arc::new(record), now)).await?
            }
            Some((_, current)) => {
                record.version = current.version.next(mark);
                record.expires_at = record.expires_at.max(current.expires_at);
                let moved = self.calls().limit(store.update(key, current.version, Arc::new(record), now)).await?;
                moved == Outcome::Done
            }
        };
        if is_moved {
            self.note(*key, Some(limit), now);
        }
        Ok(is_moved)
    }

    fn read_current(self, entry: Entry) -> Result<(Cutoff, Arc<Record>), StoreError> {
        let Entry::Live(record) = entry else { return Err(self.unreadable()) };
        let limit = Cutoff::from_record(&record).ok_or_else(|| self.unreadable())?;
        Ok((limit, record))
    }

    /// Returns the cutoff under a key, from the cache or else from the store.
    pub(super) async fn recall(self, key: StoreKey, read: Read) -> Result<Option<Cutoff>, StoreError> {
        let Revocation { cache, delay, .. } = self.revocation;
        let recalled = if delay.is_zero() { None } else { cache.recall(&key, *delay, self.config.now()) };
        match recalled {
            Some(limit) => Ok(limit),
            None => self.find(key, read).await,
        }
    }

    /// Returns the cutoff under a key, from the store.
    async fn find(self, key: StoreKey, read: Read) -> Result<Option<Cutoff>, StoreError> {
        let now = self.config.now();
        let limit = match self.calls().ask(|store| store.load(&key, now)).await? {
            None => None,
            Some(Entry::Live(record)) => Some(read(&record).ok_or_else(|| self.unreadable())?),
            // Marks are never renewed.
            Some(Entry::Retired(_)) => return Err(self.unreadable()),
        };
        Ok(self.note(key, limit, now))
    }

    fn note(self, key: StoreKey, limit: Option<Cutoff>, asked_at: Timestamp) -> Option<Cutoff> {
        let Revocation { cache, delay, .. } = self.revocation;
        if delay.is_zero() { limit } else { cache.note(key, limit, asked_at) }
    }

    fn calls(self) -> Calls<'c> {
        Calls::new(self.config, &*self.revocation.store)
    }

    fn unreadable(self) -> StoreError {
        StoreError::undecodable(self.revocation.store.name(), DecodeRecordError::malformed())
    }
}

/// The presence of a mark ends the session.
pub(super) fn read_mark(mark: &Record) -> Option<Cutoff> {
    Some(Cutoff { by_login: mark.values.get(BY_LOGIN).is_some(), ..Cutoff::of_ended(mark.created_at) })
}

/// Returns the session that continues the one of a mark after a login.
fn successor_of(mark: &Record) -> Option<Handle> {
    let handle = mark.values.get(SUCCESSOR)?.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    base64url::decode_array(handle).map(Handle::from_bytes)
}

/// Returns a mark that is kept for at least `life`, even for nodes whose clocks are ahead.
fn mark_of(key: &StoreKey, now: Timestamp, life: Duration) -> Record {
    Record::new(handle_of(key), now, now.after(life).after(CLOCK_SKEW))
}

fn just_after(time: Timestamp) -> Timestamp {
    time.after(Duration::from_millis(1))
}

/// Waits for two futures concurrently.
pub(super) async fn both<A, B, E>(
    one: impl Future<Output = Result<A, E>>,
    other: impl Future<Output = Result<B, E>>,
) -> Result<(A, B), E> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    poll_fn(|context| {
        if first.is_none()
            && let Poll::Ready(answer) = one.as_mut().poll(context)
        {
            first = Some(answer?);
        }
        if second.is_none()
            && let Poll::Ready(answer) = other.as_mut().poll(context)
        {
            second = Some(answer?);
        }
        match (first.take(), second.take()) {
            (Some(a), Some(b)) => Poll::Ready(Ok((a, b))),
            unfinished => {
                (first, second) = unfinished;
                Poll::Pending
            }
        }
    })
    .await
}
