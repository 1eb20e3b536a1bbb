//! The actions of the requests, and their observations.

use std::sync::{Arc, Mutex};

use http::{Extensions, StatusCode};
use serde::{Deserialize, Serialize};
use session_state::{Error, ErrorKind, Part, Session, SessionPart};

/// The part: a list of the marks of the requests that have changed it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Notes {
    pub(super) marks: Vec<u32>,
}

impl SessionPart for Notes {
    const NAME: &'static str = "notes";
}

/// The key of the value, which is such a list too.
pub(super) const VALUE: &str = "n";

/// The initial mark in both.
pub(super) const FIRST_MARK: u32 = 1;

/// One action of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Adds a mark to the value.
    Value,
    /// Adds a mark to the part.
    Part,
    ReadPart,
    Save,
    Renew,
    Login(&'static str),
    Logout,
    /// Spawns a task that does this at some time before the response, with one of value, part and login at a time.
    Spawn(&'static [Act]),
}

/// A change that must exist once, or nowhere.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) mark: u32,
    pub(super) is_in_part: bool,
    /// Whether it goes to a session created by the request, and not to the shared one.
    pub(super) is_own: bool,
    /// The principal that wrote it.
    pub(super) writer: Option<String>,
    /// Whether it is written together with a login or after it, so that no earlier request may see it.
    pub(super) is_since_login: bool,
}

/// An observation of a request.
#[derive(Clone, Debug)]
pub(super) enum Note {
    /// It has loaded its session, which is the shared one or not.
    Came(bool),
    Marked(Mark),
    /// A task has made a change, perhaps too late for the commit that is under way.
    MarkedByTask(Mark),
    Saved(Result<(), ErrorKind>),
    /// It has read marks.
    Seen(Option<String>, Vec<u32>),
    /// It has ended its session, or will with its response.
    Ended,
    /// It has ended a session that it began itself, or will with its response.
    EndedOwn,
    /// It has logged in.
    LoggedIn,
    /// A task of it has logged in, perhaps too late for the commit that is under way.
    LoggedInByTask,
    /// A principal has logged in without a session, or in place of another one.
    Began(String),
    /// A part could not be loaded, and the handler gave up.
    GaveUp,
}

pub(super) type Notebook = Arc<Mutex<Vec<Note>>>;

/// A task that the handler has spawned, until it has its turn.
pub(super) type Spawned = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Runs a handler.
pub(super) async fn run(
    script: &'static [Act],
    number: u32,
    extensions: Extensions,
    notes: Notebook,
    spawned: Spawned,
) -> Result<(StatusCode, ()), Error> {
    let session = Session::from_extensions(&extensions)?.load().await?;
    let note = |what| notes.lock().unwrap().push(what);
    let mut is_own = session.is_new();
    note(Note::Came(!is_own));
    for (place, act) in script.iter().enumerate() {
        let mark = (number + 1) * 10 + u32::try_from(place).unwrap();
        let (writer, is_since_login) = (session.principal(), is_since_login(script, place));
        let marked = |is_in_part| {
            let writer = writer.clone();
            Note::Marked(Mark { mark, is_in_part, is_own, writer, is_since_login })
        };
        match act {
            Act::Value => {
                let add = move |marks: &mut Vec<u32>| {
                    marks.push(mark);
                    marks.clone()
                };
                let marks = session.update(VALUE, move |marks: &mut Vec<u32>| drop(add(marks)));
                marks.map(drop)?;
                note(marked(false));
                note(Note::Seen(writer, session.get(VALUE)?.unwrap_or_default()));
            }
            Act::Part | Act::ReadPart => {
                let loaded = Part::<Notes>::from_extensions(&extensions).await;
                let mut part = loaded.inspect_err(|_| note(Note::GaveUp))?;
                if *act == Act::Part {
                    part.update(move |notes| notes.marks.push(mark));
                    note(marked(true));
                }
                note(Note::Seen(session.principal(), part.marks.clone()));
            }
            Act::Save => note(Note::Saved(session.save().await.map_err(|error| error.kind().clone()))),
            Act::Renew => session.renew(),
            Act::Login(name) => {
                if !is_own && session.principal().is_some_and(|former| former != *name) {
                    note(Note::Ended);
                    is_own = true;
                }
                note(if is_own { Note::Began((*name).to_owned()) } else { Note::LoggedIn });
                session.login(*name);
            }
            Act::Logout => {
                note(if is_own { Note::EndedOwn } else { Note::Ended });
                session.logout();
                is_own = true;
            }
            Act::Spawn(acts) => {
                let part = if acts.contains(&Act::Part) {
                    let loaded = Part::<Notes>::from_extensions(&extensions).await;
                    Some(loaded.inspect_err(|_| note(Note::GaveUp))?)
                } else {
                    None
                };
                let task = Task { acts, mark, is_own, session: session.clone(), part, notes: Arc::clone(&notes) };
                *spawned.lock().unwrap() = Some(Box::new(move || task.run()));
            }
        }
    }
    Ok((StatusCode::OK, ()))
}

/// Task that runs beside a handler and its commits.
struct Task {
    acts: &'static [Act],
    /// The mark of all its changes.
    mark: u32,
    is_own: bool,
    session: Session,
    part: Option<Part<Notes>>,
    notes: Notebook,
}

impl Task {
    fn run(self) {
        let Self { acts, mark, is_own, session, mut part, notes } = self;
        let note = |what| notes.lock().unwrap().push(what);
        for act in acts {
            let writer = session.principal();
            let marked = |is_in_part| {
                Note::MarkedByTask(Mark { mark, is_in_part, is_own, writer: writer.clone(), is_since_login: false })
            };
            match act {
                Act::Value => {
                    session.update(VALUE, move |marks: &mut Vec<u32>| marks.push(mark)).unwrap();
                    note(marked(false));
                }
                Act::Part => {
                    part.as_mut().expect("it was loaded").update(move |notes| notes.marks.push(mark));
                    note(marked(true));
                }
                Act::Login(name) => {
                    session.login(*name);
                    note(Note::LoggedInByTask);
                }
                other => panic!("a task does not {other:?}"),
            }
        }
    }
}

/// Returns whether the action at an index is written together with a login, or after it.
fn is_since_login(script: &[Act], place: usize) -> bool {
    let is_login = |act: &Act| matches!(act, Act::Login(_));
    let next = script[place..].iter().find(|act| is_login(act) || **act == Act::Save);
    script[..place].iter().any(is_login) || next.is_some_and(is_login)
}
