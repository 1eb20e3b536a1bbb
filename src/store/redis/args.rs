//! The arguments of scripts and commands.

use std::time::Duration;

use super::entry;
use crate::clock::{Timestamp, whole_millis};
use crate::store::Forward;

/// The longest time to live of a key. The server rejects longer ones.
const MAX_TTL: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Returns a time in the form that the scripts compare.
pub(super) fn bytes(time: Timestamp) -> [u8; 8] {
    time.as_millis().to_be_bytes()
}

/// Returns the time to live of an entry that expires at `expires_at`. The server's clock may differ from ours: whether
/// an entry has expired is decided by the deadline in it.
pub(super) fn ttl(expires_at: Timestamp, now: Timestamp) -> Vec<u8> {
    let left = expires_at.since(now).clamp(Duration::from_millis(1), MAX_TTL);
    whole_millis(left).to_string().into_bytes()
}

/// Returns the arguments of a script that deletes a session and leaves a forward, if there is one.
pub(super) fn deletion(forward: Option<&Forward>, now: Timestamp) -> [Vec<u8>; 3] {
    let [left, ttl] =
        forward.map_or_else(Default::default, |it| [entry::forward_of_ended(it), ttl(it.expires_at, now)]);
    [bytes(now).to_vec(), left, ttl]
}
