//! What a request did to its session: a list of changes that can be made again on a newer record.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::plan::Plan;
use crate::error::Error;

/// The key of a value. Most are short and take no allocation.
pub(crate) type Key = SmolStr;

/// Makes the JSON text of a value from the one before, if there was one.
pub(crate) type UpdateFn = dyn Fn(Option<&[u8]>) -> Result<Arc<[u8]>, Error> + Send + Sync;

/// Where a value is.
#[derive(Clone, Debug)]
pub(crate) enum At {
    /// Under a key of the record.
    Record(Key),
    /// Outside the record: a part with a place of its own.
    Outside(&'static str),
}

impl At {
    #[inline]
    pub(crate) fn update(self, update: Arc<UpdateFn>) -> Change {
        match self {
            Self::Record(key) => Change::Update { key, update },
            Self::Outside(part) => Change::Outside { part, update },
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
    /// Removes every value.
    Clear,
    /// Computes a value from the one before; on a newer record, from the newer one.
    Update {
        key: Key,
        update: Arc<UpdateFn>,
    },
    /// Computes a part that lives outside the record, from what it was before; on newer state, from the newer one.
    Outside {
        part: &'static str,
        update: Arc<UpdateFn>,
    },
    /// Binds the session to a principal. Values of another principal go; those of a visitor stay, unless `fresh`.
    Login {
        principal: Arc<str>,
        fresh: bool,
    },
    /// The principal has proved again who it is.
    Reauthenticated,
    /// Sets or removes what the session is called in lists.
    Label(Option<Arc<str>>),
    IdleTimeout(Option<Duration>),
    AbsoluteTimeout(Option<Duration>),
}

/// Shows which change it is, and no value.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { key, .. } => write!(f, "Set({key:?})"),
            Self::Remove { key } => write!(f, "Remove({key:?})"),
            Self::Clear => f.write_str("Clear"),
            Self::Update { key, .. } => write!(f, "Update({key:?})"),
            Self::Outside { part, .. } => write!(f, "Outside({part:?})"),
            Self::Login { fresh, .. } => write!(f, "Login(fresh: {fresh})"),
            Self::Reauthenticated => f.write_str("Reauthenticated"),
            Self::Label(_) => f.write_str("Label"),
            Self::IdleTimeout(timeout) => write!(f, "IdleTimeout({timeout:?})"),
            Self::AbsoluteTimeout(timeout) => write!(f, "AbsoluteTimeout({timeout:?})"),
        }
    }
}

impl Change {
    /// Whether the change is one of data, which a server error may discard. Logins and timeouts are not.
    fn is_of_data(&self) -> bool {
        use Change::{Clear, Outside, Remove, Set, Update};
        matches!(self, Set { .. } | Remove { .. } | Clear | Update { .. } | Outside { .. })
    }
}

/// All that a request asked for, in order.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Most requests make one change.
    list: SmallVec<[Change; 1]>,
    /// The session that was loaded is to end. What is in the list came later and makes a new session.
    pub(crate) ends_session: bool,
    /// A new ID was asked for.
    pub(crate) renews: bool,
    /// There has to be a session, even without values: something outside of it is bound to it.
    pub(crate) needs_session: bool,
    /// How many of the list were in a write whose reply has not come, if they have not been forgotten since.
    attempted: Option<usize>,
}

impl Changes {
    pub(crate) fn push(&mut self, change: Change) {
        self.list.push(change);
    }

    pub(crate) fn list(&self) -> &[Change] {
        &self.list
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty() && !self.ends_session && !self.renews && !self.needs_session
    }

    /// Whether a principal logged in.
    pub(crate) fn logs_in(&self) -> bool {
        self.list.iter().any(|change| matches!(change, Change::Login { .. }))
    }

    /// Whether a principal has proved again who it is.
    pub(crate) fn reauthenticates(&self) -> bool {
        self.list.iter().any(|change| matches!(change, Change::Reauthenticated))
    }

    /// Whether a principal has proved who it is, which takes a new ID and lets the old one die at once.
    pub(crate) fn authenticates(&self) -> bool {
        self.list.iter().any(|change| matches!(change, Change::Login { .. } | Change::Reauthenticated))
    }

    /// Adds what was asked for later.
    pub(crate) fn append(&mut self, later: Self) {
        if later.ends_session {
            *self = later;
        } else {
            self.list.extend(later.list);
            self.renews |= later.renews;
            self.needs_session |= later.needs_session;
        }
    }

    /// Forgets all changes and ends the loaded session.
    pub(crate) fn end_session(&mut self) {
        *self = Self { ends_session: true, ..Self::default() };
    }

    /// Notes that all there is now is about to be written.
    pub(crate) fn mark_attempted(&mut self) {
        self.attempted = Some(self.list.len());
    }

    /// Forgets what has been written as it was [planned](Plan), and keeps what was asked for later.
    pub(crate) fn forget_attempted(&mut self, plan: Plan) {
        let Some(attempted) = self.attempted.take() else { return };
        self.list.drain(..attempted.min(self.list.len()));
        self.ends_session &= plan != Plan::Replace;
        self.renews &= !matches!(plan, Plan::Renew { .. });
        self.needs_session = false;
    }

    /// Forgets the changes of a part that lives outside the record: they have been written.
    pub(crate) fn forget_part(&mut self, name: &str) {
        let is_of_part = |change: &Change| matches!(change, Change::Outside { part, .. } if *part == name);
        self.attempted = self.attempted.map(|n| self.list.iter().take(n).filter(|change| !is_of_part(change)).count());
        self.list.retain(|change| !is_of_part(change));
    }

    /// Forgets the changes of data.
    pub(crate) fn discard_data(&mut self) {
        self.attempted = self.attempted.map(|n| self.list.iter().take(n).filter(|change| !change.is_of_data()).count());
        self.list.retain(|change| !change.is_of_data());
        self.needs_session = false;
    }
}
