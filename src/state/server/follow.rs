//! Where a session has gone that another request renewed, and what to do when another request was faster.

use std::mem;
use std::sync::Arc;

use super::super::{ConflictPolicy, Loaded, Work};
use super::records::Records;
use super::{MAX_ATTEMPTS, Step, rows};
use crate::error::Error;
use crate::event::SessionEvent;
use crate::record::Record;
use crate::record::draft::Draft;
use crate::record::id::SessionId;
use crate::store::{Entry, Forward, Outcome};

/// Bases the work on what another request has left. It is seldom called, so callers box its future.
pub(super) async fn catch_up(records: Records<'_>, work: &mut Work, outcome: Outcome) -> Result<Step, Error> {
    let config = records.config;
    let Loaded { id: Some(id), record: Some(base), .. } = &work.loaded else { return Ok(Step::Lost) };
    let (id, base) = (id.clone(), Arc::clone(base));
    let (id, record) = match outcome {
        Outcome::Done | Outcome::Gone => return Ok(Step::Lost),
        Outcome::Conflict(Some(record)) => {
            let record = records.open(&id, record)?;
            (id, record)
        }
        Outcome::Conflict(None) => match reload(records, id).await? {
            Some(newer) => newer,
            None => return Ok(Step::Lost),
        },
        Outcome::Retired(forward) => {
            let Some(successor) = successor(&id, &forward) else { return Ok(Step::Lost) };
            let Some(newer) = reload(records, successor).await? else { return Ok(Step::Lost) };
            // Another request has just renewed the ID, and the client is told that one if its own still counts.
            work.changes.renews = false;
            work.loaded.tell_id = config.now() < forward.grace_until;
            work.loaded.hide_id = !work.loaded.tell_id;
            newer
        }
    };
    config.tell(&SessionEvent::Conflict { session: base.handle });
    let outside = rows::reload(config, work, record.handle).await?;
    let may_fail = config.conflict_policy == ConflictPolicy::Fail && work.draft.is_changed();
    if may_fail && (is_other_state(&base, &record) || rows::meet(config, work, outside.as_deref())?) {
        return Err(Error::conflict());
    }
    let new_session = work.draft.outside().and_then(|outside| outside.new_session);
    work.draft = Draft::replay(Some(Arc::clone(&record)), outside, work.changes.list())?;
    if new_session.is_some() {
        // A part has been stored for it.
        work.draft.outside_mut().new_session = new_session;
    }
    work.loaded = Loaded { record: Some(record), id: Some(id), ..mem::take(&mut work.loaded) };
    Ok(Step::Again)
}

/// Whether a session was changed, and not only given another ID.
fn is_other_state(before: &Record, after: &Record) -> bool {
    let state = |record: &Record| (record.idle_timeout, record.absolute_timeout, record.authenticated_at);
    before.values != after.values || before.label != after.label || state(before) != state(after)
}

/// Loads the record of an ID that this request came by honestly, following renewals whether or not their grace is over.
pub(super) async fn reload(records: Records<'_>, mut id: SessionId) -> Result<Option<(SessionId, Arc<Record>)>, Error> {
    for _ in 0..MAX_ATTEMPTS {
        match records.load(&id, records.config.now()).await? {
            Some(Entry::Live(record)) => {
                let record = records.open(&id, record)?;
                return Ok(Some((id, record)));
            }
            Some(Entry::Retired(forward)) => match successor(&id, &forward) {
                Some(next) => id = next,
                None => return Ok(None),
            },
            None => return Ok(None),
        }
    }
    Err(Error::conflict())
}

/// Ends the session that the request has loaded, wherever it has moved to, and returns whether it was this request that
/// ended it.
pub(super) async fn delete_following(records: Records<'_>, work: &mut Work) -> Result<bool, Error> {
    let mut id = work.loaded.id.clone();
    let was_asked = mem::replace(&mut work.is_deleting, true);
    for _ in 0..MAX_ATTEMPTS {
        let Some(current) = &id else { break };
        let is_ended = match records.delete(current, records.config.now()).await? {
            Outcome::Retired(forward) => {
                id = successor(current, &forward);
                continue;
            }
            Outcome::Done => true,
            // What is gone after a call that was not answered has been ended by that.
            Outcome::Gone => was_asked,
            Outcome::Conflict(_) => false,
        };
        work.is_deleting = false;
        if is_ended {
            work.tell_end(records.config);
        }
        return Ok(is_ended);
    }
    work.is_deleting = false;
    // A logout that did not take place must not look like one.
    if id.is_none() { Ok(false) } else { Err(Error::conflict()) }
}

pub(super) fn successor(id: &SessionId, forward: &Forward) -> Option<SessionId> {
    forward.successor.map(|sealed| id.open_successor(sealed))
}
