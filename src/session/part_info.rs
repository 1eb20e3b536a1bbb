//! Metadata of a part.

use std::time::SystemTime;

use crate::part::PartPlace;

/// The place, size and times of a part; see [`Part::info`](crate::Part::info).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartInfo {
    /// Where the part lives.
    pub place: PartPlace,
    /// Its size when it was loaded, in bytes of JSON; 0 if there was none.
    pub size: usize,
    /// When it was first stored, or when its session began.
    pub created_at: Option<SystemTime>,
    /// When it expires unless it is used again. `None` if it is not stored.
    pub expires_at: Option<SystemTime>,
}
