//! Counts how often each crate goes to a real Redis for a request: round trips in a proxy before the server, commands
//! in the server's own statistics, which therefore must be one that nobody else uses. Every crate has its own store and
//! its default settings.
//!
//!     cargo run --release --features round_trips --bin round_trips -- redis://localhost:6379/
//!
//! The output is a table in Markdown. What a script calls is counted as commands too.

mod contenders;
mod proxy;

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;

use self::contenders::App;
use self::proxy::Proxy;

/// What is asked for, with which cookie, and whether by a process that has served the session before.
const REQUESTS: [(&str, &str, Cookie, Process); 8] = [
    ("no use of the session, no cookie", "/plain", Cookie::None, Process::First),
    ("no use of the session, its cookie", "/plain", Cookie::Session, Process::First),
    ("a read without a cookie", "/read", Cookie::None, Process::First),
    ("a read of a session", "/read", Cookie::Session, Process::First),
    ("the same in a process that has not met it", "/read", Cookie::Session, Process::Second),
    ("a first write", "/write", Cookie::None, Process::First),
    ("a write to a session", "/write", Cookie::Session, Process::First),
    ("a renewal of the ID", "/renew", Cookie::Session, Process::First),
];

#[derive(Clone, Copy, PartialEq)]
enum Cookie {
    None,
    /// That of a session made for this request alone.
    Session,
}

#[derive(Clone, Copy)]
enum Process {
    First,
    Second,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = std::env::args().nth(1).expect("usage: round_trips <redis-url>");
    let info = redis::IntoConnectionInfo::into_connection_info(url.as_str()).expect("a URL");
    let redis::ConnectionAddr::Tcp(host, port) = info.addr() else { panic!("a server over TCP") };
    let mut server = redis::Client::open(url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let proxy = Proxy::start(format!("{host}:{port}")).await;
    let url = format!("redis://{}/", proxy.address());
    let mut columns = Vec::new();
    for name in contenders::NAMES {
        let apps = [contenders::app(name, &url).await, contenders::app(name, &url).await];
        columns.push(count(name, &apps, &proxy, &mut server).await);
    }
    let head = contenders::NAMES.join(" | ");
    println!("| | {head} |\n| --- |{}", " --- |".repeat(columns.len()));
    for (row, (request, ..)) in REQUESTS.iter().enumerate() {
        let cells: Vec<_> = columns.iter().map(|column| column[row].as_str()).collect();
        println!("| {request} | {} |", cells.join(" | "));
    }
}

/// Makes each request and returns what it cost.
async fn count(name: &str, apps: &[Box<dyn App>; 2], proxy: &Proxy, server: &mut MultiplexedConnection) -> Vec<String> {
    // Connections are opened, and scripts loaded, by what comes first.
    for app in apps {
        let session = app.get("/write", "").await.session;
        app.get("/write", &session).await;
        app.get("/renew", &session).await;
    }
    let mut cells = Vec::new();
    for (request, path, cookie, process) in REQUESTS {
        let session = apps[0].get("/write", "").await.session;
        assert!(!session.is_empty(), "{name}: {request}: no session was made");
        let cookie = if cookie == Cookie::Session { session } else { String::new() };
        let app = match process {
            Process::First => &apps[0],
            Process::Second => &apps[1],
        };
        let _: () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(server).await.unwrap();
        let before = proxy.round_trips();
        let answer = app.get(path, &cookie).await;
        let round_trips = proxy.round_trips() - before;
        check(&format!("{name}: {request}"), path, &cookie, &answer);
        cells.push(cell(round_trips, &commands(server).await));
    }
    cells
}

/// A crate that does not do what it is asked for must not look cheap.
fn check(request: &str, path: &str, cookie: &str, answer: &contenders::Answer) {
    let expected = match (path, cookie) {
        ("/plain", _) => "plain",
        ("/read", "") => "0",
        ("/write", "") | ("/read" | "/renew", _) => "1",
        ("/write", _) => "2",
        _ => unreachable!("no such request"),
    };
    assert_eq!(answer.body, expected, "{request}");
    if path == "/renew" {
        assert!(!answer.session.is_empty() && !cookie.contains(&answer.session), "{request}: the ID is the old one");
    }
}

/// Returns how often the server ran which command since its statistics were reset.
async fn commands(server: &mut MultiplexedConnection) -> BTreeMap<String, usize> {
    let text: String = redis::cmd("INFO").arg("commandstats").query_async(server).await.unwrap();
    let commands = text.lines().filter_map(|line| {
        let (command, numbers) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let calls = numbers.split(',').next()?.parse().ok()?;
        (command != "config|resetstat").then(|| (command.to_owned(), calls))
    });
    commands.collect()
}

fn cell(round_trips: usize, commands: &BTreeMap<String, usize>) -> String {
    if commands.is_empty() {
        return round_trips.to_string();
    }
    let times = |(command, calls): (&String, &usize)| {
        let command = command.to_uppercase();
        if *calls == 1 { command } else { format!("{calls} {command}") }
    };
    format!("{round_trips}: {}", commands.iter().map(times).collect::<Vec<_>>().join(", "))
}
