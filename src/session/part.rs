//! [`Part<T>`]: one typed part of the session, in the hands of a handler.

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::SystemTime;

use http::Extensions;
use serde_json::Value;

use super::session::{Main, PART_PREFIX};
use super::{SessionLoader, Shared, from_json, to_json};
use crate::error::Error;
use crate::part::{Collection, PartPlace, Patch, SessionPart};
use crate::record::changes::At;
use crate::record::values::JsonText;
use crate::state::OutsidePlace;

/// A part of the session of the visitor who sent a request.
///
/// As an argument of a handler it loads the part, wherever it lives. It can be used like a `&mut T`. When it is dropped
/// it is written back, if its value has changed, and of an object only the fields that did: so nodes that run different
/// releases lose no field of each other. As with [`Session`](crate::Session), what is written is saved before the
/// response is sent.
///
/// A request has one `Part<T>` of a type at a time; a second one is an error, never a deadlock.
///
/// # Examples
///
/// ```
/// use session_state::{Part, SessionPart};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Cart { lines: Vec<String> }
/// # impl SessionPart for Cart { const NAME: &'static str = "cart"; }
///
/// async fn empty(mut cart: Part<Cart>) {
///     cart.lines.clear();
/// }
///
/// async fn add(mut cart: Part<Cart>, sku: String) {
///     // Two requests at once both get their line in: the closure runs again on what the other one left.
///     cart.update(move |cart| cart.lines.push(sku.clone()));
/// }
/// ```
///
/// # Panics
///
/// Never, but the other way round: when the handler panics while it holds the part, nothing is written.
pub struct Part<T: SessionPart, M = Main> {
    value: T,
    /// The JSON that `value` was made of, before it was changed through `DerefMut`.
    base: Option<JsonText>,
    is_touched: bool,
    pub(super) held: Held,
    marker: PhantomData<fn() -> M>,
}

/// A part that is in use until this is dropped, even if the part's own code panics while it is read or written.
pub(super) struct Held {
    pub(super) shared: Arc<Shared>,
    part: &'static str,
}

/// Where a part lives and what it takes; see [`Part::info`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartInfo {
    /// Where the part lives.
    pub place: PartPlace,
    /// How many bytes of JSON it was when it was loaded; 0 if there was none.
    pub size: usize,
    /// When it was first stored, or the session it lives with began.
    pub created_at: Option<SystemTime>,
    /// When it ends if it is not used again. `None` for one that is not stored.
    pub expires_at: Option<SystemTime>,
}

impl<T: SessionPart> Part<T> {
    /// Loads the part of a request from its extensions, for services and middleware that are not axum handlers.
    ///
    /// # Errors
    ///
    /// [`MissingLayer`](crate::ErrorKind::MissingLayer) when no layer served the request,
    /// [`PartInUse`](crate::ErrorKind::PartInUse) when the request holds the part already,
    /// [`Decode`](crate::ErrorKind::Decode) when what is stored is not a `T`,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store cannot be asked.
    pub async fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        Self::load(&SessionLoader::from_extensions(extensions)?).await
    }
}

impl<T: SessionPart, M: 'static> Part<T, M> {
    pub(crate) async fn load(loader: &SessionLoader<M>) -> Result<Self, Error> {
        let shared = loader.shared();
        if shared.config().part_cookie(TypeId::of::<T>()).is_none_or(|placed| placed.is_bound) {
            shared.load().await?;
        }
        shared.take_part(T::NAME, TypeId::of::<T>())?;
        let held = Held { shared: Arc::clone(shared), part: T::NAME };
        shared.load_outside(TypeId::of::<T>()).await?;
        let base = stored_text::<T>(shared);
        let value = base.as_ref().map(|text| from_json(T::NAME, text.as_bytes())).transpose()?.unwrap_or_default();
        Ok(Self { value, base, is_touched: false, held, marker: PhantomData })
    }

    /// Changes the part in a way that can be repeated.
    ///
    /// When another request changes the session at the same time, `change` runs again on what that one left. It may
    /// therefore run several times, also after the handler has returned, and should do nothing but change the part.
    /// A part in a cookie has nothing that could be changed at the same time; there `change` runs once.
    ///
    /// The call takes what was changed through `DerefMut` before it into account. Should the part not be JSON any more, or
    /// too deep, the response is an error.
    pub fn update(&mut self, change: impl Fn(&mut T) + Send + Sync + 'static) {
        let written = self.write_back().and_then(|()| {
            change(&mut self.value);
            let collections = collections::<T>(&self.held.shared);
            self.write(move |before| rewritten(before, &change, &collections))
        });
        self.held.shared.note_failure(written);
    }

    /// Returns where the part lives and what it takes.
    #[must_use]
    pub fn info(&self) -> PartInfo {
        let size = self.base.as_ref().map_or(0, |text| text.as_bytes().len());
        let config = self.held.shared.config();
        let now = config.now();
        let place = config.outside_place(TypeId::of::<T>()).map_or(PartPlace::Session, OutsidePlace::kind);
        let of_cookie = self.held.shared.with_part(T::NAME, |stored| {
            let stored = stored?;
            let record = stored.record.as_ref();
            let created_at = record.map(|record| record.created_at.into());
            let expires_at = record.map(|record| record.expires_at.into());
            Some(PartInfo { place: PartPlace::Cookie, size, created_at, expires_at })
        });
        of_cookie.unwrap_or_else(|| {
            self.held.shared.with(|work| {
                let record = work.draft.base().filter(|_| size > 0);
                let created_at = record.map(|record| record.created_at.into());
                let age = work.draft.age(&config.timeouts, now);
                let expires_at = record.map(|_| config.timeouts.expires_at(age).into());
                PartInfo { place, size, created_at, expires_at }
            })
        })
    }
}

