//! The actions of the requests.

use std::time::Duration;

use session_state::Session;

use crate::random::Random;

pub(super) const KEYS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Set(&'static str, u32),
    Add(&'static str),
    Remove(&'static str),
    Clear,
    Renew,
    Login(&'static str),
    LoginFresh(&'static str),
    Logout,
    IdleTimeout(u64),
}

impl Act {
    pub(super) fn random(random: &mut Random) -> Self {
        let key = random.pick(&KEYS);
        match random.below(20) {
            0..4 => Self::Set(key, u32::try_from(random.below(100)).unwrap()),
            4..8 => Self::Add(key),
            8..10 => Self::Remove(key),
            10 => Self::Clear,
            11..15 => Self::Renew,
            15..17 => Self::Login(random.pick(&["alice", "bob"])),
            17 => Self::LoginFresh(random.pick(&["alice", "bob"])),
            18 => Self::Logout,
            _ => Self::IdleTimeout(random.pick(&[20, 300])),
        }
    }

    pub(super) fn is_of_data(self) -> bool {
        matches!(self, Self::Set(..) | Self::Add(_) | Self::Remove(_) | Self::Clear)
    }

    /// Returns the principal that it logs in.
    pub(super) fn login(self) -> Option<&'static str> {
        if let Self::Login(name) | Self::LoginFresh(name) = self { Some(name) } else { None }
    }

    pub(super) fn run(self, session: &Session) {
        match self {
            Self::Set(key, value) => session.insert(key, value).unwrap(),
            Self::Add(key) => drop(session.update(key, |n: &mut u32| *n += 1).unwrap()),
            Self::Remove(key) => drop(session.remove(key)),
            Self::Clear => session.clear(),
            Self::Renew => session.renew(),
            Self::Login(name) => session.login(name),
            Self::LoginFresh(name) => session.login_fresh(name),
            Self::Logout => session.logout(),
            Self::IdleTimeout(idle) => session.set_idle_timeout(Duration::from_secs(idle)),
        }
    }
}

/// Returns the place of the last login that discards the values before it.
pub(super) fn handover(acts: &[Act]) -> usize {
    let (mut principal, mut last) = (None, 0);
    for (place, act) in acts.iter().enumerate() {
        let Some(name) = act.login() else { continue };
        if matches!(act, Act::LoginFresh(_)) || principal.is_some_and(|former| former != name) {
            last = place;
        }
        principal = Some(name);
    }
    last
}
