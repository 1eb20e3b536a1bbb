//! Parts: typed pieces of a session, each with a place of its own.

mod in_cookie;
#[cfg_attr(
    not(all(test, any(feature = "sqlite", feature = "postgres", feature = "mysql"))),
    expect(dead_code, reason = "nothing calls it yet")
)]
pub(crate) mod in_tables;
mod patch;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use in_cookie::InCookie;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use in_tables::{InTables, Tables};
pub(crate) use patch::Patch;

/// A typed piece of a session: a Rust type with a name.
///
/// A handler takes it as [`Part<T>`](crate::Part). It lives in the session's record, unless the layer says otherwise
/// with [`with_part`](crate::SessionLayer::with_part). A visitor who has none yet gets the default.
///
/// Serde is the mapping. Give fields that are added later `#[serde(default)]`, so that what an older release stored can
/// still be read; fields that this release does not know are left as they are.
///
/// # Examples
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use session_state::SessionPart;
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Cart {
///     lines: Vec<(String, u32)>,
/// }
///
/// impl SessionPart for Cart {
///     const NAME: &'static str = "cart";
/// }
/// ```
pub trait SessionPart: Serialize + DeserializeOwned + Default + Send + Sync + 'static {
    /// The name under which the part is kept. It stays the same for as long as there are sessions with the part, and no
    /// two parts of an application share one.
    const NAME: &'static str;
}

/// Where a part lives; see [`SessionLayer::with_part`](crate::SessionLayer::with_part).
#[derive(Clone, Debug)]
pub struct Placement(pub(crate) Place);

#[derive(Clone, Debug)]
pub(crate) enum Place {
    Cookie(InCookie),
}

impl From<InCookie> for Placement {
    fn from(in_cookie: InCookie) -> Self {
        Self(Place::Cookie(in_cookie))
    }
}
