//! The sessions of a principal: lists, revocations and limits.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use http::StatusCode;
use session_state::store::{Record, Store as _, StoreKey};
use session_state::test_kit::{Call, Fault, Faults, FaultyStore};
use session_state::{
    Clock as _, CookieState, ErrorKind, Handle, InStore, KeyRing, MemoryStore, Part, Session, SessionInfo,
    SessionLayer, SessionLimitPolicy, SessionPart, Sessions,
};

use crate::browser::{App, Browser, Visit};

const MINUTE: Duration = Duration::from_secs(60);

async fn log_in(browser: &mut Browser, app: &App, principal: &'static str) -> Visit<()> {
    browser.visit(app, move |session| async move { session.login(principal) }).await
}

/// Returns a browser that is logged in.
async fn device(app: &App, principal: &'static str) -> Browser {
    let mut browser = Browser::default();
    assert_eq!(log_in(&mut browser, app, principal).await.status, StatusCode::OK);
    browser
}

async fn handle(browser: &mut Browser, app: &App) -> Option<Handle> {
    browser.visit(app, |session| async move { session.handle() }).await.value()
}

async fn is_live(browser: &Browser, app: &App) -> bool {
    browser.clone().visit(app, |session| async move { !session.is_new() }).await.value()
}

async fn are_live(browsers: &[Browser], app: &App) -> Vec<bool> {
    join_all(browsers.iter().map(|browser| is_live(browser, app))).await
}

fn sessions(app: &App) -> Sessions {
    app.layer.sessions().unwrap()
}

async fn listed(app: &App, principal: &str) -> Vec<SessionInfo> {
    sessions(app).list(principal).await.unwrap()
}

/// An application with a store that fails on demand.
fn faulty() -> (App, Faults) {
    let store = FaultyStore::new(MemoryStore::new());
    let faults = store.faults();
    (App::new(SessionLayer::server(store)), faults)
}

#[tokio::test]
async fn the_sessions_of_a_principal_are_listed_with_the_one_used_last_first() {
    for app in &App::everywhere()[..2] {
        let mut phone = device(app, "alice").await;
        app.pass(2 * MINUTE);
        let mut desk = device(app, "alice").await;
        device(app, "bob").await;
        Browser::default().set(app, "k", 1).await;
        let named = phone.visit(app, |session| async move { session.set_label("Zoë's phone") }).await;
        named.value().unwrap();
        let (of_phone, of_desk) = (handle(&mut phone, app).await, handle(&mut desk, app).await);
        app.pass(2 * MINUTE);
        phone.get(app, "k").await;
        let found = listed(app, "alice").await;
        assert_eq!(found.iter().map(|info| Some(info.handle)).collect::<Vec<_>>(), [of_phone, of_desk]);
        assert_eq!(found[0].label.as_deref(), Some("Zoë's phone"));
        let now = SystemTime::from(app.clock.now());
        assert_eq!((found[0].last_seen_at, found[0].created_at + 4 * MINUTE), (now, now));
        assert_eq!((found[1].label.clone(), found[1].created_at), (None, found[0].created_at + 2 * MINUTE));
        assert_eq!(found[1].authenticated_at, Some(found[1].created_at));
        let infos = found.clone();
        let is =
            phone.visit(app, |session| async move { infos.iter().map(|info| info.is(&session)).collect::<Vec<_>>() });
        assert_eq!(is.await.value(), [true, false]);
        assert_eq!(sessions(app).count("alice").await.unwrap(), 2);
        assert_eq!((listed(app, "nobody").await, sessions(app).count("").await.unwrap()), (Vec::new(), 0));
    }
}

#[tokio::test]
async fn a_session_expired_by_the_current_timeouts_is_not_listed() {
    let app = App::memory();
    device(&app, "alice").await;
    app.pass(5 * MINUTE);
    let stricter = app.clone().with(|layer| layer.with_idle_timeout(5 * MINUTE));
    assert_eq!(listed(&app, "alice").await.len(), 1);
    assert_eq!(listed(&stricter, "alice").await, []);
}

