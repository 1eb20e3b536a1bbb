//! Placements of parts.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::in_cookie::InCookie;
use super::in_store::InStore;
use super::in_tables::MappedPart;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
use super::in_tables::Tables;
use super::session_part::SessionPart;

/// The place of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PartPlace {
    /// With the session, in its record or its cookie.
    Session,
    /// In a separate cookie.
    Cookie,
    /// In a separate record of a store.
    Store,
    /// In tables of the application.
    Tables,
}

/// The placement of the part `T`; see [`SessionLayer::with_part`](crate::SessionLayer::with_part).
pub struct Placement<T> {
    pub(crate) placement: AnyPlacement,
    part: PhantomData<fn() -> T>,
}

/// The placement of a part, without its type.
#[derive(Debug)]
pub(crate) enum AnyPlacement {
    Cookie(InCookie),
    Store(InStore),
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
        expect(dead_code, reason = "no engine with tables is compiled in")
    )]
    Tables(Arc<dyn MappedPart>),
}

impl<T: SessionPart> Placement<T> {
    fn new(placement: AnyPlacement) -> Self {
        Self { placement, part: PhantomData }
    }
}

impl<T> fmt::Debug for Placement<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Placement").field(&self.placement).finish()
    }
}

impl<T: SessionPart> From<InCookie> for Placement<T> {
    fn from(in_cookie: InCookie) -> Self {
        Self::new(AnyPlacement::Cookie(in_cookie))
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
impl<T: SessionPart> From<Tables<T>> for Placement<T> {
    fn from(tables: Tables<T>) -> Self {
        Self::new(AnyPlacement::Tables(tables.mapped))
    }
}

impl<T: SessionPart> From<InStore> for Placement<T> {
    fn from(in_store: InStore) -> Self {
        Self::new(AnyPlacement::Store(in_store))
    }
}
