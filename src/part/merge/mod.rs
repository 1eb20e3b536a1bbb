//! Merges a request's change of a part with the stored part.
//!
//! A merge has three texts as the type encodes them: the part before the request, the part that the request wants, and
//! the stored part. The outcome is built from the stored text: everything that the request has not changed keeps its
//! bytes, such as fields that only a newer release knows, and the spelling of numbers.
//!
//! - Objects are merged field by field, collections row by row, sets element by element. If two requests have changed a
//!   list, our whole list wins.
//! - A removal is never undone by a change inside the removed value, whichever came first.
//! - Variants of an enum exclude each other: one of them wins as a whole.
//!
//! Everything here is a function of texts. [`questions`] determines their meaning to the type.

mod arrays;
mod collection;
mod extras;
mod objects;
mod questions;
mod rows;
mod shape;
mod sides;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;

pub(crate) use collection::Collection;
use extras::{Extras, harmless};
pub(crate) use questions::Codec;
use questions::Questions;
pub(crate) use rows::overlap;
use sides::{Merge, Sides};
use text::Path;

/// A change of a part: two texts of its type, in its words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TextChange<'t> {
    /// `None` if the text before is unknown.
    pub(crate) before: Option<&'t str>,
    pub(crate) after: &'t str,
    pub(crate) collections: &'t [Collection],
}

impl<'t> TextChange<'t> {
    /// Returns whether the two texts are the same to the type.
    pub(crate) fn is_empty(&self, codec: &dyn Codec) -> bool {
        self.before == Some(self.after)
            || self.merge(codec, self.after).is_same(self.after, &Path::default(), self.before, Some(self.after))
    }

    /// Applies the change to the `stored` text, which is `theirs` as the type encodes it.
    ///
    /// The caller checks whether the outcome decodes.
    pub(crate) fn apply(&self, codec: &dyn Codec, theirs: &str, stored: &str) -> String {
        let merge = self.merge(codec, theirs);
        let merged = merge.outcome(self.before, stored);
        let extras = merge.extras.take();
        if extras.is_empty() {
            return merged;
        }
        let wanted = self.merge(codec, theirs).outcome(self.before, theirs);
        let Some(meant) = codec.again(&wanted) else { return merged };
        let fits = |text: &str| {
            let read = codec.again(text);
            read.is_some_and(|read| {
                self.merge(codec, theirs).is_same(&meant, &Path::default(), Some(&read), Some(&meant))
            })
        };
        if fits(&merged) {
            return merged;
        }
        let outcome =
            |kept| Merge { extras: Extras::Only(kept), ..self.merge(codec, theirs) }.outcome(self.before, stored);
        harmless(extras, outcome, fits).unwrap_or(wanted)
    }

    fn merge<'c>(&self, codec: &'c dyn Codec, theirs: &'c str) -> Merge<'c>
    where
        't: 'c,
    {
        let Self { after, collections, .. } = *self;
        Merge { questions: Questions::new(codec), ours: after, theirs, collections, extras: Extras::default() }
    }
}

impl<'t> Merge<'t> {
    fn outcome(&self, before: Option<&'t str>, stored: &'t str) -> String {
        let sides = Sides { before, ours: Some(self.ours), theirs: Some(self.theirs), stored: Some(stored) };
        self.value(&Path::default(), sides).map_or_else(|| self.ours.to_owned(), Cow::into_owned)
    }
}
