//! One commit of state in a store: the plan is carried out, and made anew on what another request has left.
//!
//! What a request does is written with the version it was based on. Two things can come between: another request that
//! was faster, and then the changes are made again on what it left ([`conflict`](super::conflict)); or silence, and
//! then it is found out whether the write took place before anything is written again
//! ([`pending_write`](super::pending_write)).
//!
//! The work stays where it is and whole: a commit that is dropped while it waits can be made again.

use super::super::retry::{MAX_ATTEMPTS, is_store_failure, pause};
use super::super::work::{Next, SharedWork, Work};
use super::lease::Lease;
use super::new_write::Update;
use super::records::{Records, WriteOutcome};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::record::plan::Plan;

/// A commit that is under way.
pub(in crate::state) struct Commit<'c, W> {
    pub(super) records: Records<'c>,
    pub(super) work: &'c W,
    /// Whether the head of the response is still to be sent.
    pub(super) may_set_cookie: bool,
    /// Keeps other logins of the principal waiting.
    pub(super) lease: Option<Box<Lease>>,
}

/// How an attempt to carry out a plan ended.
#[derive(Debug)]
pub(super) enum Progress {
    Done,
    /// Something is done, and what comes next is to be planned.
    Again,
    /// Another request was faster. Boxed, since the progress of every commit is passed on several times.
    Conflict(Box<WriteOutcome>),
}

impl Progress {
    pub(super) fn conflict(outcome: impl Into<WriteOutcome>) -> Self {
        Self::Conflict(Box::new(outcome.into()))
    }
}

impl<'c, W: SharedWork> Commit<'c, W> {
    pub(in crate::state) fn new(records: Records<'c>, work: &'c W, may_set_cookie: bool) -> Self {
        Self { records, work, may_set_cookie, lease: None }
    }

    /// Carries out what the request did. After an error nothing of it has taken place, unless the store failed and
    /// could not be asked what became of it.
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
                Ok(Progress::Conflict(_)) => pause(attempt).await?,
                Err(error) if !has_failed && is_store_failure(&error) => has_failed = true,
                Err(error) => return Box::pin(self.give_up(error)).await,
            }
        }
        Box::pin(self.give_up(Error::conflict())).await
    }

    /// Looks at the session again, and makes the changes again on what it is now.
    pub(super) async fn refresh(mut self) -> Result<(), Error> {
        self.rebase(WriteOutcome::Conflict(None)).await.map(drop)
    }

    /// Does what comes next. What is seldom done is boxed: the future is moved about.
    async fn attempt(&mut self) -> Result<Progress, Error> {
        let now = self.records.config.now();
        let mut update = None;
        let next = self.work.with(|work| self.begin(work, now, &mut update))?;
        if let Some(update) = &mut update {
            return self.write_update(update, now).await;
        }
        match next {
            Next::CarryOut(plan) => Box::pin(self.carry_out(plan, now)).await,
            Next::Resolve => Box::pin(self.resolve()).await,
            Next::Lose => Box::pin(self.lose()).await,
        }
    }

    /// Finds out what comes next. An update that nothing has to be prepared for begins at once, while the work is
    /// locked.
    fn begin(&self, work: &mut Work, now: Timestamp, update: &mut Option<Update>) -> Result<Next, Error> {
        let config = self.records.config;
        let next = work.next(config, self.may_set_cookie, now);
        if let Next::CarryOut(Plan::Update) = next
            && config.parts.is_empty()
        {
            *update = self.begin_update(work, now)?;
        }
        Ok(next)
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
        let is_unavailable = *error.kind() == ErrorKind::Unavailable;
        // A store that has failed may be about to write what it was asked to. Until then no other request logs the
        // principal in.
        self.withdraw_parts(is_unavailable).await;
        match self.lease.take() {
            Some(lease) if is_unavailable => lease.keep(),
            lease => {
                self.lease = lease;
                self.release_lease().await?;
            }
        }
        Err(error)
    }

    async fn release_lease(mut self) -> Result<(), Error> {
        if let Some(lease) = self.lease.take() {
            Box::pin(lease.release(self.records)).await;
        }
        Ok(())
    }
}
