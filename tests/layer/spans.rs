//! What `tracing` is told of the calls of a store.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::browser::{App, Browser};

/// Writes down every span and event, with all of their fields.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

impl Notes {
    fn note(&self, line: Line) {
        self.0.lock().unwrap().push(line.0);
    }
}

impl Subscriber for Notes {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(span.metadata().name().to_owned());
        span.record(&mut line);
        self.note(line);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line("record".to_owned());
        values.record(&mut line);
        self.note(line);
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line("event".to_owned());
        event.record(&mut line);
        self.note(line);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn each_call_of_a_store_is_a_span_that_names_no_session() {
    let notes = Notes::default();
    // While there is only one subscriber, a span that another test comes upon first is taken for one that nobody wants.
    let _other = tracing::Dispatch::new(Notes::default());
    let _guard = tracing::subscriber::set_default(notes.clone());
    let (app, mut browser) = (App::memory(), Browser::default());
    browser.set(&app, "n", 1).await;
    browser.set(&app, "n", 2).await;
    browser.visit(&app, |session| async move { session.login("alice") }).await.value();
    browser.visit(&app, |session| async move { session.logout() }).await.value();
    let expected = ["create", "load", "update", "load", "renew", "load", "delete"];
    let spans = expected.map(|operation| format!("session_store store=\"memory\" operation=\"{operation}\""));
    assert_eq!(*notes.0.lock().unwrap(), spans);
}
