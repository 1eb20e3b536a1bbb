//! How each seal begins.

use super::key::KEY_ID_LEN;

/// The version of the format. A released version stays readable for ever: a new one is added next to it.
pub(super) const VERSION: u8 = 1;
/// Tells the associated data of this crate from that of any other use of the same key.
pub(super) const MAGIC: &[u8] = b"session-state";
pub(super) const HEADER_LEN: usize = 2 + KEY_ID_LEN;
