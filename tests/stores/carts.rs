//! Carts in tables and their orders, with several processes at once and with processes that are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use session_state::{Clock as _, SystemClock};
use tokio::time::Instant;

use crate::harness::process::free_port;
use crate::support::http::COOKIE;
use crate::support::process::Probe;

#[path = "../layer/random.rs"]
#[expect(dead_code, reason = "only a part of it is used here")]
mod random;

/// How long a worker waits for a probe that is being started again.
const PATIENCE: Duration = Duration::from_secs(30);
const WORKERS: usize = 8;
const CLIENTS: usize = 20;

/// The outcome of a request: its status, its cookie and its JSON. `None`: the outcome is unknown.
type Answer = Option<(u16, Option<String>, Value)>;

/// Sends a request as soon as the port accepts connections.
fn send(probe: SocketAddr, cookie: Option<&str>, path: &str, body: Option<Value>) -> Answer {
    let begun = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(probe) {
            Ok(stream) => break stream,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "the port is closed: {error}"),
        }
        thread::sleep(Duration::from_millis(2));
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (method, body) = body.map_or(("GET", String::new()), |body| ("POST", body.to_string()));
    let cookie = cookie.map(|cookie| format!("Cookie: {COOKIE}={cookie}\r\n")).unwrap_or_default();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n{cookie}Content-Length: {length}\r\n\r\n{body}"
    );
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer)).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let begin = format!("set-cookie: {COOKIE}=");
    let cookie = head.lines().find_map(|line| line.strip_prefix(&begin)?.split(';').next());
    Some((status, cookie.map(str::to_owned), serde_json::from_str(body).ok()?))
}

/// A name for rows in the shared tables, unique across tests and processes.
fn name() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("p{}t{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn twenty_clients_change_one_cart_on_two_nodes_and_lose_no_row(state: &str) {
    let options = ["--store-timeout", "30s"];
    let (ports, name) = ([free_port(), free_port()], name());
    let listen = ports.map(|port| format!("127.0.0.1:{port}"));
    let _nodes = listen.each_ref().map(|listen| Probe::start(state, &[&options[..], &["--listen", listen]].concat()));
    let nodes = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let first = json!({ "sku": format!("{name} first"), "qty": 1, "unit_price_cents": 5 });
    let (status, cookie, _) = send(nodes[0], None, "/cart/add", Some(first)).unwrap();
    assert_eq!((status, cookie.is_some()), (200, true));
    let conflicts = AtomicUsize::new(0);
    let client = &|client: usize| {
        let post = |n: usize, path: &str, body: Value| {
            // So many concurrent requests may run out of retries: a client that gets a 409 retries.
            let answer = (0..).find_map(|_| {
                let answer = send(nodes[n % 2], cookie.as_deref(), path, Some(body.clone())).unwrap();
                (answer.0 != 409).then_some(answer).or_else(|| {
                    conflicts.fetch_add(1, Ordering::Relaxed);
                    None
                })
            });
            assert_eq!(answer, Some((200, None, json!({ "ok": true }))), "{path}");
        };
        let sku = |what: &str| format!("{name} {what} {client:02}");
        let add = |what: &str, qty: usize| json!({ "sku": sku(what), "qty": qty, "unit_price_cents": client });
        post(client, "/cart/add", add("kept", client + 1));
        post(client + 1, "/cart/add", add("removed", 7));
        post(client, "/cart/add", json!({ "sku": format!("{name} first"), "qty": 1, "unit_price_cents": 5 }));
        post(client, "/cart/remove", json!({ "sku": sku("removed") }));
        post(client + 1, "/cart/add", add("kept", 100));
    };
    thread::scope(|scope| (0..CLIENTS).for_each(|n| drop(scope.spawn(move || client(n)))));
    let line = |what: String, qty: usize, price: usize| json!({ "sku": format!("{name} {what}"), "qty": qty, "unit_price_cents": price });
    let mut expected = vec![line("first".to_owned(), CLIENTS + 1, 5)];
    expected.extend((0..CLIENTS).map(|client| line(format!("kept {client:02}"), client + 101, client)));
    for node in nodes {
        let (_, _, cart) = send(node, cookie.as_deref(), "/cart", None).unwrap();
        assert_eq!(cart, json!({ "lines": expected }));
    }
}

