//! Random: after a logout that removed the cookie nothing of the session is left, despite concurrent writes, saves and
//! dropped saves. Acknowledged changes exist as long as the session does.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::StatusCode;
use session_state::{CookieState, Error, ErrorKind, KeyRing, MemoryStore, Session, SessionLayer, Sessions};

use crate::browser::{App, Browser, Visit};
use crate::jitter::Jitter;
use crate::paused::Paused;
use crate::random::search;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The number of concurrent requests; the third logs out.
const LOGOUT: usize = 2;
const REQUESTS: usize = 4;

/// The fate of the session, for statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Ended,
    GoesOn,
}

/// The place of the state.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Store,
    SealedStore,
    Cookie,
    DelayedCookie,
}

impl State {
    fn layer(self, jitter: &Jitter) -> SessionLayer {
        let keys = || KeyRing::generate().unwrap();
        let store = Paused::new(MemoryStore::new(), jitter.clone());
        match self {
            Self::Store => SessionLayer::server(store),
            Self::SealedStore => SessionLayer::server(store).with_encryption_at_rest(keys()).unwrap(),
            Self::Cookie => SessionLayer::client(CookieState::encrypted(keys()).with_revocation(store)),
            Self::DelayedCookie => {
                let state = CookieState::encrypted(keys()).with_revocation(store);
                SessionLayer::client(state.with_revocation_delay(Duration::from_secs(5)))
            }
        }
    }

    fn is_in_cookie(self) -> bool {
        matches!(self, Self::Cookie | Self::DelayedCookie)
    }
}

/// The number of increments, and the number that was acknowledged.
#[derive(Debug, Default)]
struct Counts {
    made: AtomicU64,
    kept: AtomicU64,
}

#[derive(Clone, Debug)]
struct Search {
    jitter: Jitter,
    state: State,
    counts: Arc<Counts>,
}

impl Search {
    async fn log_out(&self, session: &Session) {
        self.jitter.yield_below(6).await;
        session.logout();
        if self.jitter.below(3) == 0 {
            self.jitter.save_and_abort(session, 8).await;
        }
        if self.jitter.below(3) == 0 {
            let _ = session.save().await;
        }
    }

