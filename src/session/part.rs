//! [`Part<T>`]: one typed part of the session, as a handler uses it.

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use super::part_info::PartInfo;
use super::session::Main;
use super::shared::MAX_RUNS;
use super::{SessionLoader, Shared, from_json, merge};
use crate::error::Error;
use crate::part::{Collection, PartPlace, SessionPart};
use crate::record::changes::{Location, UpdateFn};
use crate::record::external::Medium;
use crate::record::json_text::JsonText;
use crate::record::key::RecordKey;
use crate::state::{PlacedPart, SharedWork};
use http::Extensions;

/// A part of the session of a request.
///
/// As an argument of a handler it loads the part, wherever it lives. It derefs to `T`. When it is dropped, the changed
/// fields of its value are written back, so nodes that run different releases keep each other's fields. As with
/// [`Session`](crate::Session), changes are saved before the response is sent.
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
///     // Concurrent requests both get their line in: on a conflict the closure runs again on the newer part.
///     cart.update(move |cart| cart.lines.push(sku.clone()));
/// }
/// ```
///
/// # Panics
///
/// Never. When the handler panics while it holds the part, nothing is written.
pub struct Part<T: SessionPart, M = Main> {
    value: T,
    /// The JSON that `value` was decoded from, before changes through `DerefMut`.
    base: Option<JsonText>,
    is_touched: bool,
    /// The number of takeovers of the session when the part was read.
    takeovers: u32,
    /// The stored text does not decode as a `T`. The first change replaces it.
    is_unreadable: bool,
    /// The part after a takeover of the session, until it is written to.
    blank: OnceLock<T>,
    pub(super) held: Held,
    marker: PhantomData<fn() -> M>,
}

/// A [`Part<T>`] that begins with the default if the stored part cannot be decoded as a `T`.
///
/// For handlers that must work with any stored value, as `PartOrDefault(part)`. The first change replaces an unreadable
/// part; until then it stays stored.
///
/// # Examples
///
/// ```
/// use session_state::{PartOrDefault, SessionPart};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Cart { lines: Vec<String> }
/// # impl SessionPart for Cart { const NAME: &'static str = "cart"; }
///
/// async fn add(PartOrDefault(mut cart): PartOrDefault<Cart>) {
///     cart.lines.push(String::from("biscuits"));
/// }
/// ```
#[derive(Debug)]
pub struct PartOrDefault<T: SessionPart, M = Main>(pub Part<T, M>);

/// Marks a part as in use until it is dropped, even if the part's own code panics while it is read or written.
pub(super) struct Held {
    pub(super) shared: Arc<Shared>,
    part: &'static str,
}

impl<T: SessionPart> PartOrDefault<T> {
    /// Loads the part of a request from its extensions, for services and middleware that are not axum handlers.
    ///
    /// # Errors
    ///
    /// As [`Part::from_extensions`], but for [`Decode`](crate::ErrorKind::Decode). That error remains if no key of the
    /// ring opens a part that is [encrypted at rest](crate::InStore::with_encryption_at_rest): with the right key it is
    /// readable again.
    pub async fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        Part::load_or_default(&SessionLoader::from_extensions(extensions)?).await.map(Self)
    }
}

impl<T: SessionPart> Part<T> {
    /// Loads the part of a request from its extensions, for services and middleware that are not axum handlers.
    ///
    /// # Errors
    ///
    /// [`MissingLayer`](crate::ErrorKind::MissingLayer) when no layer served the request,
    /// [`PartInUse`](crate::ErrorKind::PartInUse) when the request holds the part already,
    /// [`Decode`](crate::ErrorKind::Decode) when the stored part is not a `T`,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store fails.
    pub async fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        Self::load(&SessionLoader::from_extensions(extensions)?).await
    }
}

