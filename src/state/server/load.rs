//! Loads the session of a request, and its parts.

use super::super::at_rest::Opened;
use super::super::config::Config;
use super::super::loaded::{Binding, ClientId, Loaded, StoredSession};
use super::super::part::{FoundPart, PartRecord, PlacedIn, PlacedPart, load_rows};
use super::super::retry::MAX_ATTEMPTS;
use super::super::work::SharedWork;
use super::commit::Commit;
use super::conflict::successor;
use super::records::{Found, Records};
use super::second_login::login_successor;
use crate::clock::Timestamp;
use crate::cookie::{Found as FoundCookie, Received};
use crate::error::Error;
use crate::event::SessionEvent;
use crate::record::external::PartRef;
use crate::record::id::SessionId;
use crate::store::{Forward, StoreErrorKind};

/// How many renewals are followed from an ID that a client sends. Each is a separate request within the grace period of
/// the one before. A loaded session is followed further: neither its changes nor its logout may be lost.
const MAX_HOPS: usize = 8;

/// A time before any expiry, so that the store returns expired records as long as it has them.
const LONG_AGO: Timestamp = Timestamp::from_millis(0);

/// Loads the session of the received ID, or of its successor. Retries once if the store fails.
///
/// Expiry is checked here and not by the store, so that the observers get the event.
pub(in crate::state) async fn load(records: Records<'_>, received: &Received) -> Result<Loaded, Error> {
    let config = records.config;
    let Some(mut id) = received_id(config, received) else { return Ok(Loaded::Nothing) };
    let (mut hops, mut has_failed) = (0, false);
    while hops < MAX_HOPS {
        let now = config.now();
        match records.entry(&id, LONG_AGO).await.map(|entry| entry.map(Found::from)) {
            Ok(None) => {
                config.tell(&SessionEvent::UnknownIdUsed);
                break;
            }
            Ok(Some(Found::Live(found))) => {
                if let Some(expiry) = config.timeouts.expiry(found.record(), now) {
                    config.tell(&SessionEvent::Expired { session: found.record().handle, expiry });
                    break;
                }
                let Ok(Opened { record, form }) = records.open_noting_form(&id, found) else {
                    config.tell(&SessionEvent::UndecodableRecord);
                    break;
                };
                let client = if hops > 0 { ClientId::Older } else { ClientId::Current };
                return Ok(Loaded::Stored(StoredSession { record, id, client, form }));
            }
            Ok(Some(Found::Retired(forward))) => match successor(config.id_domain, &id, &forward) {
                Some(successor) if now < forward.grace_until => (id, hops) = (successor, hops + 1),
                _ => {
                    config.tell(&SessionEvent::RetiredIdUsed);
                    return Ok(dead(config, &id, &forward, now));
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
    Ok(Loaded::Nothing)
}

/// Returns what a request with a dead ID has loaded: no session, and for a while nothing that it could write to.
#[cold]
fn dead(config: &Config, id: &SessionId, forward: &Forward, now: Timestamp) -> Loaded {
    let until = if forward.died_at_once() { forward.expires_at } else { forward.grace_until.after(Forward::JUST_DIED) };
    if now >= until {
        return Loaded::Nothing;
    }
    let successor = login_successor(config.id_domain, id, forward, now).map(Box::new);
    Loaded::Dead { successor, may_go_on: forward.successor.is_some() }
}

fn received_id(config: &Config, received: &Received) -> Option<SessionId> {
    let id = match received.find(config.cookie_writer.name().as_bytes()) {
        FoundCookie::Absent => return None,
        FoundCookie::Duplicate => Err(SessionEvent::DuplicateCookie),
        FoundCookie::One(text) => config.id_domain.parse(text).ok_or(SessionEvent::InvalidCookie),
    };
    id.map_err(|event| config.tell(&event)).ok()
}

/// Loads a part of the session, unless it is loaded already. Reloads the session if its part has moved.
pub(in crate::state) async fn load_part(
    records: Records<'_>,
    work: &impl SharedWork,
    placed: &PlacedPart,
) -> Result<(), Error> {
    let (config, name) = (records.config, placed.name);
    let mut missing = None;
    for _ in 0..MAX_ATTEMPTS {
        let is_known = work.with(|work| work.draft.external().is_some_and(|parts| parts.find(name).is_some()));
        let session = work.with(|work| work.kept_session());
        let Some(session) = session.filter(|_| !is_known) else { return Ok(()) };
        let binding = Binding::of(&session.record);
        let found = match &placed.place {
            PlacedIn::Cookie(_) => return Ok(()),
            PlacedIn::Tables(mapped) => {
                let rows = load_rows(config, &*records.server.store, &**mapped, binding).await?;
                Some((rows, None))
            }
            PlacedIn::Store(in_store) => match PartRef::of(&session.record, name) {
                None => Some((None, None)),
                Some(reference) => {
                    let part = PartRecord::new(config, in_store, name, binding.session);
                    match part.load(reference.slot, binding).await? {
                        FoundPart::Text(found) => {
                            let expected = found.expected();
                            Some((Some(found.text), expected))
                        }
                        FoundPart::Missing => Some((None, None)),
                        // The reloaded session still refers to the missing text: it is lost.
                        FoundPart::Moved if missing == Some(reference.slot) => Some((None, None)),
                        FoundPart::Moved => {
                            missing = Some(reference.slot);
                            None
                        }
                    }
                }
            },
        };
        if let Some((value, stored)) = found {
            work.with(|work| work.note_part(binding, name, placed.medium(), value, stored));
            return Ok(());
        }
        Commit::new(records, work, false).refresh().await?;
    }
    Err(Error::conflict())
}
