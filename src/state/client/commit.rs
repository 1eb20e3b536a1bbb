//! Loads and commits state that lives in the client's cookie.
//!
//! Every step that can fail comes before anything is sent: the record is sealed, revocation marks are written, and last
//! the parts in stores. If a step fails, the client keeps its cookies.

use std::sync::Arc;

use http::HeaderValue;

use super::super::config::Config;
use super::super::loaded::{Binding, Loaded, SealedSession};
use super::super::part::PartRecord;
use super::super::work::{SharedWork, Work};
use super::cookie_state::ClientState;
use super::parts::{PartWrite, keep};
use super::revocation::{Login, RevocationList};
use super::sealed_cookie::{ROOM_TO_GROW, SealedCookie};
use crate::clock::Timestamp;
use crate::cookie::Received;
use crate::error::{Error, ErrorKind};
use crate::event::SessionEvent;
use crate::record::Record;
use crate::record::external::ExternalParts;
use crate::record::plan::Plan;

/// State in a cookie needs no write ID: no concurrent writer has to be told apart.
const NO_WRITE_ID: u32 = 0;

/// Loads the session from the cookies of a request. Returns it with the number of its cookies.
pub(in crate::state) async fn load(
    config: &Config,
    client: &ClientState,
    received: &Received,
) -> Result<(Loaded, usize), Error> {
    match client.cookie.open(received, None, &config.timeouts, config.now()) {
        Ok(opened) => {
            let chunks = opened.chunks;
            let session = SealedSession { record: Arc::new(opened.record), needs_seal: !opened.by_primary };
            let loaded = Loaded::Sealed(session);
            match RevocationList::of_client(config, client) {
                None => Ok((loaded, chunks)),
                Some(list) => Ok((Box::pin(list.check(loaded)).await?, chunks)),
            }
        }
        Err(event) => {
            event.iter().for_each(|event| config.tell(event));
            // Cookies that do not open still have to be replaced or removed.
            Ok((Loaded::Nothing, client.cookie.received_chunks(received)))
        }
    }
}

/// A commit in progress: the record to seal, and its context.
struct Begun {
    plan: Plan,
    /// The record to seal, if there is one.
    record: Option<Arc<Record>>,
    /// The loaded record, if the session stays the same.
    before: Option<Arc<Record>>,
    /// The session that this commit ends.
    ended: Option<Arc<Record>>,
    logs_in: bool,
    parts: Option<ExternalParts>,
    room: usize,
    chunks: usize,
}

/// Commits the changes of a request.
pub(in crate::state) async fn commit(
    config: &Config,
    client: &ClientState,
    work: &impl SharedWork,
    may_set_cookie: bool,
) -> Result<(), Error> {
    let now = config.now();
    let mut begun = work.with(|work| Begun::new(config, work, may_set_cookie, now))?;
    let list = RevocationList::of_client(config, client);
    if let (Some(list), true) = (list, begun.logs_in) {
        let principal = begun.record.as_ref().and_then(|record| record.principal.clone());
        let session = begun.before.as_ref().map(|before| before.handle);
        let login = Box::pin(list.login(principal.as_deref(), session, now)).await?;
        if login == Login::InEnded {
            return lose(config, work);
        }
        begun.stamp(login);
    } else if list.is_some() {
        begun.stamp(Login::None);
    }
    let cookies = begun.seal(config, &client.cookie, now)?;
    if let Some(list) = list
        && !Box::pin(begun.note_in(list)).await?
    {
        return lose(config, work);
    }
    if config.parts.iter().any(|placed| placed.in_store().is_some()) {
        match Box::pin(begun.write_parts(config, list, work)).await {
            Err(error) if matches!(error.kind(), ErrorKind::Ended) => return lose(config, work),
            written => written?,
        }
    }
    let aftermath = work.with(|work| {
        if let Some(cookies) = cookies {
            work.cookies = cookies;
        }
        match begun.record {
            Some(record) => {
                let loaded = Loaded::Sealed(SealedSession { record, needs_seal: false });
                work.note_written(begun.plan, loaded, begun.parts.as_ref())
            }
            None if begun.plan == Plan::Destroy => work.note_ended(),
            None => work.note_kept(begun.parts.as_ref(), None),
        }
    });
    aftermath.release(config);
    Ok(())
}

/// Discards the changes of a session that another request has ended.
fn lose(config: &Config, work: &impl SharedWork) -> Result<(), Error> {
    let (is_lost, aftermath) = work.with(Work::note_lost);
    aftermath.release(config);
    if is_lost { Err(Error::ended()) } else { Ok(()) }
}

