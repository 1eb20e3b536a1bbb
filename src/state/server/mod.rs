//! State that lives in a store, with the session's ID in the cookie.
//!
//! What a request does is written with the version it was based on. Two things can come between: another request that was
//! faster, and then the changes are made again on what it left ([`catch_up`](follow::catch_up)); or silence, and then it is
//! found out whether the write took place before anything is written again ([`unanswered`]).

mod admission;
mod follow;
mod records;
mod rows;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod taking;
mod unanswered;
mod write;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::{Committed, Config, Loaded, Work};
use crate::clock::Timestamp;
use crate::cookie::{Found, Received, find};
use crate::error::{Error, ErrorKind};
use crate::event::SessionEvent;
use crate::random;
use crate::record::id::SessionId;
use crate::record::plan::Plan;
use crate::store::{Entry, Outcome, StoreError, StoreErrorKind};

use admission::{Lease, admit};
use follow::{delete_following, successor};
use records::Records;
use unanswered::settle;
use write::{create, renew, update};

pub use admission::Evict;
pub(crate) use admission::SessionLimit;
pub(crate) use records::ServerState;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) use taking::Taking;
pub(super) use unanswered::{LostReplyError, Unanswered};

/// How often changes are made again on a newer record before the request gives up with a conflict.
pub(super) const MAX_ATTEMPTS: u32 = 40;

/// How many renewals are followed from an ID that a client comes with. Each took a request of its own within the grace of
/// the one before. What a request has loaded is followed further: its changes must not be lost, nor its logout.
const MAX_HOPS: usize = 8;

/// Before anything has expired. A store that is asked for what was there then hands out what has expired since, as long as it
/// has it.
const LONG_AGO: Timestamp = Timestamp::from_millis(0);

