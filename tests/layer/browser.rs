//! A browser with a cookie jar, and the applications it visits.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use http::{Extensions, HeaderMap, Request, Response, StatusCode};
use session_state::test_kit::{EventLog, FakeClock};
use session_state::{CookieState, Error, KeyRing, MemoryStore, Session, SessionEvent, SessionLayer};
use tower::{Layer, ServiceExt, service_fn};

/// One application: a layer, its clock, and the events its observer received.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) layer: SessionLayer,
    pub(crate) clock: FakeClock,
    events: EventLog,
}

impl App {
    pub(crate) fn new(layer: SessionLayer) -> Self {
        let app = Self::unobserved(layer);
        let events = app.events.clone();
        app.with(|layer| layer.add_observer(events))
    }

    /// An application without an observer.
    pub(crate) fn unobserved(layer: SessionLayer) -> Self {
        let (clock, events) = (FakeClock::default(), EventLog::default());
        Self { layer: layer.with_clock(clock.clone()), clock, events }
    }

    pub(crate) fn memory() -> Self {
        Self::new(SessionLayer::server(MemoryStore::new()))
    }

    pub(crate) fn encrypted() -> Self {
        Self::new(SessionLayer::client(CookieState::encrypted(KeyRing::generate().unwrap())))
    }

    pub(crate) fn signed() -> Self {
        Self::new(SessionLayer::client(CookieState::signed(KeyRing::generate().unwrap())))
    }

    /// One application for each place that sessions can live in.
    pub(crate) fn everywhere() -> [Self; 4] {
        let at_rest = SessionLayer::server(MemoryStore::new()).with_encryption_at_rest(KeyRing::generate().unwrap());
        [Self::memory(), Self::new(at_rest.unwrap()), Self::encrypted(), Self::signed()]
    }

    pub(crate) fn with(mut self, set: impl FnOnce(SessionLayer) -> SessionLayer) -> Self {
        self.layer = set(self.layer);
        self
    }

    /// Returns `true` if sessions live in the cookie.
    pub(crate) fn is_in_cookie(&self) -> bool {
        self.layer.sessions().is_err()
    }

    /// Returns the name of the events of a session that goes on after a login: with state in the cookie it gets another
    /// handle.
    pub(crate) fn events_of_login(&self, last: &str) -> Vec<String> {
        let moved: &[&str] = if self.is_in_cookie() { &["Destroyed", "Created"] } else { &["Renewed"] };
        moved.iter().chain([&last]).map(|name| (*name).to_owned()).collect()
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Takes the names of the events so far.
    pub(crate) fn events(&self) -> Vec<String> {
        // Exempt from tokio's budget, which is never renewed here.
        wait_for(tokio::task::unconstrained(self.events.take(&self.layer))).iter().map(name).collect()
    }
}

/// Returns the name of an event.
pub(crate) fn name(event: &SessionEvent) -> String {
    let text = format!("{event:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

/// Blocks this thread on the work of other threads.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    struct Bell(SyncSender<()>);
    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.try_send(());
        }
    }
    let (bell, rings) = sync_channel(1);
    let waker = Waker::from(Arc::new(Bell(bell)));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => rings.recv_timeout(Duration::from_secs(60)).expect("other threads finish within a minute"),
        }
    }
}

/// A browser that visits applications and keeps their cookies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Browser {
    pub(crate) jar: BTreeMap<String, String>,
}

/// The outcome of a visit.
#[derive(Debug)]
pub(crate) struct Visit<T> {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) error: Option<Error>,
    /// The handler's output, if it completed.
    pub(crate) output: Option<T>,
}

impl<T> Visit<T> {
    pub(crate) fn set_cookies(&self) -> Vec<&str> {
        self.headers.get_all(SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// Returns what the handler returned.
    pub(crate) fn value(self) -> T {
        assert_eq!(self.status, StatusCode::OK, "{:?}", self.error);
        self.output.expect("the handler has returned")
    }
}

impl Browser {
    /// Sends a request with its cookies, and keeps the cookies of the response.
    pub(crate) async fn visit<T, F, Fut>(&mut self, app: &App, handler: F) -> Visit<T>
    where
        F: FnOnce(Session) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let visit = self.send(app, handler).await;
        self.receive(&visit);
        visit
    }

    /// Sends a request with its current cookies, without receiving the response.
    pub(crate) async fn send<T, F, Fut>(&self, app: &App, handler: F) -> Visit<T>
    where
        F: FnOnce(Session) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        self.send_raw(app, |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            Ok((StatusCode::OK, handler(session).await))
        })
        .await
    }

    /// Sends a request to a handler that gets the raw extensions.
    pub(crate) async fn send_raw<T, F, Fut>(&self, app: &App, handler: F) -> Visit<T>
    where
        F: FnOnce(Extensions) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(StatusCode, T), Error>> + Send + 'static,
        T: Send + 'static,
    {
        let mut request = Request::new(());
        let cookies: Vec<_> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request.headers_mut().insert(COOKIE, cookies.join("; ").try_into().unwrap());
        }
        send_request(app, request, handler).await
    }

    pub(crate) fn receive<T>(&mut self, visit: &Visit<T>) {
        for cookie in visit.set_cookies() {
            let (name, rest) = cookie.split_once('=').unwrap();
            let (value, attributes) = rest.split_once(';').unwrap();
            if attributes.contains("Max-Age=0") {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// The value of the session's cookie.
    pub(crate) fn id(&self) -> Option<&str> {
        self.jar.get("__Host-Http-id").map(String::as_str)
    }

    pub(crate) async fn set(&mut self, app: &App, key: &'static str, value: u32) -> Visit<()> {
        self.visit(app, move |session| async move { session.insert(key, value).unwrap() }).await
    }

    pub(crate) async fn get(&mut self, app: &App, key: &'static str) -> Option<u32> {
        self.visit(app, move |session| async move { session.get(key).unwrap() }).await.value()
    }
}

pub(crate) async fn send_request<T, F, Fut>(app: &App, request: Request<()>, handler: F) -> Visit<T>
where
    F: FnOnce(Extensions) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(StatusCode, T), Error>> + Send + 'static,
    T: Send + 'static,
{
    let output = Arc::new(Mutex::new(None));
    let handler = Mutex::new(Some(handler));
    let returned = Arc::clone(&output);
    let service = service_fn(move |request: Request<()>| {
        let handler = handler.lock().unwrap().take().expect("one request is sent");
        let returned = Arc::clone(&returned);
        async move {
            let mut response = Response::new(());
            match handler(request.extensions().clone()).await {
                Ok((status, output)) => {
                    *response.status_mut() = status;
                    *returned.lock().unwrap() = Some(output);
                }
                Err(error) => {
                    *response.status_mut() = error.status();
                    response.extensions_mut().insert(error);
                }
            }
            Ok::<_, Infallible>(response)
        }
    });
    let response = app.layer.layer(service).oneshot(request).await.unwrap();
    let (head, ()) = response.into_parts();
    let output = output.lock().unwrap().take();
    Visit { status: head.status, headers: head.headers, error: head.extensions.get().cloned(), output }
}
