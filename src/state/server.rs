//! State that lives in a store, with the session's ID in the cookie.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::{Committed, Config, Loaded, Work};
use crate::clock::Timestamp;
use crate::cookie::{Found, Received, find};
use crate::error::Error;
use crate::event::SessionEvent;
use crate::random;
use crate::record::Record;
use crate::record::draft::Draft;
use crate::record::id::SessionId;
use crate::record::plan::Plan;
use crate::state::ConflictPolicy;
use crate::store::{Answer, Entry, ErasedStore, Forward, Limited, Outcome, Renewal, StoreErrorKind};

/// How often changes are made again on a newer record before the request gives up with a conflict.
const MAX_ATTEMPTS: u32 = 40;

/// How long the use of a renewed ID is noticed at most. Of a session that lives for months there would else be forwards
/// by the thousand.
const LONGEST_FORWARD: Duration = Duration::from_secs(24 * 60 * 60);

/// How many renewals are followed from an ID that a client comes with. Each took a request of its own within the grace of
/// the one before. What a request has loaded is followed further: its changes must not be lost, nor its logout.
const MAX_HOPS: usize = 8;

/// Loads the session of the ID that the request came with, or of the one that replaced it.
pub(super) async fn load(config: &Config, store: &dyn ErasedStore, received: &Received) -> Result<Loaded, Error> {
    let Some(mut id) = received_id(config, received) else { return Ok(Loaded::default()) };
    for hop in 0..MAX_HOPS {
        let now = config.now();
        let entry = match within(config, store, store.load(id.store_key(), now)).await {
            Err(error) if error.kind() == StoreErrorKind::Undecodable => {
                config.tell(&SessionEvent::UndecodableRecord);
                None
            }
            entry => entry?,
        };
        match entry {
            None => break,
            Some(Entry::Live(record)) => {
                let Some(expiry) = config.timeouts.expiry(&record, now) else {
                    return Ok(Loaded { record: Some(record), id: Some(id), tell_id: hop > 0, ..Loaded::default() });
                };
                config.tell(&SessionEvent::Expired { session: record.handle, expiry });
                break;
            }
            Some(Entry::Retired(forward)) => match successor(&id, &forward) {
                Some(successor) if now < forward.grace_until => id = successor,
                _ => {
                    config.tell(&SessionEvent::RetiredIdUsed);
                    break;
                }
            },
        }
    }
    Ok(Loaded::default())
}

fn received_id(config: &Config, received: &Received) -> Option<SessionId> {
    let id = match find(received.iter(), config.cookie_writer.name().as_bytes()) {
        Found::Absent => return None,
        Found::Duplicate => Err(SessionEvent::DuplicateCookie),
        Found::One(text) => SessionId::parse(text).ok_or(SessionEvent::InvalidCookie),
    };
    id.map_err(|event| config.tell(&event)).ok()
}

/// Carries out the plan, and on a conflict makes the changes again on the newer record and plans anew.
///
/// The work is whole at every point where it waits, and a commit that is dropped there can be made again.
pub(super) async fn commit(
    config: &Config,
    store: &dyn ErasedStore,
    work: &mut Work,
    may_set_cookie: bool,
) -> Result<Committed, Error> {
    if work.loaded.tell_id {
        // The ID that the request came with has just been renewed, and the response tells the new one. Making another for
        // each of many such requests would be a chain of IDs too long to follow.
        work.changes.renews = false;
    }
    let new_id = &mut None;
    for attempt in 0..MAX_ATTEMPTS {
        let now = config.now();
        let plan = work.plan(config, may_set_cookie, now);
        let needs_cookie = matches!(plan, Plan::Create | Plan::Renew { .. } | Plan::Destroy | Plan::Replace);
        if needs_cookie && !may_set_cookie {
            return Err(Error::too_late());
        }
        let step = match plan {
            Plan::Keep => return Ok(Box::pin(keep(config, store, work, now)).await),
            Plan::Touch => return Ok(Box::pin(touch(config, store, work, now)).await),
            Plan::Destroy => return Box::pin(end(config, store, work)).await,
            Plan::Create | Plan::Replace => Box::pin(create(config, store, work, plan, new_id, now)).await?,
            Plan::Update => update(config, store, work, now).await?,
            Plan::Renew { grace } => Box::pin(renew(config, store, work, grace, new_id, now)).await?,
        };
        match step {
            Step::Done(committed) => return Ok(committed),
            Step::Again => pause(attempt).await?,
            Step::Lost => {
                if let Some(record) = &work.loaded.record {
                    config.tell(&SessionEvent::ChangesDiscarded { session: record.handle });
                }
                work.loaded = Loaded::default();
                return Ok(Committed { is_lost: true, ..Committed::default() });
            }
        }
    }
    Err(Error::conflict())
}

