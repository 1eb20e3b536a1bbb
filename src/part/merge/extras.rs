//! Stored fields that the type does not have under their names.
//!
//! A newer release may have written them, and they are to stay. Or the type reads them under an alias: then they are
//! what one of its own fields was once called, and must not stand beside it. Only the type knows which.

use std::borrow::Cow;
use std::cell::RefCell;

use super::text::{Object, Path};

/// Where such a field is: in which object, and under which name.
pub(super) type Extra<'t> = (Path<'t>, Cow<'t, str>);

/// Which of them stay in the objects that are changed.
pub(super) enum Extras<'t> {
    /// They stay, and are noted here.
    Noted(RefCell<Vec<Extra<'t>>>),
    /// Only these stay, and in their objects every field of the type is written under its own name.
    Only(Vec<Extra<'t>>),
}

impl Default for Extras<'_> {
    fn default() -> Self {
        Self::Noted(RefCell::default())
    }
}

impl<'t> Extras<'t> {
    /// Returns those that were noted.
    pub(super) fn take(&self) -> Vec<Extra<'t>> {
        match self {
            Self::Noted(noted) => noted.take(),
            Self::Only(_) => Vec::new(),
        }
    }

    /// Returns the stored object with those of its extras that stay.
    pub(super) fn choose(
        &self,
        path: &Path<'t>,
        stored: Object<'t>,
        theirs: &Object<'t>,
        ours: &Object<'t>,
    ) -> Object<'t> {
        let is_extra = |name: &str| !theirs.has(name) && !ours.has(name);
        let at = |name: &Cow<'t, str>| (path.clone(), name.clone());
        match self {
            Self::Noted(noted) => {
                let extras = stored.fields().iter().filter(|field| is_extra(&field.name));
                noted.borrow_mut().extend(extras.map(|field| at(&field.name)));
                stored
            }
            Self::Only(kept) => {
                let stays = |name: &Cow<'t, str>| !is_extra(name) || kept.contains(&at(name));
                let kept = stored.fields().iter().filter(|field| stays(&field.name));
                let own = theirs.fields().iter().filter(|field| !stored.has(&field.name));
                Object::of(kept.chain(own).cloned().collect())
            }
        }
    }
}

/// Returns the extras that can stay: with them, `outcome` is a text of which the type reads what it should.
///
/// Returns `None` if even without any it is not.
pub(super) fn harmless<'t>(
    extras: Vec<Extra<'t>>,
    outcome: impl Fn(Vec<Extra<'t>>) -> String,
    fits: impl Fn(&str) -> bool,
) -> Option<String> {
    let mut kept = Vec::new();
    let mut text = Some(outcome(Vec::new())).filter(|text| fits(text))?;
    for extra in extras {
        kept.push(extra);
        let with_it = outcome(kept.clone());
        if fits(&with_it) {
            text = with_it;
        } else {
            kept.pop();
        }
    }
    Some(text)
}
