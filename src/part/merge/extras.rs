//! Stored fields that the type does not have under their names.
//!
//! A newer release may have written them, and they must stay. Or the type reads them under an alias: then they are an
//! old name of one of its fields, and must not stay next to it. Only the type can tell.

use std::borrow::Cow;
use std::cell::RefCell;

use super::text::{Object, Path};

/// The place of such a field: the path of its object, and its name.
pub(super) type Extra<'t> = (Path<'t>, Cow<'t, str>);

/// The extras that stay in changed objects.
pub(super) enum Extras<'t> {
    /// All stay, and are recorded here.
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
    /// Returns the recorded extras.
    pub(super) fn take(&self) -> Vec<Extra<'t>> {
        match self {
            Self::Noted(noted) => noted.take(),
            Self::Only(_) => Vec::new(),
        }
    }

    /// Returns the stored object with the extras that stay.
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

/// Returns the extras that can stay: with them, the type reads the expected value from `outcome`.
///
/// Returns `None` if it does not even without extras.
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
