//! State that lives in the client's cookie.

mod carry_over;
mod commit;
mod cookie_state;
mod parts;
mod revocation;
mod sealed_cookie;

pub(super) use commit::{commit, load};
pub(crate) use cookie_state::ClientState;
pub use cookie_state::CookieState;
pub(super) use parts::load_part;
pub(crate) use revocation::{Revocation, RevocationList};
pub(super) use sealed_cookie::{ROOM_TO_GROW, SealedCookie};
