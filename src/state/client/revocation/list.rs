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
use super::super::super::loaded::Loaded;
use super::super::super::part::PartRecord;
use super::super::super::retry::{Calls, MAX_ATTEMPTS, pause};
use super::super::cookie_state::ClientState;
use super::cutoff::{Cutoff, Login, handle_of, life_with, stamp_of};
use super::settings::Revocation;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::event::{RevocationCause, SessionEvent};
use crate::random;
use crate::record::lifetime::{CLOCK_SKEW, Expiry, LONGEST_UNUSED};
use crate::record::{Handle, Record, StoreKey, Version};
use crate::store::{DecodeRecordError, Entry, Outcome, StoreError, StoreErrorKind};

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

    /// Returns the loaded session, or `Loaded::Nothing` if it was revoked.
    pub(in crate::state::client) async fn check(self, loaded: Loaded) -> Result<Loaded, Error> {
        let Some(record) = loaded.record() else { return Ok(loaded) };
        let event = if self.config.now() >= record.last_seen_at.after(LONGEST_UNUSED) {
            // No mark is older than this.
            SessionEvent::Expired { session: record.handle, expiry: Expiry::Idle }
        } else if self.is_ended(record).await? {
            SessionEvent::RetiredIdUsed
        } else {
            return Ok(loaded);
        };
        self.config.tell(&event);
        Ok(Loaded::Nothing)
    }

    pub(in crate::state::client) async fn is_ended(self, session: &Record) -> Result<bool, StoreError> {
        let mark = self.recall(StoreKey::of_ended(session.handle), read_mark);
        let limits = match &session.principal {
            Some(principal) => both(mark, self.recall(StoreKey::of_not_before(principal), Cutoff::from_record)).await?,
            None => (mark.await?, None),
        };
        Ok([limits.0, limits.1].into_iter().flatten().any(|limit| limit.ends(session)))
    }

    /// Returns the stamp for a login, later than all earlier revocations of its principal.
    pub(in crate::state::client) async fn login(
        self,
        principal: Option<&str>,
        session: Option<Handle>,
        now: Timestamp,
    ) -> Result<Login, Error> {
        let Some(principal) = principal else { return Ok(Login::None) };
        let not_before = self.find(StoreKey::of_not_before(principal), Cutoff::from_record);
        let (ended, not_before) = match session {
            Some(session) => both(self.find(StoreKey::of_ended(session), read_mark), not_before).await?,
            None => (None, not_before.await?),
        };
        if ended.is_some() {
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
        logs_in: bool,
    ) -> Result<bool, Error> {
        let timeouts = &self.config.timeouts;
        let life = life_with(record.absolute_timeout, timeouts);
        let is_noted = |before: &Record| !logs_in && life <= life_with(before.absolute_timeout, timeouts);
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
        self.mark(session.handle, life_with(session.absolute_timeout, &self.config.timeouts)).await
    }

    /// Ends a session by its handle alone.
    pub(crate) async fn revoke(self, session: Handle) -> Result<(), Error> {
        self.mark(session, LONGEST_UNUSED).await?;
        for placed in &self.config.parts {
            if let Some(in_store) = placed.in_store() {
                PartRecord::new(self.config, in_store, placed.name, session).delete().await;
            }
        }
        self.config.tell(&SessionEvent::Revoked { session, cause: RevocationCause::Asked });
        Ok(())
    }

    async fn mark(self, session: Handle, life: Duration) -> Result<(), Error> {
        let (key, now) = (StoreKey::of_ended(session), self.config.now());
        self.keep(key, life).await?;
        self.note(key, Some(Cutoff::ALL), now);
        let longer = StoreKey::of_longer(session);
        if life < LONGEST_UNUSED
            && let Some(Entry::Live(note)) = self.calls().ask(|store| store.load(&longer, now)).await?
        {
            self.keep(key, note.expires_at.since(now)).await?;
        }
        Ok(())
    }

    /// Keeps an empty record under a key for at least `life`, even for nodes whose clocks are ahead.
    async fn keep(self, key: StoreKey, life: Duration) -> Result<(), Error> {
        let now = self.config.now();
        let expires_at = now.after(life).after(CLOCK_SKEW);
        let record = Arc::new(Record::new(handle_of(&key), now, expires_at));
        for attempt in 0..MAX_ATTEMPTS {
            if self.calls().ask(|store| store.create(&key, Arc::clone(&record), now)).await? {
                return Ok(());
            }
            // It exists already. A touch only moves the deadline to a later time.
            let touched = self.calls().ask(|store| store.touch(&key, record.version, now, expires_at, now)).await?;
            if touched == Outcome::Done {
                return Ok(());
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
    async fn recall(self, key: StoreKey, read: Read) -> Result<Option<Cutoff>, StoreError> {
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
fn read_mark(_: &Record) -> Option<Cutoff> {
    Some(Cutoff::ALL)
}

fn just_after(time: Timestamp) -> Timestamp {
    time.after(Duration::from_millis(1))
}

/// Waits for two futures concurrently.
async fn both<A, B, E>(
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
