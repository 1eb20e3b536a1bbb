//! Pointers to stores, which are stores themselves.

use std::sync::Arc;

use super::calls::{Outcome, Renewal, Touch};
use super::contract::{FindPrincipals, Store};
use super::entry::{Entry, Forward};
use super::error::StoreError;
use super::principals::PrincipalFinder;
use crate::clock::Timestamp;
use crate::record::{Handle, Record, StoreKey, Version};

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<S: Store> Store for $pointer {
            const NEVER_WAITS: bool = S::NEVER_WAITS;

            fn name(&self) -> &'static str {
                S::name(self)
            }

            fn load(
                &self,
                key: &StoreKey,
                now: Timestamp,
            ) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send {
                S::load(self, key, now)
            }

            fn put(
                &self,
                key: &StoreKey,
                expected: Option<Version>,
                entry: Entry,
                now: Timestamp,
            ) -> impl Future<Output = Result<bool, StoreError>> + Send {
                S::put(self, key, expected, entry, now)
            }

            fn create(
                &self,
                key: &StoreKey,
                record: Arc<Record>,
                now: Timestamp,
            ) -> impl Future<Output = Result<bool, StoreError>> + Send {
                S::create(self, key, record, now)
            }

            fn update(
                &self,
                key: &StoreKey,
                expected: Version,
                record: Arc<Record>,
                now: Timestamp,
            ) -> impl Future<Output = Result<Outcome, StoreError>> + Send {
                S::update(self, key, expected, record, now)
            }

            fn touch(
                &self,
                key: &StoreKey,
                touch: Touch,
                now: Timestamp,
            ) -> impl Future<Output = Result<Outcome, StoreError>> + Send {
                S::touch(self, key, touch, now)
            }

            fn renew(
                &self,
                renewal: Renewal,
                now: Timestamp,
            ) -> impl Future<Output = Result<Outcome, StoreError>> + Send {
                S::renew(self, renewal, now)
            }

            fn delete(
                &self,
                key: &StoreKey,
                forward: Option<Forward>,
                now: Timestamp,
            ) -> impl Future<Output = Result<Outcome, StoreError>> + Send {
                S::delete(self, key, forward, now)
            }

            fn sweep(
                &self,
                now: Timestamp,
                limit: usize,
            ) -> impl Future<Output = Result<usize, StoreError>> + Send {
                S::sweep(self, now, limit)
            }

            fn principals(&self) -> Option<PrincipalFinder<'_>> {
                S::principals(self)
            }
        }

        #[deny(clippy::missing_trait_methods)]
        impl<S: FindPrincipals> FindPrincipals for $pointer {
            fn list(
                &self,
                principal: &str,
                after: Option<&Handle>,
                limit: usize,
                now: Timestamp,
            ) -> impl Future<Output = Result<Vec<Arc<Record>>, StoreError>> + Send {
                S::list(self, principal, after, limit, now)
            }

            fn count(
                &self,
                principal: &str,
                now: Timestamp,
            ) -> impl Future<Output = Result<usize, StoreError>> + Send {
                S::count(self, principal, now)
            }

            fn revoke(
                &self,
                principal: &str,
                sessions: &[Handle],
                forward: Forward,
                now: Timestamp,
            ) -> impl Future<Output = Result<Vec<Handle>, StoreError>> + Send {
                S::revoke(self, principal, sessions, forward, now)
            }
        }
    )*};
}

forward!(Arc<S>, Box<S>, &'static S);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Answer, ErasedStore, MemoryStore};

    fn answers_at_once(store: impl Store) -> bool {
        let store: Arc<dyn ErasedStore> = Arc::new(store);
        matches!(store.load(&StoreKey::from_bytes([1; 32]), Timestamp::from_millis(0)), Answer::Ready(Ok(None)))
    }

    #[test]
    fn a_pointer_to_a_store_that_never_waits_never_waits() {
        let store: &'static MemoryStore = Box::leak(Box::default());
        assert!(answers_at_once(store));
        assert!(answers_at_once(Arc::new(MemoryStore::new())));
        assert!(answers_at_once(Box::new(MemoryStore::new())));
        assert!(answers_at_once(Arc::new(Box::new(MemoryStore::new()))));
    }
}
