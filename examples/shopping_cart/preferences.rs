//! The visitor's preferences: a part of the session in its own encrypted cookie.

use std::fmt;

use serde::{Deserialize, Serialize};
use session_state::SessionPart;

use crate::money::Currency;

/// How the shop looks and counts for one visitor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Preferences {
    pub(crate) currency: Currency,
    pub(crate) theme: Theme,
}

impl SessionPart for Preferences {
    const NAME: &'static str = "preferences";
}

impl Preferences {
    /// What is chosen, in words.
    pub(crate) fn describe(&self) -> String {
        format!("Prices in {}, theme: {}.", self.currency.code(), self.theme.label().to_lowercase())
    }
}

/// Light, dark, or whatever the visitor's device is set to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Theme {
    #[default]
    Auto,
    Light,
    Dark,
}

impl Theme {
    pub(crate) const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Auto => "Like my device",
            Self::Light => "Light",
            Self::Dark => "Dark",
        }
    }
}

impl fmt::Display for Theme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        })
    }
}
