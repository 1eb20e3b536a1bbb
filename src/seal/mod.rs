//! Seals: state that leaves the server as a cookie's value and comes back unread (when encrypted) and unchanged.
//!
//! This module is pure: bytes and a nonce go in, bytes come out. It knows no cookie header, no clock and no session.
//! The rules, in the order in which [`open`] applies them:
//!
//! 1. **Bounded**: a text longer than 64 KiB is refused before a byte of it is decoded.
//! 2. **Canonical**: base64url without padding, with zero trailing bits. One seal has exactly one spelling.
//! 3. **One format**: the version and the algorithm have to be the ones asked for. The sender chooses neither.
//! 4. **One key**: four bytes name the key, and no other key is tried. A [`KeyRing`] holds no two keys of one name.
//! 5. **Bound to its place**: format, algorithm, key, cookie name, purpose, application and the caller's binding are
//!    authenticated with the content, each with its length before it. A seal moved elsewhere does not open.
//! 6. **Verified first**: the full tag is compared in constant time before anything of the content is handed over.
//! 7. **Silent**: every failure is `None`.
//!
//! The format, before base64url:
//!
//! ```text
//! version (1) | algorithm (1) | key id (4) | nonce (24) | ciphertext | GCM tag (16)     encrypted: XAES-256-GCM
//! version (1) | algorithm (1) | key id (4) | payload | HMAC tag (32)                    signed: HMAC-SHA-256
//! ```
//!
//! A seal is made, encrypted and decrypted in one buffer.
//!
//! Values in a store have a third algorithm, with a key of their own for each session: [`at_rest`].
//!
//! Compression has no place here: a length that depends on secret content tells it (CRIME, BREACH).

mod at_rest;
mod encrypted;
mod envelope;
mod header;
mod key;
mod key_ring;
mod signed;
#[cfg(test)]
mod tests;

pub(crate) use at_rest::{AtRest, Row, open_row, seal_row};
pub(crate) use envelope::{Algorithm, Context, Place, open, seal, sealed_len};
pub use key::Key;
pub use key_ring::KeyRing;
