//! The trait of types that can be parts of a session.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A typed piece of a session: a Rust type with a name.
///
/// A handler takes it as [`Part<T>`](crate::Part). It lives in the session's record, unless the layer places it
/// elsewhere [with `with_part`](crate::SessionLayer::with_part). In a session without the part it has its default
/// value.
///
/// The mapping is serde's. Add `#[serde(default)]` to fields that are added later, so that parts stored by an older
/// release still decode; unknown fields are preserved.
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
    /// The name of the part in storage. It must be unique within an application, and stay the same as long as sessions
    /// have the part.
    const NAME: &'static str;
}
