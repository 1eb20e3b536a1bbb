//! Parts outside the record that a former release kept in it.
//!
//! Such a part is read from the record for as long as its present place has none. Its first change writes it to the
//! present place and removes it from the record, in one commit. A copy that a part in a cookie leaves behind stays until
//! the cookie comes back: the response that carries it may be lost.
//!
//! A cookie without a session is no heir: it would outlive the session, and show the part to the next principal.

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
        self.external_mut().put(part, medium, JsonText::Own(value));
        if medium != Medium::BoundCookie {
            self.forget_former(part, medium);
        }
    }

    /// Removes a part outside the record without decoding it.
    pub(super) fn reset_external(&mut self, part: &'static str, medium: Medium) {
        self.external_mut().reset(part, medium);
        self.forget_former(part, medium);
    }

    /// Returns the key of a part that the record still holds although it lives elsewhere.
    pub(crate) fn unmoved(&self, part: &str, medium: Medium) -> Option<Key> {
        former_key(part, medium).filter(|key| self.get(key).is_some())
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
