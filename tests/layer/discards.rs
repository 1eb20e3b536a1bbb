//! Every way in which a change can be discarded: in none is anybody told of a success that did not happen.
//!
//! The client is told by the response, the handler or a task by `save()` or by the call itself, and where there is
//! neither, the observers. [`ended`](super::ended) tries every kind of change with every end of its session, and
//! [`drops`](super::drops) drops requests at every poll; here each way stands once.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::StatusCode;
use session_state::test_kit::{Call, Fault, Faults, FaultyStore};
use session_state::{
    ConflictPolicy, CookieState, ErrorKind, KeyRing, MemoryStore, ServerErrorPolicy, Session, SessionLayer,
    SessionLimitPolicy,
};

use crate::browser::{App, Browser, Visit};

/// Why the value `late`, which a request sets, is not kept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Another request ends the session, or renews its ID without grace, while this one is under way.
    LoggedOutMeanwhile,
    LoggedInMeanwhile,
    TakenOverMeanwhile,
    RevokedMeanwhile,
    ExpiredMeanwhile,
    /// The same for state in the cookie with revocation.
    CookieLoggedOutMeanwhile,
    /// The ID has just died before the request.
    LoggedOutBefore,
    LoggedInBefore,
    RevokedBefore,
    GraceOverBefore,
    CookieLoggedOutBefore,
    /// Another request has changed the same session, under a policy that does not merge.
    Conflict,
    /// The value depends on a login that is refused.
    LoginRefused,
    EmptyPrincipal,
    /// The state does not fit.
    RecordTooLarge,
    CookieTooLarge,
    /// The value has no JSON text.
    NotEncodable,
    StoreDown,
    /// The policy discards data with a server error.
    ServerError,
    Panic,
    /// The client goes away, and a task of the request saves.
    ClientGone,
    /// The head of the response is sent: it can carry no new ID.
    TooLate,
    /// Nobody saves what is changed after the response.
    NeverSaved,
}

impl Way {
    const ALL: [Self; 23] = [
        Self::LoggedOutMeanwhile,
        Self::LoggedInMeanwhile,
        Self::TakenOverMeanwhile,
        Self::RevokedMeanwhile,
        Self::ExpiredMeanwhile,
        Self::CookieLoggedOutMeanwhile,
        Self::LoggedOutBefore,
        Self::LoggedInBefore,
        Self::RevokedBefore,
        Self::GraceOverBefore,
        Self::CookieLoggedOutBefore,
        Self::Conflict,
        Self::LoginRefused,
        Self::EmptyPrincipal,
        Self::RecordTooLarge,
        Self::CookieTooLarge,
        Self::NotEncodable,
        Self::StoreDown,
        Self::ServerError,
        Self::Panic,
        Self::ClientGone,
        Self::TooLate,
        Self::NeverSaved,
    ];

    /// Who has to be told, with `save()` in the handler and without.
    fn told(self, saves: bool) -> Told {
        use ErrorKind::{Abandoned, Conflict, EmptyPrincipal, Ended, TooLate, TooManySessions, Unavailable};
        let error = match self {
            Self::Conflict => Conflict,
            Self::LoginRefused => TooManySessions { limit: 1 },
            Self::EmptyPrincipal => EmptyPrincipal,
            Self::StoreDown => Unavailable,
            Self::RecordTooLarge | Self::CookieTooLarge => return Told::TooLarge,
            Self::NotEncodable => return Told::Encode,
            Self::ServerError => return Told::Status(StatusCode::INTERNAL_SERVER_ERROR),
            Self::Panic => return Told::Nothing,
            Self::ClientGone => return Told::Save(Abandoned),
            Self::TooLate => return Told::Save(TooLate),
            Self::NeverSaved => return Told::Event("ChangesUnsaved"),
            _ => Ended,
        };
        if saves { Told::Save(error) } else { Told::Response(error) }
    }
}

