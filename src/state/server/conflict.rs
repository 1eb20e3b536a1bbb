//! Resolves conflicts: replays the changes on the record of the request that wrote first, following renewals of the ID.

use std::mem;
use std::sync::Arc;

use super::super::config::ConflictPolicy;
use super::super::loaded::{Binding, ClientId, Loaded, StoredSession};
use super::super::part::{FoundPart, PartRecord, load_rows, meets};
use super::super::replay::replay_onto;
use super::super::retry::MAX_ATTEMPTS;
use super::super::work::SharedWork;
use super::commit::{Commit, Progress};
use super::records::{Found, Records, WriteOutcome};
use crate::error::Error;
use crate::event::SessionEvent;
use crate::record::Record;
use crate::record::external::{ExternalPart, ExternalParts, PartRef};
use crate::record::id::{IdDomain, SessionId};
use crate::store::{Forward, Outcome};

impl<W: SharedWork> Commit<'_, W> {
    /// Rebases the work on the record that another request has written.
    pub(super) async fn rebase(&mut self, outcome: WriteOutcome) -> Result<Progress, Error> {
        let (records, config) = (self.records, self.records.config);
        let Some(base) = self.work.with(|work| {
            work.forget_pending_update();
            work.loaded.stored().cloned()
        }) else {
            return Ok(Progress::Again);
        };
        let Some(newer) = find_newer(records, &base, outcome).await? else {
            return self.continue_login(base.id).await;
        };
        config.tell(&SessionEvent::Conflict { session: base.record.handle });
        let external = self.reload_parts(Some(&base.record), &newer.record).await?;
        if config.conflict_policy == ConflictPolicy::Fail {
            self.check_conflict(&base.record, &newer.record, external.as_deref())?;
        }
        if newer.id != base.id {
            // Another request has just renewed the ID.
            self.work.with(|work| work.changes.renews = false);
        }
        replay_onto(self.work, Loaded::Stored(newer), external)?;
        Ok(Progress::conflict(WriteOutcome::Done))
    }

    /// Gives the session up: another request has ended it, or its ID died in a login. Discards all changes and sends no
    /// cookie, which could overwrite a newer one.
    pub(super) async fn lose(&mut self) -> Result<Progress, Error> {
        let config = self.records.config;
        self.withdraw_parts().await;
        let (is_lost, aftermath) = self.work.with(|work| work.note_lost());
        aftermath.release(config);
        if is_lost { Err(Error::ended()) } else { Ok(Progress::Done) }
    }

    /// Reloads the parts that the request has used and that another request may have written.
    pub(super) async fn reload_parts(
        &self,
        base: Option<&Record>,
        newer: &Record,
    ) -> Result<Option<Box<ExternalParts>>, Error> {
        let config = self.records.config;
        let Some(mut external) = self.work.with(|work| work.draft.external().cloned()) else { return Ok(None) };
        let asked: Vec<_> =
            external.iter().map(|part| (part.name, part.medium, part.is_stale, part.unanswered.is_some())).collect();
        for (name, medium, is_stale, is_unanswered) in asked {
            let Some(placed) = config.part_named(name) else { continue };
            if let Some(mapped) = placed.tables() {
                let rows = load_rows(config, &*self.records.server.store, &**mapped, Binding::of(newer)).await?;
                external.load(name, medium, rows, None);
            } else if let Some(in_store) = placed.in_store() {
                let (before, after) = (base.and_then(|base| PartRef::of(base, name)), PartRef::of(newer, name));
                if !is_stale && before.map(|before| before.slot) == after.map(|after| after.slot) {
                    // Another request may have invalidated the prepared text, so write it again.
                    external.doubt_prepared(name, after.is_some());
                    continue;
                }
                let part = PartRecord::new(config, in_store, name, newer.handle);
                if is_unanswered {
                    // The stored text may already contain this request's change.
                    return Err(part.lost_reply());
                }
                let Some(reference) = after else {
                    external.load(name, medium, None, None);
                    continue;
                };
                match part.load(reference.slot, Binding::of(newer)).await? {
                    FoundPart::Text(found) => {
                        let expected = found.expected();
                        external.load(name, medium, Some(found.text), expected);
                    }
                    // If the session has changed again, the next write detects it.
                    FoundPart::Moved | FoundPart::Missing => external.load(name, medium, None, None),
                }
            }
        }
        Ok(Some(Box::new(external)))
    }

    /// Fails if another request has changed state that a change of this request depends on.
    fn check_conflict(&self, base: &Record, newer: &Record, external: Option<&ExternalParts>) -> Result<(), Error> {
        let Some(ours) = self.work.with(|work| {
            let is_changed = work.draft.has_changes();
            is_changed.then(|| work.draft.external().cloned().unwrap_or_default())
        }) else {
            return Ok(());
        };
        let slot = |record, name| PartRef::of(record, name).map(|reference| reference.slot);
        let is_part_changed = |part: &&ExternalPart| {
            let is_other = part.is_stale || slot(base, part.name) != slot(newer, part.name);
            part.is_stored() && part.is_changed() && is_other
        };
        let meets = match external {
            Some(newer) => meets(self.records.config, &ours, newer)?,
            None => false,
        };
        if meets || is_other_state(base, newer) || ours.iter().any(|part| is_part_changed(&part)) {
            return Err(Error::conflict());
        }
        Ok(())
    }

    /// Ends the loaded session, following renewals of its ID. For a while its ID leads to `login`, the ID of the
    /// session that replaces it in a login.
    pub(super) async fn delete_latest(&self, login: Option<&SessionId>) -> Result<Ending, Error> {
        let (records, domain) = (self.records, self.records.config.id_domain);
        let (session, was_asked) = self.work.with(|work| {
            work.forget_pending_update();
            (work.loaded.stored().cloned(), mem::replace(&mut work.is_ending, true))
        });
        let mut id = session.map(|session| session.id);
        for _ in 0..MAX_ATTEMPTS {
            let Some(current) = &id else { break };
            let now = records.config.now();
            let left = Forward { successor: login.map(|new| current.seal_successor(new)), ..Forward::ended(now) };
            let ending = match records.delete(current, left.clone(), now).await? {
                Outcome::Done => Ending::ByThis,
                // A session that is gone after an unanswered call was ended by that call.
                Outcome::Gone if was_asked => Ending::ByThis,
                Outcome::Retired(found) if found.died_at_once() => match found.successor {
                    successor if was_asked && successor == left.successor => Ending::ByThis,
                    Some(_) => Ending::Replaced,
                    None => Ending::ByAnother,
                },
                Outcome::Retired(forward) => {
                    id = successor(domain, current, &forward);
                    continue;
                }
                Outcome::Gone | Outcome::Conflict(_) => Ending::ByAnother,
            };
            self.work.with(|work| work.is_ending = false);
            return Ok(ending);
        }
        self.work.with(|work| work.is_ending = false);
        // A failed logout must not look like a success.
        if id.is_none() { Ok(Ending::ByAnother) } else { Err(Error::conflict()) }
    }
}

