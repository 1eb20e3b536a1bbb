//! [`Store`] as a trait object.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::answer::Answer;
use super::calls::{Outcome, Renewal, Touch};
use super::contract::{Store, answer};
use super::entry::{Entry, Forward};
use super::error::StoreError;
use super::principals::PrincipalFinder;
use crate::clock::Timestamp;
use crate::record::{Handle, Record, StoreKey, Version};

/// The calls of [`Store`] with boxed futures.
pub(crate) trait ErasedStore: fmt::Debug + Send + Sync + 'static {
    fn name(&self) -> &'static str;
    /// Returns the store itself.
    fn as_any(&self) -> &dyn Any;
    fn load<'a>(&'a self, key: &'a StoreKey, now: Timestamp) -> Answer<'a, Option<Entry>>;
    fn put<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Answer<'a, bool>;
    fn create<'a>(&'a self, key: &'a StoreKey, record: Arc<Record>, now: Timestamp) -> Answer<'a, bool>;
    fn update<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Answer<'a, Outcome>;
    fn touch<'a>(&'a self, key: &'a StoreKey, touch: Touch, now: Timestamp) -> Answer<'a, Outcome>;
    fn renew(&self, renewal: Renewal, now: Timestamp) -> Answer<'_, Outcome>;
    fn delete<'a>(&'a self, key: &'a StoreKey, forward: Option<Forward>, now: Timestamp) -> Answer<'a, Outcome>;
    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, usize>;
    fn principals(&self) -> Option<PrincipalFinder<'_>>;

    fn list<'a>(
        &'a self,
        principal: &'a str,
        after: Option<&'a Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Answer<'a, Vec<Arc<Record>>> {
        match self.principals() {
            Some(finder) => finder.0.list(principal, after, limit, now),
            None => Answer::Ready(Err(StoreError::unsupported(self.name()))),
        }
    }

    fn count<'a>(&'a self, principal: &'a str, now: Timestamp) -> Answer<'a, usize> {
        match self.principals() {
            Some(finder) => finder.0.count(principal, now),
            None => Answer::Ready(Err(StoreError::unsupported(self.name()))),
        }
    }

    fn revoke<'a>(
        &'a self,
        principal: &'a str,
        sessions: &'a [Handle],
        forward: Forward,
        now: Timestamp,
    ) -> Answer<'a, Vec<Handle>> {
        match self.principals() {
            Some(finder) => finder.0.revoke(principal, sessions, forward, now),
            None => Answer::Ready(Err(StoreError::unsupported(self.name()))),
        }
    }
}

impl<S: Store> ErasedStore for S {
    fn name(&self) -> &'static str {
        Store::name(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn load<'a>(&'a self, key: &'a StoreKey, now: Timestamp) -> Answer<'a, Option<Entry>> {
        answer(self, "load", Store::load(self, key, now))
    }

    fn put<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Answer<'a, bool> {
        answer(self, "put", Store::put(self, key, expected, entry, now))
    }

    fn create<'a>(&'a self, key: &'a StoreKey, record: Arc<Record>, now: Timestamp) -> Answer<'a, bool> {
        answer(self, "create", Store::create(self, key, record, now))
    }

    fn update<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Answer<'a, Outcome> {
        answer(self, "update", Store::update(self, key, expected, record, now))
    }

    fn touch<'a>(&'a self, key: &'a StoreKey, touch: Touch, now: Timestamp) -> Answer<'a, Outcome> {
        answer(self, "touch", Store::touch(self, key, touch, now))
    }

    fn renew(&self, renewal: Renewal, now: Timestamp) -> Answer<'_, Outcome> {
        answer(self, "renew", Store::renew(self, renewal, now))
    }

    fn delete<'a>(&'a self, key: &'a StoreKey, forward: Option<Forward>, now: Timestamp) -> Answer<'a, Outcome> {
        answer(self, "delete", Store::delete(self, key, forward, now))
    }

    fn sweep(&self, now: Timestamp, limit: usize) -> Answer<'_, usize> {
        answer(self, "sweep", Store::sweep(self, now, limit))
    }

    fn principals(&self) -> Option<PrincipalFinder<'_>> {
        Store::principals(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;

    #[derive(Debug)]
    struct Liar;

    impl Store for Liar {
        const NEVER_WAITS: bool = true;

        fn name(&self) -> &'static str {
            "liar"
        }

        async fn load(&self, _: &StoreKey, _: Timestamp) -> Result<Option<Entry>, StoreError> {
            std::future::pending().await
        }

        async fn put(&self, _: &StoreKey, _: Option<Version>, _: Entry, _: Timestamp) -> Result<bool, StoreError> {
            Ok(false)
        }

        async fn delete(&self, _: &StoreKey, _: Option<Forward>, _: Timestamp) -> Result<Outcome, StoreError> {
            Ok(Outcome::Gone)
        }
    }

    #[test]
    fn a_call_that_waits_although_it_never_does_fails() {
        let (key, now) = (StoreKey::from_bytes([1; 32]), Timestamp::from_millis(0));
        let Answer::Ready(Err(error)) = ErasedStore::load(&Liar, &key, now) else {
            panic!("the call was polled at once")
        };
        assert_eq!((error.kind(), error.store()), (StoreErrorKind::Failed, "liar"));
        assert!(matches!(ErasedStore::delete(&Liar, &key, None, now), Answer::Ready(Ok(Outcome::Gone))));
    }
}
