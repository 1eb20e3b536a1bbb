//! Where session records live on the server: the [`Store`] contract, and the stores that keep it.
//!
//! A store keeps [entries](Entry) under [keys](StoreKey). It knows nothing of cookies, IDs or values, decides nothing,
//! and has no clock: every call says what time it is. What it must do is little, but it must do it exactly, because a
//! session that comes back after a logout is a hole in somebody's account:
//!
//! 1. [`create`](Store::create) only inserts. Every other call only changes or removes what is there. **Nothing but
//!    `create` and `renew` brings a key to life**, so what was deleted stays deleted, whoever writes late.
//! 2. A record that has expired at `now` is not there: it is not loaded, updated, touched, renewed or in the way of a
//!    `create`. This is judged in the same step as the rest of the call, never before it.
//! 3. [`update`](Store::update), [`touch`](Store::touch) and [`renew`](Store::renew) do their work only if the version
//!    is still the expected one, in one atomic step. Of two calls that expect the same version one succeeds.
//! 4. [`renew`](Store::renew) puts the record under its new key *before* the old key becomes a [`Forward`]; no moment
//!    exists at which neither is there. An engine with transactions does both at once.
//! 5. Keys are compared byte by byte. A store may rely on it that no two records have the same
//!    [handle](Record::handle), and that a renewal goes to a key that was never used: the layer sees to both.
//! 6. A failure is an error, never "not there". After an error the caller assumes nothing: the call may have taken
//!    place, so each may be made again. What took place the first time does nothing the second time, and says what it
//!    found: a `create` that the key is taken, an `update` the conflicting record, a `renew` its own forward, a `delete`
//!    that nothing is there. A store does not ask again by itself; the layer does, once, and tells its own writes by
//!    their [version](Record::version).
//! 7. A store that [finds sessions by their principal](Store::FINDS_PRINCIPALS) does so by an index, which is never behind:
//!    what a call has written is found by every call that begins after it ended, and what is gone is not. Principals are
//!    compared byte by byte. A session that is being renewed is found all the while, once.
//!
//! The suite in `test_kit::conformance` (feature `test-kit`) tries all of this on a store.

mod erased;
mod error;
#[cfg(feature = "memcached")]
mod memcached;
mod memory;
#[cfg(feature = "mongodb")]
mod mongodb;
mod record_call;
#[cfg(feature = "redis")]
mod redis;
#[cfg_attr(not(feature = "tracing"), path = "no_span.rs")]
mod span;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) mod sql;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::clock::Timestamp;

pub use crate::record::{DecodeRecordError, Handle, ParseHandleError, Record, StoreKey, Values};
pub(crate) use erased::{Answer, ErasedStore, Limited};
pub use error::{StoreError, StoreErrorKind};
#[cfg(feature = "memcached")]
pub use memcached::MemcachedStore;
pub use memory::MemoryStore;
#[cfg(feature = "mongodb")]
pub use mongodb::MongodbStore;
pub(crate) use record_call::RecordCall;
#[cfg(feature = "redis")]
pub use redis::{RedisConnection, RedisStore};
#[cfg(feature = "mysql")]
pub use sql::MySqlStore;
#[cfg(feature = "postgres")]
pub use sql::PostgresStore;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use sql::SqlStore;
#[cfg(feature = "sqlite")]
pub use sql::SqliteStore;

