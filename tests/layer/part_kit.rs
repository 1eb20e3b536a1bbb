//! Helpers of the tests of parts.

use std::time::Duration;

use http::{Extensions, StatusCode};
use serde::{Deserialize, Serialize};
use session_state::{Error, KeyRing, Part, Placement, Session, SessionLayer, SessionPart};

use crate::browser::{App, Browser, Visit};

pub(crate) const IDLE: Duration = Duration::from_secs(30 * 60);

macro_rules! part {
    ($type:ident, $name:literal) => {
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub(crate) struct $type {
            pub(crate) a: String,
            #[serde(default)]
            pub(crate) b: String,
        }
        impl SessionPart for $type {
            const NAME: &'static str = $name;
        }
    };
}

part!(Notes, "notes");
part!(Second, "second");
part!(Prefs, "prefs");

pub(crate) async fn session(extensions: &Extensions) -> Session {
    Session::from_extensions(extensions).unwrap().load().await.unwrap()
}

pub(crate) fn keys() -> KeyRing {
    KeyRing::generate().unwrap()
}

/// Sends a request whose handler takes a part.
pub(crate) async fn visit<T, O>(
    browser: &mut Browser,
    app: &App,
    handler: impl FnOnce(&mut Part<T>) -> O + Send + 'static,
) -> Visit<O>
where
    T: SessionPart,
    O: Send + 'static,
{
    let visit = browser
        .send_raw(app, |extensions| async move {
            let mut part = Part::<T>::from_extensions(&extensions).await?;
            Ok((StatusCode::OK, handler(&mut part)))
        })
        .await;
    browser.receive(&visit);
    visit
}

/// Writes field `a` of a part.
pub(crate) async fn write<T: SessionPart + AsMut<String>>(
    browser: &mut Browser,
    app: &App,
    text: &'static str,
) -> Visit<()> {
    let visit = browser
        .send_raw(app, move |extensions| async move {
            *Part::<T>::from_extensions(&extensions).await?.as_mut() = text.to_owned();
            Ok((StatusCode::OK, ()))
        })
        .await;
    browser.receive(&visit);
    visit
}

pub(crate) async fn read<T: SessionPart + AsMut<String>>(browser: &Browser, app: &App) -> Result<String, Error> {
    let visit = browser
        .send_raw(app, move |extensions| async move {
            let mut part = Part::<T>::from_extensions(&extensions).await?;
            let text = AsMut::as_mut(&mut *part).clone();
            Ok((StatusCode::OK, text))
        })
        .await;
    match visit.error {
        Some(error) => Err(error),
        None => Ok(visit.output.unwrap()),
    }
}

impl AsMut<String> for Notes {
    fn as_mut(&mut self) -> &mut String {
        &mut self.a
    }
}
impl AsMut<String> for Second {
    fn as_mut(&mut self) -> &mut String {
        &mut self.a
    }
}
impl AsMut<String> for Prefs {
    fn as_mut(&mut self) -> &mut String {
        &mut self.a
    }
}

pub(crate) async fn login(browser: &mut Browser, app: &App, principal: &'static str) -> Visit<()> {
    browser.visit(app, move |session| async move { session.login(principal) }).await
}

pub(crate) async fn remove(browser: &Browser, app: &App) -> Visit<()> {
    browser
        .send_raw(app, |extensions| async move {
            session(&extensions).await.remove_part::<Notes>()?;
            Ok((StatusCode::OK, ()))
        })
        .await
}

pub(crate) trait Having {
    fn having<T: SessionPart>(self, placement: impl Into<Placement<T>>) -> Self;
}

impl Having for SessionLayer {
    fn having<T: SessionPart>(self, placement: impl Into<Placement<T>>) -> Self {
        self.with_part::<T>(placement).unwrap()
    }
}
