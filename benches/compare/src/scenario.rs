//! Where the state lives and what a request does with it.

/// Where the state lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a store in memory.
    Memory,
    /// In an encrypted cookie.
    Encrypted,
}

impl Place {
    pub const ALL: [Self; 2] = [Self::Memory, Self::Encrypted];

    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Encrypted => "encrypted",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.name() == name)
    }
}

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// The handler does not ask for the session, the client has none.
    UnusedNoCookie,
    /// The handler does not ask for the session, the client has one.
    UnusedCookie,
    /// Reads the one number there is.
    Read,
    /// Reads the number and writes it back one higher.
    Increment,
    /// Reads one of 20 values of 1 KiB together.
    ReadOne,
    /// Replaces one of 20 values of 3 kB together.
    ChangeOne,
}

impl Scenario {
    pub const ALL: [Self; 6] =
        [Self::UnusedNoCookie, Self::UnusedCookie, Self::Read, Self::Increment, Self::ReadOne, Self::ChangeOne];

    pub fn name(self) -> &'static str {
        match self {
            Self::UnusedNoCookie => "unused-no-cookie",
            Self::UnusedCookie => "unused-cookie",
            Self::Read => "read",
            Self::Increment => "increment",
            Self::ReadOne => "read-one",
            Self::ChangeOne => "change-one",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// The request that brings the session into being, if the scenario has one.
    pub fn seed(self) -> Option<&'static str> {
        match self {
            Self::UnusedNoCookie => None,
            Self::UnusedCookie | Self::Read | Self::Increment => Some("/seed-number"),
            Self::ReadOne => Some("/seed-small"),
            Self::ChangeOne => Some("/seed-large"),
        }
    }

    /// The request that is measured.
    pub fn path(self) -> &'static str {
        match self {
            Self::UnusedNoCookie | Self::UnusedCookie => "/unused",
            Self::Read => "/read",
            Self::Increment => "/increment",
            Self::ReadOne => "/read-one",
            Self::ChangeOne => "/change-one",
        }
    }
}

/// What `/seed-number` stores under [`NUMBER`].
pub const SEED: u64 = 41;

/// The key of the number.
pub const NUMBER: &str = "n";

/// The key of the value that is read or replaced among the 20.
pub const ONE: &str = "value-07";

/// The keys of the 20 values.
pub const KEYS: [&str; 20] = [
    "value-00", "value-01", "value-02", "value-03", "value-04", "value-05", "value-06", "value-07", "value-08",
    "value-09", "value-10", "value-11", "value-12", "value-13", "value-14", "value-15", "value-16", "value-17",
    "value-18", "value-19",
];

/// Twenty values of this size, with keys and the punctuation of JSON, are 1 KiB.
pub const SMALL: usize = 38;

/// Twenty values of this size are 2.8 kB with everything: with more, some peer's cookie is larger than 4096 bytes.
pub const LARGE: usize = 126;

/// A value of a size that no two keys share.
pub fn value(key: &str, size: usize) -> String {
    key.chars().cycle().take(size).collect()
}

/// What a client asks for next: two values in turn, so that every change is one.
pub fn replacement(turn: u64) -> &'static str {
    const EVEN: &str = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
    const ODD: &str = "oooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooooo";
    const { assert!(EVEN.len() == LARGE && ODD.len() == LARGE) };
    if turn.is_multiple_of(2) { EVEN } else { ODD }
}
