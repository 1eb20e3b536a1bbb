//! The loaded session of a request.

use std::sync::Arc;

use super::at_rest::Form;
use crate::clock::Timestamp;
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
    /// Another request has ended the session during this one, or renewed its ID without grace. This request writes
    /// nothing more: a write could overwrite the session that the other request began.
    Ended,
    /// The ID that the request came with has just died. Nothing is written for this request, as in
    /// [`Ended`](Self::Ended), unless it logs in. If a login has replaced the ID by a `successor`, only the same
    /// principal can log in. The session may go on under another ID: then a logout is not done.
    Dead { successor: Option<Box<SessionId>>, may_go_on: bool },
}

/// A session that was loaded from a store.
#[derive(Clone, Debug)]
pub(crate) struct StoredSession {
    pub(crate) record: Arc<Record>,
    pub(crate) id: SessionId,
    pub(crate) client: ClientId,
    pub(super) form: Form,
}

impl StoredSession {
    /// Returns a session whose record is in the form of the layer's writes.
    pub(super) fn new(record: Arc<Record>, id: SessionId, client: ClientId) -> Self {
        Self { record, id, client, form: Form::Current }
    }
}

/// Which ID the client holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientId {
    /// This one.
    Current,
    /// An older one that still leads here: the response carries this one.
    Older,
    /// One that died during the request: the client must not learn this one.
    Dead,
}

/// A session that came in a cookie.
#[derive(Debug)]
pub(crate) struct SealedSession {
    pub(crate) record: Arc<Record>,
    /// Whether it was sealed with a fallback key.
    pub(crate) needs_seal: bool,
    /// When the request has loaded it.
    pub(crate) loaded_at: Timestamp,
    /// A login has just taken this anonymous session along: the client has another cookie, or is about to get it.
    pub(crate) is_taken_along: bool,
}

/// A session and the generation of its last login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) session: Handle,
    pub(crate) generation: Generation,
}

impl Binding {
    pub(crate) fn of(record: &Record) -> Self {
        Self { session: record.handle, generation: record.generation }
    }

    /// Returns the binding of a session before its first login, if it has had only one.
    pub(crate) fn before_first_login(record: &Record) -> Option<Self> {
        record.generation.is_first().then(|| Self { session: record.handle, generation: Generation::default() })
    }

    /// Returns the bytes that a seal is bound to.
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
            Self::Nothing | Self::Ended | Self::Dead { .. } => None,
            Self::Stored(stored) => Some(&stored.record),
            Self::Sealed(sealed) => Some(&sealed.record),
        }
    }

    pub(super) fn record_mut(&mut self) -> Option<&mut Arc<Record>> {
        match self {
            Self::Nothing | Self::Ended | Self::Dead { .. } => None,
            Self::Stored(stored) => Some(&mut stored.record),
            Self::Sealed(sealed) => Some(&mut sealed.record),
        }
    }

    pub(crate) fn stored(&self) -> Option<&StoredSession> {
        if let Self::Stored(stored) = self { Some(stored) } else { None }
    }

    /// Returns when the request has loaded the session from its cookie.
    pub(super) fn sealed_at(&self) -> Option<Timestamp> {
        if let Self::Sealed(sealed) = self { Some(sealed.loaded_at) } else { None }
    }

    /// Returns whether a login of another request has just taken the session along.
    pub(super) fn is_taken_along(&self) -> bool {
        matches!(self, Self::Sealed(SealedSession { is_taken_along: true, .. }))
    }

    /// Notes that a login of another request has just taken the session along.
    pub(super) fn note_taken_along(&mut self) {
        if let Self::Sealed(sealed) = self {
            sealed.is_taken_along = true;
        }
    }

    /// Returns the ID that has just replaced the request's in a login.
    pub(super) fn replaced_by(&self) -> Option<&SessionId> {
        if let Self::Dead { successor, .. } = self { successor.as_deref() } else { None }
    }

    /// Returns whether the session that the request came with may go on under an ID or handle that it does not have.
    pub(super) fn may_go_on(&self) -> bool {
        matches!(self, Self::Dead { may_go_on: true, .. }) || self.is_taken_along()
    }

    pub(super) fn needs_seal(&self) -> bool {
        match self {
            Self::Sealed(sealed) => sealed.needs_seal,
            Self::Stored(stored) => stored.form == Form::Unsealed,
            Self::Nothing | Self::Ended | Self::Dead { .. } => false,
        }
    }

    /// Returns `true` if the response must carry the ID.
    pub(crate) fn tells_id(&self) -> bool {
        matches!(self, Self::Stored(StoredSession { client: ClientId::Older, .. }))
    }
}
