//! Invariants at the end of a run.
//!
//! 1. Every change that returned `Ok` exists exactly once, or nowhere if its session has ended since.
//! 2. A change that returned "the session has ended" exists nowhere.
//! 3. A change that returned "unavailable", or nothing, exists at most once.
//! 4. After an answered logout no cookie opens the session, and no ended session is revived.
//! 5. No request sees values written for another principal. A request from before a login neither sees nor changes
//!    values written after it, unless it logs in the same principal: then it continues the session of the first login.
//! 6. When all sessions have ended and the stores have been swept, they are empty.
//! 7. A browser that applies the responses in the order in which they finished has a live cookie, or its session has
//!    ended.
//! 8. The writes of one commit exist as a whole, or not at all.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use session_state::{Clock as _, ErrorKind, Part, Session};

use super::run::{Answer, Open, Request, Run, open};
use super::script::{FIRST_MARK, Mark, Note, Notes, VALUE};
use crate::browser::Browser;

/// The default idle timeout, the touch interval, and the extra lifetime of a part's record.
const LIFE: Duration = Duration::from_secs(30 * 60 + 60 + 30 * 60 / 4);

/// The mark of the final visit.
const LAST_MARK: u32 = 99;

/// The known outcome of a change.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Claim {
    Once,
    OnceAtMost,
    Nowhere,
}

/// A change, and the outcome that its request has learned.
#[derive(Clone)]
struct Told {
    request: usize,
    /// The first commit of the request that it was part of, if that is certain.
    commit: Option<usize>,
    mark: Mark,
    claim: Claim,
}

/// The outcomes that a request has learned of its changes.
fn told(number: usize, request: &Request) -> Vec<Told> {
    let (mut told, mut unsaved, mut is_in_doubt, mut commit) = (Vec::new(), Vec::new(), false, 0);
    // Perhaps too late for the commit that was under way.
    let mut of_task = Vec::new();
    let of_loss = |is_in_doubt| if is_in_doubt { Claim::OnceAtMost } else { Claim::Nowhere };
    let tell = |(mark, commit): (Mark, Option<usize>), claim| {
        // What a task has made may have been in an earlier commit than the one that failed.
        let claim = if commit.is_none() && claim == Claim::Nowhere { Claim::OnceAtMost } else { claim };
        Told { request: number, commit, mark, claim }
    };
    let mut has_given_up = false;
    for note in &*request.notes.lock().unwrap() {
        let claim = match note {
            Note::Marked(mark) => {
                unsaved.push((mark.clone(), Some(commit)));
                continue;
            }
            Note::MarkedByTask(mark) => {
                of_task.push((mark.clone(), None));
                continue;
            }
            Note::Saved(Ok(())) => Claim::Once,
            Note::Saved(Err(ErrorKind::Ended)) => of_loss(is_in_doubt),
            Note::Saved(Err(_)) => {
                (is_in_doubt, commit) = (true, commit + 1);
                unsaved.append(&mut of_task);
                continue;
            }
            // What it wrote to that session is gone with it.
            Note::EndedOwn => {
                told.retain(|told: &Told| !told.mark.is_own);
                unsaved.retain(|(mark, _)| !mark.is_own);
                continue;
            }
            Note::GaveUp => {
                has_given_up = true;
                continue;
            }
            _ => continue,
        };
        (is_in_doubt, commit) = (false, commit + 1);
        told.extend(unsaved.drain(..).map(|mark| tell(mark, claim)));
        if claim == Claim::Once {
            unsaved.append(&mut of_task);
        }
    }
    let claim = match &request.answer {
        _ if has_given_up => Claim::OnceAtMost,
        Some(Answer::Ok) => Claim::Once,
        Some(Answer::Error(ErrorKind::Ended | ErrorKind::Conflict)) => of_loss(is_in_doubt),
        _ => Claim::OnceAtMost,
    };
    told.extend(unsaved.drain(..).map(|mark| tell(mark, claim)));
    told.extend(of_task.drain(..).map(|mark| tell(mark, Claim::OnceAtMost)));
    told
}

impl Open {
    fn marks(&self, is_in_part: bool) -> &[u32] {
        if is_in_part { &self.part } else { &self.values }
    }

    fn count(&self, mark: &Mark) -> usize {
        self.marks(mark.is_in_part).iter().filter(|other| **other == mark.mark).count()
    }
}

