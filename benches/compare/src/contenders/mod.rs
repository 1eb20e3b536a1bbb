//! The contenders: each a router with the same routes.

mod axum_extra;
mod axum_session;
mod bare;
mod hand_written;
mod ruts;
mod tower_sessions;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::Router;

use crate::measure;
use crate::scenario::{Place, Scenario, replacement};

/// One contender.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    Bare,
    HandWritten,
    TowerSessions,
    AxumSession,
    Ruts,
    AxumExtra,
}

impl Contender {
    pub const ALL: [Self; 6] =
        [Self::Bare, Self::HandWritten, Self::TowerSessions, Self::AxumSession, Self::Ruts, Self::AxumExtra];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::HandWritten => "hand-written",
            Self::TowerSessions => "tower-sessions",
            Self::AxumSession => "axum_session",
            Self::Ruts => "ruts",
            Self::AxumExtra => "axum-extra",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|contender| contender.name() == name)
    }

    /// Whether it can keep state in that place.
    pub fn has(self, place: Place) -> bool {
        match self {
            Self::Bare | Self::HandWritten => true,
            Self::TowerSessions | Self::AxumSession | Self::Ruts => place == Place::Memory,
            Self::AxumExtra => place == Place::Encrypted,
        }
    }

    /// Whether the scenario means anything for it: a jar of cookies is no layer that could be left unused.
    pub fn runs(self, scenario: Scenario) -> bool {
        self != Self::AxumExtra || !matches!(scenario, Scenario::UnusedNoCookie | Scenario::UnusedCookie)
    }

    /// Its router, finished as a server finishes it.
    async fn app(self, place: Place) -> Router {
        let router = match self {
            Self::Bare => bare::router(),
            Self::HandWritten => hand_written::router(place),
            Self::TowerSessions => tower_sessions::router(),
            Self::AxumSession => axum_session::router().await,
            Self::Ruts => ruts::router(),
            Self::AxumExtra => axum_extra::router(),
        };
        router.with_state(())
    }

    pub fn check(self, place: Place) {
        // The bare router keeps nothing that could be checked.
        if self != Self::Bare {
            measure::runtime().block_on(async { measure::check(self.app(place).await).await });
        }
    }

    pub fn measure(self, place: Place, scenario: Scenario, requests: u64) -> u64 {
        measure::runtime().block_on(async { measure::measure(self.app(place).await, scenario, requests).await })
    }

    pub fn bytes(self, sessions: u64) -> Option<(u64, u64)> {
        let possible = self != Self::Bare && self.has(Place::Memory);
        possible.then(|| {
            measure::runtime().block_on(async { measure::bytes(self.app(Place::Memory).await, sessions).await })
        })
    }

    pub fn speedup(self, requests: u64) -> Option<f64> {
        self.has(Place::Memory).then(|| {
            let runtime = measure::runtime();
            let app = runtime.block_on(self.app(Place::Memory));
            measure::speedup(&app, requests)
        })
    }
}

/// The replacement that is next, for the routes that change one value.
fn next_replacement() -> &'static str {
    static TURN: AtomicU64 = AtomicU64::new(0);
    replacement(TURN.fetch_add(1, Relaxed))
}

/// A route that does not ask for the session.
async fn unused() -> &'static str {
    "unused"
}