impl<T: SessionPart, M: 'static> Part<T, M> {
    pub(crate) async fn load(loader: &SessionLoader<M>) -> Result<Self, Error> {
        let part = Self::open(loader).await.and_then(Self::filled);
        loader.shared().noting_late(part)
    }

    pub(crate) async fn load_or_default(loader: &SessionLoader<M>) -> Result<Self, Error> {
        let part = loader.shared().noting_late(Self::open(loader).await)?;
        Ok(part.filled_or_default())
    }

    /// Marks the part as in use and loads the stored text without decoding it.
    pub(super) async fn open(loader: &SessionLoader<M>) -> Result<Self, Error> {
        let shared = loader.shared();
        let placed = shared.placed_part(TypeId::of::<T>());
        if placed.is_none_or(|placed| placed.medium() != Medium::FreeCookie) {
            shared.load(false).await?;
        }
        shared.take_part::<T>()?;
        let held = Held { shared: Arc::clone(shared), part: T::NAME };
        if let Some(placed) = placed {
            shared.load_part(placed).await?;
        }
        let (takeovers, value, marker) = (shared.takeovers(), T::default(), PhantomData);
        let base = stored_text::<T>(shared);
        Ok(Self {
            value,
            base,
            is_touched: false,
            takeovers,
            is_unreadable: false,
            blank: OnceLock::new(),
            held,
            marker,
        })
    }

    /// Begins with the default if the stored text is not a `T`. The first change replaces it.
    fn filled_or_default(mut self) -> Self {
        match self.base.as_ref().map(|text| from_json(T::NAME, text.as_bytes())) {
            None => {}
            Some(Ok(value)) => self.value = value,
            Some(Err(_)) => {
                (self.base, self.is_unreadable) = (None, true);
            }
        }
        self
    }

    /// Decodes the stored text.
    fn filled(mut self) -> Result<Self, Error> {
        if let Some(text) = &self.base {
            self.value = from_json(T::NAME, text.as_bytes())?;
        }
        Ok(self)
    }

    /// Changes the part by a closure that can be replayed.
    ///
    /// `change` runs once without a conflict, and its outcome is stored. If another request changes the part at the
    /// same time, it runs again on the newer part, possibly after the handler has returned; so it should do nothing but
    /// change the part. It may use the session: it does not run under a lock. A part in a cookie has no conflicts.
    ///
    /// Changes made through `DerefMut` before the call are part of its input. If the part can no longer be encoded or
    /// is nested too deeply, the response is an error.
    pub fn update(&mut self, change: impl Fn(&mut T) + Send + Sync + 'static) {
        let written = self.try_update(Arc::new(change));
        self.held.shared.note_failure(written);
    }

    /// Returns the part's place, size and times.
    #[must_use]
    pub fn info(&self) -> PartInfo {
        let size = self.base.as_ref().map_or(0, |text| text.as_bytes().len());
        let config = self.held.shared.config();
        let placed = self.held.shared.placed_part(TypeId::of::<T>());
        let place = placed.map_or(PartPlace::Session, PlacedPart::kind);
        let now = config.now();
        self.held.shared.with(|work| {
            if place == PartPlace::Cookie {
                let part = work.draft.external().and_then(|parts| parts.find(T::NAME));
                let record = part.and_then(|part| part.cookie.record.as_ref());
                let created_at = record.map(|record| record.created_at.into());
                let expires_at = record.map(|record| record.expires_at.into());
                return PartInfo { place, size, created_at, expires_at };
            }
            let record = work.draft.base().filter(|_| size > 0);
            let created_at = record.map(|record| record.created_at.into());
            let age = work.draft.age(&config.timeouts, now);
            let expires_at = record.map(|_| config.timeouts.expires_at(age).into());
            PartInfo { place, size, created_at, expires_at }
        })
    }
}

impl<T: SessionPart, M> Part<T, M> {
    /// Writes the changes made through `DerefMut`.
    pub(super) fn write_back(&mut self) -> Result<(), Error> {
        self.forget_former();
        if !mem::take(&mut self.is_touched) {
            return Ok(());
        }
        let collections = collections::<T>(&self.held.shared);
        let base = self.base.as_ref().map(JsonText::as_bytes);
        let Some(patch) = merge::difference(base, &self.value, &collections)? else { return Ok(()) };
        self.remove_unreadable();
        let update: Arc<UpdateFn> = Arc::new(move |_, newer| merge::merge::<T>(&patch, newer, &collections));
        for _ in 0..MAX_RUNS {
            if self.is_of_former() {
                self.forget_former();
                return Ok(());
            }
            let before = stored_text::<T>(&self.held.shared);
            let is_same = is_same(before.as_ref(), self.base.as_ref());
            let json = update(T::NAME, before.as_ref().map(JsonText::as_bytes))?;
            if self.store(before.as_ref(), json, &update)? {
                return if is_same { Ok(()) } else { self.reload() };
            }
        }
        Err(Error::conflict())
    }

