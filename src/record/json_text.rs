//! One JSON text, shared with the draft or record that holds it.

use std::fmt;
use std::sync::Arc;

use super::Record;
use super::values::Frame;

/// A JSON text that can be used without the draft or record it comes from, and without copying it.
#[derive(Clone)]
pub(crate) enum JsonText {
    Own(Arc<[u8]>),
    OfRecord(Arc<Record>, Frame),
}

impl JsonText {
    /// Returns the text of a value of a record.
    pub(crate) fn of(record: &Arc<Record>, key: &str) -> Option<Self> {
        let frame = record.values.find(key)?;
        Some(Self::OfRecord(Arc::clone(record), frame))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Own(text) => text,
            Self::OfRecord(record, frame) => &record.values.as_frames()[frame.value.clone()],
        }
    }
}

/// Shows only the length of the text.
impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonText({} bytes)", self.as_bytes().len())
    }
}