/// What has become of a session that a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    ByThis,
    /// Another request has ended it before.
    ByAnother,
    /// A login has given it another ID, to which this one does not lead: it goes on.
    Replaced,
}

/// Finds the session that another request has written: under its ID, or under a successor.
async fn find_newer(
    records: Records<'_>,
    base: &StoredSession,
    outcome: WriteOutcome,
) -> Result<Option<StoredSession>, Error> {
    let (id, mut client) = (base.id.clone(), base.client);
    let start = match outcome {
        WriteOutcome::Gone => return Ok(None),
        WriteOutcome::Conflict(Some(record)) => {
            let record = records.open(&id, record)?;
            return Ok(Some(StoredSession::new(record, id, client)));
        }
        WriteOutcome::Done | WriteOutcome::Conflict(None) => id,
        WriteOutcome::Retired(forward) => {
            let Some(successor) = successor(records.config.id_domain, &id, &forward) else { return Ok(None) };
            // The client learns the new ID only if its own is still in grace.
            let is_in_grace = records.config.now() < forward.grace_until;
            client = if is_in_grace { ClientId::Older } else { ClientId::Dead };
            successor
        }
    };
    let found = reload(records, start).await?;
    Ok(found.map(|(id, record)| StoredSession::new(record, id, client)))
}

/// Loads the record of an ID that this request has loaded before. Follows renewals even after their grace period.
pub(super) async fn reload(records: Records<'_>, mut id: SessionId) -> Result<Option<(SessionId, Arc<Record>)>, Error> {
    for _ in 0..MAX_ATTEMPTS {
        match records.load(&id, records.config.now()).await? {
            Some(Found::Live(record)) => {
                let record = records.open(&id, record)?;
                return Ok(Some((id, record)));
            }
            Some(Found::Retired(forward)) => match successor(records.config.id_domain, &id, &forward) {
                Some(next) => id = next,
                None => return Ok(None),
            },
            None => return Ok(None),
        }
    }
    Err(Error::conflict())
}

/// Returns the ID that replaced `id`, unless that died at once.
pub(super) fn successor(domain: IdDomain, id: &SessionId, forward: &Forward) -> Option<SessionId> {
    forward.successor.filter(|_| !forward.died_at_once()).map(|sealed| id.open_successor(sealed, domain))
}

/// Returns `true` if the session's state has changed, not only its ID or the lifetime of its parts.
fn is_other_state(before: &Record, after: &Record) -> bool {
    let state = |record: &Record| (record.idle_timeout, record.absolute_timeout, record.authenticated_at);
    let values = |record: &Record| -> Vec<(String, Vec<u8>)> {
        let values = record.values.iter().filter(|(key, _)| !PartRef::is_key(key));
        values.map(|(key, value)| (key.to_owned(), value.to_vec())).collect()
    };
    let are_values_other = before.values != after.values && values(before) != values(after);
    are_values_other || before.label != after.label || state(before) != state(after)
}
