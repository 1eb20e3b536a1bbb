//! Randomness: the only caller of the operating system's generator, and of one in user space.

use rand::Rng as _;

use crate::error::Error;

/// Returns `N` random bytes from the operating system: for secrets, such as IDs and keys.
///
/// # Errors
///
/// Fails when the operating system gives none, which no supported platform does once it has started.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|source| Error::no_randomness(source.into()))?;
    Ok(bytes)
}

/// Returns a random number that is public but never to come again: for the nonces of seals.
///
/// It comes from ChaCha12 in user space, which is seeded by the operating system, once a thread and again from time to
/// time: every response that changes a sealed cookie needs one, and a system call each time costs as much as the seal.
pub(crate) fn nonce<const N: usize>() -> [u8; N] {
    let mut nonce = [0; N];
    rand::rng().fill_bytes(&mut nonce);
    nonce
}
