//! A store that fails on demand and counts its calls.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Timestamp;
use crate::store::{
    Entry, FindPrincipals, Forward, Handle, Outcome, PrincipalFinder, Record, Renewal, Store, StoreError, StoreKey,
    Touch, Version,
};

/// [`Store`] that wraps another one, counts its calls and makes them fail on demand.
///
/// The test controls it by its [`Faults`], also after the store was moved into a layer.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use session_state::store::{Store as _, StoreKey};
/// use session_state::test_kit::{Call, Fault, FaultyStore, FakeClock};
/// use session_state::{Clock as _, MemoryStore};
///
/// let store = FaultyStore::new(MemoryStore::new());
/// let faults = store.faults();
/// let (key, now) = (StoreKey::from_bytes([1; 32]), FakeClock::default().now());
///
/// faults.next(1, Fault::Refuse);
/// assert!(store.load(&key, now).await.is_err());
/// assert!(store.load(&key, now).await.is_ok());
/// assert_eq!(faults.calls(Call::Load), 2);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct FaultyStore<S> {
    inner: S,
    faults: Faults,
}

impl<S: Store> FaultyStore<S> {
    /// Wraps `inner`, without faults at first.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner, faults: Faults::default() }
    }

    /// Returns the handle that controls the faults and counts the calls.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Returns the wrapped store, which never fails.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    async fn through<T>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let fault = self.faults.begin(call);
        match fault {
            None => work.await,
            Some(Fault::Refuse) => Err(self.injected()),
            Some(Fault::LoseReply) => {
                work.await?;
                Err(self.injected())
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Die) => {
                let answer = work.await;
                self.faults.next(usize::MAX, Fault::Refuse);
                answer.and(Err(self.injected()))
            }
        }
    }

    fn finder(&self) -> Result<PrincipalFinder<'_>, StoreError> {
        self.inner.principals().ok_or_else(|| StoreError::unsupported(self.inner.name()))
    }

    fn injected(&self) -> StoreError {
        StoreError::failed(self.inner.name(), InjectedFault)
    }
}

/// The ways for a call to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails and has no effect.
    Refuse,
    /// The call takes effect and its reply is lost: the caller gets an error.
    LoseReply,
    /// The call has no effect and never ends.
    Hang,
    /// The call takes effect, its reply is lost, and every later call fails, until [`heal`](Faults::heal).
    Die,
}

/// The calls of a [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is a method of `Store`")]
pub enum Call {
    Load,
    Put,
    Create,
    Update,
    Touch,
    Renew,
    Delete,
    Sweep,
    List,
    Count,
    Revoke,
}

/// Controls the faults of a [`FaultyStore`] and counts its calls. Clones control the same store.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    planned: VecDeque<Planned>,
    calls: [usize; 11],
}

#[derive(Debug)]
struct Planned {
    only: Option<Call>,
    fault: Fault,
    left: usize,
}

impl Faults {
    /// Makes the next `calls` calls of any kind fail. Faults that were planned earlier come first.
    pub fn next(&self, calls: usize, fault: Fault) {
        self.plan(Planned { only: None, fault, left: calls });
    }

    /// Makes the next `calls` calls of one kind fail. Other calls pass.
    pub fn next_of(&self, call: Call, calls: usize, fault: Fault) {
        self.plan(Planned { only: Some(call), fault, left: calls });
    }

    /// Cancels the planned faults. Calls that hang keep hanging.
    pub fn heal(&self) {
        self.lock().planned.clear();
    }

    /// Returns the number of calls of one kind, including failed ones.
    #[must_use]
    pub fn calls(&self, call: Call) -> usize {
        self.lock().calls[call as usize]
    }

    /// Returns the number of all calls: the round trips.
    #[must_use]
    pub fn all_calls(&self) -> usize {
        self.lock().calls.iter().sum()
    }

    /// Resets the counts.
    pub fn reset_calls(&self) {
        self.lock().calls = [0; 11];
    }

    fn plan(&self, planned: Planned) {
        if planned.left > 0 {
            self.lock().planned.push_back(planned);
        }
    }

    /// Counts a call, and returns its fault, if one is planned.
    fn begin(&self, call: Call) -> Option<Fault> {
        let mut state = self.lock();
        state.calls[call as usize] += 1;
        let index = state.planned.iter().position(|planned| planned.only.is_none_or(|only| only == call))?;
        let planned = &mut state.planned[index];
        let fault = planned.fault;
        planned.left -= 1;
        if planned.left == 0 {
            state.planned.remove(index);
        }
        Some(fault)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The source of an injected error.
#[derive(Debug)]
struct InjectedFault;

impl fmt::Display for InjectedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an injected fault")
    }
}

impl StdError for InjectedFault {}

