//! Each kind of request while the network to a real server fails in each way.
//!
//! The request is answered with 503 and no cookie, in time. The session is then as it was before or as it was asked to be,
//! never between, and never looks as if it were not there.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use session_state::{ErrorKind, Session};
use tokio::time::Instant;

use crate::adapters::Adapter;
use crate::browser::{App, Browser, Visit};
use crate::harness::proxy::{Fault, Proxy};

/// How long a call of the store may take while the network fails.
const STORE_TIMEOUT: Duration = Duration::from_millis(300);
/// The longest for a whole request: a few calls, each made again once, on a machine that has other things to do as well.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// How long a store may take to see that the network works again.
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

const FAULTS: [Fault; 5] = [Fault::BlackHole, Fault::Reset, Fault::Refuse, Fault::CutReplies(0), Fault::CutReplies(3)];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Read,
    Touch,
    Create,
    Increment,
    Renew,
    Login,
    Logout,
    /// Ends the session and begins another.
    Replace,
}

/// What is seen with a cookie: nothing, or the principal and the value.
type Seen = Option<(Option<String>, Option<u32>)>;

impl Kind {
    const ALL: [Self; 8] =
        [Self::Read, Self::Touch, Self::Create, Self::Increment, Self::Renew, Self::Login, Self::Logout, Self::Replace];

    fn change(self, session: &Session) {
        match self {
            Self::Read | Self::Touch => {}
            Self::Create => session.insert("n", 1).unwrap(),
            Self::Increment => drop(session.update("n", |n: &mut u32| *n += 1).unwrap()),
            Self::Renew => session.renew(),
            Self::Login => session.login("alice"),
            Self::Logout => session.logout(),
            Self::Replace => {
                session.logout();
                session.insert("n", 3).unwrap();
            }
        }
    }

    /// What a browser sees that has not made the request.
    fn before(self) -> Seen {
        (self != Self::Create).then_some((None, Some(1)))
    }

    /// What a browser sees that has got the answer.
    fn after(self) -> Seen {
        match self {
            Self::Read | Self::Touch | Self::Create | Self::Renew => Some((None, Some(1))),
            Self::Increment => Some((None, Some(2))),
            Self::Login => Some((Some("alice".into()), Some(1))),
            Self::Logout => None,
            Self::Replace => Some((None, Some(3))),
        }
    }

    /// What a browser sees when the request took place, wholly or in part, and it has got no answer.
    fn without_answer(self) -> Seen {
        match self {
            Self::Read | Self::Touch | Self::Create | Self::Renew => self.before(),
            Self::Increment => self.after(),
            // A login lets the old ID die at once, and a logout ends the session.
            Self::Login | Self::Logout | Self::Replace => None,
        }
    }

    /// What a browser sees that has made the request, got an error, made it again and got an answer.
    fn after_both(self) -> [Seen; 3] {
        match self {
            Self::Increment => [self.after(), Some((None, Some(3))), self.after()],
            // The ID was dead, so another session was begun; or it died under the second request.
            Self::Login => [self.after(), Some((Some("alice".into()), None)), None],
            _ => [self.after(), self.after(), self.after()],
        }
    }
}

/// A network, an application behind it, and the same with less patience.
struct Scene {
    proxy: Arc<Proxy>,
    app: App,
    hasty: App,
}

impl Scene {
    async fn new(adapter: &Adapter) -> Option<Self> {
        let server = adapter.engine.server()?;
        let proxy = Arc::new(Proxy::start(server.address()).await);
        let app = App::new((adapter.open)(adapter.engine.url(proxy.address())).await);
        let hasty = app.clone().with(|layer| layer.with_store_timeout(STORE_TIMEOUT));
        Some(Self { proxy, app, hasty })
    }

    /// Returns a browser that is ready for a request.
    async fn browser(&self, kind: Kind) -> Browser {
        let mut browser = Browser::default();
        if kind != Kind::Create {
            let ask = async || browser.send(&self.app, |session| async move { session.insert("n", 1).unwrap() }).await;
            let visit = self.answer("the beginning", ask).await;
            browser.receive(&visit);
        }
        if kind == Kind::Touch {
            self.app.pass(Duration::from_secs(61));
        }
        browser
    }

    /// Makes a request, in whose handler something happens to the network.
    async fn request(&self, kind: Kind, browser: &Browser, happen: impl FnOnce(&Proxy) + Send + 'static) -> Visit<()> {
        let (proxy, begun) = (Arc::clone(&self.proxy), Instant::now());
        let handler = move |session| async move {
            happen(&proxy);
            kind.change(&session);
        };
        let visit = browser.send(&self.hasty, handler).await;
        assert!(begun.elapsed() < REQUEST_LIMIT, "{kind:?} took {:?}", begun.elapsed());
        visit
    }

