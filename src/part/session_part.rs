//! The trait of types that can be parts of a session.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A typed piece of a session: a Rust type with a name.
///
/// A handler takes it as [`Part<T>`](crate::Part). It lives in the session's record, unless the layer places it
/// elsewhere [with `with_part`](crate::SessionLayer::with_part). A session without the part has its default.
///
/// Serde is the mapping. Give fields that are added later `#[serde(default)]`, so that parts that an older release
/// stored can still be read; fields that this release does not know stay as they are.
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
    /// The name of the part in storage. Keep it for as long as there are sessions with the part, and give no two parts
    /// of an application the same.
    const NAME: &'static str;
}
