//! Header bytes of cookies: what a request carried and what a response sends. No session, no cipher, no I/O.
//!
//! Cookies in ([`read`], [`chunks`]):
//!
//! - The `Cookie` headers are bytes. They are split at `;`, trimmed of space and tab alone, and cut at the first `=`.
//! - Nothing is decoded, unquoted or folded: a name that only looks like ours after decoding is another cookie.
//! - Several `Cookie` headers are one list, as HTTP/2 sends them (RFC 6265bis §4.2.1).
//! - Our name with two values counts as neither: a planted cookie must not decide which one is used. The same value
//!   twice is one cookie.
//! - The scan is bounded. A list too long to be scanned counts as one in which our name may come twice.
//!
//! Cookies out ([`config`], [`write`], [`chunks`], [`variants`], [`response`]):
//!
//! - Name, domain and path are validated when the layer is built, and so are the rules of the name's prefix.
//! - A name and its value take at most 4096 bytes; `Max-Age` is at most 400 days (RFC 6265bis §5.6, §5.5).
//! - A removal repeats name, path, domain and attributes: a browser would refuse it or miss the cookie otherwise.
//! - A response has never two `Set-Cookie` of our name, domain and path. Those of others are left alone and in order.
//! - A browser that may hold our name twice is told to keep the configured cookie and no other.
//! - A response that sets our cookie is not kept by a shared cache, and one that depends on it says so in `Vary`.

mod chunks;
mod config;
mod read;
mod received;
mod response;
mod rules;
mod variants;
mod write;

pub(crate) use chunks::{Chunks, FoundChunks, MAX_CHUNKS};
pub use config::{CookieConfig, CookieLifetime, SameSite};
pub(crate) use read::Found;
pub(crate) use received::Received;
pub(crate) use response::{forbid_caching, put, vary_on_cookie};
pub(crate) use variants::{Likely, Target, removals as removals_of_variants};
pub(crate) use write::CookieWriter;