#[deny(clippy::missing_trait_methods)]
impl<S: Store> Store for FaultyStore<S> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        self.through(Call::Load, self.inner.load(key, now)).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.through(Call::Put, self.inner.put(key, expected, entry, now)).await
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        self.through(Call::Create, self.inner.create(key, record, now)).await
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        self.through(Call::Update, self.inner.update(key, expected, record, now)).await
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        self.through(Call::Touch, self.inner.touch(key, touch, now)).await
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        self.through(Call::Renew, self.inner.renew(renewal, now)).await
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        self.through(Call::Delete, self.inner.delete(key, forward, now)).await
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.through(Call::Sweep, self.inner.sweep(now, limit)).await
    }

    fn principals(&self) -> Option<PrincipalFinder<'_>> {
        self.inner.principals().is_some().then(|| PrincipalFinder::of(self))
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: Store> FindPrincipals for FaultyStore<S> {
    async fn list(
        &self,
        principal: &str,
        after: Option<&Handle>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<Arc<Record>>, StoreError> {
        self.through(Call::List, self.finder()?.list(principal, after, limit, now)).await
    }

    async fn count(&self, principal: &str, now: Timestamp) -> Result<usize, StoreError> {
        self.through(Call::Count, self.finder()?.count(principal, now)).await
    }

    async fn revoke(
        &self,
        principal: &str,
        sessions: &[Handle],
        forward: Forward,
        now: Timestamp,
    ) -> Result<Vec<Handle>, StoreError> {
        self.through(Call::Revoke, self.finder()?.revoke(principal, sessions, forward, now)).await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;
    use crate::record::Handle;
    use crate::store::{MemoryStore, StoreErrorKind};

    const KEY: StoreKey = StoreKey::from_bytes([1; 32]);
    const NOW: Timestamp = Timestamp::from_millis(1000);

    /// Polls once: calls of the memory store never wait.
    fn answer<T>(call: impl Future<Output = T>) -> Option<T> {
        match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    fn record() -> Arc<Record> {
        Arc::new(Record::new(Handle::from_bytes([0; 16]), NOW, NOW.after(Duration::from_secs(60))))
    }

    fn is_created(store: &FaultyStore<MemoryStore>) -> bool {
        !store.inner().is_empty()
    }

    #[test]
    fn a_refused_call_fails_and_has_no_effect() {
        let store = FaultyStore::new(MemoryStore::new());
        store.faults().next(1, Fault::Refuse);
        let error = answer(store.create(&KEY, record(), NOW)).expect("an answer").expect_err("a fault");
        assert_eq!((error.kind(), error.store()), (StoreErrorKind::Failed, "memory"));
        assert_eq!(error.source().expect("a source").to_string(), "an injected fault");
        assert!(!is_created(&store));
        assert!(answer(store.create(&KEY, record(), NOW)).expect("an answer").expect("no fault is left"));
    }

    #[test]
    fn a_call_with_a_lost_reply_fails_and_takes_effect() {
        let store = FaultyStore::new(MemoryStore::new());
        store.faults().next(1, Fault::LoseReply);
        assert!(answer(store.create(&KEY, record(), NOW)).expect("an answer").is_err());
        assert!(is_created(&store));
    }

    #[test]
    fn a_call_that_hangs_never_ends_and_has_no_effect() {
        let store = FaultyStore::new(MemoryStore::new());
        store.faults().next(1, Fault::Hang);
        assert!(answer(store.create(&KEY, record(), NOW)).is_none());
        assert!(!is_created(&store));
    }

    #[test]
    fn faults_of_one_kind_pass_other_calls_and_come_in_order() {
        let store = FaultyStore::new(MemoryStore::new());
        let faults = store.faults();
        faults.next_of(Call::Create, 1, Fault::Refuse);
        faults.next(2, Fault::Refuse);
        faults.next_of(Call::Load, 0, Fault::Hang);
        assert!(answer(store.create(&KEY, record(), NOW)).expect("an answer").is_err());
        assert!(answer(store.load(&KEY, NOW)).expect("an answer").is_err());
        assert!(answer(store.delete(&KEY, None, NOW)).expect("an answer").is_err());
        assert!(answer(store.create(&KEY, record(), NOW)).expect("an answer").is_ok());
        faults.next_of(Call::Touch, 3, Fault::Refuse);
        assert!(answer(store.load(&KEY, NOW)).expect("an answer").is_ok());
        assert!(
            answer(store.touch(&KEY, Touch { expected: Version::FIRST, last_seen_at: NOW, expires_at: NOW }, NOW))
                .expect("an answer")
                .is_err()
        );
        faults.heal();
        assert!(
            answer(store.touch(&KEY, Touch { expected: Version::FIRST, last_seen_at: NOW, expires_at: NOW }, NOW))
                .expect("an answer")
                .is_ok()
        );
    }

    #[test]
    fn calls_are_counted_by_kind_failed_ones_included() {
        let store = FaultyStore::new(MemoryStore::new());
        let faults = store.faults();
        faults.next(1, Fault::Hang);
        assert!(answer(store.load(&KEY, NOW)).is_none());
        assert!(answer(store.load(&KEY, NOW)).is_some());
        assert!(answer(store.sweep(NOW, 1)).is_some());
        let counts = [Call::Load, Call::Create, Call::Sweep].map(|call| faults.calls(call));
        assert_eq!((counts, faults.all_calls()), ([2, 0, 1], 3));
        faults.reset_calls();
        assert_eq!(faults.all_calls(), 0);
    }
}
