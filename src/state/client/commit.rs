//! Loads and commits state that lives in the client's cookie.
//!
//! Every step that can fail comes before anything is sent: the record is sealed, revocation marks are written, and last
//! the parts in stores. If a step fails, the client keeps its cookies.

use std::sync::Arc;

use http::HeaderValue;

use super::super::config::Config;
use super::super::loaded::{Binding, Loaded, SealedSession};
use super::super::part::PartRecord;
use super::super::work::{Moment, SharedWork, Work};
use super::carry_over::CarryOver;
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
use crate::record::lifetime::RESEND_WINDOW;
use crate::record::plan::Plan;

/// State in a cookie needs no write ID: no concurrent writer has to be told apart.
const NO_WRITE_ID: u32 = 0;

/// Loads the session from the cookies of a request. Returns it with the number of its cookies.
pub(in crate::state) async fn load(
    config: &Config,
    client: &ClientState,
    received: &Received,
) -> Result<(Loaded, usize), Error> {
    let now = config.now();
    match client.cookie.open(received, None, &config.timeouts, now) {
        Ok(opened) => {
            let chunks = opened.chunks;
            let (record, needs_seal) = (Arc::new(opened.record), !opened.by_primary);
            let loaded = Loaded::Sealed(SealedSession { record, needs_seal, loaded_at: now, is_taken_along: false });
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
    /// The loaded record, if its values and parts stay.
    before: Option<Arc<Record>>,
    /// The session that this commit ends.
    ended: Option<Arc<Record>>,
    logs_in: bool,
    /// The principal has authenticated, which gives the session another handle.
    authenticates: bool,
    /// When the session was loaded, or began.
    loaded_at: Timestamp,
    parts: Option<ExternalParts>,
    room: usize,
    chunks: usize,
}

/// Commits the changes of a request.
pub(in crate::state) async fn commit(
    config: &Config,
    client: &ClientState,
    work: &impl SharedWork,
    moment: Moment,
) -> Result<(), Error> {
    let now = config.now();
    let Some(mut begun) = work.with(|work| Begun::new(config, work, moment, now))? else {
        return lose(config, work);
    };
    let list = RevocationList::of_client(config, client);
    if let Some(list) = list {
        if let Some(ended) = begun.ended_anonymous()
            && Box::pin(list.is_taken_along(ended)).await?
        {
            work.with(|work| work.loaded.note_taken_along());
            return lose(config, work);
        }
        if !Box::pin(begun.check_in(list, now)).await? {
            return lose(config, work);
        }
    }
    let cookies = begun.seal(config, &client.cookie, now)?;
    if let Some(list) = list
        && !Box::pin(begun.note_in(list)).await?
    {
        return lose(config, work);
    }
    let written = if begun.has_moved() {
        Box::pin(begun.carry_over(config, list, work)).await
    } else if config.parts.iter().any(|placed| placed.in_store().is_some()) {
        Box::pin(begun.write_parts(config, list, work)).await
    } else {
        Ok(())
    };
    match written {
        Err(error) if matches!(error.kind(), ErrorKind::Ended) => return lose(config, work),
        written => written?,
    }
    let aftermath = work.with(|work| {
        if let Some(cookies) = cookies {
            work.cookies = cookies;
        }
        match begun.record {
            Some(record) => {
                let loaded_at = begun.loaded_at;
                let session = SealedSession { record, needs_seal: false, loaded_at, is_taken_along: false };
                let loaded = Loaded::Sealed(session);
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
    /// Returns `None` if the session has ended. A login then begins another one.
    fn new(config: &Config, work: &mut Work, moment: Moment, now: Timestamp) -> Result<Option<Self>, Error> {
        match work.loaded {
            Loaded::Ended => return Ok(None),
            Loaded::Dead { .. } if !work.changes.logs_in() => return Ok(None),
            _ => {}
        }
        // It has expired during the request. Nothing revives it, as in a store.
        if work.loaded.record().is_some_and(|record| config.timeouts.expiry(record, now).is_some()) {
            return Ok(None);
        }
        let loaded_at = work.loaded.sealed_at().unwrap_or(now);
        let plan = match work.plan(config, moment.may_set_cookie(), now) {
            // Not requested by the handler. A late cookie could undo a login or logout.
            Plan::Touch | Plan::Renew { .. }
                if work.only_reads()
                    && (moment != Moment::Response
                        || now.since(loaded_at) > RESEND_WINDOW
                        || work.loaded.is_taken_along()) =>
            {
                // A cookie that is bound to the session is sent only while that is live.
                let binds = work.draft.external().is_some_and(ExternalParts::change_bound_cookie);
                if binds { Plan::Confirm } else { Plan::Keep }
            }
            plan if moment.may_set_cookie() || matches!(plan, Plan::Keep | Plan::Confirm) => plan,
            _ => return Err(Error::too_late()),
        };
        let mut record = None;
        if !matches!(plan, Plan::Keep | Plan::Confirm | Plan::Destroy) {
            let made = record.insert(work.make_record(config, NO_WRITE_ID, now)?);
            if let Plan::Renew { .. } = plan {
                Arc::make_mut(made).renewed_at = now;
            }
            if work.draft.authenticates() {
                Arc::make_mut(made).handle = work.new_handle()?;
            }
        }
        work.changes.mark_attempted();
        Ok(Some(Self {
            plan,
            record,
            before: work.loaded.record().filter(|_| work.draft.kept_handle().is_some()).cloned(),
            ended: work.loaded.record().filter(|_| work.ends_session()).cloned(),
            logs_in: work.changes.logs_in(),
            authenticates: work.draft.authenticates(),
            loaded_at,
            parts: work.draft.external().cloned(),
            room: if work.draft.is_changed() { ROOM_TO_GROW } else { 0 },
            chunks: work.chunks,
        }))
    }

    /// Returns `true` if a login has given the session another handle.
    fn has_moved(&self) -> bool {
        let handles = self.before.as_ref().zip(self.record.as_ref());
        handles.is_some_and(|(before, after)| before.handle != after.handle)
    }

    /// Returns the anonymous session that the request ends without a login.
    fn ended_anonymous(&self) -> Option<&Record> {
        self.ended.as_deref().filter(|ended| ended.principal.is_none() && !self.logs_in)
    }

    /// Stamps the record of a session that can be revoked. Returns `false` if another request has ended the session, as
    /// far as this request asks for that: a login and a change do.
    async fn check_in(&mut self, list: RevocationList<'_>, now: Timestamp) -> Result<bool, Error> {
        let before = self.before.as_deref();
        let mut login = Login::None;
        if let Some(record) = self.record.as_deref().filter(|_| self.authenticates) {
            login = list.login(record, before, self.logs_in, now).await?;
        } else if let Some(before) = before
            && (self.plan == Plan::Confirm || self.record.is_some() && self.plan != Plan::Touch)
            && list.has_ended(before).await?
        {
            return Ok(false);
        }
        if let Some(record) = &mut self.record {
            login.stamp(Arc::make_mut(record), before);
        }
        Ok(login != Login::InEnded)
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
        let before = self.before.as_deref().filter(|_| !self.has_moved());
        if let Some(record) = &self.record
            && !list.lengthen(record, before).await?
        {
            return Ok(false);
        }
        if let Some(ended) = &self.ended {
            list.end(ended).await?;
        }
        Ok(true)
    }

    /// Moves the session, with its parts in stores, to its new handle.
    async fn carry_over(
        &mut self,
        config: &Config,
        list: Option<RevocationList<'_>>,
        work: &impl SharedWork,
    ) -> Result<(), Error> {
        let Some((before, after)) = self.before.as_deref().zip(self.record.as_deref()) else { return Ok(()) };
        CarryOver { config, list, before, after }.run(work, self.parts.as_mut()).await
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
                keep(config, &part, before, after).await;
            }
        }
        Ok(())
    }
}
