//! Parts that live outside the record: as they were loaded, and as a request has changed them.

use std::fmt;
use std::sync::Arc;

use super::Handle;
use super::values::JsonText;

/// The parts of a session that live outside its record and that a request has asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outside {
    parts: Vec<OutsidePart>,
    /// What the session that the request makes is going to be called, once a part of it has been stored.
    pub(crate) new_session: Option<Handle>,
}

/// One of them. Its values are JSON texts.
#[derive(Clone)]
pub(crate) struct OutsidePart {
    pub(crate) name: &'static str,
    /// What was loaded.
    pub(crate) base: Option<Arc<[u8]>>,
    /// What it is now.
    pub(crate) value: Option<Arc<[u8]>>,
    /// The version of the record that it has for itself, if it was loaded from one.
    pub(crate) version: Option<u64>,
}

impl OutsidePart {
    pub(crate) fn is_changed(&self) -> bool {
        self.value != self.base
    }
}

impl Outside {
    /// Returns a part that was loaded, or was written to without being loaded.
    pub(crate) fn find(&self, name: &str) -> Option<&OutsidePart> {
        self.parts.iter().find(|part| part.name == name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &OutsidePart> {
        self.parts.iter()
    }

    pub(crate) fn text(&self, name: &str) -> Option<JsonText> {
        self.find(name)?.value.clone().map(JsonText::Own)
    }

    /// Bases a part on what was loaded. What was changed before is gone.
    pub(crate) fn load(&mut self, name: &'static str, value: Option<Arc<[u8]>>, version: Option<u64>) {
        *self.part(name) = OutsidePart { name, base: value.clone(), value, version };
    }

    pub(crate) fn put(&mut self, name: &'static str, value: Arc<[u8]>) {
        self.part(name).value = Some(value);
    }

    /// Empties all parts: the session that they were loaded from is not the request's any more.
    pub(crate) fn forget(&mut self) {
        self.parts.iter_mut().for_each(|part| *part = OutsidePart::empty(part.name));
        self.new_session = None;
    }

    /// Whether a part differs from what was loaded.
    pub(crate) fn is_changed(&self) -> bool {
        self.parts.iter().any(OutsidePart::is_changed)
    }

    /// Whether there is anything that a new session would be made for.
    pub(crate) fn has_content(&self) -> bool {
        self.parts.iter().any(|part| part.value.is_some())
    }

    /// Returns the parts as they are based on now, once they have been written.
    pub(crate) fn committed(&self) -> Self {
        let parts = self.parts.iter().map(|part| OutsidePart { base: part.value.clone(), ..part.clone() });
        Self { parts: parts.collect(), new_session: None }
    }

    fn part(&mut self, name: &'static str) -> &mut OutsidePart {
        let place = self.parts.iter().position(|part| part.name == name).unwrap_or_else(|| {
            self.parts.push(OutsidePart::empty(name));
            self.parts.len() - 1
        });
        &mut self.parts[place]
    }
}

impl OutsidePart {
    fn empty(name: &'static str) -> Self {
        Self { name, base: None, value: None, version: None }
    }
}

/// Shows which part it is, and no value.
impl fmt::Debug for OutsidePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_changed() { "changed" } else { "as loaded" };
        write!(f, "{:?} {what}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Option<Arc<[u8]>> {
        Some(text.as_bytes().into())
    }

    #[test]
    fn a_part_is_changed_until_it_is_written_or_put_back_as_it_was() {
        let mut outside = Outside::default();
        outside.load("cart", json("1"), Some(7));
        assert!(!outside.is_changed());
        outside.put("cart", json("2").expect("a text"));
        assert!(outside.is_changed());
        let committed = outside.committed();
        assert!(!committed.is_changed() && committed.find("cart").is_some_and(|part| part.base == json("2")));
        outside.put("cart", json("1").expect("a text"));
        assert!(!outside.is_changed());
    }

    #[test]
    fn what_is_forgotten_is_empty_and_no_change() {
        let mut outside = Outside::default();
        outside.load("cart", json("1"), Some(7));
        outside.put("draft", json("2").expect("a text"));
        outside.forget();
        assert!(!outside.is_changed() && !outside.has_content());
        assert!(outside.find("cart").is_some_and(|part| part.version.is_none()));
    }
}
