//! How the state of a session gets from where it lives to a request and back.
//!
//! [`server`] keeps it in a [`Store`](crate::store::Store), with an ID in the cookie; [`client`] keeps all of it in the
//! cookie, sealed. Both do the same two things: [`load`] when the handler first asks, [`commit`] when it has answered.

mod at_rest;
mod client;
mod config;
mod outside;
mod part_record;
mod principals;
mod revocation;
mod sealed;
mod server;

use std::mem;
use std::sync::Arc;

use http::HeaderValue;

use crate::clock::Timestamp;
use crate::cookie::Received;
use crate::error::Error;
use crate::event::SessionEvent;
use crate::random;
use crate::record::changes::{Change, Changes};
use crate::record::draft::Draft;
use crate::record::id::SessionId;
use crate::record::outside::Outside;
use crate::record::plan::{Plan, plan};
use crate::record::{Handle, Record};

use client::ClientState;
pub use client::CookieState;
pub(crate) use config::{Config, PartCookie};
pub use config::{ConflictPolicy, ServerErrorPolicy};
pub(crate) use outside::OutsidePlace;
pub(crate) use principals::Principals;
pub(crate) use revocation::Marks;
pub(crate) use sealed::{ROOM_TO_GROW, SealedCookie};
pub use server::Evict;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) use server::Taking;
use server::Unanswered;
pub(crate) use server::{ServerState, SessionLimit};

/// Where the state lives.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Client(ClientState),
    Server(ServerState),
}

/// What a request brought.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The session, if it is live.
    pub(crate) record: Option<Arc<Record>>,
    /// Its ID, if it has one: state in the cookie has none.
    id: Option<SessionId>,
    /// The client holds an older ID and is to be told this one.
    tell_id: bool,
    /// The client's own ID died while the request was under way, so the client must not learn this one.
    hide_id: bool,
    /// The client's copy is sealed with a key that is no longer the primary one.
    reseal: bool,
    /// How many cookies the client holds the state in.
    chunks: usize,
    /// Parts that live outside the record, if the request has asked for some.
    pub(crate) outside: Option<Box<Outside>>,
}

/// What a request did with it.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) loaded: Loaded,
    pub(crate) changes: Changes,
    pub(crate) draft: Draft,
    unanswered: Unanswered,
    /// A call that was to end the loaded session has not been answered.
    is_deleting: bool,
}

impl Loaded {
    /// Makes a draft of what was loaded, or of nothing if that has ended, with changes on top of it.
    pub(crate) fn draft(&self, has_ended: bool, changes: &[Change]) -> Result<Draft, Error> {
        let base = self.record.clone().filter(|_| !has_ended);
        let outside = self.outside.clone().filter(|_| !has_ended);
        Draft::replay(base, outside, changes)
    }

    /// Makes a draft of what was loaded.
    pub(crate) fn unchanged(&self) -> Draft {
        self.draft(false, &[]).unwrap_or_default()
    }
}

impl Work {
    pub(crate) fn new(loaded: Loaded) -> Self {
        let draft = Draft::new(loaded.record.clone());
        Self { loaded, changes: Changes::default(), draft, unanswered: Unanswered::Nothing, is_deleting: false }
    }

    /// Takes the work away to be committed, and leaves what it looks like.
    pub(crate) fn take(&mut self) -> Self {
        let draft = self.draft.clone();
        mem::replace(self, Self { draft, ..Self::default() })
    }

