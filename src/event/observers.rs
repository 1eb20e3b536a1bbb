//! Delivery of events to the observers: a queue and a thread for each.
//!
//! A request puts its events into the queues and goes on. A slow observer delays its own bounded queue alone.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::{fmt, io, mem, thread};

use tokio::sync::watch;

use super::{Observer, SessionEvent, trace};

/// The most events in a queue, not counting the entry for lost ones.
const MOST_WAITING: usize = 1024;

/// Linux shows 15 bytes of a thread's name.
const THREAD_NAME: &str = "session-events";

/// The observers of a layer.
#[derive(Clone, Default)]
pub(crate) struct Observers(Vec<Arc<Outlet>>);

impl Observers {
    pub(crate) fn add(&mut self, observer: impl Observer) {
        self.0.push(Arc::new(Outlet::new(observer, start_thread)));
    }

    #[inline]
    pub(crate) fn tell(&self, event: &SessionEvent) {
        trace::note(event);
        if !self.0.is_empty() {
            self.put(event);
        }
    }

    #[cold]
    fn put(&self, event: &SessionEvent) {
        self.0.iter().for_each(|outlet| outlet.queue.put(event.clone()));
    }

    /// Returns a future that waits until every observer has handled the events so far.
    pub(crate) fn flush(&self) -> impl Future<Output = ()> + Send + use<> {
        let queues: Vec<_> = self.0.iter().filter_map(|outlet| outlet.queue.backlog()).collect();
        async move {
            for Backlog { mut noted, all } in queues {
                // It fails when the queue is gone, and then so are all of its events.
                let _ = noted.wait_for(|noted| *noted >= all).await;
            }
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observers({})", self.0.len())
    }
}

/// The sending end of one observer's queue. The queue is closed when the last clone of the layer drops it.
struct Outlet {
    queue: Arc<Queue>,
}

/// How the thread of a queue is started.
type Start = fn(Arc<Queue>) -> io::Result<()>;

fn start_thread(queue: Arc<Queue>) -> io::Result<()> {
    thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(move || queue.run()).map(drop)
}

impl Outlet {
    fn new(observer: impl Observer, start: Start) -> Self {
        let (observer, noted) = (Box::new(observer), watch::Sender::new(0));
        Self { queue: Arc::new(Queue { observer, waiting: Mutex::default(), wake: Condvar::new(), noted, start }) }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        waiting.is_closed = true;
        if !waiting.events.is_empty() {
            self.queue.has_thread(&mut waiting);
        }
        drop(waiting);
        self.queue.wake.notify_one();
    }
}

/// The events that wait for one observer. The thread shares it, so that it outlives the layer until it is empty.
struct Queue {
    observer: Box<dyn Observer>,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// How many events the observer has handled.
    noted: watch::Sender<u64>,
    start: Start,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<SessionEvent>,
    /// How many events were ever queued.
    all: u64,
    has_thread: bool,
    /// The thread waits to be woken.
    is_idle: bool,
    /// The queue is closed.
    is_closed: bool,
}

/// A position in an observer's queue to wait for.
struct Backlog {
    noted: watch::Receiver<u64>,
    /// How many events are handled by then.
    all: u64,
}

impl Queue {
    fn put(self: &Arc<Self>, event: SessionEvent) {
        let mut waiting = self.lock();
        waiting.push(event);
        let is_idle = self.has_thread(&mut waiting) && mem::take(&mut waiting.is_idle);
        drop(waiting);
        if is_idle {
            self.wake.notify_one();
        }
    }

    /// Starts the thread, unless it runs. If the system refuses it, the next event tries again.
    fn has_thread(self: &Arc<Self>, waiting: &mut Waiting) -> bool {
        waiting.has_thread = waiting.has_thread || (self.start)(Arc::clone(self)).is_ok();
        waiting.has_thread
    }

    /// Returns the position to wait for; `None` if there is no thread.
    fn backlog(self: &Arc<Self>) -> Option<Backlog> {
        let mut waiting = self.lock();
        if waiting.events.is_empty() && !waiting.has_thread || !self.has_thread(&mut waiting) {
            return None;
        }
        Some(Backlog { noted: self.noted.subscribe(), all: waiting.all })
    }

    fn run(&self) {
        while let Some(event) = self.next() {
            // A panic leaves only the observer's own state half done; it has no access to the session.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.tell(&event))) {
                // The panic payload may itself panic when it is dropped.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(panic))).map_err(mem::forget);
            }
            self.noted.send_modify(|noted| *noted += 1);
        }
    }

