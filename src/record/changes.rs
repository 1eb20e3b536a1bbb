//! The changes of a request to its session, as a list that can be replayed on a newer record.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::external::Medium;
use super::json_text::JsonText;
use crate::error::Error;

/// The key of a value. Most are short and take no allocation.
pub(crate) type Key = SmolStr;

/// Computes the JSON text of a value from its stored key, or the name of its part, and the text before, if there was
/// one.
pub(crate) type UpdateFn = dyn Fn(&str, Option<&[u8]>) -> Result<Arc<[u8]>, Error> + Send + Sync;

/// The location of a value.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    /// Under a key of the record.
    Record(Key),
    /// A part stored outside the session's record.
    External(&'static str, Medium),
}

impl Location {
    /// Returns the stored key of the value, or the name of the part.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Record(key) => key,
            Self::External(part, _) => part,
        }
    }

    #[inline]
    pub(crate) fn update(self, update: Arc<UpdateFn>) -> Change {
        match self {
            Self::Record(key) => Change::Update { key, update },
            Self::External(part, medium) => Change::UpdateExternal { part, medium, update },
        }
    }

    pub(crate) fn remove(self) -> Change {
        match self {
            Self::Record(key) => Change::Remove { key },
            Self::External(part, medium) => Change::RemoveExternal { part, medium },
        }
    }
}

/// One change.
#[derive(Clone)]
pub(crate) enum Change {
    Set {
        key: Key,
        value: Arc<[u8]>,
    },
    Remove {
        key: Key,
    },
    /// Removes a value that is still the one that the request has seen. On a newer record another value stays.
    RemoveSeen {
        key: Key,
        seen: JsonText,
    },
    /// Removes every value.
    Clear,
    /// Computes a value from the one before. On a newer record it is computed again.
    Update {
        key: Key,
        update: Arc<UpdateFn>,
    },
    /// Computes a part outside the record from the one before. On newer state it is computed again.
    UpdateExternal {
        part: &'static str,
        medium: Medium,
        update: Arc<UpdateFn>,
    },
    /// Removes a part outside the record without decoding it.
    RemoveExternal {
        part: &'static str,
        medium: Medium,
    },
    /// Binds the session to a principal. Values of another principal are removed; those of an anonymous visitor stay,
    /// unless `fresh`.
    Login {
        principal: Arc<str>,
        fresh: bool,
    },
    /// The principal has reauthenticated.
    Reauthenticated,
    /// Sets or removes the label of the session.
    Label(Option<Arc<str>>),
    IdleTimeout(Option<Duration>),
    AbsoluteTimeout(Option<Duration>),
}

/// Shows the kind of change without its value.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { key, .. } => write!(f, "Set({key:?})"),
            Self::Remove { key } | Self::RemoveSeen { key, .. } => write!(f, "Remove({key:?})"),
            Self::Clear => f.write_str("Clear"),
            Self::Update { key, .. } => write!(f, "Update({key:?})"),
            Self::UpdateExternal { part, .. } => write!(f, "UpdateExternal({part:?})"),
            Self::RemoveExternal { part, .. } => write!(f, "RemoveExternal({part:?})"),
            Self::Login { fresh, .. } => write!(f, "Login(fresh: {fresh})"),
            Self::Reauthenticated => f.write_str("Reauthenticated"),
            Self::Label(_) => f.write_str("Label"),
            Self::IdleTimeout(timeout) => write!(f, "IdleTimeout({timeout:?})"),
            Self::AbsoluteTimeout(timeout) => write!(f, "AbsoluteTimeout({timeout:?})"),
        }
    }
}

impl Change {
    /// Returns `true` for a change of data, which a server error may discard, but not for a login or timeout.
    fn is_of_data(&self) -> bool {
        use Change::{Clear, Remove, RemoveExternal, RemoveSeen, Set, Update, UpdateExternal};
        matches!(
            self,
            Set { .. }
                | Remove { .. }
                | RemoveSeen { .. }
                | Clear
                | Update { .. }
                | UpdateExternal { .. }
                | RemoveExternal { .. }
        )
    }
}

impl Change {
    /// Returns `true` for a change of the session, but not of a part that needs none.
    pub(crate) fn is_of_session(&self) -> bool {
        use Change::{RemoveExternal, UpdateExternal};
        !matches!(
            self,
            UpdateExternal { medium: Medium::FreeCookie, .. } | RemoveExternal { medium: Medium::FreeCookie, .. }
        )
    }
}

/// Discarded changes. They own closures of the application, so the caller drops them outside any lock.
#[must_use = "drop it outside any lock: it owns closures of the application"]
#[derive(Debug, Default)]
pub(crate) struct Discarded(#[expect(dead_code, reason = "held for its drop alone")] SmallVec<[Change; 1]>);

/// The unsaved changes of a request, in order.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Most requests make one change.
    list: SmallVec<[Change; 1]>,
    /// The loaded session will be ended. The changes in the list came later and make a new session.
    pub(crate) ends_session: bool,
    /// A renewal of the ID was requested.
    pub(crate) renews: bool,
    /// The login continues from the session of another login, whose response may still reach the client: the ID of that
    /// session gets a grace.
    pub(crate) continues_login: bool,
    /// Number of changes in a write that is in progress, or whose reply was lost.
    attempted: Option<usize>,
    /// Counts all changes of the list except additions at its end.
    revision: u32,
}

