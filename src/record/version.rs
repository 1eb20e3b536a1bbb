//! The two numbers of a record that distinguish writes and logins.

use std::fmt;

use super::Handle;

/// The lower bits of a [`Version`], which count writes. The write ID above them takes 32 more: 63 bits in all.
const WRITE_COUNT_BITS: u32 = 31;
const WRITE_COUNT: u64 = (1 << WRITE_COUNT_BITS) - 1;

/// The lower bits of a [`Generation`], which are random. The count above them takes 31 more: 63 bits in all.
const RANDOM_BITS: u32 = 32;
const GENERATION_COUNT: u64 = (1 << 31) - 1;

/// The new names and numbers of a record to store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// The handle of the session, if the draft keeps none.
    pub(crate) new_handle: Handle,
    /// Distinguishes this write from a concurrent one.
    pub(crate) write_id: u32,
    /// Begins another generation: distinguishes this login from a concurrent one. `None` keeps the generation.
    pub(crate) login_id: Option<u32>,
}

/// Distinguishes a write of a record from earlier and concurrent ones.
///
/// Each create, update and renewal writes another version; a touch leaves it. Versions can only be compared for
/// equality: they have no order. The versions that the layer writes fit a signed 64-bit number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version(u64);

impl Version {
    /// The version of a [new](super::Record::new) record.
    pub const FIRST: Self = Self(1);

    /// The version before the first write.
    pub(crate) const NONE: Self = Self(0);

    /// Creates a version from the number of [`as_u64`](Self::as_u64).
    #[must_use]
    pub const fn from_u64(version: u64) -> Self {
        Self(version)
    }

    /// Returns the number that a store keeps.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Returns the version of the write that follows this one. `write_id` is random: it distinguishes that write from
    /// another one that follows the same version.
    pub(crate) fn next(self, write_id: u32) -> Self {
        Self(u64::from(write_id) << WRITE_COUNT_BITS | (self.0 + 1) & WRITE_COUNT)
    }

    /// Returns `true` if this may be the version of the very next write after `before`, by its count.
    pub(crate) fn is_next_to(self, before: Self) -> bool {
        self.0 & WRITE_COUNT == (before.0 + 1) & WRITE_COUNT
    }
}

/// Number that changes with each login, takeover and reauthentication of the session. It distinguishes a request that
/// loaded the session before from one that loaded it after.
///
/// A renewal without a login, an update and a touch leave it. A session without a login has the
/// [default](Self::default), which is 0. A generation fits a signed 64-bit number.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Generation(u64);

impl Generation {
    /// Creates a generation from the number of [`as_u64`](Self::as_u64).
    #[must_use]
    pub const fn from_u64(generation: u64) -> Self {
        Self(generation)
    }

    /// Returns the number that a store keeps.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Returns `true` if this generation counts fewer logins than `other`, both of the same session.
    #[must_use]
    pub const fn is_older_than(self, other: Self) -> bool {
        self.count() < other.count()
    }

    /// Returns `true` for the generation of a session's first login, which follows the [default](Self::default).
    pub(crate) fn is_first(self) -> bool {
        self.count() == 1
    }

    /// Returns the generation that follows this one. `random` distinguishes it from another one that follows the same.
    pub(crate) fn next(self, random: u32) -> Self {
        let count = (self.count() + 1).min(GENERATION_COUNT);
        Self(count << RANDOM_BITS | u64::from(random))
    }

    const fn count(self) -> u64 {
        self.0 >> RANDOM_BITS
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({:#x})", self.0)
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generation({:#x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_follow_the_same_version_differ_by_their_ids() {
        let first = Version::NONE.next(7);
        assert_ne!(first, Version::NONE.next(8));
        assert_ne!(first, first.next(7), "the counts differ");
        assert_eq!(first.next(7), Version::NONE.next(1).next(7), "the earlier ID is gone");
    }

    #[test]
    fn every_version_and_generation_fits_a_signed_number() {
        let mut version = Version::from_u64(WRITE_COUNT);
        let mut generation = Generation::from_u64(GENERATION_COUNT << RANDOM_BITS);
        for _ in 0..2 {
            (version, generation) = (version.next(u32::MAX), generation.next(u32::MAX));
            assert!(i64::try_from(version.as_u64()).is_ok(), "{version:?}");
            assert!(i64::try_from(generation.as_u64()).is_ok(), "{generation:?}");
        }
    }

    #[test]
    fn a_generation_is_older_than_those_of_later_logins_whatever_their_random_bits() {
        let (nobody, first) = (Generation::default(), Generation::default().next(u32::MAX));
        let second = first.next(0);
        assert_eq!([nobody, first, second].map(Generation::is_first), [false, true, false]);
        assert!(nobody.is_older_than(first) && first.is_older_than(second) && nobody.is_older_than(second));
        assert!(!second.is_older_than(first) && !first.is_older_than(first));
        let (one, other) = (first.next(1), first.next(2));
        assert!(one != other && !one.is_older_than(other) && !other.is_older_than(one));
    }
}
