//! Parts of a session whose ID died during a request with that ID.
//!
//! The ID is also known to an attacker, who planted it or uses the same computer, and whose slow request loaded the
//! session before the login. That request must not see, write or delete anything newer, wherever the part lives.

use std::time::Duration;

use http::{Extensions, StatusCode};
use serde::{Deserialize, Serialize};
use session_state::{
    CookieState, InCookie, InStore, KeyRing, MemoryStore, Part, PartPlace, Session, SessionLayer, SessionPart,
};

use crate::browser::{App, Browser, Visit};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Notes {
    lines: Vec<String>,
}

impl SessionPart for Notes {
    const NAME: &'static str = "notes";
}

/// An application with its part in one of the places, and the store of that part.
struct Scene {
    app: App,
    parts: MemoryStore,
}

impl Scene {
    fn new(place: PartPlace) -> Self {
        Self::of(SessionLayer::server(MemoryStore::new()), place)
    }

    fn of(layer: SessionLayer, place: PartPlace) -> Self {
        let (parts, keys) = (MemoryStore::new(), KeyRing::generate().unwrap());
        let layer = match place {
            PartPlace::Cookie => layer.with_part::<Notes>(InCookie::encrypted(keys)).unwrap(),
            PartPlace::Store => layer.with_part::<Notes>(InStore::new(parts.clone())).unwrap(),
            _ => layer,
        };
        Self { app: App::new(layer), parts }
    }

    /// Sends a request that changes the session, and then adds the line, if any.
    async fn act(
        &self,
        browser: &mut Browser,
        act: impl FnOnce(&Session) + Send + 'static,
        line: Option<&'static str>,
    ) {
        act_in(&self.app, browser, act, line).await;
    }

    /// The principal and the content of the part.
    async fn shown(&self, browser: &Browser) -> (Option<String>, Vec<String>) {
        let look = |extensions| async move {
            let principal = Session::from_extensions(&extensions)?.load().await?.principal();
            Ok((StatusCode::OK, (principal, lines(&extensions).await)))
        };
        browser.send_raw(&self.app, look).await.value()
    }
}

async fn act_in(
    app: &App,
    browser: &mut Browser,
    act: impl FnOnce(&Session) + Send + 'static,
    line: Option<&'static str>,
) {
    let visit = browser.send_raw(app, move |extensions| async move {
        act(&Session::from_extensions(&extensions)?.load().await?);
        if let Some(line) = line {
            Part::<Notes>::from_extensions(&extensions).await?.update(|notes| notes.lines.push(line.to_owned()));
        }
        Ok((StatusCode::OK, ()))
    });
    let visit = visit.await;
    browser.receive(&visit);
    visit.value();
}

async fn lines(extensions: &Extensions) -> Vec<String> {
    Part::<Notes>::from_extensions(extensions).await.unwrap().lines.clone()
}

const PLACES: [PartPlace; 3] = [PartPlace::Session, PartPlace::Cookie, PartPlace::Store];

/// How the ID of a request dies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    Login,
    FreshLogin,
    LoginAgain,
    Reauthentication,
    Takeover,
    Logout,
    Revocation,
}

impl Death {
    const ALL: [Self; 7] = [
        Self::Login,
        Self::FreshLogin,
        Self::LoginAgain,
        Self::Reauthentication,
        Self::Takeover,
        Self::Logout,
        Self::Revocation,
    ];

    /// The principal before.
    fn principal(self) -> Option<&'static str> {
        (!matches!(self, Self::Login | Self::FreshLogin)).then_some("alice")
    }

    /// Makes the ID die by a request of `victim`, which then writes a secret: in the same request or in the next.
    async fn happen(self, app: &App, victim: &mut Browser, at_once: bool) {
        let kill = move |session: &Session| match self {
            Self::Login | Self::LoginAgain => session.login("alice"),
            Self::FreshLogin => session.login_fresh("alice"),
            Self::Reauthentication => session.mark_reauthenticated().unwrap(),
            Self::Takeover => session.login("bob"),
            Self::Logout => session.logout(),
            Self::Revocation => {}
        };
        if self == Self::Revocation {
            assert_eq!(app.layer.sessions().unwrap().revoke_all("alice").await.unwrap(), 1);
            // The ID is dead for the victim too.
            *victim = Browser::default();
        }
        act_in(app, victim, kill, at_once.then_some("secret")).await;
        if !at_once {
            act_in(app, victim, |_| {}, Some("secret")).await;
        }
    }
}

