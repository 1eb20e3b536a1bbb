//! Creates, updates and renewals: each ends with the session as it was written, or with what to do instead.

use std::sync::Arc;
use std::time::Duration;

use super::super::{Committed, Loaded, Work};
use super::follow::{catch_up, delete_following};
use super::records::Records;
use super::unanswered::Unanswered;
use super::{Step, id_cookie, moved_cookie};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::random;
use crate::record::Record;
use crate::record::id::SessionId;
use crate::record::plan::Plan;
use crate::store::{Forward, Outcome};

/// How long the use of a renewed ID is noticed at most. Of a session that lives for months there would else be forwards
/// by the thousand.
const LONGEST_FORWARD: Duration = Duration::from_secs(24 * 60 * 60);

/// Begins a session. One that it takes the place of ends after that, so a failure between the two loses nothing.
pub(super) async fn create(
    records: Records<'_>,
    work: &mut Work,
    plan: Plan,
    new_id: &mut Option<SessionId>,
    now: Timestamp,
) -> Result<Step, Error> {
    let record = work.to_record(records.config, records.server.mark(), now)?;
    let id = fresh_id(new_id)?;
    let rows = work.rows(records.config)?;
    work.expect_answer(Unanswered::new_record(&id, plan, None));
    if !records.create(&id, &record, rows, now).await? {
        // Nobody guesses 256 bits: a key that is taken is one that an earlier attempt took, whose reply was lost.
        return Ok(Step::Again);
    }
    if plan == Plan::Replace {
        delete_following(records, work).await?;
    }
    work.note_answer();
    work.tell_written(records.config, plan, record.handle);
    let outside = work.written_outside();
    work.loaded = Loaded { record: Some(record), id: Some(id), outside, ..Loaded::default() };
    Ok(Step::Done(Committed::telling(id_cookie(records.config, &work.loaded, now))))
}

pub(super) async fn update(records: Records<'_>, work: &mut Work, now: Timestamp) -> Result<Step, Error> {
    if work.draft.outside().is_some() {
        return Box::pin(update_with_rows(records, work, now)).await;
    }
    let record = work.to_record(records.config, records.server.mark(), now)?;
    work.expect_answer(Unanswered::Update { version: record.version });
    let Loaded { id: Some(id), record: Some(base), .. } = &work.loaded else { return Ok(Step::Lost) };
    let outcome = records.update(id, base.version, &record, now).await?;
    match updated(records, work, record, &outcome, now) {
        Some(done) => Ok(done),
        None => Box::pin(catch_up(records, work, outcome)).await,
    }
}

/// Does so when the request has asked for parts outside the record, which may have rows to be written along with it.
async fn update_with_rows(records: Records<'_>, work: &mut Work, now: Timestamp) -> Result<Step, Error> {
    let record = work.to_record(records.config, records.server.mark(), now)?;
    let rows = work.rows(records.config)?;
    work.expect_answer(Unanswered::Update { version: record.version });
    let Loaded { id: Some(id), record: Some(base), .. } = &work.loaded else { return Ok(Step::Lost) };
    let outcome = match rows {
        Some(rows) => records.update_with_rows(id, base.version, &record, rows, now).await?,
        None => records.update(id, base.version, &record, now).await?,
    };
    let outside = work.written_outside();
    match updated(records, work, record, &outcome, now) {
        Some(done) => {
            work.loaded.outside = outside;
            Ok(done)
        }
        None => catch_up(records, work, outcome).await,
    }
}

/// Goes on from an update, if it took place.
#[inline(always)]
fn updated(
    records: Records<'_>,
    work: &mut Work,
    record: Arc<Record>,
    outcome: &Outcome,
    now: Timestamp,
) -> Option<Step> {
    work.note_answer();
    let is_done = match outcome {
        Outcome::Done => true,
        // A client that asks again by itself comes upon what it has done.
        Outcome::Conflict(Some(found)) => found.version == record.version,
        Outcome::Conflict(None) | Outcome::Retired(_) | Outcome::Gone => false,
    };
    if !is_done {
        return None;
    }
    work.loaded.record = Some(record);
    let cookie = moved_cookie(records.config, &work.loaded, now);
    work.loaded.tell_id = false;
    Some(Step::Done(Committed::telling(cookie)))
}

pub(super) async fn renew(
    records: Records<'_>,
    work: &mut Work,
    grace: bool,
    new_id: &mut Option<SessionId>,
    now: Timestamp,
) -> Result<Step, Error> {
    let (config, plan) = (records.config, Plan::Renew { grace });
    let (Some(old), Some(base)) = (work.loaded.id.clone(), work.loaded.record.clone()) else { return Ok(Step::Lost) };
    let mut record = work.to_record(config, records.server.mark(), now)?;
    Arc::make_mut(&mut record).renewed_at = now;
    let new = fresh_id(new_id)?;
    let forward = Forward {
        successor: grace.then(|| old.seal_successor(&new)),
        grace_until: if grace { now.after(config.timeouts.grace) } else { now },
        // For as long as the old ID would have lived unused, up to a day, and at least for its grace.
        expires_at: base.expires_at.min(now.after(LONGEST_FORWARD)).max(now.after(config.timeouts.grace)),
    };
    let rows = work.rows(config)?;
    work.expect_answer(Unanswered::new_record(&new, plan, Some(&forward)));
    let outcome = records.renew((&old, base.version), (&new, &record), forward, rows, now).await?;
    work.note_answer();
    match outcome {
        Outcome::Done => {
            work.tell_written(config, plan, record.handle);
            let hide_id = grace && work.loaded.hide_id;
            let outside = work.written_outside();
            work.loaded = Loaded { record: Some(record), id: Some(new), hide_id, outside, ..Loaded::default() };
            let cookie = id_cookie(config, &work.loaded, now).filter(|_| !hide_id);
            Ok(Step::Done(Committed::telling(cookie)))
        }
        outcome => Box::pin(catch_up(records, work, outcome)).await,
    }
}

/// Returns the ID that this commit makes: one for all its attempts, so that none is left behind.
fn fresh_id(new_id: &mut Option<SessionId>) -> Result<SessionId, Error> {
    match new_id {
        Some(id) => Ok(id.clone()),
        None => Ok(new_id.insert(SessionId::from_random(random::bytes()?)).clone()),
    }
}
