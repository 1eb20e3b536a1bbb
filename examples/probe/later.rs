//! The routes that are not built yet: 501, whatever the method.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;

const PATHS: [&str; 12] = [
    "/reload",
    "/cache",
    "/ended",
    "/drain",
    "/token",
    "/seal",
    "/open",
    "/put-for",
    "/claim",
    "/act-as",
    "/stop-acting",
    "/health",
];

pub(crate) fn router() -> Router {
    PATHS.into_iter().fold(Router::new(), |router, path| router.route(path, any(StatusCode::NOT_IMPLEMENTED)))
}