/// A browser with a session, with or without the part.
async fn begin(scene: &Scene, death: Death, is_written: bool) -> Browser {
    let mut browser = Browser::default();
    let begin = move |session: &Session| {
        session.insert("n", 1).unwrap();
        if let Some(principal) = death.principal() {
            session.login(principal);
        }
    };
    scene.act(&mut browser, begin, is_written.then_some("early")).await;
    browser
}

/// Every cause, with and without an existing part, and with a secret written in the same request or later.
fn all() -> impl Iterator<Item = (Death, bool, bool)> {
    let flags = [(false, false), (false, true), (true, false), (true, true)];
    Death::ALL.into_iter().flat_map(move |death| flags.map(|(is_written, at_once)| (death, is_written, at_once)))
}

#[tokio::test]
async fn a_request_with_a_dead_id_sees_nothing_newer() {
    for place in PLACES {
        for (death, is_written, at_once) in all() {
            let story = format!("{place:?}, {death:?}, written before: {is_written}, at once: {at_once}");
            let scene = Scene::new(place);
            let browser = begin(&scene, death, is_written).await;
            let (app, mut victim) = (scene.app.clone(), browser.clone());
            let visit = browser.send_raw(&scene.app, move |extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                assert_eq!(session.get::<u32>("n")?, Some(1));
                death.happen(&app, &mut victim, at_once).await;
                Ok((StatusCode::OK, lines(&extensions).await))
            });
            let visit = visit.await;
            assert!(visit.set_cookies().is_empty(), "{story}");
            assert!(!visit.value().contains(&"secret".to_owned()), "{story}");
        }
    }
}

