//! Random: many tasks of many requests of one session increment, save, and drop saves at any point. No answered
//! increment is lost, and none counts twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use http::{Extensions, StatusCode};
use serde::{Deserialize, Serialize};
use session_state::{Error, InStore, MemoryStore, Part, Session, SessionLayer, SessionPart};

use crate::browser::{App, Browser};
use crate::jitter::Jitter;
use crate::paused::Paused;
use crate::random::search;

/// The number of concurrent requests.
const REQUESTS: usize = 3;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct InRecord {
    n: u64,
}

impl SessionPart for InRecord {
    const NAME: &'static str = "in_record";
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Outside {
    n: u64,
}

impl SessionPart for Outside {
    const NAME: &'static str = "outside";
}

/// The increments of each of the three: a value, a part in the record, and a part in a store.
type Counts = [u64; 3];

#[derive(Clone, Debug)]
struct Search {
    jitter: Jitter,
    is_renewing: bool,
    counted: Arc<[AtomicU64; 3]>,
    /// Dropped saves, each of which may have taken effect.
    given_up: Arc<AtomicU64>,
}

impl Search {
    fn note(&self, which: usize) {
        self.counted[which].fetch_add(1, Ordering::Relaxed);
    }

    /// One of the tasks of a request.
    async fn count_and_save(&self, session: &Session) {
        for _ in 0..3 {
            session.update("n", |n: &mut u64| *n += 1).unwrap();
            self.note(0);
            match self.jitter.below(4) {
                0 => drop(session.save().await),
                1 | 2 => {
                    self.given_up.fetch_add(1, Ordering::Relaxed);
                    self.jitter.save_and_abort(session, 12).await;
                }
                _ => tokio::task::yield_now().await,
            }
            if self.is_renewing && self.jitter.below(5) == 0 {
                session.renew();
            }
        }
    }

    async fn handle(self, extensions: Extensions) -> Result<(StatusCode, ()), Error> {
        let session = Session::from_extensions(&extensions)?.load().await?;
        let mut in_record = Part::<InRecord>::from_extensions(&extensions).await?;
        let mut outside = Part::<Outside>::from_extensions(&extensions).await?;
        let tasks: Vec<_> = (0..1 + self.jitter.below(3))
            .map(|_| {
                let (search, session) = (self.clone(), session.clone());
                tokio::spawn(async move { search.count_and_save(&session).await })
            })
            .collect();
        for _ in 0..3 {
            in_record.update(|part| part.n += 1);
            outside.update(|part| part.n += 1);
            self.note(1);
            self.note(2);
            if self.jitter.below(2) == 0 {
                let _ = session.save().await;
            }
            tokio::task::yield_now().await;
        }
        drop((in_record, outside));
        join_all(tasks).await.into_iter().for_each(|task| task.unwrap());
        Ok((StatusCode::OK, ()))
    }

    /// Returns whether a request got the error that the outcome of its dropped save is unknown.
    async fn run(self, is_exact: bool) -> Result<bool, String> {
        let store = || Paused::new(MemoryStore::new(), self.jitter.clone());
        let app = App::new(SessionLayer::server(store()).with_part::<Outside>(InStore::new(store())).unwrap());
        let mut browser = Browser::default();
        browser.visit(&app, |session| async move { session.insert("n", 0_u64).unwrap() }).await.value();
        let requests = (0..REQUESTS).map(|_| {
            let (app, browser, search) = (app.clone(), browser.clone(), self.clone());
            tokio::spawn(async move { browser.send_raw(&app, |extensions| search.handle(extensions)).await })
        });
        let visits = join_all(requests.collect::<Vec<_>>()).await;
        let mut statuses = Vec::new();
        for visit in visits {
            let visit = visit.unwrap();
            browser.receive(&visit);
            statuses.push(visit.status);
        }
        let found = counts(&app, &browser).await;
        let counted = self.counted.each_ref().map(|counted| counted.load(Ordering::Relaxed));
        // Two later writes of other requests hide the outcome of a dropped save.
        let is_doubted = statuses.contains(&StatusCode::SERVICE_UNAVAILABLE);
        let twice = if is_exact { 0 } else { self.given_up.load(Ordering::Relaxed) * 3 };
        let is_right = |(found, counted): (&u64, &u64)| {
            let least = if is_doubted { 0 } else { *counted };
            (least..=counted + twice).contains(found)
        };
        let are_answered =
            statuses.iter().all(|status| [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(status));
        match are_answered && found.iter().zip(&counted).all(is_right) {
            true => Ok(is_doubted),
            false => Err(format!("{found:?} instead of {counted:?}, {statuses:?}")),
        }
    }
}

async fn counts(app: &App, browser: &Browser) -> Counts {
    let look = |extensions| async move {
        let n = Session::from_extensions(&extensions)?.load().await?.get::<u64>("n")?.unwrap_or(0);
        let in_record = Part::<InRecord>::from_extensions(&extensions).await?.n;
        Ok((StatusCode::OK, [n, in_record, Part::<Outside>::from_extensions(&extensions).await?.n]))
    };
    browser.send_raw(app, look).await.value()
}

async fn search_counts(jitter: fn(u64) -> Jitter, is_renewing: bool, is_exact: bool) {
    let run = |seed| {
        let (counted, given_up) = (Arc::default(), Arc::default());
        Search { jitter: jitter(seed), is_renewing, counted, given_up }.run(is_exact)
    };
    let doubted = search(run).await;
    let count = doubted.iter().filter(|is_doubted| **is_doubted).count();
    let most = if is_exact { doubted.len() / 50 } else { doubted.len() / 4 };
    assert!(count <= most, "{count} of {} are in doubt", doubted.len());
}

#[tokio::test(start_paused = true)]
async fn every_count_is_kept_once_when_saves_are_dropped() {
    search_counts(Jitter::before, false, true).await;
}

#[tokio::test(start_paused = true)]
async fn every_count_is_kept_once_when_saves_are_dropped_and_ids_renewed() {
    search_counts(Jitter::before, true, true).await;
}

/// A write with an unknown outcome counts at most twice, and no answered increment is lost.
#[tokio::test(start_paused = true)]
async fn no_count_is_lost_when_saves_are_dropped_after_they_took_effect() {
    search_counts(Jitter::around, true, false).await;
}
