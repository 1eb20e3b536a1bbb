//! A login gives a session in the cookie another handle. This carries the session's parts in stores over to it, and
//! ends the session under its former handle.
//!
//! A copy of the cookie from before the login has the former handle, so it finds none of the parts, and a logout with
//! it ends nothing. The steps:
//!
//! 1. Each part is read under the former handle, and written under the new one. If this fails, the client keeps its
//!    cookie and its parts. A part that cannot be decoded begins anew: it must not block the login.
//! 2. If it can be revoked, the session is marked under its former handle. One that was logged in before has ended: a
//!    logout after the login would not reach its copies. An anonymous one cannot be written for a minute: a response on
//!    its way would put its cookie in place of the login's. If another request has ended the session, the login is
//!    lost.
//! 3. The parts under the former handle are replaced by records without text. Missing parts get one too, so that a
//!    request with the former handle cannot create them. If another request has changed or created a part since, it is
//!    copied again. The changes are merged under any [`ConflictPolicy`], because the login has taken effect. A failure
//!    leaves a copy behind, which expires with the session.

use super::super::config::{Config, ConflictPolicy};
use super::super::loaded::Binding;
use super::super::part::{FoundPart, PartRecord};
use super::super::retry::{MAX_ATTEMPTS, pause};
use super::super::work::SharedWork;
use super::parts::replay_part;
use super::revocation::RevocationList;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind};
use crate::event::SessionEvent;
use crate::record::external::{ExternalPart, ExternalParts, Slot};
use crate::record::json_text::JsonText;
use crate::record::{Record, Version};

/// A session before and after a login.
pub(super) struct CarryOver<'c> {
    pub(super) config: &'c Config,
    pub(super) list: Option<RevocationList<'c>>,
    pub(super) before: &'c Record,
    pub(super) after: &'c Record,
}

/// A part on its way from one handle to another.
struct Carried<'c> {
    name: &'static str,
    from: PartRecord<'c>,
    to: PartRecord<'c>,
    former: Former,
    is_written: bool,
}

/// The record of a part under the former handle, as last read.
#[derive(Clone, Copy)]
enum Former {
    Missing,
    Text(Version),
    /// Another login has moved the part, or it cannot be decoded.
    Unusable,
}