/// Who was told of a failure.
#[derive(Debug, PartialEq)]
enum Told {
    Response(ErrorKind),
    Save(ErrorKind),
    TooLarge,
    Encode,
    Status(StatusCode),
    Event(&'static str),
    /// There is no response.
    Nothing,
    /// Nobody was told.
    Success,
}

/// An application, a browser that is logged in as `alice`, and the faults of the store.
struct Scene {
    app: App,
    faults: Faults,
    browser: Browser,
    /// The session of the request, and the result of its save.
    session: Arc<Mutex<Option<Session>>>,
    saved: Arc<Mutex<Option<ErrorKind>>>,
}

const LARGE: usize = 5_000;

impl Scene {
    async fn new(way: Way) -> Self {
        let store = FaultyStore::new(MemoryStore::new());
        let faults = store.faults();
        let layer = match way {
            Way::CookieTooLarge => SessionLayer::client(CookieState::encrypted(KeyRing::generate().unwrap())),
            Way::CookieLoggedOutMeanwhile | Way::CookieLoggedOutBefore => {
                let state = CookieState::encrypted(KeyRing::generate().unwrap());
                SessionLayer::client(state.with_revocation(MemoryStore::new()))
            }
            _ => SessionLayer::server(store),
        };
        let layer = match way {
            Way::Conflict => layer.with_conflict_policy(ConflictPolicy::Fail),
            Way::ServerError => layer.with_server_error_policy(ServerErrorPolicy::Discard),
            Way::RecordTooLarge => layer.with_max_record_size(LARGE),
            Way::LoginRefused => layer.with_max_sessions(1, SessionLimitPolicy::RefuseLogin).unwrap(),
            _ => layer,
        };
        let (app, mut browser) = (App::new(layer), Browser::default());
        if way == Way::LoginRefused {
            let elsewhere = Browser::default();
            elsewhere.send(&app, |session| async move { session.login("alice") }).await.value();
            browser.set(&app, "early", 1).await;
        } else {
            browser.visit(&app, |session| async move { session.login("alice") }).await.value();
            app.pass(Duration::from_secs(60));
            browser.set(&app, "early", 1).await;
        }
        Self { app, faults, browser, session: Arc::default(), saved: Arc::default() }
    }

    /// Makes the change, and returns who was told and the browser that goes on.
    async fn change(&mut self, way: Way, saves: bool) -> (Told, Browser) {
        let mut tab = self.browser.clone();
        self.before(way, &mut tab).await;
        let _ = self.app.events();
        let (app, same_tab) = (self.app.clone(), Arc::new(Mutex::new(tab)));
        let (tab, session, saved, faults) =
            (Arc::clone(&same_tab), Arc::clone(&self.session), Arc::clone(&self.saved), self.faults.clone());
        let handler = move |extensions| async move {
            let it = Session::from_extensions(&extensions)?.load().await?;
            *session.lock().unwrap() = Some(it.clone());
            let mut meanwhile_tab = tab.lock().unwrap().clone();
            meanwhile(way, &app, &mut meanwhile_tab).await;
            *tab.lock().unwrap() = meanwhile_tab;
            if !matches!(way, Way::TooLate | Way::NeverSaved) {
                change(way, &it)?;
            }
            if way == Way::StoreDown {
                faults.next_of(Call::Update, 4, Fault::Refuse);
            }
            match way {
                Way::Panic => panic!("a handler panics"),
                Way::ClientGone => std::future::pending().await,
                Way::ServerError => return Ok((StatusCode::INTERNAL_SERVER_ERROR, ())),
                _ => {}
            }
            if saves {
                *saved.lock().unwrap() = it.save().await.err().map(|error| error.kind().clone());
            }
            Ok((StatusCode::OK, ()))
        };
        let visit = self.browser.send_raw(&self.app, handler);
        let visit = if way == Way::ClientGone {
            assert!(tokio::time::timeout(Duration::from_millis(1), visit).await.is_err());
            None
        } else {
            AssertUnwindSafe(visit).catch_unwind().await.ok()
        };
        let is_after = matches!(way, Way::ClientGone | Way::TooLate | Way::NeverSaved);
        let session = self.session.lock().unwrap().take().filter(|_| is_after);
        if let Some(session) = session {
            if way != Way::ClientGone {
                change(way, &session).unwrap();
            }
            if way != Way::NeverSaved {
                *self.saved.lock().unwrap() = session.save().await.err().map(|error| error.kind().clone());
            }
        }
        let told = self.told(way, visit);
        let tab = same_tab.lock().unwrap().clone();
        (told, tab)
    }

