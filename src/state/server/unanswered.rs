//! Writes whose reply has not come: the store failed, took too long, or nobody waited for it.
//!
//! Such a write may have taken place, now or in a moment. Making it again as if nothing had been would count twice what is
//! to be counted once, and leave a session behind that nobody has the ID of. So each is remembered until it is known what
//! became of it: the version of a record tells one write from another.

use std::error::Error as StdError;
use std::fmt;
use std::mem;
use std::sync::Arc;

use super::super::{Loaded, Work};
use super::follow::{delete_following, reload, successor};
use super::records::Records;
use super::{Step, rows};
use crate::error::Error;
use crate::record::Record;
use crate::record::draft::Draft;
use crate::record::id::SessionId;
use crate::record::outside::Outside;
use crate::record::plan::Plan;
use crate::store::{Entry, Forward};

/// The last write, while its reply has not come.
#[derive(Debug, Default)]
pub(in crate::state) enum Unanswered {
    #[default]
    Nothing,
    /// The loaded record was to get this version.
    Update { version: u64 },
    /// A record was to be made.
    New(Box<NewRecord>),
}

#[derive(Debug)]
pub(in crate::state) struct NewRecord {
    id: SessionId,
    plan: Plan,
    /// What a renewal leaves under the old ID, and leaves there last.
    forward: Option<Forward>,
}

impl Unanswered {
    pub(super) fn new_record(id: &SessionId, plan: Plan, forward: Option<&Forward>) -> Self {
        Self::New(Box::new(NewRecord { id: id.clone(), plan, forward: forward.cloned() }))
    }

    /// Whether it has to be known before anything else is done. To a session that ends, a change more or less is nothing.
    pub(super) fn is_to_be_settled(&self, ends_session: bool) -> bool {
        match self {
            Self::Nothing => false,
            Self::Update { .. } => !ends_session,
            Self::New(_) => true,
        }
    }
}

impl Work {
    /// Notes that a write is about to be made with all the changes there are.
    pub(super) fn expect_answer(&mut self, unanswered: Unanswered) {
        self.unanswered = unanswered;
        self.changes.mark_attempted();
    }

    /// Notes that the reply has come: what became of the write is known.
    pub(super) fn note_answer(&mut self) {
        self.unanswered = Unanswered::Nothing;
    }

    /// Goes on from a write that has taken place.
    fn adopt(
        &mut self,
        id: SessionId,
        record: Arc<Record>,
        outside: Option<Box<Outside>>,
        plan: Plan,
    ) -> Result<(), Error> {
        let mut changes = mem::take(&mut self.changes);
        changes.forget_attempted(plan);
        let base = Some(Arc::clone(&record)).filter(|_| !changes.ends_session);
        let of_draft = outside.clone().filter(|_| base.is_some());
        let draft = Draft::replay(base, of_draft, changes.list());
        self.changes = changes;
        self.draft = draft?;
        let (tell_id, hide_id) = match plan {
            Plan::Update => (self.loaded.tell_id, self.loaded.hide_id),
            Plan::Renew { grace: true } => (!self.loaded.hide_id, self.loaded.hide_id),
            _ => (true, false),
        };
        self.loaded = Loaded { record: Some(record), id: Some(id), tell_id, hide_id, outside, ..Loaded::default() };
        self.note_answer();
        Ok(())
    }
}

/// Finds out what became of a write whose reply has not come. One that has taken place is done, and what the request has
/// asked for since is based on it.
pub(super) async fn settle(
    records: Records<'_>,
    work: &mut Work,
    new_id: &mut Option<SessionId>,
) -> Result<Step, Error> {
    match &work.unanswered {
        Unanswered::Nothing => {}
        Unanswered::New(new) => {
            let (id, plan, forward) = (new.id.clone(), new.plan, new.forward.clone());
            settle_new(records, work, id, plan, forward, new_id).await?;
        }
        &Unanswered::Update { version } => settle_update(records, work, version).await?,
    }
    Ok(Step::Settled)
}

async fn settle_new(
    records: Records<'_>,
    work: &mut Work,
    id: SessionId,
    plan: Plan,
    forward: Option<Forward>,
    new_id: &mut Option<SessionId>,
) -> Result<(), Error> {
    let is_whole = match forward {
        Some(forward) => is_retired(records, &work.loaded, &forward).await?,
        None => true,
    };
    let found = if is_whole { reload(records, id.clone()).await? } else { None };
    let Some((current, record)) = found else {
        // Should it take place yet, it and its repetition are one.
        *new_id = Some(id);
        work.note_answer();
        return Ok(());
    };
    if plan == Plan::Replace {
        delete_following(records, work).await?;
    }
    work.tell_written(records.config, plan, record.handle);
    let outside = rows::reload(records.config, work, record.handle).await?;
    work.adopt(current, record, outside, plan)
}

/// Whether the old ID of a renewal is what the renewal was to leave of it. A store may have got no further than the new
/// one: then both IDs are live, and the renewal is to be made again.
async fn is_retired(records: Records<'_>, loaded: &Loaded, forward: &Forward) -> Result<bool, Error> {
    let Some(id) = &loaded.id else { return Ok(false) };
    let entry = records.load(id, records.config.now()).await?;
    let left = |forward: &Forward| (forward.successor, forward.grace_until);
    Ok(matches!(entry, Some(Entry::Retired(found)) if left(&found) == left(forward)))
}

async fn settle_update(records: Records<'_>, work: &mut Work, version: u64) -> Result<(), Error> {
    let Loaded { id: Some(id), record: Some(base), .. } = &work.loaded else { return Ok(()) };
    let (id, base) = (id.clone(), base.version);
    match records.load(&id, records.config.now()).await? {
        Some(Entry::Live(record)) if record.version == version => {
            let record = records.open(&id, record)?;
            let outside = rows::reload(records.config, work, record.handle).await?;
            return work.adopt(id, record, outside, Plan::Update);
        }
        Some(Entry::Live(record)) if record.version != base => {
            return Err(records.failed(LostReplyError("session")).into());
        }
        Some(Entry::Retired(forward)) if successor(&id, &forward).is_some() => {
            return Err(records.failed(LostReplyError("session")).into());
        }
        // It has not taken place, or the session has ended: the next attempt says so.
        Some(_) | None => {}
    }
    work.note_answer();
    Ok(())
}

/// Nobody can tell any more whether a write took place, to the session or to this part of it.
#[derive(Debug)]
pub(in crate::state) struct LostReplyError(pub(in crate::state) &'static str);

impl fmt::Display for LostReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the reply to a write was lost and the {} has been changed since, so the write is not repeated",
            self.0
        )
    }
}

impl StdError for LostReplyError {}