#[tokio::test]
async fn a_revoked_session_is_gone_and_the_others_stay() {
    let app = App::memory();
    let mut devices = [device(&app, "alice").await, device(&app, "alice").await, device(&app, "bob").await];
    let handles = [handle(&mut devices[0], &app).await.unwrap(), handle(&mut devices[2], &app).await.unwrap()];
    app.events();
    let sessions = sessions(&app);
    assert!(!sessions.revoke("alice", handles[1]).await.unwrap(), "the session is bob's");
    assert!(!sessions.revoke("alice", Handle::from_bytes([0; 16])).await.unwrap());
    assert!(!sessions.revoke("alice", Handle::from_bytes([0xff; 16])).await.unwrap());
    assert_eq!(are_live(&devices, &app).await, [true, true, true]);
    assert!(sessions.revoke("alice", handles[0]).await.unwrap());
    assert!(!sessions.revoke("alice", handles[0]).await.unwrap(), "the session has ended already");
    assert_eq!(app.events(), ["Revoked"]);
    assert_eq!(are_live(&devices, &app).await, [false, true, true]);
    assert_eq!(app.events(), ["RetiredIdUsed"]);
}

#[tokio::test]
async fn revoke_others_spares_the_current_device() {
    let app = App::memory();
    let mut devices = [device(&app, "alice").await, device(&app, "alice").await, device(&app, "alice").await];
    let bob = device(&app, "bob").await;
    let handle = sessions(&app);
    let ask = async move |session: Session| handle.revoke_others(&session).await.unwrap();
    let asked = ask.clone();
    assert_eq!(devices[1].visit(&app, |session| async move { asked(session).await }).await.value(), 2);
    assert_eq!(are_live(&devices, &app).await, [false, true, false]);
    assert!(is_live(&bob, &app).await);
    let mut visitor = Browser::default();
    visitor.set(&app, "k", 1).await;
    assert_eq!(visitor.visit(&app, |session| async move { ask(session).await }).await.value(), 0);
    assert!(is_live(&visitor, &app).await);
}

#[tokio::test]
async fn a_request_in_flight_cannot_revive_a_revoked_session() {
    let app = App::memory();
    for change in 0..4 {
        let mut browser = device(&app, "alice").await;
        let (all, before) = (sessions(&app), browser.clone());
        let visit = browser.visit(&app, move |session| async move {
            assert_eq!(all.revoke_all("alice").await.unwrap(), 1);
            match change {
                0 => session.insert("late", 1).unwrap(),
                1 => session.renew(),
                2 => session.login("alice"),
                _ => session.logout(),
            }
        });
        assert_eq!(visit.await.set_cookies(), [""; 0], "change {change}");
        assert_eq!(listed(&app, "alice").await, [], "change {change}");
        assert!(!is_live(&before, &app).await);
    }
}