impl Request {
    fn has_noted(&self, is_noted: impl Fn(&Note) -> bool) -> bool {
        self.notes.lock().unwrap().iter().any(is_noted)
    }

    /// Whether it attempts to end the shared session.
    fn ends(&self) -> bool {
        self.has_noted(|note| matches!(note, Note::Ended))
    }

    /// Whether it was to log in with a commit that begins after that.
    fn logs_in(&self) -> bool {
        let notes = self.notes.lock().unwrap();
        let mut after_task = notes.iter().skip_while(|note| !matches!(note, Note::LoggedInByTask));
        after_task.any(|note| matches!(note, Note::Saved(_))) || notes.iter().any(|note| matches!(note, Note::LoggedIn))
    }

    /// Whether it may have logged in.
    fn may_log_in(&self) -> bool {
        self.has_noted(|note| matches!(note, Note::LoggedIn | Note::LoggedInByTask))
    }

    /// Whether it logs in a principal, with or without a session.
    fn authenticates(&self, principal: Option<&String>) -> bool {
        let is_of = |note: &Note| match note {
            Note::LoggedIn | Note::LoggedInByTask => principal.is_some_and(|principal| principal == "alice"),
            Note::Began(name) => Some(name) == principal,
            _ => false,
        };
        self.has_noted(is_of)
    }

    fn is_answered(&self) -> bool {
        self.answer == Some(Answer::Ok)
    }
}

/// Marks with their known outcomes and owners.
struct Judge<'r> {
    run: &'r Run<'r>,
    told: Vec<Told>,
    /// The state behind every cookie that the browser ever had.
    open: Vec<Open>,
    wrong: Vec<String>,
}

/// Returns all violated rules at the end of a run.
pub(super) fn judge(run: &Run<'_>) -> Vec<String> {
    let told = run.requests.iter().enumerate().flat_map(|(number, request)| told(number, request)).collect();
    let cookies = run.requests.iter().filter_map(|request| request.cookie.as_ref()).chain([&run.first]);
    let open = cookies.filter_map(|browser| open(&run.outside, browser)).collect();
    let mut judge = Judge { run, told, open, wrong: run.wrong.clone() };
    judge.judge_changes();
    judge.judge_leftovers();
    judge.judge_end();
    judge.judge_principals();
    judge.judge_logins();
    judge.judge_browser();
    judge.judge_sweep();
    judge.wrong
}

