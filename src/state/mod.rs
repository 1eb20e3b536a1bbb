//! Loads session state for a request and commits its changes.
//!
//! [`server`] keeps the state in a [`Store`](crate::store::Store), with an ID in the cookie; [`client`] keeps all of it
//! sealed in the cookie; [`part`] handles parts stored outside the session's record. This file picks between them:
//! [`load`] when the handler first asks for the session, [`load_part`] when it asks for a part, [`commit`] when it
//! saves or has answered, [`finish_parts`] for the cookies of parts. The write of the session's record decides:
//! everything else is prepared before it, and published or removed after it.

mod at_rest;
mod client;
mod config;
mod cookies;
mod loaded;
mod notes;
mod part;
mod replay;
mod retry;
mod server;
mod setup;
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
pub(crate) use cookies::take_cookies;
pub(crate) use loaded::{Binding, Loaded};
pub(crate) use part::{PartCookie, PlacedPart};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use server::LockStatement;
pub use server::SessionLimitPolicy;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) use server::{Checkout, note_checkout};
use server::{Commit, Records};
pub(crate) use server::{Principals, ServerState, SessionLimit};
pub(crate) use setup::Setup;
use work::Next;
pub(crate) use work::{Moment, SharedWork, Work};

/// Loads the session of a request. Returns it with the number of cookies in which the client holds its state.
pub(crate) async fn load(config: &Config, received: &Received) -> Result<(Loaded, usize), Error> {
    match &config.state {
        State::Client(client) => client::load(config, client, received).await,
        State::Server(server) => server::load(Records { config, server }, received).await.map(|loaded| (loaded, 0)),
    }
}

/// Loads a placed part, unless it is loaded already. Must not run during a commit.
pub(crate) async fn load_part(config: &Config, work: &impl SharedWork, placed: &PlacedPart) -> Result<(), Error> {
    match &config.state {
        State::Client(_) => client::load_part(config, work, placed).await,
        State::Server(server) => server::load_part(Records { config, server }, work, placed).await,
    }
}

/// Opens the cookie of a part. Returns an event for the observers if the cookie is rejected.
pub(crate) fn open_part(
    config: &Config,
    received: &Received,
    cookie: &PartCookie,
    session: Option<Binding>,
) -> (Option<JsonText>, ReceivedPart, Option<SessionEvent>) {
    cookie.open(received, session, config.now())
}

/// Returns `true` if there is nothing to commit and nothing to send.
pub(crate) fn is_settled(config: &Config, work: &Work) -> bool {
    work.changes.is_empty()
        && !work.loaded.tells_id()
        && matches!(work.next(config, true, config.now()), Next::CarryOut(Plan::Keep))
}

/// Commits the changes of a request.
///
/// A request runs one commit at a time. A commit can be dropped at any point and run again.
pub(crate) async fn commit(config: &Config, work: &impl SharedWork, moment: Moment) -> Result<(), Error> {
    let may_set_cookie = moment.may_set_cookie();
    if !config.parts.is_empty() {
        check_part_cookies(config, work, may_set_cookie)?;
    }
    match &config.state {
        State::Client(client) => client::commit(config, client, work, moment).await,
        State::Server(server) => Commit::new(Records { config, server }, work, may_set_cookie).run().await,
    }
}

/// Checks that changed parts in cookies can be sent, before anything is stored.
#[inline(never)]
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

/// Returns the `Set-Cookie` values of parts after the session's commit: changed parts, parts to reseal after a login,
/// and removals of parts whose session ended.
#[inline(never)]
pub(crate) fn finish_parts(
    config: &Config,
    received: &Received,
    work: Option<&Work>,
) -> Result<Vec<HeaderValue>, Error> {
    let nothing = Work::default();
    let (work, now) = (work.unwrap_or(&nothing), config.now());
    let session = work.loaded.record().map(|record| Binding::of(record));
    let max_age = work.loaded.record().and_then(|record| config.max_age_of_bound_part(record, now));
    let is_lost = matches!(work.loaded, Loaded::Ended);
    let (none, mut cookies) = (ExternalParts::default(), Vec::new());
    let external = work.draft.external().unwrap_or(&none);
    for placed in &config.parts {
        let Some(cookie) = placed.cookie() else { continue };
        let sent = match external.find(placed.name) {
            Some(_) if cookie.is_bound && is_lost => Vec::new(),
            Some(part) => cookie.to_send(part, received, session.map(|session| (session, max_age)), now)?,
            None => Vec::new(),
        };
        if !sent.is_empty() || !cookie.is_bound || is_lost {
            cookies.extend(sent);
            continue;
        }
        match (work.received_binding(config), session) {
            (Some(before), Some(after)) if before != after => {
                cookies.extend(cookie.rebind(received, before, (after, max_age), now)?);
            }
            _ if work.has_ended_session => cookies.extend(cookie.removals(received)),
            _ => {}
        }
    }
    Ok(cookies)
}
