//! The pure core of a session: its ID, its record, the changes of a request, its lifetime, and the plan for a commit.
//!
//! Everything here is pure: no I/O, no async, no HTTP, and time is an argument.
//!
//! - [`id`]: the secret [`SessionId`](id::SessionId), the [`StoreKey`] of its record, the public [`Handle`].
//! - [`key`]: the keys of a record: values of the application, parts, reserved names.
//! - [`values`]: the values of a session, byte for byte; `codec` and `json` encode them.
//! - [`changes`]: the changes of a request, as a list that can be replayed on a newer record.
//! - [`draft`]: a record as the request sees it, with its own changes; `overlay`: the changed values; [`external`]: the
//!   parts outside the record.
//! - `version`: the version distinguishes writes; the generation distinguishes requests from before and after a login.
//! - [`lifetime`]: idle and absolute timeouts, touches and renewals.
//! - [`plan`]: the single action at the end of the request.

pub(crate) mod changes;
mod codec;
pub(crate) mod draft;
pub(crate) mod external;
pub(crate) mod id;
mod json;
pub(crate) mod json_text;
pub(crate) mod key;
pub(crate) mod lifetime;
mod overlay;
pub(crate) mod plan;
mod size;
mod steps;
pub(crate) mod values;
pub(crate) mod version;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;

pub use codec::DecodeRecordError;
pub use id::{Handle, ParseHandleError, StoreKey};
pub use lifetime::Lifetime;
pub use values::Values;
pub use version::{Generation, Version};

/// One session as a store keeps it: its values and the layer's metadata.
///
/// Applications do not see records, they see a [`Session`](crate::Session). A [`Store`](crate::store::Store) writes
/// them as they are: field by field, or in the form of [`encode`](Self::encode).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The public name of the session. It stays the same when the ID is renewed and grants no access.
    pub handle: Handle,
    /// When the session began, or its principal logged in. The absolute timeout counts from here.
    pub created_at: Timestamp,
    /// When the session got its current ID.
    pub renewed_at: Timestamp,
    /// When the session was last used, to within the touch interval. The idle timeout counts from here.
    pub last_seen_at: Timestamp,
    /// When the session expires unless it is used again. A store never returns a record at or after this time.
    pub expires_at: Timestamp,
    /// The session's own idle timeout, instead of the layer's.
    pub idle_timeout: Option<Duration>,
    /// The session's own absolute timeout, instead of the layer's.
    pub absolute_timeout: Option<Duration>,
    /// The principal that is logged in.
    pub principal: Option<Arc<str>>,
    /// When the principal last logged in or reauthenticated.
    pub authenticated_at: Option<Timestamp>,
    /// The label of the session in lists, such as the name of a device.
    pub label: Option<Arc<str>>,
    /// Changes with each create, update and renewal, and not with a touch.
    pub version: Version,
    /// Changes with each login, takeover and reauthentication.
    pub generation: Generation,
    /// The values, each as JSON.
    pub values: Values,
}

impl Record {
    /// Creates the empty record of a session that begins now. A store sets its fields to those of a stored record.
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
            version: Version::FIRST,
            generation: Generation::default(),
            values: Values::default(),
        }
    }

    /// Returns whether the record has expired at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }
}

/// Does not show values, the principal or the label, which may be personal data.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("handle", &self.handle)
            .field("created_at", &self.created_at)
            .field("last_seen_at", &self.last_seen_at)
            .field("expires_at", &self.expires_at)
            .field("version", &self.version)
            .field("generation", &self.generation)
            .field("values", &self.values)
            .finish_non_exhaustive()
    }
}
