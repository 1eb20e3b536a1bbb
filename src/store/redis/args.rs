//! The arguments of scripts and commands.

use std::time::Duration;

use crate::clock::{Timestamp, whole_millis};

/// The longest time to live of a key. The server rejects longer ones.
const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The time to live of the tombstone of a deleted successor: longer than any command can be in flight.
pub(super) const TOMBSTONE_TTL: Duration = Duration::from_secs(5 * 60);

/// Returns a time in the form that the scripts compare.
pub(super) fn bytes(time: Timestamp) -> [u8; 8] {
    time.as_millis().to_be_bytes()
}

/// Returns the time to live of an entry that expires at `expires_at`. The server's clock may differ from ours: whether
/// an entry has expired is decided by the deadline in it.
pub(super) fn ttl(expires_at: Timestamp, now: Timestamp) -> Vec<u8> {
    millis(expires_at.since(now).clamp(Duration::from_millis(1), MAX_TTL))
}

pub(super) fn millis(duration: Duration) -> Vec<u8> {
    whole_millis(duration).to_string().into_bytes()
}