impl<T: SessionPart, M> Part<T, M> {
    /// Writes what was changed through `DerefMut`.
    pub(super) fn write_back(&mut self) -> Result<(), Error> {
        if !mem::take(&mut self.is_touched) {
            return Ok(());
        }
        let after = to_value(&self.value)?;
        let before = match &self.base {
            Some(text) => from_json(T::NAME, text.as_bytes())?,
            // Nothing is stored for a visitor who only looks, and all of it for one who does more.
            None => T::default(),
        };
        match Patch::between_parts(&to_value(&before)?, after, &collections::<T>(&self.held.shared)) {
            Some(patch) => self.write(move |before| patched::<T>(before, &patch)),
            None => Ok(()),
        }
    }

    /// Empties the part, which has gone from where it was stored.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(super) fn reset(&mut self) {
        (self.value, self.base, self.is_touched) = (T::default(), None, false);
    }

    /// Makes a change of what is stored.
    fn write(
        &mut self,
        update: impl Fn(Option<&[u8]>) -> Result<Arc<[u8]>, Error> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let has_cookie = self.held.shared.with_part(T::NAME, |stored| stored.is_some());
        if has_cookie {
            let json = update(stored_text::<T>(&self.held.shared).as_ref().map(JsonText::as_bytes))?;
            self.held.shared.set_part(T::NAME, json);
        } else {
            self.held.shared.update(&place::<T>(&self.held.shared), move |before| Ok(((), update(before)?)))?;
        }
        self.base = stored_text::<T>(&self.held.shared);
        Ok(())
    }
}

/// Returns where a part is that has no cookie.
fn place<T: SessionPart>(shared: &Shared) -> At {
    match shared.config().outside_place(TypeId::of::<T>()) {
        Some(place) => At::Outside(place.name),
        None => At::Record(format!("{PART_PREFIX}{}", T::NAME).into()),
    }
}

fn collections<T: SessionPart>(shared: &Shared) -> Arc<[Collection]> {
    shared.config().outside_place(TypeId::of::<T>()).map(|place| Arc::clone(&place.collections)).unwrap_or_default()
}

fn stored_text<T: SessionPart>(shared: &Shared) -> Option<JsonText> {
    let in_cookie = shared.with_part(T::NAME, |stored| stored.map(|stored| stored.value.clone()));
    in_cookie.unwrap_or_else(|| shared.with(|work| work.draft.text_at(&place::<T>(shared))))
}

fn to_value<T: SessionPart>(part: &T) -> Result<Value, Error> {
    from_json(T::NAME, &to_json(T::NAME, part)?)
}

/// Makes a change of a stored part, and leaves fields alone that the change does not touch or this release not know.
fn rewritten<T: SessionPart>(
    before: Option<&[u8]>,
    change: &dyn Fn(&mut T),
    collections: &[Collection],
) -> Result<Arc<[u8]>, Error> {
    let mut part: T = before.map(|json| from_json(T::NAME, json)).transpose()?.unwrap_or_default();
    let known = to_value(&part)?;
    change(&mut part);
    let Some(json) = before else { return to_json(T::NAME, &part) };
    match Patch::between_parts(&known, to_value(&part)?, collections) {
        Some(patch) => patched::<T>(Some(json), &patch),
        None => Ok(json.into()),
    }
}

/// Makes a change of a stored part. What was removed meanwhile begins anew, with its default: a few fields alone may be
/// too little to be read again.
fn patched<T: SessionPart>(before: Option<&[u8]>, patch: &Patch) -> Result<Arc<[u8]>, Error> {
    let mut value = before.map_or_else(|| to_value(&T::default()), |json| from_json(T::NAME, json))?;
    patch.apply(&mut value);
    to_json(T::NAME, &value)
}

impl<T: SessionPart, M> Deref for Part<T, M> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: SessionPart, M> DerefMut for Part<T, M> {
    fn deref_mut(&mut self) -> &mut T {
        self.is_touched = true;
        &mut self.value
    }
}

/// Writes the part back. A handler that panics drops its part while it unwinds, and nothing is written then.
impl<T: SessionPart, M> Drop for Part<T, M> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let written = self.write_back();
            self.held.shared.note_failure(written);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.note_panic();
        self.shared.release_part(self.part);
    }
}

/// Shows no value.
impl<T: SessionPart, M> fmt::Debug for Part<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({:?})", T::NAME)
    }
}
