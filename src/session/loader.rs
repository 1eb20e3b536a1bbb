//! Access to the session behind the layer: an extractor for handlers, the request's extensions for services.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use http::Extensions;

use super::{Main, Session, Shared};
use crate::error::Error;

/// The value that the layer puts into the extensions of a request.
pub(crate) struct Slot<M> {
    shared: Arc<Shared>,
    marker: PhantomData<fn() -> M>,
}

impl<M> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), marker: PhantomData }
    }
}

/// Puts the session of the marker `M` into the extensions of a request.
pub(crate) fn insert<M: 'static>(extensions: &mut Extensions, shared: Arc<Shared>) {
    extensions.insert(Slot::<M> { shared, marker: PhantomData });
}

/// Returns the session of the marker `M` from the extensions.
#[inline]
pub(crate) fn find<M: 'static>(extensions: &Extensions) -> Option<&Arc<Shared>> {
    extensions.get::<Slot<M>>().map(|slot| &slot.shared)
}

/// The session of a request before it is loaded, from
/// [`Session::from_extensions`](Session::from_extensions). It costs nothing until it is loaded.
pub struct SessionLoader<M = Main> {
    shared: Arc<Shared>,
    marker: PhantomData<fn() -> M>,
}

impl<M: 'static> SessionLoader<M> {
    pub(crate) fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        let slot = extensions.get::<Slot<M>>().ok_or_else(Error::missing_layer)?;
        Ok(Self { shared: Arc::clone(&slot.shared), marker: PhantomData })
    }

    /// Loads the session. Further calls of the same request return at once.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store fails. A session that has expired, was destroyed
    /// or never existed is not an error but loads as an empty one.
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any point: loading changes nothing.
    pub async fn load(&self) -> Result<Session<M>, Error> {
        self.shared.noting_late(self.shared.load().await)?;
        Ok(Session::new(Arc::clone(&self.shared)))
    }

    /// Does the same without another reference to the session.
    #[cfg(feature = "axum")]
    pub(super) async fn into_session(self) -> Result<Session<M>, Error> {
        self.shared.load().await?;
        Ok(Session::new(self.shared))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Session {
    /// Finds the session of a request in its extensions, for services and middleware that are not axum handlers.
    ///
    /// # Errors
    ///
    /// [`MissingLayer`](crate::ErrorKind::MissingLayer) when no layer served the request.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_state::{Error, Session};
    ///
    /// async fn count<B>(request: http::Request<B>) -> Result<u32, Error> {
    ///     let session = Session::from_extensions(request.extensions())?.load().await?;
    ///     session.update("count", |count: &mut u32| *count += 1)
    /// }
    /// ```
    pub fn from_extensions(extensions: &Extensions) -> Result<SessionLoader, Error> {
        SessionLoader::from_extensions(extensions)
    }
}

impl<M: 'static> Session<M> {
    /// Finds the session of the layer with the marker `M` in the extensions of a request.
    ///
    /// # Errors
    ///
    /// [`MissingLayer`](crate::ErrorKind::MissingLayer) when no layer with this marker served the request.
    pub fn with_marker_from_extensions(extensions: &Extensions) -> Result<SessionLoader<M>, Error> {
        SessionLoader::from_extensions(extensions)
    }
}

impl<M> fmt::Debug for SessionLoader<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLoader").finish_non_exhaustive()
    }
}
