//! Changes of a request whose session ended during it: they are dropped, and the client gets an error.
//!
//! Every kind of change with every kind of end, by `save()` and by the response. An ID that died in a login counts like
//! an ended session, except for another login of the same principal, which continues from the first one's session.

use std::time::Duration;

use http::{Extensions, StatusCode};
use serde::{Deserialize, Serialize};
use session_state::{
    CookieState, Error, ErrorKind, InCookie, InStore, KeyRing, MemoryStore, Part, Session, SessionLayer, SessionPart,
    Sessions,
};

use crate::browser::{App, Browser, Visit};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

macro_rules! parts {
    ($($part:ident $name:literal)*) => {$(
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        struct $part {
            text: String,
        }

        impl SessionPart for $part {
            const NAME: &'static str = $name;
        }
    )*};
}

// One part for each place that needs no database, and one of each that is still unwritten.
parts! {
    InRecord "in_record"
    OfCookie "of_cookie"
    OfStore "of_store"
    NewInRecord "new_in_record"
    NewOfCookie "new_of_cookie"
    NewOfStore "new_of_store"
}

/// How the session of a request ends during the request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Revoked,
    LoggedOut,
    /// A login of an anonymous session, which continues under another ID.
    LoggedIn,
    /// Like `LoggedIn`, with all values removed first.
    LoggedInFresh,
    /// The principal logs in again.
    LoggedInAgain,
    Reauthenticated,
    /// Another principal logs in.
    TakenOver,
    Expired,
}

impl End {
    const ALL: [Self; 8] = [
        Self::Revoked,
        Self::LoggedOut,
        Self::LoggedIn,
        Self::LoggedInFresh,
        Self::LoggedInAgain,
        Self::Reauthenticated,
        Self::TakenOver,
        Self::Expired,
    ];

    /// Who is logged in before.
    fn principal(self) -> Option<&'static str> {
        (!matches!(self, Self::LoggedIn | Self::LoggedInFresh)).then_some("alice")
    }

    /// Ends the session of `tab`, which continues with the resulting one.
    async fn happen(self, app: &App, tab: &mut Browser, sessions: &Sessions) {
        match self {
            Self::Revoked => assert_eq!(sessions.revoke_all("alice").await.unwrap(), 1),
            Self::Expired => app.pass(DAY),
            _ => tab.visit(app, move |session| async move { self.happen_in(&session) }).await.value(),
        }
    }

    fn happen_in(self, session: &Session) {
        match self {
            Self::Revoked | Self::Expired => {}
            Self::LoggedOut => session.logout(),
            Self::LoggedIn | Self::LoggedInAgain => session.login("alice"),
            Self::LoggedInFresh => session.login_fresh("alice"),
            Self::Reauthenticated => session.mark_reauthenticated().unwrap(),
            Self::TakenOver => session.login("bob"),
        }
    }
}

/// The change that the request makes after the session has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Insert,
    Update,
    Remove,
    Clear,
    Part(Place),
    NewPart(Place),
    SetLabel,
    RemoveLabel,
    IdleTimeout,
    AbsoluteTimeout,
    ResetTimeouts,
    Renew,
    Login,
    Reauthenticate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Record,
    Cookie,
    Store,
}

impl Change {
    const ALL: [Self; 18] = [
        Self::Insert,
        Self::Update,
        Self::Remove,
        Self::Clear,
        Self::Part(Place::Record),
        Self::Part(Place::Cookie),
        Self::Part(Place::Store),
        Self::NewPart(Place::Record),
        Self::NewPart(Place::Cookie),
        Self::NewPart(Place::Store),
        Self::SetLabel,
        Self::RemoveLabel,
        Self::IdleTimeout,
        Self::AbsoluteTimeout,
        Self::ResetTimeouts,
        Self::Renew,
        Self::Login,
        Self::Reauthenticate,
    ];

