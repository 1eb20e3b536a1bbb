//! Replays the changes of a request on a newer base.

use std::sync::Arc;

use super::loaded::Loaded;
use super::work::{SharedWork, Work};
use crate::error::Error;
use crate::record::Record;
use crate::record::draft::Draft;
use crate::record::external::ExternalParts;

/// Replays the changes of a request on another base, and installs the result.
pub(crate) fn replay_onto(
    work: &impl SharedWork,
    loaded: Loaded,
    external: Option<Box<ExternalParts>>,
) -> Result<(), Error> {
    let base = loaded.record().cloned();
    let mut loaded = Some(loaded);
    replay(work, base, external, |work, draft| {
        work.loaded = loaded.take().unwrap_or_default();
        work.draft = draft;
    })
}

/// Replays the changes of a request on the same record and other parts.
pub(crate) fn replay_parts(work: &impl SharedWork, external: Box<ExternalParts>) -> Result<(), Error> {
    let base = work.with(|work| work.loaded.record().cloned());
    replay(work, base, Some(external), |work, draft| work.draft = draft)
}

/// Runs the application's closures outside any lock; changes made meanwhile are replayed after them.
fn replay(
    work: &impl SharedWork,
    base: Option<Arc<Record>>,
    external: Option<Box<ExternalParts>>,
    install: impl FnOnce(&mut Work, Draft),
) -> Result<(), Error> {
    let (mut draft, mut seen, mut install) = (Draft::default(), None, Some(install));
    loop {
        let (is_anew, ends_session, changes, now) = work.with(|work| {
            let (is_anew, changes, now) = work.changes.since(seen);
            (is_anew, work.changes.ends_session, changes, now)
        });
        if is_anew {
            draft = Draft::of(base.clone().filter(|_| !ends_session), external.clone());
        }
        draft.apply_all(&changes)?;
        seen = Some(now);
        let (is_installed, back) = work.with(|work| {
            if !work.changes.is_as_seen(now) {
                return (false, draft);
            }
            if let Some(install) = install.take() {
                install(work, draft);
            }
            (true, Draft::default())
        });
        if is_installed {
            return Ok(());
        }
        draft = back;
    }
}
