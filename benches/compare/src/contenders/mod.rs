//! The contenders: each a router with the same routes.

mod actix;
mod axum_extra;
mod axum_session;
mod bare;
mod hand_written;
mod ruts;
mod session_state;
mod tower_sessions;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::Router;

use crate::measure;
use crate::scenario::{Place, Scenario, replacement};

/// One contender.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    Bare,
    SessionState,
    HandWritten,
    Bound,
    TowerSessions,
    AxumSession,
    Ruts,
    AxumExtra,
    BareActix,
    Actix,
}

impl Contender {
    pub const ALL: [Self; 10] = [
        Self::Bare,
        Self::SessionState,
        Self::HandWritten,
        Self::Bound,
        Self::TowerSessions,
        Self::AxumSession,
        Self::Ruts,
        Self::AxumExtra,
        Self::BareActix,
        Self::Actix,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::SessionState => "session-state",
            Self::HandWritten => "hand-written",
            Self::Bound => "bound",
            Self::TowerSessions => "tower-sessions",
            Self::AxumSession => "axum_session",
            Self::Ruts => "ruts",
            Self::AxumExtra => "axum-extra",
            Self::BareActix => "bare-actix",
            Self::Actix => "actix-session",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|contender| contender.name() == name)
    }

    /// Whether it can keep state in that place.
    pub fn has(self, place: Place) -> bool {
        match self {
            Self::Bare | Self::SessionState | Self::HandWritten | Self::Bound => true,
            Self::TowerSessions | Self::AxumSession | Self::Ruts => place == Place::Memory,
            Self::AxumExtra | Self::BareActix | Self::Actix => place == Place::Encrypted,
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
            Self::SessionState => session_state::router(place),
            Self::HandWritten => hand_written::router(place, false),
            Self::Bound => hand_written::router(place, true),
            Self::TowerSessions => tower_sessions::router(),
            Self::AxumSession => axum_session::router().await,
            Self::Ruts => ruts::router(),
            Self::AxumExtra => axum_extra::router(),
            Self::BareActix | Self::Actix => unreachable!("actix-web has no router of axum's"),
        };
        router.with_state(())
    }

    pub fn check(self, place: Place) {
        measure::runtime().block_on(async {
            match self {
                // Nothing is kept that could be checked.
                Self::Bare | Self::BareActix => {}
                Self::Actix => measure::check(actix::app().await).await,
                _ => measure::check(self.app(place).await).await,
            }
        });
    }

    pub fn measure(self, place: Place, scenario: Scenario, requests: u64) -> u64 {
        measure::runtime().block_on(async {
            match self {
                Self::BareActix => measure::measure(actix::bare().await, scenario, requests).await,
                Self::Actix => measure::measure(actix::app().await, scenario, requests).await,
                _ => measure::measure(self.app(place).await, scenario, requests).await,
            }
        })
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