    async fn make(self, session: &Session, extensions: &Extensions) -> Result<(), Error> {
        match self {
            Self::Insert => session.insert("late", 1)?,
            Self::Update => {
                session.update("n", |n: &mut u32| *n += 1)?;
            }
            Self::Remove => assert!(session.remove("n")),
            Self::Clear => session.clear(),
            Self::Part(place) => match place {
                Place::Record => Part::<InRecord>::from_extensions(extensions).await?.text.push_str("late"),
                Place::Cookie => Part::<OfCookie>::from_extensions(extensions).await?.text.push_str("late"),
                Place::Store => Part::<OfStore>::from_extensions(extensions).await?.text.push_str("late"),
            },
            Self::NewPart(place) => match place {
                Place::Record => Part::<NewInRecord>::from_extensions(extensions).await?.text.push_str("late"),
                Place::Cookie => Part::<NewOfCookie>::from_extensions(extensions).await?.text.push_str("late"),
                Place::Store => Part::<NewOfStore>::from_extensions(extensions).await?.text.push_str("late"),
            },
            Self::SetLabel => session.set_label("late")?,
            Self::RemoveLabel => session.remove_label(),
            Self::IdleTimeout => session.set_idle_timeout(2 * DAY),
            Self::AbsoluteTimeout => session.set_absolute_timeout(3 * DAY),
            Self::ResetTimeouts => session.reset_timeouts(),
            Self::Renew => session.renew(),
            Self::Login => session.login("alice"),
            // Without a login it renews.
            Self::Reauthenticate => session.mark_reauthenticated().unwrap_or_else(|_| session.renew()),
        }
        Ok(())
    }

    /// Returns whether it authenticates the principal that the end has authenticated, whose session it continues.
    fn repeats_authentication(self, end: End) -> bool {
        match self {
            Self::Login => {
                matches!(end, End::LoggedIn | End::LoggedInFresh | End::LoggedInAgain | End::Reauthenticated)
            }
            Self::Reauthenticate => matches!(end, End::LoggedInAgain | End::Reauthenticated),
            _ => false,
        }
    }

    /// The changes that are lost with a session that ends so.
    fn lost_at(end: End) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |change| !change.repeats_authentication(end))
    }
}

/// An application whose session has everything that can change.
struct Scene {
    app: App,
    parts: MemoryStore,
    browser: Browser,
}

/// The whole content of a session.
#[derive(Debug, PartialEq)]
struct Found {
    principal: Option<String>,
    label: Option<String>,
    n: Option<u32>,
    late: Option<u32>,
    parts: Vec<String>,
    idle_timeout: Option<Duration>,
}

impl Scene {
    async fn new(end: End) -> Self {
        let (keys, parts) = (KeyRing::generate().unwrap(), MemoryStore::new());
        let layer = SessionLayer::server(MemoryStore::new())
            .with_part::<OfCookie>(InCookie::encrypted(keys.clone()))
            .unwrap()
            .with_part::<NewOfCookie>(InCookie::encrypted(keys))
            .unwrap()
            .with_part::<OfStore>(InStore::new(parts.clone()))
            .unwrap()
            .with_part::<NewOfStore>(InStore::new(parts.clone()))
            .unwrap();
        let (app, mut browser) = (App::new(layer), Browser::default());
        let begin = browser.send_raw(&app, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            if let Some(principal) = end.principal() {
                session.login(principal);
            }
            session.insert("n", 1)?;
            session.set_label("early")?;
            session.set_idle_timeout(Duration::from_secs(3600));
            Part::<InRecord>::from_extensions(&extensions).await?.text.push_str("early");
            Part::<OfCookie>::from_extensions(&extensions).await?.text.push_str("early");
            Part::<OfStore>::from_extensions(&extensions).await?.text.push_str("early");
            Ok((StatusCode::OK, ()))
        });
        let begun = begin.await;
        browser.receive(&begun);
        begun.value();
        let _ = app.events();
        Self { app, parts, browser }
    }

    /// Sends a request whose session ends after it was loaded, and which then makes a change. Returns the response, and
    /// the browser that ended the session.
    async fn request(&self, end: End, change: Change, saves: bool) -> (Visit<Option<Error>>, Browser) {
        let (app, mut tab, sessions) = (self.app.clone(), self.browser.clone(), self.app.layer.sessions().unwrap());
        let visit = self.browser.send_raw(&self.app, move |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            end.happen(&app, &mut tab, &sessions).await;
            // Reading a part of an ended session is not an error.
            change.make(&session, &extensions).await?;
            let error = if saves { session.save().await.err() } else { None };
            Ok((StatusCode::OK, (error, tab)))
        });
        let Visit { status, headers, error, output } = visit.await;
        let (saved, tab) = output.map_or((None, None), |(saved, tab)| (saved, Some(tab)));
        let tab = tab.unwrap_or_else(|| panic!("{end:?} and {change:?}: the handler did not return: {error:?}"));
        (Visit { status, headers, error, output: Some(saved) }, tab)
    }

    /// Returns the browser after two responses, of which it may have received one or both, in either order. Each is
    /// given as the browser that has received it alone.
    fn arrivals(&self, first: &Browser, second: &Browser) -> [(Browser, &'static str); 4] {
        let then = |before: &Browser, after: &Browser| {
            let mut jar = before.jar.clone();
            let is_received = |(name, value): &(&String, &String)| self.browser.jar.get(*name) != Some(*value);
            jar.extend(after.jar.iter().filter(is_received).map(|(name, value)| (name.clone(), value.clone())));
            Browser { jar }
        };
        [
            (first.clone(), "only the first"),
            (second.clone(), "only the second"),
            (then(first, second), "in order"),
            (then(second, first), "the first last"),
        ]
    }

    async fn found(&self, browser: &Browser) -> Found {
        let look = |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            let parts = vec![
                Part::<InRecord>::from_extensions(&extensions).await?.text.clone(),
                Part::<OfCookie>::from_extensions(&extensions).await?.text.clone(),
                Part::<OfStore>::from_extensions(&extensions).await?.text.clone(),
                Part::<NewInRecord>::from_extensions(&extensions).await?.text.clone(),
                Part::<NewOfCookie>::from_extensions(&extensions).await?.text.clone(),
                Part::<NewOfStore>::from_extensions(&extensions).await?.text.clone(),
            ];
            let found = Found {
                principal: session.principal(),
                label: session.label(),
                n: session.get("n")?,
                late: session.get("late")?,
                parts,
                idle_timeout: session.lifetime().idle_timeout,
            };
            Ok((StatusCode::OK, found))
        };
        browser.send_raw(&self.app, look).await.value()
    }
}

