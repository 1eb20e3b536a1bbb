//! The values of a session, kept byte for byte.

use std::fmt;
use std::ops::Range;

use super::steps;
use super::wire::{Reader, length_at, put_bytes, size_of_number};

/// The values of a session: keys with JSON texts, in one run of bytes.
///
/// A value is parsed only when it is read; the others are copied unchanged, byte for byte. The bytes are a sequence of
/// frames: the key behind its length, the value behind its length.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Values {
    frames: Box<[u8]>,
}

/// The position of a key and its value in the frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The whole frame.
    pub(super) whole: Range<usize>,
    /// Its JSON text.
    pub(super) value: Range<usize>,
}

impl Values {
    /// Wraps frames that were written by [`as_frames`](Self::as_frames) or [`from_pairs`](Self::from_pairs).
    ///
    /// Returns `None` when they are truncated or a key is not UTF-8. The values are parsed as JSON only when they are
    /// read.
    #[must_use]
    pub fn from_frames(frames: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(frames);
        while !reader.rest().is_empty() {
            let key = reader.bytes()?;
            if !key.is_ascii() {
                std::str::from_utf8(key).ok()?;
            }
            reader.bytes()?;
        }
        Some(Self { frames: frames.into() })
    }

    /// Creates values from pairs of a key and a JSON text. Of duplicate keys the first wins.
    #[must_use]
    pub fn from_pairs<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p [u8])>) -> Self {
        let mut frames = Vec::new();
        for (key, value) in pairs {
            put_frame(&mut frames, key, value);
        }
        Self { frames: frames.into() }
    }

    /// Wraps frames that [`put_frame`] has just written.
    pub(super) fn from_written_frames(frames: Vec<u8>) -> Self {
        Self { frames: frames.into() }
    }

    /// Returns the frames, for storing them as they are.
    #[must_use]
    pub fn as_frames(&self) -> &[u8] {
        &self.frames
    }

    /// Returns the JSON text of a value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.find(key).map(|frame| &self.frames[frame.value])
    }

    /// Iterates over the keys and their JSON texts, in the order in which they were first set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.located().map(|(_, key, value)| (key, value))
    }

    /// Iterates over the keys and their JSON texts, with the start of each frame.
    pub(super) fn located(&self) -> impl Iterator<Item = (usize, &str, &[u8])> {
        let mut reader = Reader::new(&self.frames);
        std::iter::from_fn(move || {
            let start = self.frames.len() - reader.rest().len();
            Some((start, reader.bytes()?, reader.bytes()?))
        })
        .filter_map(|(start, key, value)| Some((start, std::str::from_utf8(key).ok()?, value)))
    }

    /// Returns whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Returns the values with the value of a key set or removed.
    pub(crate) fn with(&self, key: &str, value: Option<&[u8]>) -> Self {
        let frame = self.find(key).map_or(self.frames.len()..self.frames.len(), |frame| frame.whole);
        let mut frames = self.frames[..frame.start].to_vec();
        if let Some(value) = value {
            put_frame(&mut frames, key, value);
        }
        frames.extend_from_slice(&self.frames[frame.end..]);
        Self::from_written_frames(frames)
    }

    /// Returns the position of a key and its value.
    pub(super) fn find(&self, key: &str) -> Option<Frame> {
        let (frames, key) = (&*self.frames, key.as_bytes());
        let mut start = 0;
        loop {
            steps::count();
            let (key_length, key_starts) = length_at(frames, start)?;
            let key_ends = key_starts + key_length;
            let (value_length, value_starts) = length_at(frames, key_ends)?;
            let end = value_starts + value_length;
            // Keys of one session often have the same length and differ at the end: most need no full comparison.
            let found = &frames[key_starts..key_ends];
            if found.len() == key.len() && found.last() == key.last() && found == key {
                return Some(Frame { whole: start..end, value: value_starts..end });
            }
            start = end;
        }
    }

    /// Returns the frame that begins at `start`.
    pub(super) fn frame_at(&self, start: usize) -> Option<Frame> {
        let (key_length, key_starts) = length_at(&self.frames, start)?;
        let (value_length, value_starts) = length_at(&self.frames, key_starts + key_length)?;
        let end = value_starts + value_length;
        Some(Frame { whole: start..end, value: value_starts..end })
    }
}

/// Returns the size of a value's frame in bytes.
pub(super) fn frame_size(key: &str, value: &[u8]) -> usize {
    size_of_number(key.len()) + key.len() + size_of_number(value.len()) + value.len()
}

/// Appends the frame of a value.
pub(super) fn put_frame(frames: &mut Vec<u8>, key: &str, value: &[u8]) {
    put_bytes(frames, key.as_bytes());
    put_bytes(frames, value);
}

/// Shows only the size.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Values({} bytes)", self.frames.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_exact_key() {
        let values = Values::from_pairs([("a", b"1".as_slice()), ("A", b"2"), ("", b"3"), ("ab", b"4")]);
        for (key, value) in [("a", "1"), ("A", "2"), ("", "3"), ("ab", "4")] {
            assert_eq!(values.get(key), Some(value.as_bytes()), "{key}");
            let frame = values.find(key).expect("it is there");
            assert_eq!(&values.as_frames()[frame.value.clone()], value.as_bytes());
            let alone = Values::from_frames(&values.as_frames()[frame.whole]).expect("a single frame");
            assert_eq!(alone.iter().collect::<Vec<_>>(), [(key, value.as_bytes())]);
        }
        assert_eq!((values.get("b"), values.find("b")), (None, None));
        assert_eq!(values.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["a", "A", "", "ab"]);
    }

    #[test]
    fn frames_survive_a_round_trip_and_are_rejected_if_truncated() {
        let values = Values::from_pairs([("key", b"\"value\"".as_slice()), ("n", b"1")]);
        let frames = values.as_frames();
        assert_eq!(Values::from_frames(frames).as_ref(), Some(&values));
        let first_frame = frame_size("key", b"\"value\"");
        for cut in (1..frames.len()).filter(|cut| *cut != first_frame) {
            assert_eq!(Values::from_frames(&frames[..cut]), None, "cut at {cut}");
        }
        assert_eq!(Values::from_frames(&[1, 0xff, 1, b'1']), None, "a key that is not utf-8");
    }
}
