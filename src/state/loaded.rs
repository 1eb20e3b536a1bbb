//! What a request has loaded.

use std::sync::Arc;

use crate::record::id::SessionId;
use crate::record::{Generation, Handle, Record};

/// The loaded state that a request is based on.
#[derive(Debug, Default)]
pub(crate) enum Loaded {
    /// No live session.
    #[default]
    Nothing,
    /// A session in a store.
    Stored(StoredSession),
    /// A session in the client's cookie.
    Sealed(SealedSession),
    /// The session that the request came with has ended meanwhile, or its ID has died in another request. Nothing more
    /// is written for this request: it could take the place of what that other request began.
    Ended,
}

/// A session that was loaded from a store.
#[derive(Clone, Debug)]
pub(crate) struct StoredSession {
    pub(crate) record: Arc<Record>,
    pub(crate) id: SessionId,
    pub(crate) client: ClientId,
}

/// Which ID the client holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientId {
    /// This one.
    Current,
    /// An older one that still leads here: the response carries this one.
    Older,
    /// One that died while the request was under way: the client must not learn this one.
    Dead,
}

/// A session that came in a cookie.
#[derive(Debug)]
pub(crate) struct SealedSession {
    pub(crate) record: Arc<Record>,
    /// It is sealed with a key that is no longer the primary one.
    pub(crate) needs_seal: bool,
}

/// Which session something belongs to, and since which login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) session: Handle,
    pub(crate) generation: Generation,
}

impl Binding {
    pub(crate) fn of(record: &Record) -> Self {
        Self { session: record.handle, generation: record.generation }
    }

    /// Returns what a seal is bound to.
    pub(crate) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(self.session.as_bytes());
        bytes[16..].copy_from_slice(&self.generation.as_u64().to_be_bytes());
        bytes
    }
}

impl Loaded {
    pub(crate) fn record(&self) -> Option<&Arc<Record>> {
        match self {
            Self::Nothing | Self::Ended => None,
            Self::Stored(stored) => Some(&stored.record),
            Self::Sealed(sealed) => Some(&sealed.record),
        }
    }

    pub(super) fn record_mut(&mut self) -> Option<&mut Arc<Record>> {
        match self {
            Self::Nothing | Self::Ended => None,
            Self::Stored(stored) => Some(&mut stored.record),
            Self::Sealed(sealed) => Some(&mut sealed.record),
        }
    }

    pub(crate) fn stored(&self) -> Option<&StoredSession> {
        if let Self::Stored(stored) = self { Some(stored) } else { None }
    }

    pub(super) fn needs_seal(&self) -> bool {
        matches!(self, Self::Sealed(SealedSession { needs_seal: true, .. }))
    }

    /// Whether the client has to be told an ID.
    pub(crate) fn tells_id(&self) -> bool {
        matches!(self, Self::Stored(StoredSession { client: ClientId::Older, .. }))
    }
}
