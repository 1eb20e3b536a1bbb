//! What a session is: its ID, its record, what a request changes in it, how long it lives, and what is to be done
//! about it at the end of a request.
//!
//! Everything here is pure: no I/O, no waiting, no HTTP, and time is an argument.
//!
//! - [`id`]: the secret [`SessionId`](id::SessionId), the [`StoreKey`] it is kept under, the public [`Handle`].
//! - [`values`]: the values of a session, in the bytes they came in; `codec` and `json` write them down.
//! - [`changes`]: what a request did, as a list that can be replayed on a newer record.
//! - [`draft`]: a record as the request sees it, its own changes included; [`outside`]: the parts that live elsewhere.
//! - [`lifetime`]: idle and absolute timeouts, touches and renewals.
//! - [`plan`]: from all of that, the one thing to do at the end of the request.

pub(crate) mod changes;
mod codec;
pub(crate) mod draft;
pub(crate) mod id;
mod json;
pub(crate) mod lifetime;
pub(crate) mod outside;
pub(crate) mod plan;
pub(crate) mod values;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;

pub use codec::DecodeRecordError;
pub use id::{Handle, ParseHandleError, StoreKey};
pub use lifetime::Lifetime;
pub use values::Values;

/// One session as a store keeps it: its values and what the layer knows about it.
///
/// Applications do not see records, they see a [`Session`](crate::Session). A [`Store`](crate::store::Store) writes
/// them as they are: field by field, or in the form of [`encode`](Self::encode).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The public name of the session. It stays the same when the ID is renewed and opens nothing.
    pub handle: Handle,
    /// When the session began, or its principal logged in. The absolute timeout counts from here.
    pub created_at: Timestamp,
    /// When the session got the ID it has now.
    pub renewed_at: Timestamp,
    /// When the session was last used, to within the touch interval. The idle timeout counts from here.
    pub last_seen_at: Timestamp,
    /// When the session ends if it is not used again. A store never returns a record at or after this time.
    pub expires_at: Timestamp,
    /// The session's own idle timeout, instead of the layer's.
    pub idle_timeout: Option<Duration>,
    /// The session's own absolute timeout, instead of the layer's.
    pub absolute_timeout: Option<Duration>,
    /// Who is logged in.
    pub principal: Option<Arc<str>>,
    /// When the principal logged in, or last proved again who it is.
    pub authenticated_at: Option<Timestamp>,
    /// What the application calls the session in lists, such as the name of a device.
    pub label: Option<Arc<str>>,
    /// Tells what was written from what was written before and from what another request writes at the same time: another
    /// number with each create, update and renewal, always below 2^63. Only whether two are equal means anything. A touch
    /// leaves it.
    pub version: u64,
    /// The values, each as JSON.
    pub values: Values,
}

impl Record {
    /// Makes the empty record of a session that begins now, as a starting point for the fields of a stored one.
    #[must_use]
    pub fn new(handle: Handle, now: Timestamp, expires_at: Timestamp) -> Self {
        Self {
            handle,
            created_at: now,
            renewed_at: now,
            last_seen_at: now,
            expires_at,
            idle_timeout: None,
            absolute_timeout: None,
            principal: None,
            authenticated_at: None,
            label: None,
            version: 1,
            values: Values::default(),
        }
    }

    /// Whether the record has expired at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }
}

/// Returns the version of the write that follows on a version: how many writes there were in the lower 31 bits, and above
/// them a mark that tells it from another write of the same count. It fits a signed number.
pub(crate) fn version_after(before: u64, mark: u32) -> u64 {
    const COUNT: u64 = (1 << 31) - 1;
    u64::from(mark) << 31 | (before + 1) & COUNT
}

/// Shows no value, no principal and no label: all may be personal.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("handle", &self.handle)
            .field("created_at", &self.created_at)
            .field("last_seen_at", &self.last_seen_at)
            .field("expires_at", &self.expires_at)
            .field("version", &self.version)
            .field("values", &self.values)
            .finish_non_exhaustive()
    }
}
