//! Parts outside the record that a former release kept in it.
//!
//! Such a part is read from the record for as long as its present place has none. Its first change writes it to the
//! present place and removes it from the record, in one commit. If that place is a cookie, the copy stays until the
//! first change after the cookie has come back: the response that carries it may be lost.
//!
//! A part never moves into a cookie that outlives the session, which would show it to the next principal.

use std::sync::Arc;

use super::Draft;
use crate::record::changes::Key;
use crate::record::external::Medium;
use crate::record::json_text::JsonText;
use crate::record::key::RecordKey;

impl Draft {
    /// Returns the text of a part outside the record.
    pub(super) fn external_text(&self, part: &str, medium: Medium) -> Option<JsonText> {
        let external = self.external.as_ref().and_then(|external| external.text(part));
        external.or_else(|| self.text(&former_key(part, medium)?))
    }

    /// Sets a part outside the record.
    pub(super) fn put_external(&mut self, part: &'static str, medium: Medium, value: Arc<[u8]>) {
        let received = self.external.as_ref().and_then(|external| external.find(part));
        let has_come_back = received.is_some_and(|part| part.cookie.record.is_some());
        self.external_mut().put(part, medium, JsonText::Own(value));
        if medium != Medium::BoundCookie || has_come_back {
            self.forget_former(part, medium);
        }
    }

    /// Removes a part outside the record without decoding it.
    pub(super) fn reset_external(&mut self, part: &'static str, medium: Medium) {
        self.external_mut().reset(part, medium);
        self.forget_former(part, medium);
    }

    /// Returns whether the record still holds a part that lives elsewhere.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) fn is_unmoved(&self, part: &str, medium: Medium) -> bool {
        former_key(part, medium).is_some_and(|key| self.get(&key).is_some())
    }

    /// Does again what a later change of a part did to its copy in the record.
    pub(super) fn follow_former(&mut self, before: &Self, part: &str, medium: Medium) {
        if let Some(key) = former_key(part, medium) {
            self.put(&key, before.get(&key).map(Arc::from));
        }
    }

    fn forget_former(&mut self, part: &str, medium: Medium) {
        if let Some(key) = former_key(part, medium) {
            self.put(&key, None);
        }
    }
}

fn former_key(part: &str, medium: Medium) -> Option<Key> {
    (medium != Medium::FreeCookie).then(|| RecordKey::Part(part).stored().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::record::changes::Change;
    use crate::record::{Handle, Record, Values};

    fn record() -> Arc<Record> {
        let now = Timestamp::from_millis(0);
        let mut record = Record::new(Handle::from_bytes([0; 16]), now, now);
        record.values = Values::from_pairs([("@part", b"1".as_slice())]);
        Arc::new(record)
    }

    /// The part as the draft shows it, and the copy in the record.
    fn seen(draft: &Draft, medium: Medium) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let part = draft.external_text("part", medium).map(|text| text.as_bytes().to_vec());
        (part, draft.get("@part").map(<[u8]>::to_vec))
    }

    /// Appends a digit.
    fn append(medium: Medium) -> Change {
        let update = |_: &str, before: Option<&[u8]>| Ok([before.unwrap_or(b""), b"2"].concat().into());
        Change::UpdateExternal { part: "part", medium, update: Arc::new(update) }
    }

    #[test]
    fn a_change_during_a_write_of_the_record_moves_the_part_with_the_next_write() {
        let of = |text: &[u8]| Some(text.to_vec());
        let remove = |medium| Change::RemoveExternal { part: "part", medium };
        for (change, medium, after) in [
            (append(Medium::Store), Medium::Store, (of(b"12"), None)),
            (append(Medium::Tables), Medium::Tables, (of(b"12"), None)),
            (append(Medium::BoundCookie), Medium::BoundCookie, (of(b"12"), of(b"1"))),
            (append(Medium::FreeCookie), Medium::FreeCookie, (of(b"2"), of(b"1"))),
            (remove(Medium::Store), Medium::Store, (None, None)),
            (remove(Medium::BoundCookie), Medium::BoundCookie, (None, None)),
        ] {
            let mut draft = Draft::new(Some(record()));
            draft.apply(&change).expect("the change does not fail");
            assert_eq!(seen(&draft, medium), after, "{change:?} {medium:?}");
            // The write began before the change, so the written record still has the copy.
            draft.note_written(record(), None, &[change]);
            assert_eq!(seen(&draft, medium), after, "{medium:?}");
        }
    }
}
