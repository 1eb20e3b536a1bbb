//! Parts stored outside the session's record, at run time: how each is loaded, written ahead of or along with the
//! session's record, and removed.
//!
//! - [`in_cookie`]: sealed into a cookie once the session's own write is done.
//! - [`in_store`]: written to a separate record ahead of the session's record, and invisible until that refers to it.
//! - [`in_tables`]: rows written in one transaction with the session's record.

mod in_cookie;
mod in_store;
mod in_tables;

use std::any::TypeId;
use std::sync::Arc;

use crate::part::{Collection, InStore, MappedPart, PartPlace};
use crate::record::external::Medium;
use crate::store::ErasedStore;

pub(crate) use in_cookie::PartCookie;
pub(super) use in_store::{FoundPart, PartRecord, PartWrite, Standing, StoredText};
pub(super) use in_tables::{Rows, load_rows, meets};

/// Part stored outside the session's record.
#[derive(Clone, Debug)]
pub(crate) struct PlacedPart {
    pub(crate) part: TypeId,
    pub(crate) type_name: &'static str,
    pub(crate) name: &'static str,
    pub(crate) place: PlacedIn,
}

#[derive(Clone, Debug)]
pub(crate) enum PlacedIn {
    Cookie(PartCookie),
    Store(InStore),
    Tables(Arc<dyn MappedPart>),
}

impl PlacedPart {
    pub(crate) fn medium(&self) -> Medium {
        match &self.place {
            PlacedIn::Cookie(cookie) if cookie.is_bound => Medium::BoundCookie,
            PlacedIn::Cookie(_) => Medium::FreeCookie,
            PlacedIn::Store(_) => Medium::Store,
            PlacedIn::Tables(_) => Medium::Tables,
        }
    }

    /// Returns `true` if the part is independent of the session and outlives it.
    pub(crate) fn needs_no_session(&self) -> bool {
        self.medium() == Medium::FreeCookie
    }

    pub(crate) fn kind(&self) -> PartPlace {
        match &self.place {
            PlacedIn::Cookie(_) => PartPlace::Cookie,
            PlacedIn::Store(_) => PartPlace::Store,
            PlacedIn::Tables(_) => PartPlace::Tables,
        }
    }

    pub(crate) fn cookie(&self) -> Option<&PartCookie> {
        if let PlacedIn::Cookie(cookie) = &self.place { Some(cookie) } else { None }
    }

    pub(crate) fn in_store(&self) -> Option<&InStore> {
        if let PlacedIn::Store(in_store) = &self.place { Some(in_store) } else { None }
    }

    pub(crate) fn tables(&self) -> Option<&Arc<dyn MappedPart>> {
        if let PlacedIn::Tables(mapped) = &self.place { Some(mapped) } else { None }
    }

    /// Returns the store of a part in a store.
    pub(crate) fn store(&self) -> Option<&dyn ErasedStore> {
        self.in_store().map(|in_store| &*in_store.store)
    }

    /// Returns the fields of the part that are rows.
    pub(crate) fn collections(&self) -> &[Collection] {
        self.tables().map_or(&[], |mapped| mapped.collections())
    }
}
