//! What is known of a part besides its value.

use std::time::SystemTime;

use crate::part::PartPlace;

/// The place, size and times of a part; see [`Part::info`](crate::Part::info).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartInfo {
    /// Where the part lives.
    pub place: PartPlace,
    /// How many bytes of JSON it was when it was loaded; 0 if there was none.
    pub size: usize,
    /// When it was first stored, or the session it lives with began.
    pub created_at: Option<SystemTime>,
    /// When it expires unless it is used again. `None` for one that is not stored.
    pub expires_at: Option<SystemTime>,
}