    /// Returns who was told of a failure.
    fn told(&self, way: Way, visit: Option<Visit<()>>) -> Told {
        let saved = self.saved.lock().unwrap().take();
        let has_answered = visit.is_some();
        let (status, error) = visit.map_or((StatusCode::OK, None), |visit| {
            let error = visit.error.as_ref().map(|error| error.kind().clone());
            assert!(error.is_none() || visit.set_cookies().is_empty(), "{way:?}: {:?}", visit.set_cookies());
            (visit.status, error)
        });
        match (saved, error, self.app.events()) {
            (Some(ErrorKind::TooLarge { .. }), ..) | (None, Some(ErrorKind::TooLarge { .. }), _) => Told::TooLarge,
            (None, Some(ErrorKind::Encode { .. }), _) => Told::Encode,
            (Some(saved), ..) => Told::Save(saved),
            (None, Some(error), _) => Told::Response(error),
            (None, None, _) if status != StatusCode::OK => Told::Status(status),
            (None, None, events) if events.contains(&"ChangesUnsaved".to_owned()) => Told::Event("ChangesUnsaved"),
            (None, None, _) if !has_answered => Told::Nothing,
            (None, None, _) => Told::Success,
        }
    }

    /// What happens before the request.
    async fn before(&self, way: Way, tab: &mut Browser) {
        let app = &self.app;
        match way {
            Way::LoggedOutBefore | Way::CookieLoggedOutBefore => {
                tab.visit(app, |session| async move { session.logout() }).await.value();
            }
            Way::LoggedInBefore => tab.visit(app, |session| async move { session.login("alice") }).await.value(),
            Way::RevokedBefore => drop(app.layer.sessions().unwrap().revoke_all("alice").await.unwrap()),
            Way::GraceOverBefore => {
                tab.visit(app, |session| async move { session.renew() }).await.value();
                app.pass(Duration::from_secs(10));
            }
            _ => {}
        }
    }
}

/// What happens while the request is under way.
async fn meanwhile(way: Way, app: &App, tab: &mut Browser) {
    match way {
        Way::LoggedOutMeanwhile | Way::CookieLoggedOutMeanwhile => {
            tab.visit(app, |session| async move { session.logout() }).await.value();
        }
        Way::LoggedInMeanwhile => tab.visit(app, |session| async move { session.login("alice") }).await.value(),
        Way::TakenOverMeanwhile => tab.visit(app, |session| async move { session.login("bob") }).await.value(),
        Way::RevokedMeanwhile => drop(app.layer.sessions().unwrap().revoke_all("alice").await.unwrap()),
        Way::ExpiredMeanwhile => app.pass(Duration::from_secs(24 * 60 * 60)),
        Way::Conflict => drop(tab.set(app, "early", 2).await),
        _ => {}
    }
}

/// Sets the value.
fn change(way: Way, session: &Session) -> Result<(), session_state::Error> {
    match way {
        Way::LoginRefused => session.login("alice"),
        Way::EmptyPrincipal => session.login(""),
        Way::TooLate => session.login("carol"),
        Way::NotEncodable => return session.insert("late", f64::NAN),
        Way::RecordTooLarge | Way::CookieTooLarge => return session.insert("late", "x".repeat(LARGE)),
        _ => {}
    }
    session.insert("late", 1)
}

#[tokio::test]
async fn no_discarded_change_is_answered_with_a_success() {
    let mut wrong = Vec::new();
    for way in Way::ALL {
        for saves in [false, true] {
            let mut scene = Scene::new(way).await;
            let (told, tab) = scene.change(way, saves).await;
            if told != way.told(saves) {
                wrong.push(format!("{way:?}, saves: {saves}: {told:?} instead of {:?}", way.told(saves)));
            }
            for browser in [&scene.browser, &tab] {
                let look = |session: Session| async move { session.contains("late") };
                let visit = browser.send(&scene.app, look).await;
                if visit.output != Some(false) {
                    wrong.push(format!("{way:?}, saves: {saves}: the value is there, or {:?}", visit.error));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
