//! The keys of a record.

use std::borrow::Cow;

/// A key of a record, by class.
///
/// The first character decides, so keys of different classes never collide:
///
/// | stored key | meaning |
/// | --- | --- |
/// | `@name` | the part `name` |
/// | `#name` | `name`, reserved by the crate |
/// | `=key` | the application's `key`, which begins with `@`, `#` or `=` itself |
/// | any other | the application's key, as it is |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKey<'k> {
    /// A key of the application's values.
    Application(&'k str),
    /// The name of a part that lives in the record.
    Part(&'k str),
    /// A name that the crate reserves, such as references to parts outside the record.
    Reserved(&'k str),
}

const PART: char = '@';
const RESERVED: char = '#';
const ESCAPED: char = '=';

impl<'k> RecordKey<'k> {
    /// Parses a stored key. Every string is a valid key.
    #[inline]
    pub(crate) fn parse(stored: &'k str) -> Self {
        let rest = || &stored[1..];
        match first(stored) {
            Some(PART) => Self::Part(rest()),
            Some(RESERVED) => Self::Reserved(rest()),
            Some(ESCAPED) => Self::Application(rest()),
            _ => Self::Application(stored),
        }
    }

    /// Returns the key as it is stored. Most keys of the application are stored as they are.
    #[inline]
    pub(crate) fn stored(self) -> Cow<'k, str> {
        match self {
            Self::Application(key) => match first(key) {
                Some(PART | RESERVED | ESCAPED) => Cow::Owned(format!("{ESCAPED}{key}")),
                _ => Cow::Borrowed(key),
            },
            Self::Part(name) => Cow::Owned(format!("{PART}{name}")),
            Self::Reserved(name) => Cow::Owned(format!("{RESERVED}{name}")),
        }
    }

    /// Returns the key of the application's value, or `None` for anything else.
    pub(crate) fn application(self) -> Option<&'k str> {
        if let Self::Application(key) = self { Some(key) } else { None }
    }
}

/// Returns the first character of a key if it is ASCII.
#[inline]
fn first(key: &str) -> Option<char> {
    key.as_bytes().first().map(|byte| char::from(*byte)).filter(char::is_ascii)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// All strings of up to four of these characters, markers and others.
    fn names() -> Vec<String> {
        let mut names = vec![String::new()];
        for length in 0..4 {
            let longer = names.iter().filter(|name| name.chars().count() == length);
            let longer: Vec<_> =
                longer.flat_map(|name| ['@', '#', '=', 'x', '\u{e9}'].map(|last| format!("{name}{last}"))).collect();
            names.extend(longer);
        }
        names
    }

    #[test]
    fn keys_survive_a_round_trip_and_never_collide() {
        let names = names();
        assert_eq!(names.len(), 1 + 5 + 25 + 125 + 625);
        let mut stored = HashMap::new();
        for name in &names {
            for key in [RecordKey::Application(name), RecordKey::Part(name), RecordKey::Reserved(name)] {
                let text = key.stored().into_owned();
                assert_eq!(RecordKey::parse(&text), key, "{text:?}");
                assert_eq!(stored.insert(text.clone(), key), None, "{text:?} stands for two things");
            }
        }
    }

    #[test]
    fn the_first_character_decides() {
        let stored = |key: RecordKey<'_>| key.stored().into_owned();
        assert_eq!(stored(RecordKey::Part("cart")), "@cart");
        assert_eq!(stored(RecordKey::Part("@x")), "@@x");
        assert_eq!(stored(RecordKey::Application("@x")), "=@x");
        assert_eq!(stored(RecordKey::Application("=")), "==");
        assert_eq!(stored(RecordKey::Application("cart")), "cart");
        assert!(matches!(RecordKey::Application("a@").stored(), Cow::Borrowed("a@")));
        assert_eq!(RecordKey::parse("@cart").application(), None);
    }
}
