//! The sessions of a request in its extensions: one for each layer of its route.

use std::any::TypeId;
use std::fmt;
use std::iter;
use std::sync::Arc;

use http::Extensions;

use super::Shared;
use crate::error::{ConfigError, Error};
use crate::state::Config;

/// Marker of a layer. It is a function and not a `TypeId`, because a service is cloned and moved for each request.
#[derive(Clone, Copy)]
pub(crate) struct Marker(fn() -> TypeId);

impl Marker {
    #[inline]
    pub(crate) fn of<M: 'static>() -> Self {
        Self(TypeId::of::<M>)
    }
}

impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Marker")
    }
}

/// The value that layers add to the extensions of a request.
#[derive(Clone)]
pub(crate) struct Slots {
    innermost: Slot,
    /// The sessions of the layers around it. Few routes have any.
    outer: Option<Arc<Slots>>,
}

#[derive(Clone)]
struct Slot {
    marker: TypeId,
    shared: Arc<Shared>,
}

impl Slots {
    /// Returns the session of the innermost layer with this marker.
    #[inline]
    pub(super) fn find(&self, marker: Marker) -> Option<&Arc<Shared>> {
        let marker = (marker.0)();
        self.all().find(|slot| slot.marker == marker).map(|slot| &slot.shared)
    }

    /// Whether there is a session of this layer or a clone that shares its settings.
    pub(crate) fn has(&self, marker: Marker, config: &Arc<Config>) -> bool {
        let marker = (marker.0)();
        self.all().any(|slot| slot.marker == marker && Arc::ptr_eq(slot.shared.config(), config))
    }

    /// Adds the session of a layer to the extensions of a request.
    #[inline]
    pub(crate) fn insert(extensions: &mut Extensions, marker: Marker, shared: &Arc<Shared>) {
        if !shared.config().setup.is_fine() {
            shared.note_setup();
        }
        let innermost = Slot { marker: (marker.0)(), shared: Arc::clone(shared) };
        if let Some(outer) = extensions.insert(Self { innermost, outer: None }) {
            outer.surround(extensions);
        }
    }

    /// Adds these sessions of outer layers to the session of the innermost layer.
    #[cold]
    fn surround(self, extensions: &mut Extensions) {
        let Some(slots) = extensions.get_mut::<Self>() else { return };
        let inner = &slots.innermost.shared;
        for outer in self.all() {
            if let Some(name) = inner.config().shared_cookie(outer.shared.config()) {
                let error = Error::misconfigured(ConfigError::new(format!(
                    "two layers of this route use the cookie {name:?}, so one of two sessions would be lost: apply clones \
                     of one layer, or give one of them another name by `with_cookie`"
                )));
                outer.shared.note_failure(Err(error.clone()));
                inner.note_failure(Err(error));
            }
        }
        slots.outer = Some(Arc::new(self));
    }

    /// Returns the slots from the innermost to the outermost.
    #[inline]
    fn all(&self) -> impl Iterator<Item = &Slot> {
        iter::successors(Some(self), |slots| slots.outer.as_deref()).map(|slots| &slots.innermost)
    }
}