    /// Returns the ID of the session, if it is live and has one.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) fn session_id(&self) -> Option<SessionId> {
        self.draft.kept_handle().and_then(|_| self.loaded.id.clone())
    }

    /// Goes on from a record that was written while the rows of a part were taken out of the session.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) fn note_taken(&mut self, part: &'static str, id: SessionId, record: Arc<Record>) {
        if self.draft.kept_handle() != Some(record.handle) {
            return;
        }
        self.loaded.tell_id |= self.loaded.id.as_ref().is_some_and(|known| *known != id);
        (self.loaded.id, self.loaded.record) = (Some(id), Some(record));
        self.loaded.outside.get_or_insert_default().load(part, None, None);
        // What came in meanwhile is made on top of it; should that fail, the commit says so.
        self.draft = self.loaded.draft(false, self.changes.list()).unwrap_or_else(|_| self.loaded.unchanged());
    }

    /// Returns the parts outside the record as they are, now that they have been written.
    #[inline]
    fn written_outside(&self) -> Option<Box<Outside>> {
        self.draft.outside().map(|outside| Box::new(outside.committed()))
    }

    /// Whether the session that was loaded ends here, or goes on as that of another principal.
    pub(crate) fn ends_session(&self) -> bool {
        self.loaded.record.is_some() && (self.changes.ends_session || self.draft.kept_handle().is_none())
    }

    fn plan(&self, config: &Config, may_set_cookie: bool, now: Timestamp) -> Plan {
        let record = self.loaded.record.as_deref();
        plan(record, &self.changes, &self.draft, self.loaded.reseal, &config.timeouts, may_set_cookie, now)
    }

    /// Makes the record that is to be stored. The mark tells its version from another that is written at the same time.
    fn to_record(&self, config: &Config, mark: u32, now: Timestamp) -> Result<Arc<Record>, Error> {
        let new_handle = match self.draft.kept_handle().or_else(|| self.draft.outside()?.new_session) {
            Some(handle) => handle,
            None => Handle::from_bytes(random::bytes()?),
        };
        let record = Arc::new(self.draft.to_record(new_handle, mark, &config.timeouts, now));
        // What was stored under a larger limit can still be touched and renewed, or no request would get past it.
        if self.draft.is_changed() {
            config.check_size(&record)?;
        }
        Ok(record)
    }

    /// Tells the observers what was written.
    fn tell_written(&self, config: &Config, plan: Plan, session: Handle) {
        match plan {
            Plan::Create | Plan::Replace => config.tell(&SessionEvent::Created { session }),
            // From one principal to another it is another session, with another name.
            Plan::Renew { .. } if self.draft.kept_handle().is_none() => {
                self.tell_end(config);
                config.tell(&SessionEvent::Created { session });
            }
            Plan::Renew { .. } => config.tell(&SessionEvent::Renewed { session }),
            Plan::Keep | Plan::Touch | Plan::Update | Plan::Destroy => {}
        }
        if self.changes.logs_in() {
            config.tell(&SessionEvent::LoggedIn { session });
        } else if self.changes.reauthenticates() {
            config.tell(&SessionEvent::Reauthenticated { session });
        }
    }

    /// Tells the observers that the loaded session has ended.
    fn tell_end(&self, config: &Config) {
        if let Some(record) = &self.loaded.record {
            if record.principal.is_some() {
                config.tell(&SessionEvent::LoggedOut { session: record.handle });
            }
            config.tell(&SessionEvent::Destroyed { session: record.handle });
        }
    }
}

/// What the client is to be told of it.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    pub(crate) cookies: Vec<HeaderValue>,
    /// The session has ended elsewhere, and an ID that an earlier commit of this request made is dead with it.
    pub(crate) is_lost: bool,
}

impl Committed {
    fn telling(cookie: Option<HeaderValue>) -> Self {
        Self { cookies: cookie.into_iter().collect(), is_lost: false }
    }
}

/// Finds out which session a request belongs to.
pub(crate) async fn load(config: &Config, received: &Received) -> Result<Loaded, Error> {
    match &config.state {
        State::Client(client) => match Marks::of_client(config, client) {
            None => Ok(client::load(config, &client.cookie, received)),
            Some(marks) => Box::pin(marks.check(client::load(config, &client.cookie, received))).await,
        },
        State::Server(server) => server::load(config, server, received).await,
    }
}

/// Whether there is clearly nothing to commit and nothing to send.
pub(crate) fn is_settled(config: &Config, work: &Work) -> bool {
    work.changes.is_empty() && !work.loaded.tell_id && work.plan(config, true, config.now()) == Plan::Keep
}

/// Carries out what a request did, and leaves in the work what there is now. `may_set_cookie` says whether the head of the response is still to be sent.
///
/// After an error nothing has changed, and the work can be committed again.
pub(crate) async fn commit(config: &Config, work: &mut Work, may_set_cookie: bool) -> Result<Committed, Error> {
    if !config.outside.is_empty() {
        return Box::pin(outside::commit(config, work, may_set_cookie)).await;
    }
    match &config.state {
        State::Client(client) => match Marks::of_client(config, client) {
            None => client::commit(config, &client.cookie, work, may_set_cookie),
            Some(marks) => Box::pin(client::commit_with(marks, &client.cookie, work, may_set_cookie)).await,
        },
        State::Server(server) => server::commit(config, server, work, may_set_cookie).await,
    }
}

/// Carries out what a request did to the session itself, once its parts in stores have been written.
async fn commit_session(config: &Config, work: &mut Work, may_set_cookie: bool) -> Result<Committed, Error> {
    match &config.state {
        State::Client(client) => match Marks::of_client(config, client) {
            None => client::commit(config, &client.cookie, work, may_set_cookie),
            Some(marks) => Box::pin(client::commit_with(marks, &client.cookie, work, may_set_cookie)).await,
        },
        State::Server(server) => server::commit(config, server, work, may_set_cookie).await,
    }
}