    /// Runs `change` on the stored part, and again only if that was changed in the meantime.
    fn try_update(&mut self, change: Arc<dyn Fn(&mut T) + Send + Sync>) -> Result<(), Error> {
        self.write_back()?;
        self.remove_unreadable();
        let collections = collections::<T>(&self.held.shared);
        let update: Arc<UpdateFn> = {
            let (change, collections) = (Arc::clone(&change), Arc::clone(&collections));
            Arc::new(move |_, newer| merge::apply(newer, &*change, &collections).map(|(_, json)| json))
        };
        if !is_same(stored_text::<T>(&self.held.shared).as_ref(), self.base.as_ref()) {
            self.reload()?;
        }
        for _ in 0..MAX_RUNS {
            let before = self.base.clone();
            let json =
                merge::apply_to(&mut self.value, before.as_ref().map(JsonText::as_bytes), &*change, &collections)?;
            if self.store(before.as_ref(), json, &update)? {
                return Ok(());
            }
            if self.is_of_former() {
                self.forget_former();
            } else {
                self.reload()?;
            }
        }
        Err(Error::conflict())
    }

    /// Reloads the stored part.
    fn reload(&mut self) -> Result<(), Error> {
        self.base = stored_text::<T>(&self.held.shared);
        let value = self.base.as_ref().map(|text| from_json(T::NAME, text.as_bytes())).transpose()?;
        self.value = value.unwrap_or_default();
        Ok(())
    }

    /// Resets the part after its stored value was removed.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(super) fn reset(&mut self) {
        (self.value, self.base, self.is_touched) = (T::default(), None, false);
    }

    /// Stores a text that was computed from `before`. Returns whether `before` was still the stored text.
    fn store(&mut self, before: Option<&JsonText>, json: Arc<[u8]>, update: &Arc<UpdateFn>) -> Result<bool, Error> {
        let shared = &self.held.shared;
        let mut replay = Some(Arc::clone(update));
        let takeovers = (!self.is_kept_by_takeovers()).then_some(self.takeovers);
        let location = location::<T>(shared);
        let is_stored =
            shared.replace(&location, before, takeovers, Arc::clone(&json), &mut replay, |update| update)?;
        if is_stored {
            self.base = Some(JsonText::Own(json));
        }
        Ok(is_stored)
    }

    /// Removes a stored text that does not decode, before the first change. Reading alone changes nothing.
    fn remove_unreadable(&mut self) {
        if mem::take(&mut self.is_unreadable) {
            self.held.shared.change(location::<T>(&self.held.shared).remove());
        }
    }

    /// Returns whether the part is independent of the session.
    fn is_kept_by_takeovers(&self) -> bool {
        self.held.shared.placed_part(TypeId::of::<T>()).is_some_and(PlacedPart::needs_no_session)
    }

    /// Returns whether the session was taken over since the part was read, so that its value belongs to the former
    /// principal.
    fn is_of_former(&self) -> bool {
        self.takeovers != self.held.shared.takeovers() && !self.is_kept_by_takeovers()
    }

    /// Resets the part after a takeover of the session.
    fn forget_former(&mut self) {
        if self.is_of_former() {
            (self.value, self.base, self.is_touched) = (T::default(), None, false);
            self.is_unreadable = false;
            self.takeovers = self.held.shared.takeovers();
        }
    }
}

/// Returns the location of a part.
pub(super) fn location<T: SessionPart>(shared: &Shared) -> Location {
    match shared.placed_part(TypeId::of::<T>()) {
        Some(placed) => Location::External(placed.name, placed.medium()),
        None => Location::Record(RecordKey::Part(T::NAME).stored().into()),
    }
}

fn collections<T: SessionPart>(shared: &Shared) -> Arc<[Collection]> {
    shared.placed_part(TypeId::of::<T>()).map(|placed| placed.collections().into()).unwrap_or_default()
}

fn stored_text<T: SessionPart>(shared: &Shared) -> Option<JsonText> {
    let location = location::<T>(shared);
    shared.with(|work| work.draft.text_at(&location))
}

fn is_same(one: Option<&JsonText>, other: Option<&JsonText>) -> bool {
    one.map(JsonText::as_bytes) == other.map(JsonText::as_bytes)
}

impl<T: SessionPart, M> Deref for Part<T, M> {
    type Target = T;

    fn deref(&self) -> &T {
        if self.is_of_former() { self.blank.get_or_init(T::default) } else { &self.value }
    }
}

impl<T: SessionPart, M> DerefMut for Part<T, M> {
    fn deref_mut(&mut self) -> &mut T {
        self.forget_former();
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

/// Does not show the value.
impl<T: SessionPart, M> fmt::Debug for Part<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({:?})", T::NAME)
    }
}
