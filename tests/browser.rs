//! The example shop, started as the README says and used the way people use it.
//!
//! The walk needs `python3`, `chromium` and `chromedriver` (Debian: `chromium chromium-driver`). Without them it is
//! skipped, which is said; with `SESSION_STATE_NO_SKIP=1` it fails instead. Its pictures are left in `artifacts/shop`.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// The first start compiles the shop.
const STARTS_WITHIN: Duration = Duration::from_secs(900);
const STOPS_WITHIN: Duration = Duration::from_secs(30);
/// What `walk.py` exits with when a program is missing.
const SKIPPED: i32 = 77;

/// A running shop on a port of its own, killed when it is dropped.
struct Shop {
    process: Child,
    lines: Receiver<String>,
    port: u16,
}

impl Shop {
    fn open() -> Self {
        let mut process = shop(0).stdout(Stdio::piped()).spawn().expect("cargo runs");
        let output = BufReader::new(process.stdout.take().expect("the output is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let first = lines.recv_timeout(STARTS_WITHIN).expect("the shop says where it listens");
        let address = first.strip_prefix("listening on http://localhost:").expect(&first);
        let port = address.parse().expect("a port");
        Self { process, lines, port }
    }

    fn address(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Tells the shop to stop and returns what it had printed. It must end by itself, and well.
    #[cfg(unix)]
    fn close(mut self) -> Vec<String> {
        let id = self.process.id().to_string();
        // The `kill` of the shell, since a small machine has no other.
        let kill = Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &id]).status();
        assert!(kill.expect("sh runs").success());
        let mut log = Vec::new();
        loop {
            match self.lines.recv_timeout(STOPS_WITHIN) {
                Ok(line) => log.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the shop is still there after {STOPS_WITHIN:?}"),
            }
        }
        assert!(self.process.wait().expect("the shop ends").success(), "a stop that was asked for is no failure");
        log
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The command of the README, with a port. On Unix `cargo run` becomes the shop, so signals reach it.
fn shop(port: u16) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--example", "shopping_cart"]).env("PORT", port.to_string());
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

fn walk(shop: &str) -> io::Result<Output> {
    let root = env!("CARGO_MANIFEST_DIR");
    let (script, pictures) = (format!("{root}/tests/browser/walk.py"), format!("{root}/artifacts/shop"));
    Command::new("python3").args(["-B", &script, shop, &pictures]).output()
}

fn skip(why: &str) {
    assert!(env::var_os("SESSION_STATE_NO_SKIP").is_none(), "the browser walk may not be skipped: {why}");
    // Past the test harness, which shows nothing that a passing test prints.
    let _ = writeln!(io::stderr(), "\nSKIPPED: no browser walked through the shop: {why}");
}

/// Every line but the first and the last is `method path status milliseconds ms`, and nothing else fits in.
#[cfg(unix)]
fn is_log_line(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    matches!(words[..], [method, path, status, time, "ms"]
        if ["GET", "POST", "HEAD"].contains(&method)
            && path.starts_with('/')
            && !path.contains('?')
            && status.len() == 3
            && time.bytes().all(|byte| byte.is_ascii_digit()))
}

#[test]
#[cfg(unix)]
fn a_real_browser_walks_through_the_shop_and_the_log_names_no_cookie() {
    let shop = Shop::open();
    let output = match walk(&shop.address()) {
        Ok(output) => output,
        Err(error) => return skip(&format!("python3: {error}")),
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    println!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(SKIPPED) {
        return skip(printed.trim());
    }
    assert!(output.status.success(), "the walk failed: the last picture in artifacts/shop shows where");

    let log = shop.close();
    let (stopping, requests) = log.split_last().expect("a log");
    assert!(stopping.starts_with("stopping"), "{stopping}");
    assert!(requests.iter().any(|line| line.starts_with("POST /login 303 ")), "the walk is not in the log: {log:?}");
    let other: Vec<_> = requests.iter().filter(|line| !is_log_line(line)).collect();
    assert!(other.is_empty(), "more than method, path, status and time: {other:?}");
}

#[test]
fn a_port_in_use_is_said_and_ends_the_shop() {
    let first = Shop::open();
    let second = shop(first.port).output().expect("cargo runs");
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&format!("cannot listen on port {}", first.port)) && said.contains("--port"), "{said}");
}
