//! Tables that were checked.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::part::in_tables::mapped_part::MappedPart;

/// Tables that were checked to hold the part `T`, for [`with_part`](crate::SessionLayer::with_part).
///
/// It comes from [`InTables::check`](crate::InTables::check). Clones are cheap.
pub struct Tables<T> {
    pub(crate) mapped: Arc<dyn MappedPart>,
    part: PhantomData<fn() -> T>,
}

impl<T> Tables<T> {
    pub(super) fn new(mapped: Arc<dyn MappedPart>) -> Self {
        Self { mapped, part: PhantomData }
    }
}

impl<T> Clone for Tables<T> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.mapped))
    }
}

impl<T> fmt::Debug for Tables<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tables").field(&self.mapped).finish()
    }
}
