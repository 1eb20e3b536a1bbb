//! Round trips per request, counted by a proxy in front of a real server.

use std::time::Duration;

use http::{Request, StatusCode};

use crate::adapters::Adapter;
use crate::browser::{App, Browser, send_request};
use crate::harness::proxy::Proxy;

/// How many requests in a row must take the expected number of round trips. Earlier ones open connections and prepare
/// statements on each connection of the pool.
const STEADY: usize = 12;
/// The most requests that are sent.
const TRIES: usize = 200;

/// A kind of request, and the browser that makes it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    UnusedRoute,
    UnusedRouteOfAnonymous,
    ReadOfAnonymous,
    ReadWithMalformedCookie,
    ReadWithUnknownId,
    Read,
    Touch,
    Create,
    Write,
    Renewal,
    Login,
    Logout,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::UnusedRoute,
        Self::UnusedRouteOfAnonymous,
        Self::ReadOfAnonymous,
        Self::ReadWithMalformedCookie,
        Self::ReadWithUnknownId,
        Self::Read,
        Self::Touch,
        Self::Create,
        Self::Write,
        Self::Renewal,
        Self::Login,
        Self::Logout,
    ];

    fn most(self, adapter: &Adapter) -> usize {
        match self {
            Self::UnusedRoute | Self::UnusedRouteOfAnonymous | Self::ReadOfAnonymous => 0,
            Self::ReadWithMalformedCookie => 0,
            Self::ReadWithUnknownId | Self::Read | Self::Create => 1,
            Self::Touch | Self::Write | Self::Logout => 2,
            Self::Renewal | Self::Login => 1 + adapter.renewal,
        }
    }

    /// Sets up what the request needs, and sends it for counting.
    async fn browser(self, app: &App) -> Browser {
        let mut browser = Browser::default();
        match self {
            Self::UnusedRouteOfAnonymous | Self::ReadOfAnonymous | Self::Create => {}
            Self::ReadWithMalformedCookie => {
                browser.jar.insert("__Host-Http-id".into(), "malformed".into());
            }
            Self::ReadWithUnknownId => {
                browser.jar.insert("__Host-Http-id".into(), "A".repeat(43));
            }
            _ => assert_eq!(browser.set(app, "n", 1).await.status, StatusCode::OK),
        }
        if self == Self::Touch {
            app.pass(Duration::from_secs(61));
            // Excludes what a store does with a connection that was idle for a minute.
            assert_eq!(Browser::default().set(app, "n", 1).await.status, StatusCode::OK);
        }
        browser
    }

    async fn request(self, app: &App, browser: &Browser) {
        if matches!(self, Self::UnusedRoute | Self::UnusedRouteOfAnonymous) {
            let handler = async |_| Ok((StatusCode::OK, ()));
            let mut request = Request::new(());
            if let Some(id) = browser.id() {
                request.headers_mut().insert("cookie", format!("__Host-Http-id={id}").try_into().unwrap());
            }
            return send_request(app, request, handler).await.value();
        }
        let visit = browser.send(app, move |session| async move {
            let is_new = session.is_new();
            match self {
                Self::Create | Self::Write => session.insert("n", 2).unwrap(),
                Self::Renewal => session.renew(),
                Self::Login => session.login("alice"),
                Self::Logout => session.logout(),
                _ => drop(session.get::<u32>("n").unwrap()),
            }
            is_new
        });
        let is_anonymous = matches!(
            self,
            Self::ReadOfAnonymous | Self::ReadWithMalformedCookie | Self::ReadWithUnknownId | Self::Create
        );
        assert_eq!(visit.await.value(), is_anonymous, "{self:?}");
    }
}

pub(crate) async fn each_kind_of_request_takes_the_minimum_of_round_trips(adapter: &Adapter) {
    let Some(server) = adapter.engine.server() else { return };
    let proxy = Proxy::start(server.address()).await;
    let app = App::new((adapter.open)(adapter.engine.url(proxy.address())).await);
    let opened = (proxy.round_trips(), proxy.connections());
    println!("{}: opening took {} round trips on {} connections", adapter.engine.name, opened.0, opened.1);
    for kind in Kind::ALL {
        let (mut steady, mut cost) = (0, Cost::default());
        for _ in 0..TRIES {
            let browser = kind.browser(&app).await;
            let before = Cost::so_far(&proxy);
            kind.request(&app, &browser).await;
            cost = Cost::so_far(&proxy).since(before);
            steady = if cost.round_trips <= kind.most(adapter) { steady + 1 } else { 0 };
            if steady == STEADY {
                break;
            }
        }
        println!("{}: {kind:?}: {cost:?}", adapter.engine.name);
        assert_eq!(steady, STEADY, "{kind:?} took {cost:?}, more round trips than {}", kind.most(adapter));
    }
    println!("{}: {} connections, {} pings of the pool", adapter.engine.name, proxy.connections(), proxy.pings());
}

/// What the proxy has counted.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    round_trips: usize,
    bytes_sent: usize,
    bytes_received: usize,
}

impl Cost {
    fn so_far(proxy: &Proxy) -> Self {
        let (bytes_sent, bytes_received) = proxy.bytes();
        Self { round_trips: proxy.round_trips(), bytes_sent, bytes_received }
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            round_trips: self.round_trips - earlier.round_trips,
            bytes_sent: self.bytes_sent - earlier.bytes_sent,
            bytes_received: self.bytes_received - earlier.bytes_received,
        }
    }
}
