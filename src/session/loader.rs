//! Access to the session behind the layer: an extractor for handlers, the request's extensions for services.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use http::Extensions;

use super::slots::{Marker, Slots};
use super::{Main, Session, Shared};
use crate::error::Error;

/// The session of a request before it is loaded, from
/// [`Session::from_extensions`](Session::from_extensions). It costs nothing until it is loaded.
pub struct SessionLoader<M = Main> {
    shared: Arc<Shared>,
    marker: PhantomData<fn() -> M>,
}

impl<M: 'static> SessionLoader<M> {
    pub(crate) fn from_extensions(extensions: &Extensions) -> Result<Self, Error> {
        let slots = extensions.get::<Slots>();
        let shared = slots.and_then(|slots| slots.find(Marker::of::<M>())).ok_or_else(Error::missing_layer)?;
        Ok(Self { shared: Arc::clone(shared), marker: PhantomData })
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
        self.shared.noting_late(self.shared.load(false).await)?;
        Ok(Session::new(Arc::clone(&self.shared)))
    }

    /// Loads the session without using it: its idle deadline does not move, and its ID is not renewed by age.
    ///
    /// For pages that ask in the background for the remaining time, or for news. [`Session::lifetime`] and
    /// [`Session::expires_at`] then show when the session ends without further use. A request that changes the session,
    /// or also [loads](Self::load) it, uses it as usual.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load).
    ///
    /// # Cancel safety
    ///
    /// The future can be dropped at any point: loading changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use session_state::{Error, SessionLoader};
    ///
    /// async fn seconds_left(session: SessionLoader) -> Result<String, Error> {
    ///     let lifetime = session.peek().await?.lifetime();
    ///     Ok(lifetime.idle_remaining.unwrap_or_default().as_secs().to_string())
    /// }
    /// ```
    pub async fn peek(&self) -> Result<Session<M>, Error> {
        self.shared.noting_late(self.shared.load(true).await)?;
        Ok(Session::new(Arc::clone(&self.shared)))
    }

    /// Does the same without another reference to the session.
    #[cfg(feature = "axum")]
    pub(super) async fn into_session(self) -> Result<Session<M>, Error> {
        self.shared.load(false).await?;
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