/// The content that the tab finds, and the number of stored parts, after the end alone.
async fn after(end: End) -> (Found, usize) {
    let scene = Scene::new(end).await;
    let (app, mut tab) = (&scene.app, scene.browser.clone());
    end.happen(app, &mut tab, &app.layer.sessions().unwrap()).await;
    (scene.found(&tab).await, scene.parts.len())
}

#[tokio::test]
async fn a_change_of_an_ended_session_is_409_without_a_cookie_and_leaves_no_trace() {
    let mut wrong = Vec::new();
    for end in End::ALL {
        let expected = after(end).await;
        for change in Change::lost_at(end) {
            let scene = Scene::new(end).await;
            let (visit, tab) = scene.request(end, change, false).await;
            let kind = visit.error.as_ref().map(|error| error.kind().clone());
            let (status, cookies) = (visit.status, visit.set_cookies());
            if status != StatusCode::CONFLICT || kind != Some(ErrorKind::Ended) || !cookies.is_empty() {
                wrong.push(format!("{end:?}, {change:?}: {status} {kind:?} {cookies:?}"));
            }
            let found = (scene.found(&tab).await, scene.parts.len());
            if found != expected {
                wrong.push(format!("{end:?}, {change:?}: {found:?} instead of {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn a_save_of_an_ended_session_is_an_error_and_leaves_no_trace() {
    let mut wrong = Vec::new();
    for end in End::ALL {
        let expected = after(end).await;
        for change in Change::lost_at(end) {
            let scene = Scene::new(end).await;
            let (visit, tab) = scene.request(end, change, true).await;
            let (status, cookies) = (visit.status, visit.set_cookies());
            let kind = visit.output.clone().flatten().map(|error| (error.status(), error.kind().clone()));
            // The handler got the error, and may answer with any status.
            let is_answered = status == StatusCode::OK || status == StatusCode::CONFLICT;
            if kind != Some((StatusCode::CONFLICT, ErrorKind::Ended)) || !is_answered || !cookies.is_empty() {
                wrong.push(format!("{end:?}, {change:?}: {status} {kind:?} {cookies:?}"));
            }
            let found = (scene.found(&tab).await, scene.parts.len());
            if found != expected {
                wrong.push(format!("{end:?}, {change:?}: {found:?} instead of {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn a_login_after_one_of_the_same_principal_continues_its_session_with_all_parts() {
    for end in End::ALL {
        let expected = after(end).await;
        for change in Change::ALL.into_iter().filter(|change| change.repeats_authentication(end)) {
            for saves in [false, true] {
                let scene = Scene::new(end).await;
                let (visit, tab) = scene.request(end, change, saves).await;
                let mut second = scene.browser.clone();
                second.receive(&visit);
                let story = format!("{end:?}, {change:?}, saved: {saves}");
                assert_eq!(visit.value().map(|error| error.kind().clone()), None, "{story}");
                assert_ne!(second.id(), tab.id(), "{story}: the ID of the first response may be known to others");
                for (browser, arrival) in scene.arrivals(&tab, &second) {
                    let found = (scene.found(&browser).await, scene.parts.len());
                    assert_eq!(found, expected, "{story}: {arrival}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_login_with_the_id_that_a_login_has_just_replaced_continues_its_session_with_all_parts() {
    for end in [End::LoggedIn, End::LoggedInFresh, End::LoggedInAgain, End::Reauthenticated, End::TakenOver] {
        let expected = after(end).await;
        let scene = Scene::new(end).await;
        let (mut tab, mut second) = (scene.browser.clone(), scene.browser.clone());
        end.happen(&scene.app, &mut tab, &scene.app.layer.sessions().unwrap()).await;
        let principal = if end == End::TakenOver { "bob" } else { "alice" };
        second.visit(&scene.app, move |session| async move { session.login(principal) }).await.value();
        for (browser, arrival) in scene.arrivals(&tab, &second) {
            let (mut found, parts) = (scene.found(&browser).await, scene.parts.len());
            if arrival == "only the second" && end != End::LoggedIn {
                // The first response has bound this part to the session as it is after the login. What it was bound to
                // before is known only for the first login of a session.
                found.parts[1].clone_from(&expected.0.parts[1]);
            }
            assert_eq!((found, parts), expected, "{end:?}: {arrival}");
        }
    }
}

/// With state in the cookie, changes that call the store detect the end.
#[tokio::test]
async fn a_change_that_checks_revocations_is_409_after_the_session_has_ended() {
    for is_revoked in [true, false] {
        for saves in [true, false] {
            for change in [Change::Login, Change::AbsoluteTimeout] {
                let state = CookieState::encrypted(KeyRing::generate().unwrap()).with_revocation(MemoryStore::new());
                let (app, mut browser) = (App::new(SessionLayer::client(state)), Browser::default());
                browser.visit(&app, |session| async move { session.login("alice") }).await.value();
                app.pass(Duration::from_secs(90));
                let (inner, mut tab, revocations) = (app.clone(), browser.clone(), app.layer.revocations().unwrap());
                let visit = browser.send_raw(&app, move |extensions| async move {
                    let session = Session::from_extensions(&extensions)?.load().await?;
                    match is_revoked {
                        true => revocations.revoke_session(session.handle().unwrap()).await?,
                        false => tab.visit(&inner, |session| async move { session.logout() }).await.value(),
                    }
                    change.make(&session, &extensions).await?;
                    Ok((StatusCode::OK, if saves { session.save().await.err() } else { None }))
                });
                let visit = visit.await;
                let story = format!("{change:?}, revoked: {is_revoked}, saved: {saves}");
                assert!(visit.set_cookies().is_empty(), "{story}: {:?}", visit.set_cookies());
                let error = if saves { visit.output.flatten() } else { visit.error };
                assert_eq!(error.map(|error| error.kind().clone()), Some(ErrorKind::Ended), "{story}");
                assert!(saves || visit.status == StatusCode::CONFLICT, "{story}: {}", visit.status);
            }
        }
    }
}

/// They lose no changes.
#[tokio::test]
async fn a_late_read_succeeds_and_so_does_a_late_logout_unless_the_session_goes_on() {
    for end in End::ALL {
        let expected = after(end).await;
        for (logs_out, touches) in [(false, false), (false, true), (true, false)] {
            let scene = Scene::new(end).await;
            let (app, mut tab, sessions) =
                (scene.app.clone(), scene.browser.clone(), scene.app.layer.sessions().unwrap());
            let visit = scene.browser.send_raw(&scene.app, move |extensions| async move {
                let session = Session::from_extensions(&extensions)?.load().await?;
                end.happen(&app, &mut tab, &sessions).await;
                if touches {
                    app.pass(Duration::from_secs(400));
                }
                assert_eq!(session.get::<u32>("n")?, Some(1));
                if logs_out {
                    session.logout();
                }
                Ok((StatusCode::OK, (session.save().await.map_err(|error| error.to_string()), tab)))
            });
            let visit = visit.await;
            let story = format!("{end:?}, logs out: {logs_out}, touches: {touches}");
            assert!(visit.set_cookies().is_empty(), "{story}: {:?}", visit.set_cookies());
            let (saved, tab) = visit.value();
            // It goes on under another ID.
            let is_replaced = !matches!(end, End::Revoked | End::LoggedOut | End::Expired);
            assert_eq!(saved.is_err(), logs_out && is_replaced, "{story}: {saved:?}");
            assert_eq!((scene.found(&tab).await, scene.parts.len()), expected, "{story}");
        }
    }
}
