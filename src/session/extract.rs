//! Extractors for axum.

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use super::{Part, PartOrDefault, Session, SessionLoader};
use crate::error::Error;
use crate::event::trace_missing_layer;
use crate::part::SessionPart;

impl<S, M> FromRequestParts<S> for Session<M>
where
    S: Send + Sync,
    M: 'static,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        SessionLoader::from_extensions(&parts.extensions)?.into_session().await
    }
}

/// Inherent method beside that of axum's trait, whose marker cannot be inferred in `Session::from_request_parts(parts,
/// state)`.
impl Session {
    /// Extracts the session from a request, for extractors of the application that are built on it.
    ///
    /// With a [marker](crate::SessionLayer::with_marker), `Session::<M>::from_request_parts` is the method of axum's
    /// trait `FromRequestParts`.
    ///
    /// # Errors
    ///
    /// [`MissingLayer`](crate::ErrorKind::MissingLayer) when no layer served the request,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the store cannot be asked.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::extract::FromRequestParts;
    /// use axum::http::request::Parts;
    /// use session_state::{Error, Session};
    ///
    /// struct User(Option<String>);
    ///
    /// impl<S: Send + Sync> FromRequestParts<S> for User {
    ///     type Rejection = Error;
    ///
    ///     async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
    ///         let session = Session::from_request_parts(parts, state).await?;
    ///         Ok(Self(session.principal()))
    ///     }
    /// }
    /// ```
    pub async fn from_request_parts<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        <Self as FromRequestParts<S>>::from_request_parts(parts, state).await
    }
}

impl SessionLoader {
    /// Extracts the session without loading it; see [`Session::from_request_parts`].
    ///
    /// # Errors
    ///
    /// [`MissingLayer`](crate::ErrorKind::MissingLayer) when no layer served the request.
    pub async fn from_request_parts<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        <Self as FromRequestParts<S>>::from_request_parts(parts, state).await
    }
}

/// `Option<Session>` is `None` when no layer served the request. A failed store is still an error.
impl<S, M> OptionalFromRequestParts<S> for Session<M>
where
    S: Send + Sync,
    M: 'static,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Error> {
        match SessionLoader::from_extensions(&parts.extensions) {
            Ok(loader) => loader.into_session().await.map(Some),
            Err(_) => Ok(None),
        }
    }
}

/// Extracts the session without loading it, for handlers that may not need it.
impl<S, M> FromRequestParts<S> for SessionLoader<M>
where
    S: Send + Sync,
    M: 'static,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::from_extensions(&parts.extensions)
    }
}

impl<S, T, M> FromRequestParts<S> for Part<T, M>
where
    S: Send + Sync,
    T: SessionPart,
    M: 'static,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Self::load(&SessionLoader::from_extensions(&parts.extensions)?).await
    }
}

impl<S, T, M> FromRequestParts<S> for PartOrDefault<T, M>
where
    S: Send + Sync,
    T: SessionPart,
    M: 'static,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        Part::load_or_default(&SessionLoader::from_extensions(&parts.extensions)?).await.map(Self)
    }
}

/// Answers with the [status](Error::status) of the error and its message as plain text, without the names of types. The
/// response's extensions have the error, for a middleware that replaces the response.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        trace_missing_layer(&self);
        let mut response = (self.status(), self.body_text()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}