#[tokio::test]
async fn ten_thousand_sessions_are_ended_in_bounded_batches() {
    const MANY: usize = 10_000;
    let store = FaultyStore::new(MemoryStore::new());
    let (faults, inner) = (store.faults(), store.inner().clone());
    let app = App::new(SessionLayer::server(store));
    let now = app.clock.now();
    for n in 0..MANY as u128 {
        let mut record = Record::new(Handle::from_bytes((n << 64 | n).to_be_bytes()), now, now.after(10 * MINUTE));
        record.principal = Some("alice".into());
        let mut key = [0; 32];
        key[..16].copy_from_slice(&(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes());
        assert!(inner.create(&StoreKey::from_bytes(key), record.into(), now).await.unwrap());
    }
    let mut bob = device(&app, "bob").await;
    faults.reset_calls();
    assert_eq!(listed(&app, "alice").await.len(), MANY);
    assert_eq!(faults.calls(Call::List), MANY / 100 + 1);
    assert_eq!(sessions(&app).revoke_all("alice").await.unwrap(), MANY);
    assert_eq!(faults.calls(Call::Revoke), MANY / 100);
    assert_eq!((sessions(&app).count("alice").await.unwrap(), inner.len()), (0, 1));
    assert!(handle(&mut bob, &app).await.is_some());
}

#[tokio::test]
async fn a_store_that_fails_once_is_retried_and_loses_no_revocation() {
    for (call, fault) in [
        (Call::List, Fault::Refuse),
        (Call::Revoke, Fault::Refuse),
        (Call::List, Fault::LoseReply),
        (Call::Revoke, Fault::LoseReply),
    ] {
        let (app, faults) = faulty();
        let device = device(&app, "alice").await;
        app.events();
        faults.next_of(call, 1, fault);
        assert_eq!(sessions(&app).revoke_all("alice").await.unwrap(), 1, "{call:?} {fault:?}");
        assert_eq!(app.events(), ["Revoked"], "{call:?} {fault:?}");
        assert!(!is_live(&device, &app).await);
        faults.next_of(call, 2, Fault::Refuse);
        let failed = sessions(&app).revoke_all("alice").await;
        assert!(call == Call::Revoke || *failed.unwrap_err().kind() == ErrorKind::Unavailable);
    }
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Notes {
    notes: Vec<String>,
}

impl SessionPart for Notes {
    const NAME: &'static str = "notes";
}

#[tokio::test]
async fn revoking_a_session_removes_its_parts_in_stores() {
    let parts = MemoryStore::new();
    let app = App::memory().with(|layer| layer.with_part::<Notes>(InStore::new(parts.clone())).unwrap());
    let mut browsers = [device(&app, "alice").await, device(&app, "bob").await];
    for browser in &mut browsers {
        let noted = browser.send_raw(&app, |extensions| async move {
            let mut part = Part::<Notes>::from_extensions(&extensions).await?;
            part.notes.push(String::from("buy tea"));
            Ok((StatusCode::OK, ()))
        });
        assert_eq!(noted.await.status, StatusCode::OK);
    }
    assert_eq!(parts.len(), 2);
    assert_eq!(sessions(&app).revoke_all("alice").await.unwrap(), 1);
    assert_eq!(parts.len(), 1);
}

#[test]
fn a_layer_that_cannot_find_sessions_fails_when_it_is_built() {
    let client = || SessionLayer::client(CookieState::encrypted(KeyRing::generate().unwrap()));
    let error = client().sessions().unwrap_err().to_string();
    assert!(error.contains("cookies cannot be listed"), "{error}");
    assert!(client().with_max_sessions(3, SessionLimitPolicy::EvictOldest).is_err());
    let server = || SessionLayer::server(MemoryStore::new());
    let error = server().with_max_sessions(0, SessionLimitPolicy::RefuseLogin).unwrap_err().to_string();
    assert!(error.contains("0 sessions"), "{error}");
    assert!(server().with_max_sessions(1, SessionLimitPolicy::RefuseLogin).is_ok());
}

fn limited(most: usize, when_full: SessionLimitPolicy) -> App {
    App::memory().with(|layer| layer.with_max_sessions(most, when_full).unwrap())
}

#[tokio::test]
async fn a_login_beyond_the_limit_evicts_the_oldest_session() {
    let app = limited(2, SessionLimitPolicy::EvictOldest);
    let mut devices = Vec::new();
    for _ in 0..3 {
        devices.push(device(&app, "alice").await);
        app.pass(MINUTE);
    }
    assert_eq!(are_live(&devices, &app).await, [false, true, true]);
    assert_eq!(app.events().iter().filter(|event| *event == "Revoked").count(), 1);
    // Neither another login of the same session nor another principal counts.
    log_in(&mut devices[1], &app, "alice").await;
    devices.push(device(&app, "bob").await);
    assert_eq!(are_live(&devices, &app).await, [false, true, true, true]);
    // The second session has logged in again, so it is younger than the third.
    app.pass(MINUTE);
    devices.push(device(&app, "alice").await);
    assert_eq!(are_live(&devices, &app).await, [false, true, false, true, true]);
    // Ended and expired sessions make room.
    devices[1].visit(&app, |session| async move { session.logout() }).await;
    devices.push(device(&app, "alice").await);
    assert_eq!(are_live(&devices, &app).await, [false, false, false, true, true, true]);
}

#[tokio::test]
async fn a_login_beyond_the_limit_is_rejected_and_keeps_nothing() {
    let app = limited(1, SessionLimitPolicy::RefuseLogin);
    let first = device(&app, "alice").await;
    let mut second = Browser::default();
    second.set(&app, "cart", 1).await;
    app.events();
    let before = second.clone();
    let refused = second.visit(&app, |session| async move {
        session.insert("user", 7).unwrap();
        session.login("alice");
    });
    let refused = refused.await;
    assert_eq!((refused.status, refused.set_cookies().len()), (StatusCode::FORBIDDEN, 0));
    assert_eq!(*refused.error.unwrap().kind(), ErrorKind::TooManySessions { limit: 1 });
    assert_eq!(app.events(), ["LoginRefused", "RequestFailed"]);
    assert_eq!(second.jar, before.jar);
    let seen = second.visit(&app, |session| async move {
        (session.principal(), session.get("cart").unwrap(), session.get::<u32>("user").unwrap())
    });
    assert_eq!(seen.await.value(), (None, Some(1), None));
    assert!(is_live(&first, &app).await);
    // A logout and login in one request replaces the request's own session.
    let mut first = first;
    let again = first.visit(&app, |session| async move {
        session.logout();
        session.login("alice");
    });
    assert_eq!(again.await.status, StatusCode::OK);
    // A rejected login releases its lease.
    sessions(&app).revoke_all("alice").await.unwrap();
    assert_eq!(log_in(&mut second, &app, "alice").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_lowered_limit_rejects_no_session_that_logs_in_again() {
    let app = App::memory();
    let mut devices = [device(&app, "alice").await, device(&app, "alice").await, device(&app, "alice").await];
    let stricter = app.clone().with(|layer| layer.with_max_sessions(2, SessionLimitPolicy::RefuseLogin).unwrap());
    assert_eq!(log_in(&mut devices[0], &stricter, "alice").await.status, StatusCode::OK);
    assert_eq!(log_in(&mut Browser::default(), &stricter, "alice").await.status, StatusCode::FORBIDDEN);
    assert_eq!(are_live(&devices, &app).await, [true, true, true]);
    let stricter = app.clone().with(|layer| layer.with_max_sessions(2, SessionLimitPolicy::EvictOldest).unwrap());
    assert_eq!(log_in(&mut devices[0], &stricter, "alice").await.status, StatusCode::OK);
    assert_eq!(listed(&app, "alice").await.len(), 2);
    assert!(is_live(&devices[0], &app).await);
}

#[tokio::test]
async fn a_handler_can_handle_a_refused_login() {
    let app = limited(1, SessionLimitPolicy::RefuseLogin);
    device(&app, "alice").await;
    let mut browser = Browser::default();
    let answered = browser.visit(&app, |session| async move {
        session.insert("user", 7).unwrap();
        session.login("alice");
        let refused = session.save().await.unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::TooManySessions { limit: 1 });
        assert_eq!((session.principal(), session.get::<u32>("user").unwrap()), (None, None));
        session.insert("message", "too many devices").unwrap();
    });
    assert_eq!(answered.await.status, StatusCode::OK);
    let message = browser.visit(&app, |session| async move { session.get::<String>("message").unwrap() }).await;
    assert_eq!(message.value().as_deref(), Some("too many devices"));
    // A request that logs out and whose login is rejected ends logged out.
    let mut bob = device(&app, "bob").await;
    let old = bob.clone();
    let refused = bob.visit(&app, |session| async move {
        session.logout();
        session.login("alice");
    });
    assert_eq!(refused.await.status, StatusCode::FORBIDDEN);
    assert!(!is_live(&old, &app).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_logins_at_once_on_two_nodes_leave_exactly_three() {
    for when_full in [SessionLimitPolicy::EvictOldest, SessionLimitPolicy::RefuseLogin] {
        let store = MemoryStore::new();
        let node = || {
            let layer = SessionLayer::server(store.clone()).with_max_sessions(3, when_full);
            App::new(layer.unwrap())
        };
        let nodes = [node(), node()];
        let logins = (0..100).map(|n| {
            let app = nodes[n % 2].clone();
            tokio::spawn(async move {
                let mut browser = Browser::default();
                (log_in(&mut browser, &app, "alice").await.status, browser)
            })
        });
        let logins: Vec<_> = join_all(logins).await.into_iter().map(Result::unwrap).collect();
        let welcome = logins.iter().filter(|(status, _)| *status == StatusCode::OK).count();
        assert_eq!(welcome, if when_full == SessionLimitPolicy::RefuseLogin { 3 } else { 100 });
        assert!(logins.iter().all(|(status, _)| matches!(status.as_u16(), 200 | 403)));
        let browsers: Vec<_> = logins.into_iter().map(|(_, browser)| browser).collect();
        let live = are_live(&browsers, &nodes[0]).await.into_iter().filter(|live| *live).count();
        assert_eq!((live, listed(&nodes[1], "alice").await.len(), store.len()), (3, 3, 3), "{when_full:?}");
    }
}

#[tokio::test]
async fn logins_are_counted_exactly_despite_failing_store_calls() {
    for (call, fault) in [Call::Create, Call::List, Call::Revoke, Call::Renew, Call::Delete, Call::Load]
        .into_iter()
        .flat_map(|call| [(call, Fault::Refuse), (call, Fault::LoseReply)])
    {
        let (app, faults) = faulty();
        let app = app.with(|layer| layer.with_max_sessions(2, SessionLimitPolicy::EvictOldest).unwrap());
        let mut devices = vec![device(&app, "alice").await];
        app.pass(MINUTE);
        devices.push(device(&app, "alice").await);
        app.pass(MINUTE);
        let mut third = Browser::default();
        third.set(&app, "k", 1).await;
        faults.next_of(call, 1, fault);
        let status = log_in(&mut third, &app, "alice").await.status;
        assert_eq!(status, StatusCode::OK, "{call:?} {fault:?}");
        faults.heal();
        devices.push(third);
        assert_eq!(are_live(&devices, &app).await, [false, true, true], "{call:?} {fault:?}");
        // A lease that could not be released blocks until it runs out.
        app.pass(MINUTE);
        devices.push(device(&app, "alice").await);
        assert_eq!(are_live(&devices, &app).await, [false, false, true, true], "{call:?} {fault:?}");
    }
}

/// Logs in on a node that dies while it holds the lease of the principal.
async fn log_in_and_die(app: &App, faults: &Faults, principal: &'static str) {
    faults.next_of(Call::List, usize::MAX, Fault::Hang);
    let (app, browser) = (app.clone(), Browser::default());
    let mut login =
        Box::pin(async move { browser.send(&app, move |session| async move { session.login(principal) }).await });
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut login).await.is_err());
    // Without a runtime, the lease cannot be released.
    std::thread::spawn(move || drop(login)).join().unwrap();
    faults.heal();
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_dead_node_blocks_logins_for_a_bounded_time() {
    let (app, faults) = faulty();
    let app = app.with(|layer| layer.with_max_sessions(2, SessionLimitPolicy::EvictOldest).unwrap());
    log_in_and_die(&app, &faults, "alice").await;
    assert_eq!(log_in(&mut Browser::default(), &app, "bob").await.status, StatusCode::OK);
    let began = tokio::time::Instant::now();
    assert_eq!(log_in(&mut Browser::default(), &app, "alice").await.status, StatusCode::OK);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(20), "the holder may use it for that long: {waited:?}");
    assert!(waited < Duration::from_secs(22), "{waited:?}");
    assert_eq!(listed(&app, "alice").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_whose_client_disconnected_blocks_no_other() {
    let (app, faults) = faulty();
    let app = app.with(|layer| layer.with_max_sessions(2, SessionLimitPolicy::EvictOldest).unwrap());
    faults.next_of(Call::List, usize::MAX, Fault::Hang);
    let mut browser = Browser::default();
    let stuck = tokio::time::timeout(Duration::from_secs(1), log_in(&mut browser, &app, "alice")).await;
    assert!(stuck.is_err());
    faults.heal();
    let began = tokio::time::Instant::now();
    assert_eq!(log_in(&mut browser, &app, "alice").await.status, StatusCode::OK);
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn logins_do_not_wait_for_leases_of_other_principals() {
    let (app, faults) = faulty();
    let app = app.with(|layer| layer.with_max_sessions(2, SessionLimitPolicy::EvictOldest).unwrap());
    log_in_and_die(&app, &faults, "alice").await;
    // Alice retries while all others log in. There are fewer locks than principals.
    let waiting = tokio::spawn({
        let app = app.clone();
        async move { log_in(&mut Browser::default(), &app, "alice").await.status }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = tokio::time::Instant::now();
    for n in 0..300 {
        let login =
            Browser::default().visit(&app, move |session| async move { session.login(format!("user {n}")) }).await;
        assert_eq!(login.status, StatusCode::OK, "user {n}");
    }
    assert!(began.elapsed() < Duration::from_secs(1), "the logins took {:?}", began.elapsed());
    assert_eq!(waiting.await.unwrap(), StatusCode::OK);
}

#[tokio::test]
async fn the_label_stays_with_the_session_until_another_principal_takes_it_over() {
    for app in App::everywhere() {
        let mut browser = Browser::default();
        let label = |session: Session| async move { session.label() };
        let named = browser.visit(&app, |session| async move {
            let too_long = session.set_label("x".repeat(257)).unwrap_err();
            assert!(matches!(too_long.kind(), ErrorKind::TooLarge { what, size: 257, limit: 256 } if what == "label"));
            session.set_label("Zoë's phone").unwrap();
            session.label()
        });
        assert_eq!(named.await.value().as_deref(), Some("Zoë's phone"));
        for step in 0..3 {
            let renamed = browser.visit(&app, move |session| async move {
                match step {
                    0 => session.renew(),
                    1 => session.login("alice"),
                    _ => session.insert("k", 1).unwrap(),
                }
            });
            renamed.await;
            assert_eq!(browser.visit(&app, label).await.value().as_deref(), Some("Zoë's phone"), "{step}");
        }
        browser.visit(&app, |session| async move { session.login("alice") }).await;
        browser.visit(&app, |session| async move { session.login("bob") }).await;
        assert_eq!(browser.visit(&app, label).await.value(), None);
        browser.visit(&app, |session| async move { session.set_label("").unwrap() }).await;
        assert_eq!(browser.visit(&app, label).await.value().as_deref(), Some(""));
        browser.visit(&app, |session| async move { session.remove_label() }).await;
        assert_eq!(browser.visit(&app, label).await.value(), None);
    }
}

#[tokio::test]
async fn a_full_store_has_room_for_the_lease_of_a_login() {
    let store = MemoryStore::new().with_max_sessions(1);
    let layer = SessionLayer::server(store.clone()).with_max_sessions(3, SessionLimitPolicy::RefuseLogin);
    let (app, mut browser) = (App::new(layer.unwrap()), Browser::default());
    browser.set(&app, "n", 1).await.value();
    assert_eq!(log_in(&mut browser, &app, "alice").await.status, StatusCode::OK);
    // This one takes another session.
    let refused = log_in(&mut Browser::default(), &app, "bob").await;
    assert_eq!((refused.status, store.len()), (StatusCode::SERVICE_UNAVAILABLE, 1));
    assert!(is_live(&browser, &app).await);
}
