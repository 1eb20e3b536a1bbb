//! Parts in stores, for a session in the client's cookie.

use std::sync::Arc;

use super::super::config::{Config, ConflictPolicy};
use super::super::loaded::Binding;
use super::super::part::{FoundPart, PartRecord, PartWrite as TextWrite, PlacedPart, Standing, StoredText};
use super::super::replay::replay_parts;
use super::super::retry::{MAX_ATTEMPTS, pause};
use super::super::work::SharedWork;
use super::revocation::RevocationList;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::event::SessionEvent;
use crate::random;
use crate::record::draft::Draft;
use crate::record::external::{ExternalPart, ExternalParts, PartRef, Prepared, Slot};
use crate::record::json_text::JsonText;
use crate::record::{Record, Version};

/// Extends the lifetime of a part to that of its session.
pub(super) async fn keep(config: &Config, part: &PartRecord<'_>, before: &Record, after: &Record) {
    let expires_at = config.timeouts.expires_at_of_part(after.into());
    if config.timeouts.expires_at_of_part(before.into()) < expires_at {
        part.keep_until(expires_at).await;
    }
}

/// A pending write of a part in a store, for a session that is sealed but not yet sent.
pub(super) struct PartWrite<'p> {
    config: &'p Config,
    pub(super) part: PartRecord<'p>,
    session: Binding,
    expires_at: Timestamp,
    /// The loaded session, if it can be revoked.
    revocable: Option<(RevocationList<'p>, &'p Record)>,
}

impl<'p> PartWrite<'p> {
    pub(super) fn new(
        config: &'p Config,
        session: &Record,
        part: &ExternalPart,
        revocable: Option<(RevocationList<'p>, &'p Record)>,
    ) -> Option<Self> {
        let placed = config.part_named(part.name)?;
        Some(Self {
            config,
            part: PartRecord::new(config, placed.in_store()?, placed.name, session.handle),
            session: Binding::of(session),
            expires_at: config.timeouts.expires_at_of_part(session.into()),
            revocable,
        })
    }

    /// Writes the part. After a conflict, replays the changes on the part's current text.
    pub(super) async fn write(
        &self,
        work: &impl SharedWork,
        mut part: ExternalPart,
        written: &mut ExternalParts,
    ) -> Result<(), Error> {
        let may_replay = self.config.conflict_policy != ConflictPolicy::Fail;
        for attempt in 0..MAX_ATTEMPTS {
            let Some(text) = part.value.clone() else { return self.remove(&part).await };
            let expected = if part.is_reset() && part.stored.is_none() {
                // A reset overwrites any stored text.
                match self.part.standing(Some(Slot::ONLY), None, self.session).await? {
                    Standing::Alone(version) | Standing::Contested(version) => Some(version),
                    Standing::Missing | Standing::Changed | Standing::Ahead => None,
                }
            } else {
                part.stored
            };
            if expected.is_none() {
                self.check_revoked().await?;
            }
            let version = expected.unwrap_or(Version::NONE).next(u32::from_ne_bytes(random::bytes()?));
            let (session, expires_at) = (self.session, self.expires_at);
            let texts = [(Slot::ONLY, &text)];
            if self.part.write(TextWrite { expected, texts: &texts, session, expires_at, version }).await? {
                part.stored = Some(version);
                written.replace(part);
                return Ok(());
            }
            self.config.tell(&SessionEvent::Conflict { session: session.session });
            if !may_replay {
                return Err(Error::conflict());
            }
            part = self.rebase(work, &part).await?;
            pause(attempt).await?;
        }
        Err(Error::conflict())
    }

    /// Fails if the session has ended since it was loaded: a part created now would be unreachable.
    async fn check_revoked(&self) -> Result<(), Error> {
        match self.revocable {
            Some((list, session)) if list.has_ended(session).await? => Err(Error::ended()),
            _ => Ok(()),
        }
    }

