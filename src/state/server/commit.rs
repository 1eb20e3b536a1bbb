//! Commits state to a store: carries out a plan, and makes a new plan after a conflict.
//!
//! Each write is a compare-and-swap on the version it is based on. If another request has written first, the changes
//! are replayed on its record ([`conflict`](super::conflict)). If no reply comes, the outcome of the write is
//! determined before anything is written again ([`pending_write`](super::pending_write)).
//!
//! A commit that keeps losing conflicts takes the [turn](Turn) of its session: later commits of the session in this
//! process wait for it.
//!
//! The work stays whole during a commit: a commit that is dropped while it waits can be run again.

use std::time::Duration;

use super::super::retry::{MAX_ATTEMPTS, is_store_failure, pause};
use super::super::work::{Next, SharedWork, Work};
use super::lease::Lease;
use super::local_locks::LocalGuard;
use super::new_write::Update;
use super::records::{Records, WriteOutcome};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::record::plan::Plan;

/// A commit in progress.
pub(in crate::state) struct Commit<'c, W> {
    pub(super) records: Records<'c>,
    pub(super) work: &'c W,
    /// Whether the response head is still unsent.
    pub(super) may_set_cookie: bool,
    /// Blocks other logins of the principal.
    pub(super) lease: Option<Box<Lease>>,
    turn: Turn,
}

/// Number of attempts after which a commit takes the turn of its session.
const ATTEMPTS_BEFORE_TURN: u32 = 8;

/// Longest wait for a holder of the turn, who may no longer be polled.
const LONGEST_TURN: Duration = Duration::from_secs(1);

/// The turn of a session: later commits of the session in this process wait until it is released.
enum Turn {
    NotTaken,
    /// `None` after a timeout.
    Taken(Option<LocalGuard>),
}

/// Outcome of an attempt to carry out a plan.
#[derive(Debug)]
pub(super) enum Progress {
    Done,
    /// A step is done; plan the next one.
    Again,
    /// Another request has written first. Boxed, since every commit passes its progress on several times.
    Conflict(Box<WriteOutcome>),
}

impl Progress {
    pub(super) fn conflict(outcome: impl Into<WriteOutcome>) -> Self {
        Self::Conflict(Box::new(outcome.into()))
    }
}

impl<'c, W: SharedWork> Commit<'c, W> {
    pub(in crate::state) fn new(records: Records<'c>, work: &'c W, may_set_cookie: bool) -> Self {
        Self { records, work, may_set_cookie, lease: None, turn: Turn::NotTaken }
    }

    /// Commits the changes of the request. After an error none of them took effect, unless the store failed and the
    /// outcome could not be determined.
    pub(in crate::state) async fn run(mut self) -> Result<(), Error> {
        let mut has_failed = false;
        for attempt in 0..MAX_ATTEMPTS {
            let mut progress = self.attempt().await;
            if let Ok(Progress::Conflict(outcome)) = progress {
                progress = Box::pin(self.rebase(*outcome)).await;
            }
            match progress {
                Ok(Progress::Done) if self.lease.is_none() => return Ok(()),
                Ok(Progress::Done) => return Box::pin(self.release_lease()).await,
                Ok(Progress::Again) => {}
                Ok(Progress::Conflict(_)) => Box::pin(self.give_way(attempt)).await?,
                Err(error) if !has_failed && is_store_failure(&error) => has_failed = true,
                Err(error) => return Box::pin(self.give_up(error)).await,
            }
        }
        Box::pin(self.give_up(Error::conflict())).await
    }

    /// Reloads the session, and replays the changes on it.
    pub(super) async fn refresh(mut self) -> Result<(), Error> {
        self.rebase(WriteOutcome::Conflict(None)).await.map(drop)
    }

    /// Runs the next step. Rare steps are boxed to keep the future small.
    async fn attempt(&mut self) -> Result<Progress, Error> {
        let now = self.records.config.now();
        let mut update = None;
        let next = self.work.with(|work| self.begin(work, now, &mut update))?;
        if let Some(update) = &mut update {
            return self.write_update(update, now).await;
        }
        Box::pin(self.take_step(next, now)).await
    }