    /// Asks again until there is an answer, now that the network is whole again.
    async fn answer<T>(&self, story: &str, mut ask: impl AsyncFnMut() -> Visit<T>) -> Visit<T> {
        let begun = Instant::now();
        loop {
            let visit = ask().await;
            if visit.status == StatusCode::OK {
                return visit;
            }
            assert!(begun.elapsed() < RECOVERY_LIMIT, "{story}: the store does not recover: {:?}", visit.error);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Looks without taking a cookie.
    async fn see(&self, story: &str, browser: &Browser) -> Seen {
        let look = |session: Session| async move {
            let seen = (session.principal(), session.get("n").unwrap());
            Some(seen).filter(|_| !session.is_new())
        };
        self.answer(story, async || browser.send(&self.app, look).await).await.value()
    }

    /// Makes the request again, which now works.
    async fn again(&self, story: &str, kind: Kind, mut browser: Browser) {
        let ask = async || browser.send(&self.app, move |session| async move { kind.change(&session) }).await;
        let visit = self.answer(story, ask).await;
        browser.receive(&visit);
        let seen = self.see(story, &browser).await;
        assert!(kind.after_both().contains(&seen), "again after {story}: {seen:?}");
    }
}

fn assert_is_503<T>(visit: &Visit<T>, story: &str) {
    assert_eq!(visit.status, StatusCode::SERVICE_UNAVAILABLE, "{story}: {:?}", visit.error);
    assert_eq!(visit.error.as_ref().unwrap().kind(), &ErrorKind::Unavailable, "{story}");
    assert!(visit.set_cookies().is_empty(), "{story}: {:?}", visit.set_cookies());
}

pub(crate) async fn a_server_that_cannot_be_reached_is_503_and_never_an_empty_session(adapter: &Adapter) {
    let Some(scene) = Scene::new(adapter).await else { return };
    for (kind, fault) in Kind::ALL.iter().flat_map(|kind| FAULTS.map(|fault| (*kind, fault))) {
        let story = format!("{}: {kind:?} with {fault:?}", adapter.engine.name);
        let browser = scene.browser(kind).await;
        scene.proxy.set(fault);
        let visit = scene.request(kind, &browser, |_| {}).await;
        assert_is_503(&visit, &story);
        assert_eq!(visit.output.is_some(), kind == Kind::Create, "{story}: a handler saw a session");
        scene.proxy.heal();
        assert_eq!(scene.see(&story, &browser).await, kind.before(), "{story}");
        scene.again(&story, kind, browser).await;
    }
}

pub(crate) async fn a_network_that_fails_during_a_write_leaves_the_session_as_it_was_or_was_to_be(adapter: &Adapter) {
    let Some(scene) = Scene::new(adapter).await else { return };
    for (kind, fault) in Kind::ALL[1..].iter().flat_map(|kind| FAULTS.map(|fault| (*kind, fault))) {
        let story = format!("{}: {kind:?} with {fault:?} of what it writes", adapter.engine.name);
        let browser = scene.browser(kind).await;
        let visit = scene.request(kind, &browser, move |proxy| proxy.set(fault)).await;
        if kind == Kind::Touch {
            assert_eq!((visit.status, visit.set_cookies().len()), (StatusCode::OK, 0), "{story}");
            assert!(scene.app.events().contains(&"StoreFailed".to_owned()), "{story}");
        } else {
            assert_is_503(&visit, &story);
        }
        scene.proxy.heal();
        let seen = scene.see(&story, &browser).await;
        let cannot_arrive = matches!(fault, Fault::Reset | Fault::Refuse);
        let is_as_before = seen == kind.before();
        assert!(is_as_before || (!cannot_arrive && seen == kind.without_answer()), "{story}: {seen:?}");
        scene.again(&story, kind, browser).await;
    }
}

pub(crate) async fn a_lost_reply_leaves_the_session_as_it_was_or_was_to_be(adapter: &Adapter) {
    let Some(scene) = Scene::new(adapter).await else { return };
    let (mut answered, mut failed) = (0, 0);
    for (kind, kept) in Kind::ALL[1..].iter().flat_map(|kind| [(*kind, 0), (*kind, 5)]) {
        for passing in 0.. {
            let story =
                format!("{}: {kind:?} without reply {passing}, of which {kept} bytes came", adapter.engine.name);
            let mut browser = scene.browser(kind).await;
            let visit = scene.request(kind, &browser, move |proxy| proxy.cut_reply(passing, kept)).await;
            let has_cut = scene.proxy.has_cut();
            scene.proxy.heal();
            if visit.status == StatusCode::OK {
                answered += usize::from(has_cut);
                browser.receive(&visit);
                assert_eq!(scene.see(&story, &browser).await, kind.after(), "{story}");
            } else {
                failed += 1;
                assert_is_503(&visit, &story);
                let seen = scene.see(&story, &browser).await;
                assert!([kind.before(), kind.without_answer()].contains(&seen), "{story}: {seen:?}");
                scene.again(&story, kind, browser).await;
            }
            if !has_cut {
                break;
            }
        }
    }
    println!("{}: of requests that lost a reply {answered} were answered, {failed} failed", adapter.engine.name);
}
