//! The stores on the server: the [`Store`] contract, and the stores that implement it.
//!
//! A store keeps [entries](Entry) under [keys](StoreKey). It knows nothing of cookies, IDs or values, makes no
//! decisions and has no clock: every call passes the time. It has to implement [`load`](Store::load) and a conditional
//! write, [`put`](Store::put); the other calls follow from these, and may be replaced by better ones. The contract is
//! short, but must be kept exactly: a session that comes back after a logout is a security hole.
//!
//! 1. **Only [`create`](Store::create), `renew` and a `put` without a version bring a key to life.** Every other call
//!    only changes or removes existing entries, so a late write never revives a deleted session.
//! 2. A record that has expired at `now` does not exist: it is not loaded, updated, touched or renewed, and does not
//!    block a `create`. The call decides this in the same atomic step as the rest of its work.
//! 3. [`put`](Store::put), [`update`](Store::update), [`touch`](Store::touch) and [`renew`](Store::renew) are a
//!    compare-and-swap on the version. Of two writes that expect the same version, one
//!    succeeds. A touch keeps the version.
//! 4. A call that an engine implements is one atomic step. Only its `renew` may take two: it writes the record under
//!    its new key *before* the old key becomes a [`Forward`], so at every moment at least one of the two exists. The
//!    provided methods take several steps, with [limits](crate::guide::stores#overrides).
//! 5. Keys are compared byte by byte. The layer guarantees that no two sessions have the same
//!    [handle](Record::handle), and that a renewal uses a new key.
//! 6. A failure is an error, never "not found". After an error the call may have taken effect, so the layer may retry
//!    it. A retry of a call that took effect changes nothing. It returns what it finds: `create` returns `false`,
//!    `update` the conflicting record, `renew` its own forward, and `delete` its own forward, or `Gone` if it left
//!    none. A store does not retry by itself; the layer does, once, and recognizes its own writes by their
//!    [version](Record::version).
//! 7. A store that [finds sessions by their principal](FindPrincipals) has an index that is never stale: a
//!    call finds exactly what the calls that ended before it have written. Principals are compared byte by byte. During
//!    a renewal the session is found exactly once.
//!
//! The suite in `test_kit::conformance` (feature `test-kit`) tests a store against these rules.
mod answer;
mod any;
mod calls;
mod contract;
mod entry;
mod erased;
mod error;
#[cfg(feature = "memcached")]
mod memcached;
mod memory;
#[cfg(feature = "mongodb")]
mod mongodb;
mod pointers;
mod principals;
mod record_call;
#[cfg(feature = "redis")]
mod redis;
#[cfg_attr(not(feature = "tracing"), path = "no_span.rs")]
mod span;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) mod sql;

pub use crate::record::{DecodeRecordError, Generation, Handle, ParseHandleError, Record, StoreKey, Values, Version};
pub(crate) use answer::{Answer, Limited};
pub use any::AnyStore;
pub(crate) use any::erase;
pub use calls::{Outcome, Renewal, Touch};
pub use contract::{FindPrincipals, Store};
pub use entry::{Entry, Forward};
pub(crate) use erased::ErasedStore;
pub use error::{StoreError, StoreErrorKind};
#[cfg(feature = "memcached")]
pub use memcached::MemcachedStore;
pub use memory::MemoryStore;
#[cfg(feature = "mongodb")]
pub use mongodb::MongodbStore;
pub use principals::PrincipalFinder;
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
