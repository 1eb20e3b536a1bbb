//! Stores whose calls wait at points set by the test, before and after they take effect.

use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use session_state::Timestamp;
use session_state::store::{
    Entry, FindPrincipals, Forward, Handle, Outcome, PrincipalFinder, Record, Renewal, Store, StoreError, StoreKey,
    Touch, Version,
};
use session_state::test_kit::Call;
use tokio::sync::Semaphore;

/// Longer than any call takes to reach its gate.
const PATIENCE: Duration = Duration::from_secs(60);

/// A point of a call: before it takes effect, or after that and before its reply arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Before, Self::After];
}

/// Decides how long a call waits. An error before the call prevents it; an error after it loses its reply.
pub(crate) trait Pauses: Debug + Send + Sync + 'static {
    fn at(&self, call: Call, side: Side) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A store whose calls wait.
#[derive(Clone, Debug)]
pub(crate) struct Paused<S, P> {
    store: S,
    pauses: P,
}

impl<S: Store, P: Pauses> Paused<S, P> {
    pub(crate) fn new(store: S, pauses: P) -> Self {
        Self { store, pauses }
    }

    fn finder(&self) -> Result<PrincipalFinder<'_>, StoreError> {
        self.store.principals().ok_or_else(|| StoreError::unsupported(self.store.name()))
    }

    async fn through<T>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.pauses.at(call, Side::Before).await?;
        let reply = work.await;
        self.pauses.at(call, Side::After).await?;
        reply
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: Store, P: Pauses> Store for Paused<S, P> {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    async fn load(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry>, StoreError> {
        self.through(Call::Load, self.store.load(key, now)).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        expected: Option<Version>,
        entry: Entry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.through(Call::Put, self.store.put(key, expected, entry, now)).await
    }

    async fn create(&self, key: &StoreKey, record: Arc<Record>, now: Timestamp) -> Result<bool, StoreError> {
        self.through(Call::Create, self.store.create(key, record, now)).await
    }

    async fn update(
        &self,
        key: &StoreKey,
        expected: Version,
        record: Arc<Record>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        self.through(Call::Update, self.store.update(key, expected, record, now)).await
    }

    async fn touch(&self, key: &StoreKey, touch: Touch, now: Timestamp) -> Result<Outcome, StoreError> {
        self.through(Call::Touch, self.store.touch(key, touch, now)).await
    }

    async fn renew(&self, renewal: Renewal, now: Timestamp) -> Result<Outcome, StoreError> {
        self.through(Call::Renew, self.store.renew(renewal, now)).await
    }

    async fn delete(&self, key: &StoreKey, forward: Option<Forward>, now: Timestamp) -> Result<Outcome, StoreError> {
        self.through(Call::Delete, self.store.delete(key, forward, now)).await
    }

    async fn sweep(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.through(Call::Sweep, self.store.sweep(now, limit)).await
    }

    fn principals(&self) -> Option<PrincipalFinder<'_>> {
        self.store.principals().is_some().then(|| PrincipalFinder::of(self))
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: Store, P: Pauses> FindPrincipals for Paused<S, P> {
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

/// Gates in every call, which are open until the test closes one. Clones share the gates.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gates(Arc<Mutex<GateState>>);

#[derive(Debug, Default)]
struct GateState {
    closed: Vec<Closed>,
    is_down: bool,
}

#[derive(Debug)]
struct Closed {
    call: Call,
    side: Side,
    /// The number of calls of the kind that pass before one is stopped.
    passing: usize,
    stop: Stop,
}

/// A call that is stopped, or will be.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    call: Call,
    reached: Arc<Semaphore>,
    opened: Arc<Semaphore>,
}

impl Gates {
    /// Stops the next call of a kind, and no other.
    pub(crate) fn stop(&self, call: Call, side: Side) -> Stop {
        self.stop_nth(call, side, 1)
    }

    /// Stops the `nth` next call of a kind, counted from one.
    pub(crate) fn stop_nth(&self, call: Call, side: Side, nth: usize) -> Stop {
        let closed = || Arc::new(Semaphore::new(0));
        let stop = Stop { call, reached: closed(), opened: closed() };
        let gate = Closed { call, side, passing: nth - 1, stop: stop.clone() };
        self.0.lock().unwrap().closed.push(gate);
        stop
    }

    /// Makes every call fail, including stopped calls once they continue.
    pub(crate) fn take_down(&self) {
        self.0.lock().unwrap().is_down = true;
    }

    /// Makes calls succeed again.
    pub(crate) fn bring_up(&self) {
        self.0.lock().unwrap().is_down = false;
    }

    fn stop_of(&self, call: Call, side: Side) -> Option<Stop> {
        let closed = &mut self.0.lock().unwrap().closed;
        let at = closed.iter().position(|gate| (gate.call, gate.side) == (call, side))?;
        match closed[at].passing.checked_sub(1) {
            Some(passing) => {
                closed[at].passing = passing;
                None
            }
            None => Some(closed.remove(at).stop),
        }
    }
}

impl Stop {
    /// Waits until a call is stopped here.
    pub(crate) async fn reached(&self) {
        let reached = tokio::time::timeout(PATIENCE, self.reached.acquire()).await;
        reached.unwrap_or_else(|_| panic!("no request makes the call {:?}", self.call)).unwrap().forget();
    }

    /// Lets the call continue.
    pub(crate) fn open(&self) {
        self.opened.add_permits(1);
    }
}

impl Pauses for Gates {
    async fn at(&self, call: Call, side: Side) -> Result<(), StoreError> {
        if let Some(stop) = self.stop_of(call, side) {
            stop.reached.add_permits(1);
            stop.opened.acquire().await.unwrap().forget();
        }
        match self.0.lock().unwrap().is_down {
            true => Err(StoreError::failed("paused", "the test took the store down")),
            false => Ok(()),
        }
    }
}

/// Yields once before and once after each call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Yields;

impl Pauses for Yields {
    async fn at(&self, _: Call, _: Side) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        Ok(())
    }
}
