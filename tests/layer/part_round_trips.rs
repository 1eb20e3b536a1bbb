//! The number of store calls of a request for its session and parts, without concurrent requests.

use http::{Extensions, StatusCode};
use serde::{Deserialize, Serialize};
use session_state::test_kit::{Faults, FaultyStore};
use session_state::{Error, InStore, MemoryStore, Part, Session, SessionLayer, SessionPart};

use crate::browser::{App, Browser, Visit};

macro_rules! parts {
    ($($part:ident $name:literal)*) => {$(
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        struct $part {
            n: u32,
        }

        impl SessionPart for $part {
            const NAME: &'static str = $name;
        }
    )*};
}

parts! {
    Draft "draft"
    Upload "upload"
}

/// The actions of a request on the session and on two parts in a store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// The first write, without a session.
    Create,
    CreateBoth,
    /// Reads the part.
    Read,
    /// Reads a part that was never written.
    ReadNone,
    /// The first write of a part, in an existing session.
    FirstWrite,
    Write,
    WriteBoth,
    /// Writes the session and a part.
    WriteWithSession,
    /// Uses no part.
    SessionAlone,
    Login,
    LoginAndWrite,
    FirstLoginAndWrite,
    Takeover,
    TakeoverAndWrite,
    Logout,
    LogoutAndRead,
    Renewal,
    RenewalAndWrite,
}

/// Each kind of request, with its calls of the session store and of the part store.
///
/// Two kinds need more calls to be atomic: two changed parts need the write of the session's record, and a login needs
/// two calls to carry each part of the session.
const TRIPS: [(Kind, usize, usize); 18] = [
    (Kind::Create, 1, 1),
    (Kind::CreateBoth, 1, 2),
    (Kind::Read, 1, 1),
    (Kind::ReadNone, 1, 1),
    (Kind::FirstWrite, 1, 2),
    (Kind::Write, 1, 2),
    (Kind::WriteBoth, 2, 4),
    (Kind::WriteWithSession, 2, 2),
    (Kind::SessionAlone, 2, 0),
    (Kind::Login, 2, 4),
    (Kind::LoginAndWrite, 2, 5),
    (Kind::FirstLoginAndWrite, 1, 1),
    (Kind::Takeover, 2, 2),
    (Kind::TakeoverAndWrite, 2, 3),
    (Kind::Logout, 2, 2),
    (Kind::LogoutAndRead, 2, 3),
    (Kind::Renewal, 2, 0),
    (Kind::RenewalAndWrite, 2, 2),
];

impl Kind {
    async fn begin(self, app: &App) -> Browser {
        let mut browser = Browser::default();
        match self {
            Self::Create | Self::CreateBoth | Self::FirstLoginAndWrite => return browser,
            Self::ReadNone | Self::FirstWrite => browser.set(app, "n", 1).await.value(),
            _ => {
                let begun = Self::CreateBoth.send(&browser, app).await;
                browser.receive(&begun);
                begun.value();
            }
        }
        if matches!(self, Self::Takeover | Self::TakeoverAndWrite | Self::Logout | Self::LogoutAndRead) {
            browser.visit(app, |session| async move { session.login("alice") }).await.value();
        }
        browser
    }

    async fn send(self, browser: &Browser, app: &App) -> Visit<()> {
        let visit = browser.send_raw(app, move |extensions| async move {
            self.act(&extensions).await?;
            Ok((StatusCode::OK, ()))
        });
        visit.await
    }

    async fn act(self, extensions: &Extensions) -> Result<(), Error> {
        let session = Session::from_extensions(extensions)?.load().await?;
        match self {
            Self::SessionAlone | Self::WriteWithSession => session.insert("k", 1)?,
            Self::Login | Self::LoginAndWrite | Self::FirstLoginAndWrite => session.login("alice"),
            Self::Takeover | Self::TakeoverAndWrite => session.login("bob"),
            Self::Renewal | Self::RenewalAndWrite => session.renew(),
            _ => {}
        }
        match self {
            Self::SessionAlone | Self::Login | Self::Takeover | Self::Logout | Self::Renewal => {}
            Self::Read | Self::ReadNone | Self::LogoutAndRead => {
                drop(Part::<Draft>::from_extensions(extensions).await?);
            }
            _ => Part::<Draft>::from_extensions(extensions).await?.n += 1,
        }
        if matches!(self, Self::CreateBoth | Self::WriteBoth) {
            Part::<Upload>::from_extensions(extensions).await?.n += 1;
        }
        if matches!(self, Self::Logout | Self::LogoutAndRead) {
            session.logout();
        }
        Ok(())
    }
}

/// Returns the number of calls of the two stores that a request makes, after others of its kind.
async fn trips(kind: Kind, earlier: usize) -> (usize, usize) {
    let (sessions, parts) = (FaultyStore::new(MemoryStore::new()), FaultyStore::new(MemoryStore::new()));
    let faults = [sessions.faults(), parts.faults()];
    let place = InStore::new(parts);
    let layer =
        SessionLayer::server(sessions).with_part::<Draft>(place.clone()).unwrap().with_part::<Upload>(place).unwrap();
    let app = App::new(layer);
    let mut browser = kind.begin(&app).await;
    for _ in 0..earlier {
        let visit = kind.send(&browser, &app).await;
        browser.receive(&visit);
        visit.value();
    }
    faults.iter().for_each(Faults::reset_calls);
    kind.send(&browser, &app).await.value();
    (faults[0].all_calls(), faults[1].all_calls())
}

#[tokio::test]
async fn a_request_makes_the_minimum_of_store_calls_for_session_and_parts() {
    let mut wrong = Vec::new();
    for (kind, sessions, parts) in TRIPS {
        // A text that was written ahead leaves the one before it in the record of its part.
        let can_be_repeated = matches!(
            kind,
            Kind::Read | Kind::Write | Kind::WriteBoth | Kind::WriteWithSession | Kind::Renewal | Kind::RenewalAndWrite
        );
        for earlier in 0..if can_be_repeated { 3 } else { 1 } {
            let found = trips(kind, earlier).await;
            if found.0 + found.1 > sessions + parts {
                wrong.push(format!("{kind:?} after {earlier}: {found:?} instead of {:?}", (sessions, parts)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