/// What a worker knows about a cart. Each addition is a power of four, so a sum tells which additions took effect and
/// whether one did twice.
#[derive(Debug, Default)]
struct Known {
    added: [u64; 2],
    perhaps: [u64; 2],
    /// The probe's response to the checkout: an order, or an empty cart.
    checkouts: Vec<Option<i64>>,
}

/// Additions to a cart: which product, and how many.
const ADDITIONS: [(usize, u64); 3] = [(0, 1), (1, 4), (0, 16)];

/// Fills a cart and orders it. If `patient`, retries until the outcome is known.
fn shop(probe: SocketAddr, cart: &str, is_patient: bool) -> Known {
    let (mut known, mut cookie) = (Known::default(), None);
    for (product, qty) in ADDITIONS {
        let body = json!({ "sku": format!("{cart}-{product}"), "qty": qty, "unit_price_cents": 1 });
        match send(probe, cookie.as_deref(), "/cart/add", Some(body)) {
            Some((200, new, _)) => {
                known.added[product] += qty;
                cookie = new.or(cookie);
            }
            Some((status, _, answer)) => assert_eq!(status, 503, "{answer}"),
            None => {}
        }
        known.perhaps[product] += qty;
        if cookie.is_none() {
            // No client has the cookie of that session.
            return known;
        }
    }
    loop {
        match send(probe, cookie.as_deref(), "/cart/checkout", Some(json!({}))) {
            Some((200 | 409, _, answer)) => {
                known.checkouts.push(answer["order_id"].as_i64());
                return known;
            }
            Some((status, _, answer)) => assert_eq!(status, 503, "{answer}"),
            None => {}
        }
        if !is_patient {
            return known;
        }
    }
}

/// A line of an order, or of a cart.
pub(crate) type Line = (Option<i64>, String, i64);

