//! Parts: typed pieces of a session, each with a place of its own.

mod in_cookie;
mod in_store;
pub(crate) mod in_tables;
mod patch;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use in_cookie::InCookie;
pub use in_store::InStore;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use in_tables::{InTables, Tables};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) use in_tables::{Mapped, RowDialect};
pub(crate) use in_tables::{MappedPart, RowDatabase, RowWrites};
pub(crate) use patch::{Collection, Patch};

/// A typed piece of a session: a Rust type with a name.
///
/// A handler takes it as [`Part<T>`](crate::Part). It lives in the session's record, unless the layer says otherwise
/// with [`with_part`](crate::SessionLayer::with_part). A visitor who has none yet gets the default.
///
/// Serde is the mapping. Give fields that are added later `#[serde(default)]`, so that what an older release stored can
/// still be read; fields that this release does not know are left as they are.
///
/// # Examples
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use session_state::SessionPart;
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Cart {
///     lines: Vec<(String, u32)>,
/// }
///
/// impl SessionPart for Cart {
///     const NAME: &'static str = "cart";
/// }
/// ```
pub trait SessionPart: Serialize + DeserializeOwned + Default + Send + Sync + 'static {
    /// The name under which the part is kept. It stays the same for as long as there are sessions with the part, and no
    /// two parts of an application share one.
    const NAME: &'static str;
}

/// Where a part lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartPlace {
    /// With the session, in its record or its cookie.
    Session,
    /// In a cookie of its own.
    Cookie,
    /// In a record of its own, in a store.
    Store,
    /// In tables of the application.
    Tables,
}

/// Where the part `T` lives; see [`SessionLayer::with_part`](crate::SessionLayer::with_part).
pub struct Placement<T> {
    pub(crate) place: Place,
    part: PhantomData<fn() -> T>,
}

#[derive(Debug)]
pub(crate) enum Place {
    Cookie(InCookie),
    Store(InStore),
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
        expect(dead_code, reason = "no engine with tables is compiled in")
    )]
    Tables(Arc<dyn MappedPart>),
}

impl<T: SessionPart> Placement<T> {
    fn new(place: Place) -> Self {
        Self { place, part: PhantomData }
    }
}

impl<T> fmt::Debug for Placement<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Placement").field(&self.place).finish()
    }
}

impl<T: SessionPart> From<InCookie> for Placement<T> {
    fn from(in_cookie: InCookie) -> Self {
        Self::new(Place::Cookie(in_cookie))
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
impl<T: SessionPart> From<Tables<T>> for Placement<T> {
    fn from(tables: Tables<T>) -> Self {
        Self::new(Place::Tables(tables.mapped))
    }
}

impl<T: SessionPart> From<InStore> for Placement<T> {
    fn from(in_store: InStore) -> Self {
        Self::new(Place::Store(in_store))
    }
}