/// Loads the session of the ID that the request came with, or of the one that replaced it. A store that fails is asked once
/// more.
///
/// What has expired is judged here and not by the store, so that the observers are told.
pub(super) async fn load(config: &Config, server: &ServerState, received: &Received) -> Result<Loaded, Error> {
    let records = Records { config, server };
    let Some(mut id) = received_id(config, received) else { return Ok(Loaded::default()) };
    let (mut hops, mut has_failed) = (0, false);
    while hops < MAX_HOPS {
        let now = config.now();
        match records.load(&id, LONG_AGO).await {
            Ok(None) => {
                config.tell(&SessionEvent::UnknownIdUsed);
                break;
            }
            Ok(Some(Entry::Live(record))) => {
                if let Some(expiry) = config.timeouts.expiry(&record, now) {
                    config.tell(&SessionEvent::Expired { session: record.handle, expiry });
                    break;
                }
                let Ok(record) = records.open(&id, record) else {
                    config.tell(&SessionEvent::UndecodableRecord);
                    break;
                };
                return Ok(Loaded { record: Some(record), id: Some(id), tell_id: hops > 0, ..Loaded::default() });
            }
            Ok(Some(Entry::Retired(forward))) => match successor(&id, &forward) {
                Some(successor) if now < forward.grace_until => (id, hops) = (successor, hops + 1),
                _ => {
                    config.tell(&SessionEvent::RetiredIdUsed);
                    break;
                }
            },
            Err(error) if error.kind() == StoreErrorKind::Undecodable => {
                config.tell(&SessionEvent::UndecodableRecord);
                break;
            }
            Err(error) if error.kind() == StoreErrorKind::Failed && !has_failed => has_failed = true,
            Err(error) => return Err(error.into()),
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

/// Carries out the plan, and on a conflict makes the changes again on the newer record and plans anew. A store that fails
/// is asked once more: a connection that has died while it lay idle is no reason to fail a request.
///
/// The work is whole at every point where it waits, and a commit that is dropped there can be made again.
pub(super) async fn commit(
    config: &Config,
    server: &ServerState,
    work: &mut Work,
    may_set_cookie: bool,
) -> Result<Committed, Error> {
    let records = Records { config, server };
    if work.loaded.tell_id {
        // The ID that the request came with has just been renewed, and the response tells the new one. Making another for
        // each of many such requests would be a chain of IDs too long to follow.
        work.changes.renews = false;
    }
    let (new_id, lease, mut has_failed) = (&mut None, &mut None, false);
    for attempt in 0..MAX_ATTEMPTS {
        // Boxed, but for the update: the future is moved about, and what is seldom done shall not make it larger.
        let step = if work.unanswered.is_to_be_settled(work.changes.ends_session) {
            Box::pin(settle(records, work, new_id)).await
        } else {
            let now = config.now();
            match work.plan(config, may_set_cookie, now) {
                Plan::Update => update(records, work, now).await,
                plan => Box::pin(carry_out(records, work, plan, may_set_cookie, (new_id, lease), now)).await,
            }
        };
        match step {
            Ok(Step::Done(committed)) => {
                if lease.is_some() {
                    Box::pin(give_back(records, lease)).await;
                }
                return Ok(committed);
            }
            Ok(Step::Again) => pause(attempt).await?,
            Ok(Step::Settled) => {}
            Ok(Step::Lost) => {
                if let Some(record) = &work.loaded.record {
                    config.tell(&SessionEvent::ChangesDiscarded { session: record.handle });
                }
                work.loaded = Loaded::default();
                Box::pin(give_back(records, lease)).await;
                return Ok(Committed { is_lost: true, ..Committed::default() });
            }
            Err(error) if !has_failed && store_failed(&error) => has_failed = true,
            Err(error) => {
                // A store that has failed may be about to write what it was asked to. Until then nobody else is to log in.
                if *error.kind() != ErrorKind::Unavailable {
                    Box::pin(give_back(records, lease)).await;
                }
                return Err(error);
            }
        }
    }
    Box::pin(give_back(records, lease)).await;
    Err(Error::conflict())
}

/// Lets others log the principal in, if this commit kept them from it.
async fn give_back(records: Records<'_>, lease: &mut Option<Box<Lease<'_>>>) {
    if let Some(lease) = lease.take() {
        lease.give_back(records).await;
    }
}

fn store_failed(error: &Error) -> bool {
    let error = error.source().and_then(|source| source.downcast_ref::<StoreError>());
    error.is_some_and(|error| error.kind() == StoreErrorKind::Failed)
}

async fn carry_out<'c>(
    records: Records<'c>,
    work: &mut Work,
    plan: Plan,
    may_set_cookie: bool,
    (new_id, lease): (&mut Option<SessionId>, &mut Option<Box<Lease<'c>>>),
    now: Timestamp,
) -> Result<Step, Error> {
    if plan.needs_cookie() && !may_set_cookie {
        return Err(Error::too_late());
    }
    if let Some(limit) = &records.config.session_limit
        && work.changes.logs_in()
        && plan.needs_cookie()
    {
        admit(records, limit, work, lease).await?;
    }
    match plan {
        Plan::Keep => Ok(Step::Done(keep(records, work, now).await)),
        Plan::Touch => Ok(Step::Done(touch(records, work, now).await)),
        Plan::Destroy => end(records, work).await,
        Plan::Create | Plan::Replace => create(records, work, plan, new_id, now).await,
        Plan::Update => update(records, work, now).await,
        Plan::Renew { grace } => renew(records, work, grace, new_id, now).await,
    }
}

/// How an attempt to carry out a plan ended.
enum Step {
    Done(Committed),
    /// Another request was faster; the work is now based on what it left.
    Again,
    /// What became of an earlier write is known now, and the work is based on it.
    Settled,
    /// The session has ended meanwhile.
    Lost,
}

async fn keep(records: Records<'_>, work: &mut Work, now: Timestamp) -> Committed {
    let is_told = work.loaded.tell_id && is_current(records, &work.loaded).await;
    Committed::telling(is_told.then(|| id_cookie(records.config, &work.loaded, now)).flatten())
}

/// Writes down that the session was used. A store that fails is asked once more, which changes nothing if it has done it.
/// A failure harms nobody now, and the next request tries again.
///
/// The cookie is sent only if the store has just found the session live under its ID. After a logout, login or renewal
/// it would take the place of a newer one.
async fn touch(records: Records<'_>, work: &mut Work, now: Timestamp) -> Committed {
    let (config, loaded) = (records.config, &mut work.loaded);
    let mut cookie = None;
    if let (Some(id), Some(record)) = (&loaded.id, &mut loaded.record) {
        let expires_at = config.timeouts.expires_at(work.draft.age(&config.timeouts, now));
        let mut touched = records.touch(id, record.version, expires_at, now).await;
        if touched.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Failed) {
            touched = records.touch(id, record.version, expires_at, now).await;
        }
        match touched {
            Ok(Outcome::Done) => {
                let record = Arc::make_mut(record);
                (record.last_seen_at, record.expires_at) = (now, expires_at);
                cookie = moved_cookie(config, loaded, now);
            }
            Ok(Outcome::Conflict(newer)) => {
                *record = newer.and_then(|newer| records.open(id, newer).ok()).unwrap_or_else(|| Arc::clone(record));
                cookie = moved_cookie(config, loaded, now);
            }
            Ok(Outcome::Retired(_) | Outcome::Gone) => {}
            Err(error) => config.tell(&SessionEvent::StoreFailed { error: error.into() }),
        }
    }
    Committed::telling(cookie)
}

/// Whether the ID is still that of the session, for a request that writes nothing which would fail if it were not.
async fn is_current(records: Records<'_>, loaded: &Loaded) -> bool {
    let Some(id) = &loaded.id else { return false };
    match records.load(id, records.config.now()).await {
        Ok(found) => matches!(found, Some(Entry::Live(_))),
        Err(error) => {
            records.config.tell(&SessionEvent::StoreFailed { error: error.into() });
            false
        }
    }
}

/// Ends the loaded session, wherever it has moved to. The cookie is removed only if it was this request that ended it.
async fn end(records: Records<'_>, work: &mut Work) -> Result<Step, Error> {
    let ended = delete_following(records, work).await?;
    work.loaded = Loaded::default();
    let removal = ended.then(|| records.config.cookie_writer.removal());
    Ok(Step::Done(Committed { is_lost: !ended, ..Committed::telling(removal) }))
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

/// Gives the other requests time: not at all at first, then random times that grow up to 64 ms. Those that have come second
/// twenty times write where writing takes long, and wait up to 256 ms.
pub(super) async fn pause(attempt: u32) -> Result<(), Error> {
    if attempt == 0 {
        return Ok(());
    }
    let longest = 1_u64 << if attempt < 20 { attempt.min(6) } else { 8 };
    let [random] = random::bytes::<1>()?;
    Box::pin(tokio::time::sleep(Duration::from_millis(u64::from(random) * longest / 255))).await;
    Ok(())
}