/// How an attempt to carry out a plan ended.
enum Step {
    Done(Committed),
    /// Another request was faster; the work is now based on what it left.
    Again,
    /// The session has ended meanwhile.
    Lost,
}

async fn keep(config: &Config, store: &dyn ErasedStore, work: &mut Work, now: Timestamp) -> Committed {
    let is_told = work.loaded.tell_id && is_current(config, store, &work.loaded).await;
    Committed::telling(is_told.then(|| id_cookie(config, &work.loaded, now)).flatten())
}

/// Writes down that the session was used. A failure harms nobody now, and the next request tries again.
///
/// The cookie is sent only if the store has just found the session live under its ID. After a logout, login or renewal
/// it would take the place of a newer one.
async fn touch(config: &Config, store: &dyn ErasedStore, work: &mut Work, now: Timestamp) -> Committed {
    let loaded = &mut work.loaded;
    let mut cookie = None;
    if let (Some(id), Some(record)) = (&loaded.id, &mut loaded.record) {
        let expires_at = config.timeouts.expires_at(work.draft.age(&config.timeouts, now));
        let touching = store.touch(id.store_key(), record.version, now, expires_at, now);
        match within(config, store, touching).await {
            Ok(Outcome::Done) => {
                let record = Arc::make_mut(record);
                (record.last_seen_at, record.expires_at) = (now, expires_at);
                cookie = moved_cookie(config, loaded, now);
            }
            Ok(Outcome::Conflict(newer)) => {
                *record = newer.unwrap_or_else(|| Arc::clone(record));
                cookie = moved_cookie(config, loaded, now);
            }
            Ok(Outcome::Retired(_) | Outcome::Gone) => {}
            Err(error) => config.tell(&SessionEvent::StoreFailed { error: error.into() }),
        }
    }
    Committed::telling(cookie)
}

/// Whether the ID is still that of the session, for a request that writes nothing which would fail if it were not.
async fn is_current(config: &Config, store: &dyn ErasedStore, loaded: &Loaded) -> bool {
    let Some(id) = &loaded.id else { return false };
    matches!(within(config, store, store.load(id.store_key(), config.now())).await, Ok(Some(Entry::Live(_))))
}

/// Ends the loaded session, wherever it has moved to. The cookie is removed only if it was this request that ended it.
async fn end(config: &Config, store: &dyn ErasedStore, work: &mut Work) -> Result<Committed, Error> {
    let ended = delete_following(config, store, work.loaded.id.clone()).await?;
    if ended {
        work.tell_end(config);
    }
    work.loaded = Loaded::default();
    Ok(Committed { is_lost: !ended, ..Committed::telling(ended.then(|| config.cookie_writer.removal())) })
}

async fn delete_following(config: &Config, store: &dyn ErasedStore, mut id: Option<SessionId>) -> Result<bool, Error> {
    for _ in 0..MAX_ATTEMPTS {
        let Some(current) = &id else { return Ok(false) };
        match within(config, store, store.delete(current.store_key(), config.now())).await? {
            Outcome::Done => return Ok(true),
            Outcome::Retired(forward) => id = successor(current, &forward),
            Outcome::Gone | Outcome::Conflict(_) => return Ok(false),
        }
    }
    // A logout that did not take place must not look like one.
    Err(Error::conflict())
}

