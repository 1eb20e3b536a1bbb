//! Choosing a currency and a theme.

use axum::Form;
use axum::response::Redirect;
use serde::Deserialize;
use session_state::Part;

use super::LocalPath;
use crate::preferences::Preferences;

#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(flatten)]
    preferences: Preferences,
    #[serde(default)]
    return_to: LocalPath,
}

/// `POST /preferences`
pub(super) async fn save(mut preferences: Part<Preferences>, Form(choice): Form<Choice>) -> Redirect {
    *preferences = choice.preferences;
    Redirect::to(&choice.return_to.0)
}
