//! Layer that guards routes which need a recent login.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::LOCATION;
use http::{Extensions, HeaderValue, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

use crate::error::{ConfigError, Error};
use crate::middleware::{ErrorBody, failure};
use crate::session::{Main, Session};

/// Returns a layer that rejects requests whose user has not logged in, or
/// [reauthenticated](Session::mark_reauthenticated), within `within`: for routes that an unattended session must not
/// reach (OWASP ASVS 5.0, 7.5.1 to 7.5.3).
///
/// It goes inside a [`SessionLayer`](crate::SessionLayer), on the routes that it guards. A rejected request does not
/// reach its handler: it gets 401 without a login, 403 with one that is too old, or a
/// [redirect](RequireRecentLogin::with_redirect). The response's extensions have the [`Error`], so that a middleware
/// outside this one can replace the page. A handler that decides by itself calls
/// [`Session::require_recent_login`](Session::require_recent_login).
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "axum")]
/// # {
/// use std::time::Duration;
///
/// use axum::Router;
/// use axum::routing::{get, post};
/// use session_state::{MemoryStore, Session, SessionLayer, require_recent_login};
///
/// const RECENT: Duration = Duration::from_secs(5 * 60);
///
/// async fn change_password() -> &'static str {
///     "changed"
/// }
///
/// let app: Router = Router::new()
///     .route("/password", post(change_password))
///     .route_layer(require_recent_login(RECENT).with_redirect("/confirm")?)
///     .route("/confirm", get(|| async { "your password, please" }))
///     .route("/login", post(|session: Session| async move { session.login("alice") }))
///     .layer(SessionLayer::server(MemoryStore::new()));
/// # use axum::body::Body;
/// # use axum::http::Request;
/// # use tower::ServiceExt as _;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let request = Request::post("/password").body(Body::empty())?;
/// # let answer = app.clone().oneshot(request).await?;
/// # assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (303, &"/confirm".parse()?));
/// # let answer = app.clone().oneshot(Request::post("/login").body(Body::empty())?).await?;
/// # let cookie = answer.headers()["set-cookie"].to_str()?.split(';').next().ok_or("no cookie")?.to_owned();
/// # let request = Request::post("/password").header("cookie", cookie).body(Body::empty())?;
/// # assert_eq!(app.oneshot(request).await?.status(), 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn require_recent_login(within: Duration) -> RequireRecentLogin {
    RequireRecentLogin { within, redirect: None, marker: PhantomData }
}

/// Layer that rejects requests without a recent login; see [`require_recent_login`].
#[must_use = "a layer does nothing until it is applied to a router or service"]
pub struct RequireRecentLogin<M = Main> {
    within: Duration,
    redirect: Option<HeaderValue>,
    marker: PhantomData<fn() -> M>,
}

impl<M> RequireRecentLogin<M> {
    /// Redirects rejected requests to a page with 303 See Other. Default: 401 or 403 without a redirect.
    ///
    /// The page asks for the password and ends in [`mark_reauthenticated`](Session::mark_reauthenticated) or a
    /// [login](Session::login). The browser requests it with `GET`, whatever the method of the rejected request, and
    /// the page does not learn the rejected URL. The page must not be behind this layer itself.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] unless `location` is an absolute path (it begins with exactly one `/`) or an `http` or `https`
    /// URL, of visible ASCII alone.
    pub fn with_redirect(mut self, location: &str) -> Result<Self, ConfigError> {
        let is_path = location.starts_with('/') && !location[1..].starts_with(['/', '\\']);
        let is_url = ["https://", "http://"]
            .into_iter()
            .any(|scheme| location.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')));
        let value =
            HeaderValue::from_str(location).ok().filter(|_| location.bytes().all(|byte| byte.is_ascii_graphic()));
        match value {
            Some(value) if is_path || is_url => {
                self.redirect = Some(value);
                Ok(self)
            }
            _ => Err(ConfigError::new(format!(
                "{location:?} is not a valid redirect target: use an absolute path or an http(s) URL"
            ))),
        }
    }

    /// Checks the session of the layer [with this marker](crate::SessionLayer::with_marker).
    pub fn with_marker<N>(self) -> RequireRecentLogin<N> {
        RequireRecentLogin { within: self.within, redirect: self.redirect, marker: PhantomData }
    }
}

impl<M: 'static> RequireRecentLogin<M> {
    /// Loads the session, checks its last login and drops it.
    fn check(&self, extensions: &Extensions) -> impl Future<Output = Result<(), Error>> + Send + use<M> {
        let (loader, within) = (Session::<M>::with_marker_from_extensions(extensions), self.within);
        async move {
            if within.is_zero() {
                let mistake = "`require_recent_login` rejects every login within zero seconds: allow a longer time";
                return Err(Error::misconfigured(ConfigError::new(mistake)));
            }
            loader?.load().await?.require_recent_login(within)
        }
    }

    /// Returns the response that replaces the handler's.
    fn refuse<B: ErrorBody>(&self, error: Error) -> Response<B> {
        let is_login = matches!(error.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let mut response = failure(error);
        if let Some(location) = self.redirect.as_ref().filter(|_| is_login) {
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(LOCATION, location.clone());
        }
        response
    }
}

impl<S, M> Layer<S> for RequireRecentLogin<M> {
    type Service = RecentLoginService<S, M>;

    fn layer(&self, inner: S) -> Self::Service {
        RecentLoginService { inner, layer: self.clone() }
    }
}

/// Service of [`RequireRecentLogin`].
pub struct RecentLoginService<S, M = Main> {
    inner: S,
    layer: RequireRecentLogin<M>,
}

impl<S, M, RequestBody, ResponseBody> Service<Request<RequestBody>> for RecentLoginService<S, M>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>> + Clone + Send + 'static,
    S::Future: Send,
    M: 'static,
    RequestBody: Send + 'static,
    ResponseBody: ErrorBody,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        // `poll_ready` was called on this service, not on the clone, so this one must be called.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let (layer, check) = (self.layer.clone(), self.layer.check(request.extensions()));
        Box::pin(async move {
            match check.await {
                Ok(()) => inner.call(request).await,
                Err(error) => Ok(layer.refuse(error)),
            }
        })
    }
}

// A derived impl would require `Clone` of the marker too.
impl<M> Clone for RequireRecentLogin<M> {
    fn clone(&self) -> Self {
        Self { within: self.within, redirect: self.redirect.clone(), marker: PhantomData }
    }
}

impl<S: Clone, M> Clone for RecentLoginService<S, M> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), layer: self.layer.clone() }
    }
}

impl<M> fmt::Debug for RequireRecentLogin<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireRecentLogin").field("within", &self.within).field("redirect", &self.redirect).finish()
    }
}

impl<S: fmt::Debug, M> fmt::Debug for RecentLoginService<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentLoginService").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}