    /// Makes random changes. Returns the number of increments since the last save.
    async fn act(&self, session: &Session) -> u64 {
        let mut unsaved = 0;
        for _ in 0..1 + self.jitter.below(4) {
            match self.jitter.below(6) {
                0 => self.renew(session),
                1 => session.insert("x", self.jitter.below(9)).unwrap(),
                2 => {
                    session.update("n", |n: &mut u64| *n += 1).unwrap();
                    self.counts.made.fetch_add(1, Ordering::Relaxed);
                    unsaved += 1;
                }
                3 if self.jitter.below(3) == 0 => drop(session.mark_reauthenticated()),
                saves => {
                    let saved = match saves {
                        3 | 4 => self.jitter.save_and_abort(session, 8).await,
                        _ => Some(session.save().await),
                    };
                    match saved {
                        Some(Ok(())) => {
                            self.counts.kept.fetch_add(unsaved, Ordering::Relaxed);
                            unsaved = 0;
                        }
                        // Later increments would belong to another session.
                        Some(Err(_)) => return 0,
                        None => {}
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        unsaved
    }

    fn renew(&self, session: &Session) {
        if !self.state.is_in_cookie() {
            return session.renew();
        }
        // With state in the cookie, only these call the store.
        match self.jitter.below(4) {
            0 => session.set_absolute_timeout(DAY * u32::try_from(1 + self.jitter.below(40)).unwrap()),
            1 if session.principal().is_some() => session.login("alice"),
            _ => session.renew(),
        }
    }

    async fn request(self, number: usize, app: App, browser: Browser) -> Visit<u64> {
        let handler = move |session: Session| async move {
            if session.principal().is_none() {
                // The request came with a dead ID, so its increments belong to another session.
                return 0;
            }
            if number == LOGOUT {
                self.log_out(&session).await;
                return 0;
            }
            self.act(&session).await
        };
        browser.send(&app, handler).await
    }

    async fn run(self) -> Result<Fate, String> {
        let app = App::new(self.state.layer(&self.jitter));
        let mut browser = Browser::default();
        let begin = |session: Session| async move {
            session.login("alice");
            session.insert("secret", 1).unwrap();
        };
        browser.visit(&app, begin).await.value();
        let requests = (0..REQUESTS).map(|number| {
            let (search, app, browser) = (self.clone(), app.clone(), browser.clone());
            tokio::spawn(search.request(number, app, browser))
        });
        let visits = join_all(requests.collect::<Vec<_>>()).await;
        let (mut is_ended, mut told) = (false, vec![browser.clone()]);
        for (number, visit) in visits.into_iter().enumerate() {
            let visit = visit.unwrap();
            check_answer(number, &visit)?;
            is_ended |= visit.set_cookies().iter().any(|cookie| cookie.contains("Max-Age=0"));
            if visit.status == StatusCode::OK {
                self.counts.kept.fetch_add(visit.output.unwrap_or(0), Ordering::Relaxed);
            }
            let mut with_cookie = browser.clone();
            with_cookie.receive(&visit);
            told.push(with_cookie);
        }
        let sessions = app.layer.sessions().ok();
        match is_ended {
            true => check_ended(&app, &told, sessions).await.map(|()| Fate::Ended),
            false => self.check_kept(&app, &told).await.map(|()| Fate::GoesOn),
        }
    }

    /// Checks that acknowledged increments exist, and no others. Cookies have no shared state to count in.
    async fn check_kept(&self, app: &App, told: &[Browser]) -> Result<(), String> {
        if self.state.is_in_cookie() {
            return Ok(());
        }
        let mut found = None;
        for browser in told {
            found = found.max(seen(app, browser).await.1);
        }
        let (made, kept) = (self.counts.made.load(Ordering::Relaxed), self.counts.kept.load(Ordering::Relaxed));
        match found {
            Some(found) if (kept..=made).contains(&found) => Ok(()),
            found => Err(format!("{found:?} where {kept} of {made} were acknowledged")),
        }
    }
}

/// A request succeeds, or gets the error that its session has ended. For a logout that means that a reauthentication
/// came first.
fn check_answer(number: usize, visit: &Visit<u64>) -> Result<(), String> {
    let kind = visit.error.as_ref().map(Error::kind);
    match visit.status {
        StatusCode::OK => Ok(()),
        StatusCode::CONFLICT if kind == Some(&ErrorKind::Ended) && visit.set_cookies().is_empty() => Ok(()),
        // Two later writes hide the outcome of a dropped save.
        StatusCode::SERVICE_UNAVAILABLE if is_reply_lost(visit.error.as_ref()) => Ok(()),
        status => Err(format!("request {number} gets {status} {kind:?} {:?}", visit.set_cookies())),
    }
}

fn is_reply_lost(error: Option<&Error>) -> bool {
    let source = error.and_then(|error| error.source()?.source());
    source.is_some_and(|source| source.to_string().contains("the write is not repeated"))
}

async fn check_ended(app: &App, told: &[Browser], sessions: Option<Sessions>) -> Result<(), String> {
    if let Some(sessions) = sessions {
        let left = sessions.list("alice").await.unwrap().len();
        if left > 0 {
            return Err(format!("{left} sessions of alice are left"));
        }
    }
    for browser in told {
        let seen = seen(app, browser).await;
        if seen.0.is_some() || seen.1.is_some() {
            return Err(format!("after the logout a cookie opens {seen:?}"));
        }
    }
    Ok(())
}

/// Returns the principal of a cookie, and the count if the session has the secret.
async fn seen(app: &App, browser: &Browser) -> (Option<String>, Option<u64>) {
    let look = |session: Session| async move {
        let count = session.get::<u64>("n").unwrap().unwrap_or(0);
        (session.principal(), session.get::<u32>("secret").unwrap().map(|_| count))
    };
    browser.send(app, look).await.value()
}

async fn search_logouts(state: State, jitter: fn(u64) -> Jitter) {
    let run = |seed| Search { jitter: jitter(seed), state, counts: Arc::default() }.run();
    let fates = search(run).await;
    let ended = fates.iter().filter(|fate| **fate == Fate::Ended).count();
    assert!(ended > fates.len() / 3, "only {ended} of {} sessions were ended", fates.len());
}

#[tokio::test(start_paused = true)]
async fn after_a_logout_nothing_of_a_session_is_left() {
    search_logouts(State::Store, Jitter::before).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_logout_nothing_of_a_sealed_session_is_left() {
    search_logouts(State::SealedStore, Jitter::before).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_logout_nothing_of_a_session_in_a_cookie_is_left() {
    search_logouts(State::Cookie, Jitter::before).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_logout_nothing_of_a_session_in_a_cookie_is_left_with_cached_revocations() {
    search_logouts(State::DelayedCookie, Jitter::before).await;
}
