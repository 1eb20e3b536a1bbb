//! Randomness: the only caller of the operating system's generator.

use crate::error::Error;

/// Returns `N` random bytes from the operating system.
///
/// # Errors
///
/// Fails when the operating system gives none, which no supported platform does once it has started.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|source| Error::no_randomness(source.into()))?;
    Ok(bytes)
}