impl Begun {
    fn new(config: &Config, work: &mut Work, may_set_cookie: bool, now: Timestamp) -> Result<Self, Error> {
        if let Loaded::Ended = work.loaded {
            let is_lost = work.has_unsaved_changes();
            return if is_lost { Err(Error::ended()) } else { Ok(Self::nothing(work)) };
        }
        let plan = match work.plan(config, may_set_cookie, now) {
            Plan::Confirm => Plan::Keep,
            plan if may_set_cookie => plan,
            // Not requested by the handler, so the response head may go without it.
            Plan::Keep | Plan::Touch => Plan::Keep,
            _ => return Err(Error::too_late()),
        };
        let mut begun = Self { plan, ..Self::nothing(work) };
        begun.ended = work.loaded.record().filter(|_| work.ends_session()).cloned();
        begun.before = work.loaded.record().filter(|_| work.draft.kept_handle().is_some()).cloned();
        if !matches!(plan, Plan::Keep | Plan::Destroy) {
            let mut record = work.make_record(config, NO_WRITE_ID, now)?;
            if let Plan::Renew { .. } = plan {
                Arc::make_mut(&mut record).renewed_at = now;
            }
            begun.record = Some(record);
        }
        work.changes.mark_attempted();
        Ok(begun)
    }

    fn nothing(work: &Work) -> Self {
        Self {
            plan: Plan::Keep,
            record: None,
            before: None,
            ended: None,
            logs_in: work.changes.logs_in(),
            parts: work.draft.external().cloned(),
            room: if work.draft.is_changed() { ROOM_TO_GROW } else { 0 },
            chunks: work.chunks,
        }
    }

    fn stamp(&mut self, login: Login) {
        if let Some(record) = &mut self.record {
            login.stamp(Arc::make_mut(record), self.before.as_deref());
        }
    }

    /// Returns the cookies for the response. `None` leaves the client's cookies as they are.
    fn seal(&self, config: &Config, cookie: &SealedCookie, now: Timestamp) -> Result<Option<Vec<HeaderValue>>, Error> {
        match &self.record {
            Some(record) => {
                let max_age = config.max_age(record, now);
                cookie.seal(record, None, max_age, self.chunks, self.room).map(Some)
            }
            None if self.plan == Plan::Destroy => Ok(Some(cookie.removals(0, self.chunks).collect())),
            None => Ok(None),
        }
    }

    /// Writes the marks that must outlive the cookie. Returns `false` if another request has ended the session.
    async fn note_in(&self, list: RevocationList<'_>) -> Result<bool, Error> {
        if let Some(record) = &self.record
            && !list.lengthen(record, self.before.as_deref(), self.logs_in).await?
        {
            return Ok(false);
        }
        if let Some(ended) = &self.ended {
            list.end(ended).await?;
        }
        Ok(true)
    }

    /// Writes the changed parts in stores, and removes the parts of a session that ends.
    async fn write_parts(
        &mut self,
        config: &Config,
        list: Option<RevocationList<'_>>,
        work: &impl SharedWork,
    ) -> Result<(), Error> {
        let session = self.record.clone().or_else(|| self.before.clone());
        let revocable = list.zip(self.before.as_deref());
        if let (Some(record), Some(parts)) = (session, &mut self.parts) {
            let changed: Vec<_> = parts.iter().filter(|part| part.is_stored() && part.is_changed()).cloned().collect();
            let writes: Vec<_> =
                changed.iter().filter_map(|part| PartWrite::new(config, &record, part, revocable)).collect();
            for (write, part) in writes.iter().zip(&changed) {
                part.value.as_ref().map_or(Ok(()), |text| write.part.check_size(text))?;
            }
            for (index, (write, part)) in writes.iter().zip(&changed).enumerate() {
                if let Err(error) = write.write(work, part.clone(), parts).await {
                    for (write, part) in writes.iter().zip(&changed).take(index).rev() {
                        write.take_back(part, parts).await;
                    }
                    return Err(error);
                }
            }
        }
        for placed in &config.parts {
            let Some(in_store) = placed.in_store() else { continue };
            if let Some(ended) = &self.ended {
                let part = PartRecord::new(config, in_store, placed.name, ended.handle);
                if let Err(error) = part.delete_of(Binding::of(ended)).await {
                    // The part is unreachable, and expires with the session.
                    config.tell(&SessionEvent::StoreFailed { error });
                }
            } else if let Some((before, after)) = self.before.as_deref().zip(self.record.as_deref()) {
                let part = PartRecord::new(config, in_store, placed.name, after.handle);
                let version = keep(config, &part, before, after).await;
                if let (Some(version), Some(parts)) = (version, &mut self.parts) {
                    parts.note_stored(placed.name, version);
                }
            }
        }
        Ok(())
    }
}