impl CarryOver<'_> {
    /// Carries the session over. Fails with [`Ended`](crate::ErrorKind::Ended) if another request has ended it.
    pub(super) async fn run(&self, work: &impl SharedWork, mut parts: Option<&mut ExternalParts>) -> Result<(), Error> {
        let mut carried = Vec::new();
        if let Err(error) = self.copy_all(&mut carried, work, parts.as_deref_mut()).await {
            self.withdraw(&carried).await;
            return Err(error);
        }
        if let Err(error) = self.end_former().await {
            self.withdraw(&carried).await;
            return Err(error);
        }
        for part in &mut carried {
            if let Err(error) = self.retire(part, work, parts.as_deref_mut()).await {
                self.config.tell(&match error.kind() {
                    ErrorKind::Conflict => SessionEvent::Conflict { session: self.before.handle },
                    _ => SessionEvent::StoreFailed { error },
                });
            }
        }
        Ok(())
    }

    async fn copy_all<'c>(
        &'c self,
        carried: &mut Vec<Carried<'c>>,
        work: &impl SharedWork,
        mut parts: Option<&mut ExternalParts>,
    ) -> Result<(), Error> {
        for placed in &self.config.parts {
            let Some(in_store) = placed.in_store() else { continue };
            let record = |session: &Record| PartRecord::new(self.config, in_store, placed.name, session.handle);
            let (from, to) = (record(self.before), record(self.after));
            carried.push(Carried { name: placed.name, from, to, former: Former::Missing, is_written: false });
        }
        if let Some(parts) = parts.as_deref() {
            for part in &*carried {
                let changed = parts.find(part.name).filter(|part| part.is_changed());
                changed.and_then(|part| part.value.as_ref()).map_or(Ok(()), |text| part.to.check_size(text))?;
            }
        }
        for part in carried {
            let found = self.find(part).await?;
            self.copy(part, found, self.config.conflict_policy, work, parts.as_deref_mut()).await?;
        }
        Ok(())
    }

    /// Reads a part under the former handle. One that cannot be decoded is left there until it expires.
    async fn find(&self, carried: &Carried<'_>) -> Result<FoundPart, Error> {
        match carried.from.load(Slot::ONLY, Binding::of(self.before)).await {
            Err(error) if matches!(error.kind(), ErrorKind::Decode { .. }) => Ok(FoundPart::Moved),
            found => found,
        }
    }

    /// Writes a part under the new handle: as this request has changed it, or else as it was found under the former
    /// one.
    async fn copy(
        &self,
        carried: &mut Carried<'_>,
        found: FoundPart,
        policy: ConflictPolicy,
        work: &impl SharedWork,
        parts: Option<&mut ExternalParts>,
    ) -> Result<(), Error> {
        let known = parts.as_deref().and_then(|parts| parts.find(carried.name));
        let changed = known.filter(|part| part.is_changed());
        let (former, found) = match found {
            FoundPart::Text(found) => (Former::Text(found.version), Some((found.text, found.version))),
            FoundPart::Missing => (Former::Missing, None),
            // The changes cannot be replayed on the text that they were based on.
            FoundPart::Moved if changed.is_some_and(|part| part.stored.is_some()) => return Err(Error::conflict()),
            FoundPart::Moved => (Former::Unusable, None),
        };
        carried.former = former;
        let version = found.as_ref().map(|(_, version)| *version);
        let changed = match changed {
            Some(part) => Some(self.rebase(work, part, found.clone(), policy)?),
            None => None,
        };
        let is_current = known.is_some_and(|part| part.stored == version);
        let text = match &changed {
            Some(part) => part.value.clone(),
            None => found.map(|(text, _)| text),
        };
        let stored = match &text {
            Some(text) => Some(carried.to.put(text, Binding::of(self.after), self.expires_at()).await?),
            None => None,
        };
        if carried.is_written && stored.is_none() {
            carried.to.delete().await;
        }
        carried.is_written = stored.is_some();
        match (parts, changed, stored) {
            (Some(parts), Some(mut part), stored) => {
                part.stored = stored;
                parts.replace(part);
            }
            (Some(parts), None, Some(stored)) if is_current => parts.note_stored(carried.name, stored),
            _ => {}
        }
        Ok(())
    }

    /// Returns a changed part, with its changes replayed on the text that was found, if that is another one.
    fn rebase(
        &self,
        work: &impl SharedWork,
        part: &ExternalPart,
        found: Option<(JsonText, Version)>,
        policy: ConflictPolicy,
    ) -> Result<ExternalPart, Error> {
        let (text, version) = found.unzip();
        if part.stored == version || part.is_reset() {
            return Ok(part.clone());
        }
        self.config.tell(&SessionEvent::Conflict { session: self.before.handle });
        if policy == ConflictPolicy::Fail {
            return Err(Error::conflict());
        }
        replay_part(work, part, text, version)
    }

    /// Marks the session as ended under its former handle, if it can be revoked.
    async fn end_former(&self) -> Result<(), Error> {
        let Some(list) = self.list else { return Ok(()) };
        let is_live = match self.before.principal {
            Some(_) => list.replace(self.before, self.after.handle).await?,
            None => list.take_along(self.before).await?,
        };
        if is_live { Ok(()) } else { Err(Error::ended()) }
    }

    /// Replaces a part under the former handle by a record without text, even if it is missing.
    async fn retire(
        &self,
        carried: &mut Carried<'_>,
        work: &impl SharedWork,
        mut parts: Option<&mut ExternalParts>,
    ) -> Result<(), Error> {
        for attempt in 0..MAX_ATTEMPTS {
            let expected = match carried.former {
                Former::Missing => None,
                Former::Text(version) => Some(version),
                Former::Unusable => return Ok(()),
            };
            if carried.from.retire(expected, Binding::of(self.after)).await? {
                return Ok(());
            }
            let found = self.find(carried).await?;
            // A concurrent login has moved the part too. Each keeps its own copy.
            if matches!(found, FoundPart::Moved) {
                return Ok(());
            }
            self.copy(carried, found, ConflictPolicy::Merge, work, parts.as_deref_mut()).await?;
            pause(attempt).await?;
        }
        Err(Error::conflict())
    }

    /// Removes the copies of a login that has failed.
    async fn withdraw(&self, carried: &[Carried<'_>]) {
        for part in carried.iter().filter(|part| part.is_written) {
            part.to.delete().await;
        }
    }

    fn expires_at(&self) -> Timestamp {
        self.config.timeouts.expires_at_of_part(self.after.into())
    }
}