impl Judge<'_> {
    fn expect(&mut self, is_right: bool, what: impl Into<String>) {
        if !is_right {
            self.wrong.push(what.into());
        }
    }

    fn ours(&self) -> Option<Open> {
        self.open.iter().find(|open| open.session == self.run.session).cloned()
    }

    /// Rules 1, 2, 3 and 8.
    fn judge_changes(&mut self) {
        let ours = self.ours();
        let mut commits = BTreeMap::<_, Vec<_>>::new();
        for Told { request, commit, mark, claim } in self.told.clone() {
            let own = self.session_of(request, &mark);
            let home = if mark.is_own { &own } else { &ours };
            let elsewhere =
                self.open.iter().filter(|open| Some(open.session) != home.as_ref().map(|home| home.session));
            let is_elsewhere = elsewhere.map(|open| open.count(&mark)).sum::<usize>() > 0;
            self.expect(!is_elsewhere, format!("5: the change {} is in another session", mark.mark));
            let found = home.as_ref().map(|home| home.count(&mark));
            if let (Some(commit), Some(found)) = (commit, found) {
                commits.entry((request, commit, mark.is_own)).or_default().push((mark.mark, found));
            }
            match claim {
                Claim::Once => {
                    self.expect(found.is_none_or(|found| found == 1), format!("1: {mark:?} exists {found:?} times"));
                    let must_be_open = mark.is_own && self.run.requests[request].is_answered();
                    self.expect(found.is_some() || !must_be_open, format!("1: the session of {mark:?} is gone"));
                }
                Claim::OnceAtMost => {
                    self.expect(found.is_none_or(|found| found <= 1), format!("3: {mark:?} exists {found:?} times"));
                }
                Claim::Nowhere => self.expect(found.is_none_or(|found| found == 0), format!("2: {mark:?} exists")),
            }
        }
        for marks in commits.values() {
            let is_whole = marks.iter().all(|(_, found)| *found > 0) || marks.iter().all(|(_, found)| *found == 0);
            self.expect(is_whole, format!("8: a part of a commit: {marks:?}"));
        }
        let Some(ours) = ours else { return };
        let expected = |is_in: bool| if is_in { vec![FIRST_MARK] } else { Vec::new() };
        let first = |marks: &[u32]| marks.iter().copied().filter(|mark| *mark == FIRST_MARK).collect::<Vec<_>>();
        self.expect(first(&ours.values) == expected(true), "1: the first value is gone");
        self.expect(
            first(&ours.part) == expected(self.run.scene.has_part),
            format!("1: the first part is gone: {ours:?}"),
        );
    }

    /// Returns the session that a request began, or that another login of its principal began.
    fn session_of(&self, number: usize, mark: &Mark) -> Option<Open> {
        let request = &self.run.requests[number];
        let opened = request.opened.as_ref().map(|open| open.session);
        let logs_in = mark.writer.is_some() && mark.is_since_login && request.authenticates(mark.writer.as_ref());
        let is_other_login =
            |other: usize| other != number && self.run.requests[other].authenticates(mark.writer.as_ref());
        let may_continue = logs_in && (0..self.run.requests.len()).any(is_other_login);
        let is_home = |open: &&Open| match opened {
            Some(opened) => open.session == opened && (open.session != self.run.session || may_continue),
            // The response did not arrive.
            None => may_continue && open.principal == mark.writer,
        };
        self.open.iter().find(is_home).cloned()
    }

    /// Rule 2, for invisible entries. Entries that could not be removed because the store failed are allowed.
    fn judge_leftovers(&mut self) {
        if self.run.has_fault {
            return;
        }
        let is_nowhere = |told: &&Told| told.claim == Claim::Nowhere && told.mark.is_in_part;
        let lost: Vec<_> = self.told.iter().filter(is_nowhere).map(|told| told.mark.mark).collect();
        for record in self.run.parts.records() {
            for (_, text) in record.values.iter() {
                let notes: Notes = serde_json::from_slice(text).unwrap();
                let left: Vec<_> = notes.marks.iter().filter(|mark| lost.contains(mark)).collect();
                self.expect(left.is_empty(), format!("2: {left:?} is left in the store of the part"));
            }
        }
    }

    /// Rule 4.
    fn judge_end(&mut self) {
        let (run, ours) = (self.run, self.ours());
        let has_login = run.requests.iter().any(Request::may_log_in);
        let ended = run.requests.iter().filter(|request| request.ends() && request.is_answered()).count();
        // A logout from before a login does not end the session of the principal.
        self.expect(run.has_ended() || ended == 0 || has_login, "4: a logout was answered, and the session exists");
        self.expect(!run.has_ended() || ours.is_none(), format!("4: the session has ended and is open: {ours:?}"));
        let may_end = run.requests.iter().any(Request::ends);
        self.expect(!run.has_ended() || may_end, "1: the session was lost");
        let may_move =
            run.requests.iter().any(|request| request.may_log_in() && !matches!(request.answer, Some(Answer::Ok)));
        self.expect(run.has_ended() || ours.is_some() || may_move, "1: no cookie opens the session any more");
        let has_logged_in = run.requests.iter().any(|request| request.logs_in() && request.is_answered());
        let first = open(&run.outside, &run.first);
        self.expect(!has_logged_in || first.is_none(), "4: an old id opens a session after a login");
    }

    /// Rule 5.
    fn judge_principals(&mut self) {
        let mut shown: Vec<_> = self
            .open
            .iter()
            .map(|open| (usize::MAX, open.principal.clone(), [&*open.values, &*open.part].concat()))
            .collect();
        for (number, request) in self.run.requests.iter().enumerate() {
            for note in &*request.notes.lock().unwrap() {
                if let Note::Seen(principal, marks) = note {
                    shown.push((number, principal.clone(), marks.clone()));
                }
            }
        }
        let mut wrong = Vec::new();
        for (reader, principal, marks) in shown {
            for Told { request, mark, .. } in self.told.iter().filter(|told| marks.contains(&told.mark.mark)) {
                if reader != *request && mark.writer.is_some() && mark.writer != principal {
                    wrong.push(format!("5: {principal:?} sees {mark:?}"));
                }
                let has_logged_in = |reader: usize| self.run.requests[reader].authenticates(principal.as_ref());
                if reader != usize::MAX
                    && reader != *request
                    && mark.is_since_login
                    && self.run.requests[reader].has_come()
                    && !(self.run.requests[*request].authenticates(principal.as_ref()) && has_logged_in(reader))
                {
                    wrong.push(format!("5: a request from before a login is shown {mark:?}"));
                }
            }
            if principal != self.run.scene.principal.map(str::to_owned)
                && self.run.scene.principal.is_some()
                && marks.contains(&FIRST_MARK)
            {
                wrong.push(format!("5: {principal:?} is shown values from before"));
            }
        }
        self.wrong.extend(wrong);
    }

    /// Rule 5: no older request changes the session of an answered login.
    fn judge_logins(&mut self) {
        let Some(ours) = self.ours() else { return };
        for (number, request) in self.run.requests.iter().enumerate() {
            if !request.logs_in() || !request.is_answered() {
                continue;
            }
            let Some(then) = request.opened.as_ref().filter(|then| then.session == ours.session) else { continue };
            // Another login of the principal continues the session, with what that request writes since its login.
            let is_continued = |told: &Told| {
                let other = &self.run.requests[told.request];
                // A task may have logged in before any commit of its request.
                let is_since_login =
                    told.mark.is_since_login || other.has_noted(|note| matches!(note, Note::LoggedInByTask));
                is_since_login && other.authenticates(ours.principal.as_ref())
            };
            let continued: Vec<_> = self.told.iter().filter(|told| is_continued(told)).collect();
            let is_other = |mark: &&u32| {
                **mark / 10 != u32::try_from(number).unwrap() + 1
                    && !continued.iter().any(|told| told.mark.mark == **mark)
            };
            let since = [(&then.values, &ours.values), (&then.part, &ours.part)];
            let changed = since.iter().any(|(then, now)| now.iter().filter(is_other).any(|mark| !then.contains(mark)));
            self.expect(!changed, format!("5: {then:?} after a login has become {ours:?} by an older request"));
        }
    }

    /// Rule 7, and that the session can be used.
    fn judge_browser(&mut self) {
        let run = self.run;
        let mut cookies = run.finished.iter().filter_map(|number| run.requests[*number].cookie.as_ref());
        let browser = cookies.next_back().unwrap_or(&run.first).clone();
        let opened = open(&run.outside, &browser);
        let is_unheard = |request: &Request| (request.may_log_in() || request.ends()) && !request.is_answered();
        let may_be_dead = run.has_ended() || run.requests.iter().any(is_unheard);
        if browser.id().is_some() {
            self.expect(opened.is_some() || may_be_dead, "7: the browser is left with a dead id");
        }
        if let Some(before) = opened {
            self.judge_next_visit(browser, before);
        }
    }

    fn judge_next_visit(&mut self, mut browser: Browser, before: Open) {
        let visit = browser.send_raw(&self.run.outside, |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            session.update(VALUE, |marks: &mut Vec<u32>| marks.push(LAST_MARK))?;
            Part::<Notes>::from_extensions(&extensions).await?.update(|notes| notes.marks.push(LAST_MARK));
            Ok((StatusCode::OK, ()))
        });
        let Some(visit) = super::at_last(self.run.runtime, visit) else {
            return self.expect(false, "7: the next visit is not answered");
        };
        browser.receive(&visit);
        self.expect(visit.status == StatusCode::OK, format!("7: the next visit gets {}", visit.status));
        let mut expected = before;
        expected.values.push(LAST_MARK);
        expected.part.push(LAST_MARK);
        let then = open(&self.run.outside, &browser);
        self.expect(
            then.as_ref() == Some(&expected),
            format!("7: the next visit leaves {then:?} and not {expected:?}"),
        );
    }

    /// Rule 6.
    fn judge_sweep(&mut self) {
        let run = self.run;
        let now = run.app.clock.now();
        let then =
            session_state::Timestamp::from_millis(now.as_millis() + u64::try_from(LIFE.as_millis()).unwrap() + 1);
        run.sessions.sweep(then);
        run.parts.sweep(then);
        let (sessions, parts) = (run.sessions.entries().len(), run.parts.entries().len());
        self.expect((sessions, parts) == (0, 0), format!("6: {sessions} sessions and {parts} parts are left"));
    }
}