/// A place on the server where sessions are kept.
///
/// The [module's page](self) lists what a store must do, and [the guide](crate::guide::stores) has one to begin with.
/// The futures may be written as `async fn`.
///
/// # Errors
///
/// Every call fails with a [`StoreError`] when the engine cannot be reached or refuses. What is not there is no error.
///
/// # Cancel safety
///
/// A call may be dropped at any point, and is when it takes longer than the layer's store timeout. What it was to do
/// has then happened wholly or not at all.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Whether a call may have to wait. The default is `true`.
    ///
    /// A store whose calls are always done when they are first polled, such as one in memory, says `false` and saves an
    /// allocation for each call. Should one of them wait all the same, it fails.
    const WAITS: bool = true;

    /// Whether the store finds sessions by their principal: [`list`](Self::list), [`count`](Self::count) and
    /// [`revoke`](Self::revoke). The default is `false`, and these fail.
    const FINDS_PRINCIPALS: bool = false;

    /// Returns what the kind of store is called in errors and events, such as `memory`.
    fn name(&self) -> &'static str;

    /// Returns what is kept under `key`, if it has not expired at `now`.
    ///
    /// The layer may ask with a time that is long past, and judges by itself what has expired since. So it learns of sessions
    /// that have ended, as long as the store has them.
    fn load(&self, key: &StoreKey, now: Timestamp) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// Puts a new record under `key`. Returns `false`, and changes nothing, when a record or a forward that has not
    /// expired is there already.
    ///
    /// The record may be one that never expires in practice: a deadline that is later than the engine can write down is
    /// stored as the latest that it can.
    fn create(
        &self,
        key: &StoreKey,
        record: Arc<Record>,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Replaces the record under `key`, its deadline included, if its version is `expected`.
    fn update(
        &self,
        key: &StoreKey,
        expected: u64,
        record: Arc<Record>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Outcome, StoreError>> + Send;

    /// Moves the deadline of the live record under `key`, if its version is `expected`; the version stays.
    ///
    /// Neither time moves backwards, each judged by itself. When the version has moved on, somebody else has written the
    /// record and with it its deadline, and nothing is to be done. The outcome says whether the session is still live
    /// under this key, [`Done`](Outcome::Done) or [`Conflict`](Outcome::Conflict): only then is its cookie sent again.
    fn touch(
        &self,
        key: &StoreKey,
        expected: u64,
        last_seen_at: Timestamp,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> impl Future<Output = Result<Outcome, StoreError>> + Send;

    /// Moves a session to a new key and leaves a forward under the old one, if its version is the expected one.
    ///
    /// A renewal that is made again because its reply was lost ends as [`Outcome::Retired`] with its own forward, and
    /// changes nothing under either key.
    fn renew(&self, renewal: Renewal, now: Timestamp) -> impl Future<Output = Result<Outcome, StoreError>> + Send;

    /// Removes the record under `key`, whatever its version: [`Outcome::Done`] if this call removed it. A forward stays,
    /// and is returned. What has expired is [`Outcome::Gone`].
    fn delete(&self, key: &StoreKey, now: Timestamp) -> impl Future<Output = Result<Outcome, StoreError>> + Send;

    /// Removes entries that have expired at `now`, about `limit` of them or fewer, and returns how many.
    ///
    /// Several nodes may sweep at once. A store whose engine removes them by itself has nothing to do.
    fn sweep(&self, now: Timestamp, limit: usize) -> impl Future<Output = Result<usize, StoreError>> + Send {
        let _ = (now, limit);
        std::future::ready(Ok(0))
    }

    /// Returns the live sessions of a principal in the order of their [handles](Record::handle), `limit` of them at most,
    /// from the first one whose handle is greater than `after`.
    ///
    /// Values may be left out of the records, which then have none. A session that neither begins nor ends while the call
    /// is made is in the list, whatever else happens to it.
    fn list(
        &self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Arc<Record>>, StoreError>> + Send {
        let _ = (principal, after, limit, now);
        std::future::ready(Err(StoreError::unsupported(self.name())))
    }

    /// Returns how many live sessions a principal has.
    fn count(&self, principal: &str, now: Timestamp) -> impl Future<Output = Result<usize, StoreError>> + Send {
        let _ = (principal, now);
        std::future::ready(Err(StoreError::unsupported(self.name())))
    }

    /// Removes those of the live sessions of a principal that have one of these handles, whatever their versions, and
    /// wherever they move to while the call is made. Returns the handles of those that this call removed.
    ///
    /// The layer asks for a hundred at most.
    fn revoke(
        &self,
        principal: &str,
        sessions: &[Handle],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Handle>, StoreError>> + Send {
        let _ = (principal, sessions, now);
        std::future::ready(Err(StoreError::unsupported(self.name())))
    }
}

/// What is kept under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A session.
    Live(Arc<Record>),
    /// A session was here and moved on when its ID was renewed.
    Retired(Forward),
}

/// What a renewal leaves under the old key.
#[derive(Clone, PartialEq, Eq)]
pub struct Forward {
    /// The ID that replaced the old one, sealed so that only a holder of the old ID can read it. `None` after a login,
    /// which leads nowhere.
    pub successor: Option<[u8; 32]>,
    /// Until when the old ID leads to its successor.
    pub grace_until: Timestamp,
    /// Until when the forward is kept, so that a use of the old ID after its grace is noticed.
    pub expires_at: Timestamp,
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward")
            .field("grace_until", &self.grace_until)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// A session's move from one key to another.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The key it has.
    pub old: StoreKey,
    /// The version it must have.
    pub expected: u64,
    /// The key it gets, which is a new one.
    pub new: StoreKey,
    /// The record as it shall stand under the new key.
    pub record: Arc<Record>,
    /// What shall stand under the old key.
    pub forward: Forward,
}

/// How an [`update`](Store::update), a [`touch`](Store::touch), a [`renew`](Store::renew) or a [`delete`](Store::delete)
/// ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took place.
    Done,
    /// It did not: the record is live but has another version. It is here when the engine gave it in the same round
    /// trip, otherwise it is loaded again.
    Conflict(Option<Arc<Record>>),
    /// It did not: the session was renewed and is now elsewhere.
    Retired(Forward),
    /// It did not: nothing live is under the key.
    Gone,
}
