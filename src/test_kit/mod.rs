//! Tools for tests of sessions and of stores: a fake clock, an observer that records events, a store that fails on
//! demand, and the conformance suite for stores.
//!
//! - [`FakeClock`] returns the time that the test sets, so that no test has to sleep.
//! - [`EventLog`] records events.
//! - [`FaultyStore`] wraps any store, makes calls fail or hang on demand, and counts round trips.
//! - [`store_conformance_tests!`](crate::store_conformance_tests) generates a `#[test]` for each rule of the
//!   [`Store`](crate::store::Store) contract. See [`conformance`].
//!
//! The module needs the feature `test-kit`, which belongs in `[dev-dependencies]`.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use session_state::store::{Entry, Handle, Record, Store as _, StoreKey};
//! use session_state::test_kit::{Call, FakeClock, Fault, FaultyStore};
//! use session_state::{Clock as _, MemoryStore};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let clock = FakeClock::default();
//! let store = FaultyStore::new(MemoryStore::new());
//! let key = StoreKey::from_bytes([7; 32]);
//! let end = clock.now().after(Duration::from_secs(60));
//! let record = Arc::new(Record::new(Handle::from_bytes([1; 16]), clock.now(), end));
//!
//! // The reply of the first call is lost: the caller sees an error although the record was created.
//! store.faults().next_of(Call::Create, 1, Fault::LoseReply);
//! assert!(store.create(&key, Arc::clone(&record), clock.now()).await.is_err());
//! assert_eq!(store.load(&key, clock.now()).await?, Some(Entry::Live(record)));
//!
//! // A minute later it has expired.
//! clock.advance(Duration::from_secs(60));
//! assert_eq!(store.load(&key, clock.now()).await?, None);
//! assert_eq!(store.faults().all_calls(), 3);
//! # Ok::<(), session_state::store::StoreError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clock;
pub mod conformance;
mod events;
mod faulty;

pub use clock::FakeClock;
pub use events::EventLog;
pub use faulty::{Call, Fault, Faults, FaultyStore};
