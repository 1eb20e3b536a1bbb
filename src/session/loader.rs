//! How anything behind the layer gets at the session: a handler through an extractor, a service through the request.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use http::Extensions;

use super::{Main, Session, Shared};
use crate::error::Error;

/// What the layer leaves in the extensions of a request.
pub(crate) struct Slot<M> {
    shared: Arc<Shared>,
    marker: PhantomData<fn() -> M>,
}

impl<M> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), marker: PhantomData }
    }
}

/// Leaves the session in the extensions of a request, for those who ask for the marker `M`.
pub(crate) fn insert<M: 'static>(extensions: &mut Extensions, shared: Arc<Shared>) {
    extensions.insert(Slot::<M> { shared, marker: PhantomData });
}

/// The session of a request that nobody has asked for yet, from
/// [`Session::from_extensions`](Session::from_extensions). Having it costs nothing.
pub struct SessionLoader<M = Main> {
    shared: Arc<Shared>,
    marker: PhantomData<fn() -> M>,
}

impl<M: 'static> SessionLoader<M> {
    pub(crate) fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        let slot = extensions.get::<Slot<M>>().ok_or_else(Error::missing_layer)?;
        Ok(Self { shared: Arc::clone(&slot.shared), marker: PhantomData })
    }

    /// Loads the session. Only the first call of a request has anything to do.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store cannot be asked. A session that has expired, was
    /// destroyed or never existed is no error, but an empty one.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any point; nothing is changed by loading.
    pub async fn load(&self) -> Result<Session<M>, Error> {
        self.shared.load().await?;
        Ok(Session::new(Arc::clone(&self.shared)))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl<M> fmt::Debug for SessionLoader<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLoader").finish_non_exhaustive()
    }
}