/// The part is loaded before the ID dies, or after.
#[tokio::test]
async fn a_request_with_a_dead_id_writes_to_no_part() {
    let mut wrong = Vec::new();
    for place in PLACES {
        for ((death, is_written, at_once), is_loaded) in all().flat_map(|story| [(story, false), (story, true)]) {
            let scene = Scene::new(place);
            let browser = begin(&scene, death, is_written).await;
            let (app, mut victim) = (scene.app.clone(), browser.clone());
            let visit = browser.send_raw(&scene.app, move |extensions| async move {
                Session::from_extensions(&extensions)?.load().await?;
                let part = if is_loaded { Some(Part::<Notes>::from_extensions(&extensions).await?) } else { None };
                death.happen(&app, &mut victim, at_once).await;
                let mut part = match part {
                    Some(part) => part,
                    None => Part::<Notes>::from_extensions(&extensions).await?,
                };
                part.lines.push("forged".to_owned());
                Ok((StatusCode::OK, victim))
            });
            let Visit { status, headers, output, .. } = visit.await;
            let victim = output.expect("the handler has returned");
            let (_, lines) = scene.shown(&victim).await;
            let kept = scene.parts.len();
            let is_kept = kept == usize::from(place == PartPlace::Store);
            let is_wrong = status != StatusCode::CONFLICT || headers.contains_key("set-cookie") || !is_kept;
            if is_wrong || lines.contains(&"forged".to_owned()) || !lines.contains(&"secret".to_owned()) {
                let story = format!("written before: {is_written}, at once: {at_once}, loaded: {is_loaded}");
                wrong.push(format!("{place:?}, {death:?}, {story}: {status}, {lines:?}, {kept} kept"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Requests that end their session, which would remove its parts.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Logout,
    Takeover,
    FreshLogin,
    Clear,
}

#[tokio::test]
async fn a_request_with_a_dead_id_ends_no_part_of_the_live_session() {
    let mut wrong = Vec::new();
    for place in PLACES {
        for death in [Death::Login, Death::LoginAgain, Death::Reauthentication] {
            for ending in [Ending::Logout, Ending::Takeover, Ending::FreshLogin, Ending::Clear] {
                for is_saved in [false, true] {
                    let scene = Scene::new(place);
                    let browser = begin(&scene, death, true).await;
                    let (app, mut victim) = (scene.app.clone(), browser.clone());
                    let visit = browser.visit_part(&scene.app, move |session| async move {
                        death.happen(&app, &mut victim, true).await;
                        match ending {
                            Ending::Logout => session.logout(),
                            Ending::Takeover => session.login("mallory"),
                            Ending::FreshLogin => session.login_fresh("mallory"),
                            Ending::Clear => session.clear(),
                        }
                        if is_saved {
                            let _ = session.save().await;
                        }
                        victim
                    });
                    let visit = visit.await;
                    let cookies = visit.set_cookies().iter().map(|cookie| (*cookie).to_owned()).collect::<Vec<_>>();
                    let victim = visit.output.expect("the handler has returned");
                    let shown = scene.shown(&victim).await;
                    let expected = (Some("alice".to_owned()), vec!["early".to_owned(), "secret".to_owned()]);
                    if shown != expected || !cookies.is_empty() {
                        let story = format!("{place:?}, {death:?}, {ending:?}, saved: {is_saved}");
                        wrong.push(format!("{story}: {shown:?}, {cookies:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

impl Browser {
    /// Sends a request that has loaded the part, without keeping its cookies.
    async fn visit_part<T: Send + 'static, F, Fut>(&self, app: &App, handler: F) -> Visit<T>
    where
        F: FnOnce(Session) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        let visit = self.send_raw(app, |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            lines(&extensions).await;
            Ok((StatusCode::OK, handler(session).await))
        });
        visit.await
    }
}

/// State in the cookie has no ID, but a cookie from before a login is as outdated as a dead ID.
#[tokio::test]
async fn a_request_with_a_cookie_from_before_a_login_neither_reads_nor_writes_newer_parts() {
    for (death, is_loaded) in [(Death::Login, false), (Death::Login, true), (Death::LoginAgain, false)] {
        let state = CookieState::encrypted(KeyRing::generate().unwrap());
        let scene = Scene::of(SessionLayer::client(state), PartPlace::Store);
        let browser = begin(&scene, death, true).await;
        scene.app.pass(Duration::from_secs(1));
        let (app, mut victim) = (scene.app.clone(), browser.clone());
        let visit = browser.send_raw(&scene.app, move |extensions| async move {
            Session::from_extensions(&extensions)?.load().await?;
            let part = if is_loaded { Some(Part::<Notes>::from_extensions(&extensions).await?) } else { None };
            death.happen(&app, &mut victim, false).await;
            let mut part = match part {
                Some(part) => part,
                None => Part::<Notes>::from_extensions(&extensions).await?,
            };
            assert!(!part.lines.contains(&"secret".to_owned()));
            part.lines.push("forged".to_owned());
            Ok((StatusCode::OK, victim))
        });
        let visit = visit.await;
        assert_eq!(visit.status, StatusCode::CONFLICT, "{death:?}, loaded: {is_loaded}");
        let victim = visit.output.unwrap();
        assert_eq!(scene.shown(&victim).await.1, ["early", "secret"], "{death:?}, loaded: {is_loaded}");
    }
}

/// When a part that is held during a takeover is changed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Changed {
    Never,
    Before,
    After,
    /// After, by a closure.
    UpdatedAfter,
    /// Before by one, and after by another.
    UpdatedBoth,
}

#[tokio::test]
async fn a_part_held_during_a_takeover_carries_nothing_into_the_new_session() {
    use Changed::{After, Before, Never, UpdatedAfter, UpdatedBoth};
    let mut wrong = Vec::new();
    for place in PLACES {
        for next in [Some(("bob", false)), Some(("bob", true)), Some(("alice", true)), None] {
            for changed in [Never, Before, After, UpdatedAfter, UpdatedBoth] {
                let scene = Scene::new(place);
                let mut browser = begin(&scene, Death::Takeover, true).await;
                let visit = browser.send_raw(&scene.app, move |extensions| async move {
                    let session = Session::from_extensions(&extensions)?.load().await?;
                    let mut part = Part::<Notes>::from_extensions(&extensions).await?;
                    match changed {
                        Before => part.lines.push("of alice".to_owned()),
                        UpdatedBoth => part.update(|notes| notes.lines.push("of alice".to_owned())),
                        _ => {}
                    }
                    match next {
                        Some((principal, false)) => session.login(principal),
                        Some((principal, true)) => session.login_fresh(principal),
                        None => session.logout(),
                    }
                    match changed {
                        After => part.lines.push("new".to_owned()),
                        UpdatedAfter | UpdatedBoth => part.update(|notes| notes.lines.push("new".to_owned())),
                        _ => {}
                    }
                    Ok((StatusCode::OK, ()))
                });
                let visit = visit.await;
                browser.receive(&visit);
                let lines: &[&str] = if matches!(changed, Never | Before) { &[] } else { &["new"] };
                let (principal, shown) = scene.shown(&browser).await;
                let is_right = principal.as_deref() == next.map(|(principal, _)| principal) && shown == lines;
                let kept = scene.parts.len();
                if !is_right || kept != usize::from(place == PartPlace::Store && !lines.is_empty()) {
                    let story = format!("{place:?}, {next:?}, {changed:?}");
                    wrong.push(format!("{story}: {} {principal:?} {shown:?}, {kept} kept", visit.status));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