async fn create(
    config: &Config,
    store: &dyn ErasedStore,
    work: &mut Work,
    plan: Plan,
    new_id: &mut Option<SessionId>,
    now: Timestamp,
) -> Result<Step, Error> {
    let record = Arc::new(work.to_record(config, now)?);
    let id = fresh_id(new_id)?;
    if !within(config, store, store.create(id.store_key(), Arc::clone(&record), now)).await? {
        // Nobody guesses 256 bits: a key that is taken is one that an earlier, unanswered attempt took.
        *new_id = None;
        return Ok(Step::Again);
    }
    if plan == Plan::Replace && delete_following(config, store, work.loaded.id.clone()).await? {
        work.tell_end(config);
    }
    work.tell_written(config, plan, record.handle);
    work.loaded = Loaded { record: Some(record), id: Some(id), ..Loaded::default() };
    Ok(Step::Done(Committed::telling(id_cookie(config, &work.loaded, now))))
}

async fn update(config: &Config, store: &dyn ErasedStore, work: &mut Work, now: Timestamp) -> Result<Step, Error> {
    let Loaded { id: Some(id), record: Some(base), .. } = &work.loaded else { return Ok(Step::Lost) };
    let record = Arc::new(work.to_record(config, now)?);
    let updating = store.update(id.store_key(), base.version, Arc::clone(&record), now);
    match within(config, store, updating).await? {
        Outcome::Done => {
            work.loaded.record = Some(record);
            let cookie = moved_cookie(config, &work.loaded, now);
            work.loaded.tell_id = false;
            Ok(Step::Done(Committed::telling(cookie)))
        }
        outcome => Box::pin(catch_up(config, store, work, outcome)).await,
    }
}

async fn renew(
    config: &Config,
    store: &dyn ErasedStore,
    work: &mut Work,
    grace: bool,
    new_id: &mut Option<SessionId>,
    now: Timestamp,
) -> Result<Step, Error> {
    let (Some(old), Some(base)) = (work.loaded.id.clone(), work.loaded.record.clone()) else { return Ok(Step::Lost) };
    let mut record = work.to_record(config, now)?;
    record.renewed_at = now;
    let record = Arc::new(record);
    let new = fresh_id(new_id)?;
    let forward = Forward {
        successor: grace.then(|| old.seal_successor(&new)),
        grace_until: if grace { now.after(config.timeouts.grace) } else { now },
        // For as long as the old ID would have lived unused, up to a day, and at least for its grace.
        expires_at: base.expires_at.min(now.after(LONGEST_FORWARD)).max(now.after(config.timeouts.grace)),
    };
    let renewal = Renewal {
        old: *old.store_key(),
        expected: base.version,
        new: *new.store_key(),
        record: Arc::clone(&record),
        forward,
    };
    match within(config, store, store.renew(renewal, now)).await? {
        Outcome::Done => {
            work.tell_written(config, Plan::Renew { grace }, record.handle);
            let hide_id = grace && work.loaded.hide_id;
            work.loaded = Loaded { record: Some(record), id: Some(new), hide_id, ..Loaded::default() };
            let cookie = id_cookie(config, &work.loaded, now).filter(|_| !hide_id);
            Ok(Step::Done(Committed::telling(cookie)))
        }
        outcome => Box::pin(catch_up(config, store, work, outcome)).await,
    }
}