    fn tell(&self, event: &SessionEvent) {
        if let SessionEvent::EventsLost { .. } = event {
            // The others have been traced where they happened.
            trace::note(event);
        }
        self.observer.observe(event);
    }

    /// Waits for the next event. There is none when the queue is closed and empty.
    fn next(&self) -> Option<SessionEvent> {
        let mut waiting = self.lock();
        loop {
            let event = waiting.events.pop_front();
            if event.is_some() || waiting.is_closed {
                return event;
            }
            waiting.is_idle = true;
            waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.is_idle = false;
        }
    }

    /// No code of the application runs under the lock, so a poisoned one is consistent.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Queues an event. A full queue counts it as lost instead, together with those after it.
    fn push(&mut self, event: SessionEvent) {
        let has_room = self.events.len() < MOST_WAITING;
        let event = match self.events.back_mut() {
            _ if has_room => event,
            Some(SessionEvent::EventsLost { count }) => return *count += 1,
            _ => SessionEvent::EventsLost { count: 1 },
        };
        self.events.push_back(event);
        self.all += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::{Sender, channel};
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    fn count(event: &SessionEvent) -> Option<u64> {
        match event {
            SessionEvent::EventsLost { count } => Some(*count),
            _ => None,
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_where_it_would_have_been() {
        let mut waiting = Waiting::default();
        let push = |waiting: &mut Waiting, n| (0..n).for_each(|_| waiting.push(SessionEvent::LoginRefused));
        push(&mut waiting, MOST_WAITING + 3);
        assert_eq!(waiting.events.back().map(count), Some(Some(3)));
        waiting.events.pop_front();
        push(&mut waiting, 1);
        assert_eq!(waiting.events.back().map(count), Some(Some(4)), "the count has taken the place");
        waiting.events.pop_front();
        push(&mut waiting, 1_000_000);
        let counts: Vec<_> =
            waiting.events.iter().enumerate().filter_map(|(at, event)| Some((at, count(event)?))).collect();
        assert_eq!(counts, [(MOST_WAITING - 2, 4), (MOST_WAITING, 999_999)]);
        assert_eq!(waiting.events.len(), MOST_WAITING + 1);
        assert_eq!(waiting.all, MOST_WAITING as u64 + 3, "as many as come out");
    }

    fn outlet(noted: Sender<SessionEvent>, start: Start) -> Observers {
        let observer = move |event: &SessionEvent| noted.send(event.clone()).expect("the test listens");
        Observers(vec![Arc::new(Outlet::new(observer, start))])
    }

    fn is_flushed(observers: &Observers) -> bool {
        std::pin::pin!(observers.flush()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_thread_that_cannot_be_started_is_started_at_a_later_event() {
        static REFUSALS: AtomicU32 = AtomicU32::new(0);
        fn start_late(queue: Arc<Queue>) -> io::Result<()> {
            if REFUSALS.fetch_add(1, Ordering::Relaxed) < 3 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            start_thread(queue)
        }
        let (noted, notes) = channel();
        let observers = outlet(noted, start_late);
        observers.tell(&SessionEvent::DuplicateCookie);
        observers.tell(&SessionEvent::InvalidCookie);
        assert!(is_flushed(&observers), "there is nobody to wait for");
        assert!(notes.try_recv().is_err());
        observers.tell(&SessionEvent::LoginRefused);
        let told: Vec<_> = (0..3).map(|_| notes.recv_timeout(SOON).expect("an event")).collect();
        use SessionEvent::{DuplicateCookie, InvalidCookie, LoginRefused};
        assert!(matches!(told[..], [DuplicateCookie, InvalidCookie, LoginRefused]), "{told:?}");
        assert_eq!(REFUSALS.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn a_queue_that_never_gets_a_thread_has_an_end() {
        fn refuse(_: Arc<Queue>) -> io::Result<()> {
            Err(io::ErrorKind::WouldBlock.into())
        }
        let (noted, notes) = channel();
        let observers = outlet(noted, refuse);
        for _ in 0..10 * MOST_WAITING {
            observers.tell(&SessionEvent::LoginRefused);
        }
        assert_eq!(observers.0[0].queue.lock().events.len(), MOST_WAITING + 1);
        assert!(is_flushed(&observers));
        drop(observers);
        assert!(notes.recv().is_err(), "the observer is gone with it");
    }
}