/// A position in a list of changes, up to which it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    revision: u32,
    count: usize,
}

impl Changes {
    pub(crate) fn push(&mut self, change: Change) {
        self.list.push(change);
    }

    pub(crate) fn list(&self) -> &[Change] {
        &self.list
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty() && !self.ends_session && !self.renews
    }

    /// Returns whether a principal logged in.
    pub(crate) fn logs_in(&self) -> bool {
        self.list.iter().any(|change| matches!(change, Change::Login { .. }))
    }

    /// Returns whether the principal has reauthenticated.
    pub(crate) fn reauthenticates(&self) -> bool {
        self.list.iter().any(|change| matches!(change, Change::Reauthenticated))
    }

    /// Returns `true` if the principal has authenticated, which renews the ID without grace.
    pub(crate) fn authenticates(&self) -> bool {
        self.list.iter().any(|change| matches!(change, Change::Login { .. } | Change::Reauthenticated))
    }

    /// Discards all changes and ends the loaded session.
    pub(crate) fn end_session(&mut self) -> Discarded {
        let discarded = self.discard();
        self.ends_session = true;
        discarded
    }

    /// Discards all changes.
    pub(crate) fn discard(&mut self) -> Discarded {
        let revision = self.revision + 1;
        Discarded(mem::replace(self, Self { revision, ..Self::default() }).list)
    }

    /// Notes that all changes so far are about to be written.
    pub(crate) fn mark_attempted(&mut self) {
        self.attempted = Some(self.list.len());
    }

    /// Returns the number of changes in a write in progress.
    pub(crate) fn attempted(&self) -> Option<usize> {
        self.attempted
    }

    /// Returns those of them that change a part outside the record.
    pub(crate) fn attempted_of_part(&self, name: &str) -> Vec<Change> {
        use Change::{RemoveExternal, UpdateExternal};
        let is_of_part = |change: &&Change| matches!(change, UpdateExternal { part, .. } | RemoveExternal { part, .. } if *part == name);
        self.list.iter().take(self.attempted.unwrap_or(0)).filter(is_of_part).cloned().collect()
    }

    /// Takes out the changes that were written, and keeps later ones.
    #[inline]
    pub(crate) fn take_attempted(&mut self) -> Discarded {
        let Some(attempted) = self.attempted.take() else { return Discarded::default() };
        self.revision += 1;
        if attempted >= self.list.len() {
            return Discarded(mem::take(&mut self.list));
        }
        Discarded(self.list.drain(..attempted).collect())
    }

    /// Discards what the last takeover of a session of `principal` has discarded, and makes the takeover a plain login,
    /// for a session that the new principal has already.
    pub(crate) fn begin_at_takeover(&mut self, principal: Option<&Arc<str>>) -> Discarded {
        let is_login = |change: &Change| matches!(change, Change::Login { .. });
        let Some(last) = self.last_takeover(principal) else { return Discarded::default() };
        (self.revision, self.attempted) = (self.revision + 1, None);
        let mut index = 0;
        let (mut kept, discarded): (SmallVec<_>, _) = mem::take(&mut self.list).into_iter().partition(|change| {
            index += 1;
            index > last || !(change.is_of_data() || is_login(change))
        });
        if let Some(Change::Login { fresh, .. }) = kept.iter_mut().find(|change| is_login(change)) {
            *fresh = false;
        }
        self.list = kept;
        Discarded(discarded)
    }

    /// Returns the index of the last login of another principal, or of a fresh one.
    fn last_takeover<'c>(&'c self, mut principal: Option<&'c Arc<str>>) -> Option<usize> {
        let mut last = None;
        for (index, change) in self.list.iter().enumerate() {
            let Change::Login { principal: next, fresh } = change else { continue };
            if *fresh || principal.is_some_and(|former| former != next) {
                last = Some(index);
            }
            principal = Some(next);
        }
        last
    }

    /// Discards the changes of data.
    pub(crate) fn discard_data(&mut self) -> Discarded {
        self.revision += 1;
        self.attempted = self.attempted.map(|n| self.list.iter().take(n).filter(|change| !change.is_of_data()).count());
        let (discarded, kept) = mem::take(&mut self.list).into_iter().partition(Change::is_of_data);
        self.list = kept;
        Discarded(discarded)
    }

    /// Returns the changes after `seen`, and the position of the last. Returns all of them, and `true`, if the list no
    /// longer begins with those seen before.
    pub(crate) fn since(&self, seen: Option<Seen>) -> (bool, SmallVec<[Change; 1]>, Seen) {
        let now = Seen { revision: self.revision, count: self.list.len() };
        match seen.filter(|seen| seen.revision == now.revision) {
            Some(seen) => (false, self.list[seen.count..].iter().cloned().collect(), now),
            None => (true, self.list.iter().cloned().collect(), now),
        }
    }

    /// Returns whether the list has not changed since.
    pub(crate) fn is_as_seen(&self, seen: Seen) -> bool {
        (self.revision, self.list.len()) == (seen.revision, seen.count)
    }
}