    async fn take_step(&mut self, next: Option<Next>, now: Timestamp) -> Result<Progress, Error> {
        match next {
            Some(Next::CarryOut(plan)) => self.carry_out(plan, now).await,
            Some(Next::Resolve) => self.resolve().await,
            Some(Next::Lose) => self.lose().await,
            Some(Next::ContinueLogin) => self.continue_replaced().await,
            None => {
                self.take_turn().await;
                Ok(Progress::Again)
            }
        }
    }

    /// Determines the next step. An update that needs no preparation begins at once, under the same lock. Returns
    /// `None` if another commit has the turn of the session.
    fn begin(&self, work: &mut Work, now: Timestamp, update: &mut Option<Update>) -> Result<Option<Next>, Error> {
        let config = self.records.config;
        let next = work.next(config, self.may_set_cookie, now);
        if self.records.server.turns.are_used()
            && matches!(self.turn, Turn::NotTaken)
            && matches!(next, Next::CarryOut(plan) if plan.writes_record())
            && turn_of(work).is_some_and(|session| self.records.server.turns.is_taken(session))
        {
            return Ok(None);
        }
        if let Next::CarryOut(Plan::Update) = next
            && config.parts.is_empty()
        {
            *update = self.begin_update(work, now)?;
        }
        Ok(Some(next))
    }

    /// Backs off after a conflict, or takes the turn after too many.
    async fn give_way(&mut self, attempt: u32) -> Result<(), Error> {
        match self.turn {
            Turn::NotTaken if attempt >= ATTEMPTS_BEFORE_TURN => self.take_turn().await,
            Turn::NotTaken | Turn::Taken(None) => pause(attempt).await?,
            // Only other nodes compete with it.
            Turn::Taken(Some(_)) => pause(1).await?,
        }
        Ok(())
    }

    async fn take_turn(&mut self) {
        if let Some(session) = self.work.with(|work| turn_of(work)) {
            self.turn = Turn::Taken(self.records.server.turns.lock_within(LONGEST_TURN, session).await);
        }
    }

    async fn carry_out(&mut self, plan: Plan, now: Timestamp) -> Result<Progress, Error> {
        if plan.needs_cookie() && !self.may_set_cookie {
            return Err(Error::too_late());
        }
        if plan.needs_cookie() {
            self.admit_login().await?;
        }
        if plan.writes_record()
            && let Some(progress) = self.prepare_parts(plan, now).await?
        {
            return Ok(progress);
        }
        match plan {
            Plan::Keep => self.keep(now).await,
            Plan::Confirm => self.confirm(now).await,
            Plan::Touch => self.touch(now).await,
            Plan::Create | Plan::Replace => self.create(plan, now).await,
            Plan::Update => self.update(now).await,
            Plan::Renew { grace } => self.renew(grace, now).await,
            Plan::Destroy => self.end().await,
        }
    }

    /// Ends a commit that has failed for good.
    async fn give_up(mut self, error: Error) -> Result<(), Error> {
        if *error.kind() == ErrorKind::Unavailable {
            // A failed store may still apply the write later. Keep the parts that it refers to, and the lease, so that
            // no other request logs the principal in before that.
            if let Some(lease) = self.lease.take() {
                lease.keep();
            }
            return Err(error);
        }
        self.withdraw_parts().await;
        self.release_lease().await?;
        Err(error)
    }

    async fn release_lease(mut self) -> Result<(), Error> {
        if let Some(lease) = self.lease.take() {
            Box::pin(lease.release(self.records)).await;
        }
        Ok(())
    }
}

/// Returns the hash of the session whose turn a commit takes.
fn turn_of(work: &Work) -> Option<u64> {
    let [first, ..] = work.loaded.record()?.handle.as_bytes().as_chunks().0 else { return None };
    Some(u64::from_ne_bytes(*first))
}