/// Orders carts while the probe is killed at random moments and restarted.
pub(crate) fn carts_are_ordered_wholly_or_not_at_all_when_the_process_is_killed(
    state: &str,
    most: u64,
    limit: Duration,
    lines: impl Fn(&str) -> Vec<Line>,
) {
    let seed = SystemClock.now().as_millis();
    let (mut random, name, port, begun) = (random::Random::new(seed), name(), free_port(), Instant::now());
    let (listen, probe) = (format!("127.0.0.1:{port}"), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let start = || Probe::start(state, &["--listen", &listen]);
    let (next, mut kills, mut node) = (AtomicU64::new(0), 0, Some(start()));
    let known: BTreeMap<String, Known> = thread::scope(|scope| {
        let worker = || {
            let mut known = Vec::new();
            while begun.elapsed() < limit {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= most {
                    break;
                }
                let cart = format!("{name}-{number}");
                known.push((cart.clone(), shop(probe, &cart, number % 2 == 0)));
            }
            known
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        while !workers.iter().all(|worker| worker.is_finished()) {
            // The kill may hit any step.
            thread::sleep(Duration::from_millis(200 + u64::try_from(random.below(800)).unwrap()));
            drop(node.take());
            kills += 1;
            node = Some(start());
        }
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    drop(node);
    let found = lines(&format!("{name}-%"));
    let ordered = judge(&known, &found);
    let unanswered = known.values().filter(|known| known.added != known.perhaps || known.checkouts.is_empty()).count();
    println!(
        "{} checkouts, {ordered} of them orders, {unanswered} with requests that were not answered, {kills} kills, {:?}",
        known.len(),
        begun.elapsed()
    );
    assert!(kills > 5 && unanswered > 0 && ordered > known.len() / 4, "too few cases were tried");
}

/// Compares the tables with the responses. Returns the number of orders.
fn judge(known: &BTreeMap<String, Known>, found: &[Line]) -> usize {
    let mut orders = 0;
    let mut lines: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in found {
        let (cart, _) = line.1.rsplit_once('-').unwrap();
        lines.entry(cart).or_default().push(line);
    }
    for (cart, known) in known {
        let lines = lines.remove(cart.as_str()).unwrap_or_default();
        let story = format!("{cart}: {known:?}, {lines:?}");
        let of_cart: BTreeSet<Option<i64>> = lines.iter().map(|line| line.0).collect();
        let placed: BTreeSet<i64> = of_cart.iter().copied().flatten().collect();
        assert!(placed.len() <= 1, "the cart was ordered twice: {story}");
        orders += placed.len();
        for (product, (added, perhaps)) in known.added.into_iter().zip(known.perhaps).enumerate() {
            let of_product = lines.iter().filter(|line| line.1.ends_with(&format!("-{product}")));
            let sum = |is_order: bool| -> u64 {
                let of_kind = of_product.clone().filter(|line| line.0.is_some() == is_order);
                of_kind.map(|line| u64::try_from(line.2).unwrap()).sum()
            };
            let (ordered, kept) = (sum(true), sum(false));
            let all = ordered + kept;
            // Every acknowledged bit, and no bit that was never sent: so nothing took effect twice.
            assert_eq!(
                (all & added, all & !perhaps, ordered & kept),
                (added, 0, 0),
                "the quantities do not match: {story}"
            );
            let is_whole = ordered & added == added || ordered & added == 0;
            assert!(is_whole && (placed.is_empty() || ordered & added == added), "an order is incomplete: {story}");
        }
        match known.checkouts[..] {
            [Some(order)] => assert!(placed.contains(&order), "an order is missing: {story}"),
            [None] => assert!(placed.len() == 1 || known.added == [0, 0], "the cart was not ordered: {story}"),
            _ => {}
        }
    }
    assert!(lines.is_empty(), "orders of unknown carts: {lines:?}");
    orders
}

/// The lines of orders and of carts for products whose names match the pattern.
const LINES: [&str; 2] = [
    "SELECT order_id, sku, qty FROM order_lines WHERE sku LIKE '@like'",
    "SELECT CASE WHEN 0 = 1 THEN qty END, sku, qty FROM cart_items WHERE sku LIKE '@like'",
];

/// Makes the tests, on a state that may be missing; `most` carts are ordered, and none after a `limit`.
macro_rules! tests_of_carts {
    ($state:expr, $pool:ident, $most:expr, $limit:expr) => {
        #[test]
        fn twenty_clients_change_one_cart_on_two_nodes_and_lose_no_row() {
            if let Some(state) = $state {
                super::twenty_clients_change_one_cart_on_two_nodes_and_lose_no_row(&state);
            }
        }

        #[test]
        fn carts_are_ordered_wholly_or_not_at_all_when_the_process_is_killed() {
            let Some(state) = $state else { return };
            let lines = |like: &str| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let pool = sqlx::$pool::connect(&state).await.unwrap();
                    let mut found: Vec<super::Line> = Vec::new();
                    for lines in super::LINES {
                        let lines = sqlx::AssertSqlSafe(lines.replace("@like", like));
                        found.extend(sqlx::query_as::<_, super::Line>(lines).fetch_all(&pool).await.unwrap());
                    }
                    found
                })
            };
            super::carts_are_ordered_wholly_or_not_at_all_when_the_process_is_killed(&state, $most, $limit, lines);
        }
    };
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::time::Duration;

    use crate::harness::engines::POSTGRES;

    tests_of_carts!(POSTGRES.shared(), PgPool, 1_000, Duration::MAX);
}

#[cfg(feature = "mysql")]
mod mysql {
    use std::time::Duration;

    use crate::harness::engines::MYSQL;

    tests_of_carts!(MYSQL.shared(), MySqlPool, 1_000, Duration::from_secs(20));
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::path::Path;
    use std::time::Duration;

    tests_of_carts!(Some(new_database()), SqlitePool, 1_000, Duration::MAX);

    fn new_database() -> String {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("carts").join(super::name());
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        format!("sqlite:{}", directory.join("sessions.db").display())
    }
}