/// Bases the work on what another request has left. It is seldom called, so callers box its future.
async fn catch_up(config: &Config, store: &dyn ErasedStore, work: &mut Work, outcome: Outcome) -> Result<Step, Error> {
    let Loaded { id: Some(id), record: Some(base), .. } = &work.loaded else { return Ok(Step::Lost) };
    let (id, base) = (id.clone(), Arc::clone(base));
    let (id, record) = match outcome {
        Outcome::Done | Outcome::Gone => return Ok(Step::Lost),
        Outcome::Conflict(Some(record)) => (id, record),
        Outcome::Conflict(None) => match reload(config, store, id).await? {
            Some(newer) => newer,
            None => return Ok(Step::Lost),
        },
        Outcome::Retired(forward) => {
            let Some(successor) = successor(&id, &forward) else { return Ok(Step::Lost) };
            let Some(newer) = reload(config, store, successor).await? else { return Ok(Step::Lost) };
            // Another request has just renewed the ID, and the client is told that one if its own still counts.
            work.changes.renews = false;
            work.loaded.tell_id = config.now() < forward.grace_until;
            work.loaded.hide_id = !work.loaded.tell_id;
            newer
        }
    };
    config.tell(&SessionEvent::Conflict { session: base.handle });
    if config.conflict_policy == ConflictPolicy::Fail && work.draft.is_changed() && is_other_state(&base, &record) {
        return Err(Error::conflict());
    }
    work.draft = Draft::replay(Some(Arc::clone(&record)), work.changes.list())?;
    work.loaded = Loaded { record: Some(record), id: Some(id), ..mem::take(&mut work.loaded) };
    Ok(Step::Again)
}

/// Whether a session was changed, and not only given another ID.
fn is_other_state(before: &Record, after: &Record) -> bool {
    let state = |record: &Record| (record.idle_timeout, record.absolute_timeout, record.authenticated_at);
    before.values != after.values || state(before) != state(after)
}

/// Loads the record of an ID that this request came by honestly, following renewals whether or not their grace is over.
async fn reload(
    config: &Config,
    store: &dyn ErasedStore,
    mut id: SessionId,
) -> Result<Option<(SessionId, Arc<Record>)>, Error> {
    for _ in 0..MAX_ATTEMPTS {
        match within(config, store, store.load(id.store_key(), config.now())).await? {
            Some(Entry::Live(record)) => return Ok(Some((id, record))),
            Some(Entry::Retired(forward)) => match successor(&id, &forward) {
                Some(next) => id = next,
                None => return Ok(None),
            },
            None => return Ok(None),
        }
    }
    Err(Error::conflict())
}

fn successor(id: &SessionId, forward: &Forward) -> Option<SessionId> {
    forward.successor.map(|sealed| id.open_successor(sealed))
}

/// Returns the ID that this commit makes: one for all its attempts, so that none is left behind.
fn fresh_id(new_id: &mut Option<SessionId>) -> Result<SessionId, Error> {
    match new_id {
        Some(id) => Ok(id.clone()),
        None => Ok(new_id.insert(SessionId::from_random(random::bytes()?)).clone()),
    }
}

/// Returns the cookie for a session whose deadline has moved, if the client needs one: it is to be told the ID, or its
/// cookie has a `Max-Age`, which moves along.
fn moved_cookie(config: &Config, loaded: &Loaded, now: Timestamp) -> Option<HeaderValue> {
    let moves = config.max_age(loaded.record.as_ref()?, now).is_some() && !loaded.hide_id;
    (loaded.tell_id || moves).then(|| id_cookie(config, loaded, now)).flatten()
}

fn id_cookie(config: &Config, loaded: &Loaded, now: Timestamp) -> Option<HeaderValue> {
    let (id, record) = (loaded.id.as_ref()?, loaded.record.as_ref()?);
    Some(config.cookie_writer.set(&id.to_text(), config.max_age(record, now)))
}

/// Gives the other request time: not at all at first, then random times that grow up to 64 ms.
async fn pause(attempt: u32) -> Result<(), Error> {
    if attempt == 0 {
        return Ok(());
    }
    let longest = 1_u64 << attempt.min(6);
    let [random] = random::bytes::<1>()?;
    Box::pin(tokio::time::sleep(Duration::from_millis(u64::from(random) * longest / 255))).await;
    Ok(())
}

/// Waits for the store, at most as long as the layer allows.
fn within<'a, T>(config: &Config, store: &dyn ErasedStore, answer: Answer<'a, T>) -> Limited<'a, T> {
    answer.within(config.store_timeout, store.name())
}
