//! What routes take: JSON, whatever its content type.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// The JSON body of a request. No body at all counts as `{}`.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = NoBody;

    async fn from_request(request: Request, state: &S) -> Result<Self, NoBody> {
        let bytes = Bytes::from_request(request, state).await.map_err(NoBody::Unread)?;
        let json = if bytes.is_empty() { b"{}" } else { bytes.as_ref() };
        serde_json::from_slice(json).map(Self).map_err(NoBody::Unfit)
    }
}

/// The JSON body of a request that waits between loading and changing: `hold_ms`, beside the fields of `T`.
pub(crate) struct HeldBody<T> {
    pub(crate) hold_ms: u64,
    pub(crate) body: T,
}

/// Reads the bytes twice in place of `#[serde(flatten)]`, which would buffer numbers as 64 bits.
impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for HeldBody<T> {
    type Rejection = NoBody;

    async fn from_request(request: Request, state: &S) -> Result<Self, NoBody> {
        #[derive(Deserialize)]
        struct Hold {
            #[serde(default)]
            hold_ms: u64,
        }

        let Body(json) = Body::<Box<RawValue>>::from_request(request, state).await?;
        let Hold { hold_ms } = serde_json::from_str(json.get()).map_err(NoBody::Unfit)?;
        let body = serde_json::from_str(json.get()).map_err(NoBody::Unfit)?;
        Ok(Self { hold_ms, body })
    }
}

/// Why there is no [`Body`].
pub(crate) enum NoBody {
    /// It is too large, or broke off.
    Unread(BytesRejection),
    /// It is not what the route takes.
    Unfit(serde_json::Error),
}

impl IntoResponse for NoBody {
    fn into_response(self) -> Response {
        match self {
            Self::Unread(rejection) => rejection.into_response(),
            Self::Unfit(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        }
    }
}

/// A status that ends a response: no interim one, and none that HTTP does not define a class for.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u16")]
pub(crate) struct FinalStatus(pub(crate) StatusCode);

impl TryFrom<u16> for FinalStatus {
    type Error = &'static str;

    fn try_from(code: u16) -> Result<Self, Self::Error> {
        let code = Some(code).filter(|code| (200..600).contains(code)).ok_or("a status is from 200 to 599")?;
        StatusCode::from_u16(code).map(Self).map_err(|_| "no status")
    }
}

#[derive(Deserialize)]
pub(crate) struct Set {
    pub(crate) key: String,
    pub(crate) value: Value,
    #[serde(default)]
    pub(crate) hold_ms: u64,
}

#[derive(Deserialize)]
pub(crate) struct Add {
    pub(crate) key: String,
    pub(crate) by: i64,
    #[serde(default)]
    pub(crate) hold_ms: u64,
}

#[derive(Deserialize)]
pub(crate) struct Remove {
    pub(crate) key: String,
}

#[derive(Deserialize)]
pub(crate) struct Take {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) hold_ms: u64,
}

#[derive(Deserialize)]
pub(crate) struct Login {
    pub(crate) principal: String,
    #[serde(default)]
    pub(crate) hold_ms: u64,
}

#[derive(Deserialize)]
pub(crate) struct Logout {
    #[serde(default)]
    pub(crate) hold_ms: u64,
}

#[derive(Deserialize)]
pub(crate) struct Revoke {
    pub(crate) handle: String,
}

#[derive(Deserialize)]
pub(crate) struct Principal {
    pub(crate) principal: String,
}

#[derive(Deserialize)]
pub(crate) struct Remember {
    pub(crate) seconds: u64,
}

#[derive(Deserialize)]
pub(crate) struct Fail {
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) status: FinalStatus,
}

#[derive(Deserialize)]
pub(crate) struct FailWith {
    pub(crate) status: FinalStatus,
}

#[derive(Deserialize)]
pub(crate) struct Panic {
    pub(crate) key: String,
    pub(crate) value: Value,
}

/// A product for the cart. There is no cart of none, and none that is too large to count.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
#[derive(Deserialize)]
pub(crate) struct CartAdd {
    pub(crate) sku: String,
    pub(crate) qty: std::num::NonZero<u32>,
    pub(crate) unit_price_cents: u32,
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
#[derive(Deserialize)]
pub(crate) struct CartRemove {
    pub(crate) sku: String,
}