    /// Removes the part.
    async fn remove(&self, part: &ExternalPart) -> Result<(), Error> {
        if let (ConflictPolicy::Fail, Some(stored)) = (self.config.conflict_policy, part.stored)
            && self.part.standing(Some(Slot::ONLY), None, self.session).await? != Standing::Alone(stored)
        {
            self.config.tell(&SessionEvent::Conflict { session: self.session.session });
            return Err(Error::conflict());
        }
        self.part.delete_of(self.session).await
    }

    /// Restores the text from before this request's write, when a later part fails. Leaves newer writes of other
    /// requests alone.
    pub(super) async fn take_back(&self, before: &ExternalPart, written: &mut ExternalParts) {
        let Some(version) = written.find(before.name).and_then(|part| part.stored).filter(|_| before.value.is_some())
        else {
            return;
        };
        let reference = PartRef { slot: Slot::ONLY, expires_at: self.expires_at };
        let prepared = Prepared { reference, version, text: JsonText::Own(Arc::default()) };
        let current = before.stored.zip(before.base.as_ref()).map(|(stored, text)| (stored, Slot::ONLY, text));
        self.part.withdraw(&prepared, current, self.session).await;
        written.replace(before.clone());
    }

    /// Replays the changes of a part on its current text.
    async fn rebase(&self, work: &impl SharedWork, part: &ExternalPart) -> Result<ExternalPart, Error> {
        let (value, stored) = match self.part.load(Slot::ONLY, self.session).await? {
            FoundPart::Text(StoredText { text, version, .. }) => (Some(text), Some(version)),
            FoundPart::Missing => (None, None),
            // A login came between.
            FoundPart::Moved => return Err(Error::conflict()),
        };
        replay_part(work, part, value, stored)
    }
}

/// Replays the changes of a part on another text.
pub(super) fn replay_part(
    work: &impl SharedWork,
    part: &ExternalPart,
    value: Option<JsonText>,
    stored: Option<Version>,
) -> Result<ExternalPart, Error> {
    let (name, medium) = (part.name, part.medium);
    let (changes, mut external) = work.with(|work| {
        let external = work.draft.external().cloned().unwrap_or_default();
        (work.changes.attempted_of_part(name), external)
    });
    external.load(name, medium, value.clone(), stored);
    replay_parts(work, Box::new(external))?;
    let mut parts = ExternalParts::default();
    parts.load(name, medium, value, stored);
    let mut draft = Draft::with_external(Some(Box::new(parts)));
    draft.apply_all(&changes)?;
    draft.external_mut().find_mut(name).cloned().ok_or_else(Error::conflict)
}

/// Loads a part in a store, unless it is loaded already.
pub(in crate::state) async fn load_part(
    config: &Config,
    work: &impl SharedWork,
    placed: &PlacedPart,
) -> Result<(), Error> {
    let Some(in_store) = placed.in_store() else { return Ok(()) };
    let session = work.with(|work| {
        let is_known = work.draft.external().is_some_and(|parts| parts.find(placed.name).is_some());
        let record = work.draft.kept_handle().and(work.loaded.record());
        record.filter(|_| !is_known).cloned()
    });
    let Some(session) = session else { return Ok(()) };
    let binding = Binding::of(&session);
    let record = PartRecord::new(config, in_store, placed.name, session.handle);
    let (value, stored) = match record.load(Slot::ONLY, binding).await? {
        FoundPart::Text(StoredText { text, version, expires_at, .. }) => {
            let needed = config.timeouts.expires_at_of_part((&*session).into());
            if expires_at < needed {
                record.keep_until(needed).await;
            }
            (Some(text), Some(version))
        }
        // This cookie is older than a login. Without an expected version, a write cannot overwrite the newer text.
        FoundPart::Moved => {
            config.tell(&SessionEvent::RetiredIdUsed);
            (None, None)
        }
        FoundPart::Missing => (None, None),
    };
    work.with(|work| work.note_part(binding, placed.name, placed.medium(), value, stored));
    Ok(())
}
