//! How the state of a session gets from where it lives to a request and back.
//!
//! [`server`] keeps it in a [`Store`](crate::store::Store), with an ID in the cookie; [`client`] keeps all of it in the
//! cookie, sealed; parts may have a [place](part) of their own. This file conducts: [`load`] when the handler first
//! asks, [`load_part`] when it asks for a part, [`commit`] when it has answered or saves, [`finish_parts`] for the
//! cookies of parts. The session's own write decides: everything else is prepared before it, and shown or removed after
//! it.

mod at_rest;
mod client;
mod config;
mod loaded;
mod notes;
mod part;
mod replay;
mod retry;
mod server;
mod work;

use http::HeaderValue;

use crate::cookie::Received;
use crate::error::Error;
use crate::event::SessionEvent;
use crate::record::external::{ExternalParts, ReceivedPart};
use crate::record::json_text::JsonText;
use crate::record::plan::Plan;

pub use client::CookieState;
pub(crate) use client::{Revocation, RevocationList};
pub(crate) use config::{Config, State};
pub use config::{ConflictPolicy, ServerErrorPolicy};
pub(crate) use loaded::{Binding, Loaded};
pub(crate) use part::{PartCookie, PlacedPart};
pub use server::SessionLimitPolicy;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) use server::{Checkout, note_checkout};
use server::{Commit, Records};
pub(crate) use server::{Principals, ServerState, SessionLimit};
use work::Next;
pub(crate) use work::{SharedWork, Work};

/// Finds out which session a request belongs to, and over how many cookies the client holds its state.
pub(crate) async fn load(config: &Config, received: &Received) -> Result<(Loaded, usize), Error> {
    match &config.state {
        State::Client(client) => client::load(config, client, received).await,
        State::Server(server) => server::load(Records { config, server }, received).await.map(|loaded| (loaded, 0)),
    }
}

/// Loads a part with a place of its own, unless that has been done. A commit must not be under way.
pub(crate) async fn load_part(config: &Config, work: &impl SharedWork, placed: &PlacedPart) -> Result<(), Error> {
    match &config.state {
        State::Client(_) => client::load_part(config, work, placed).await,
        State::Server(server) => server::load_part(Records { config, server }, work, placed).await,
    }
}

/// Opens the cookie of a part. Returns what the observers are to be told.
pub(crate) fn open_part(
    config: &Config,
    received: &Received,
    cookie: &PartCookie,
    session: Option<Binding>,
) -> (Option<JsonText>, ReceivedPart, Option<SessionEvent>) {
    cookie.open(received, session, config.now())
}

/// Whether there is clearly nothing to commit and nothing to send.
pub(crate) fn is_settled(config: &Config, work: &Work) -> bool {
    work.changes.is_empty()
        && !work.loaded.tells_id()
        && matches!(work.next(config, true, config.now()), Next::CarryOut(Plan::Keep))
}

/// Carries out what a request did. `may_set_cookie` says whether the head of the response is still to be sent.
///
/// Only one commit of a request may be under way. It can be dropped at any point, and made again.
pub(crate) async fn commit(config: &Config, work: &impl SharedWork, may_set_cookie: bool) -> Result<(), Error> {
    if !config.parts.is_empty() {
        check_part_cookies(config, work, may_set_cookie)?;
    }
    match &config.state {
        State::Client(client) => client::commit(config, client, work, may_set_cookie).await,
        State::Server(server) => Commit::new(Records { config, server }, work, may_set_cookie).run().await,
    }
}

/// Makes sure that the parts in cookies can be sent, before anything is stored.
fn check_part_cookies(config: &Config, work: &impl SharedWork, may_set_cookie: bool) -> Result<(), Error> {
    let Some(external) = work.with(|work| work.draft.external().cloned()) else { return Ok(()) };
    if !may_set_cookie && external.change_cookie() {
        return Err(Error::too_late());
    }
    for part in external.iter() {
        if let Some(cookie) = config.part_named(part.name).and_then(|placed| placed.cookie()) {
            cookie.check_fit(part, config.now())?;
        }
    }
    Ok(())
}

/// Returns the cookies of parts for the end of a request, whose session has been committed: those that have changed,
/// those that a login has made unreadable, and the removals of those that went with their session.
pub(crate) fn finish_parts(
    config: &Config,
    received: &Received,
    work: Option<&Work>,
) -> Result<Vec<HeaderValue>, Error> {
    let nothing = Work::default();
    let (work, now) = (work.unwrap_or(&nothing), config.now());
    let session = work.loaded.record().map(|record| Binding::of(record));
    let is_lost = matches!(work.loaded, Loaded::Ended);
    let (none, mut cookies) = (ExternalParts::default(), Vec::new());
    let external = work.draft.external().unwrap_or(&none);
    for placed in &config.parts {
        let Some(cookie) = placed.cookie() else { continue };
        let sent = match external.find(placed.name) {
            Some(_) if cookie.is_bound && is_lost => Vec::new(),
            Some(part) => cookie.to_send(part, received, session, now)?,
            None => Vec::new(),
        };
        if !sent.is_empty() || !cookie.is_bound || is_lost {
            cookies.extend(sent);
            continue;
        }
        match (work.origin, session) {
            (Some(before), Some(after)) if before.session == after.session && before != after => {
                cookies.extend(cookie.rebind(received, before, after, now)?);
            }
            _ if work.has_ended_session => cookies.extend(cookie.removals(received)),
            _ => {}
        }
    }
    Ok(cookies)
}
