//! The example shop, started as in the README and used through a real browser, and two releases of an application.
//!
//! The walks need `python3`, `chromium` and `chromedriver` (Debian: `chromium chromium-driver`). Without them they
//! are skipped with a message; with `SESSION_STATE_NO_SKIP=1` they fail instead. Screenshots are left in
//! `artifacts/shop`.

#[path = "browser/releases.rs"]
mod releases;

use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use std::{env, fs, mem, thread};

use session_state::Key;

/// The first start compiles the shop.
const STARTS_WITHIN: Duration = Duration::from_secs(900);
const STOPS_WITHIN: Duration = Duration::from_secs(30);
/// The exit status of `walk.py` when a program is missing.
const SKIPPED: i32 = 77;

/// What `walk.py` prints when the shop should be killed and restarted.
const POWER_CUT: &str = "power cut";

/// A running shop with its own port and database. Dropping it kills it.
struct Shop {
    process: Child,
    lines: Receiver<String>,
    log: Vec<String>,
    port: u16,
    setting: Setting,
}

/// What survives a restart of the shop.
struct Setting {
    folder: PathBuf,
    key: String,
}

impl Setting {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("session-state-shop-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        Self { folder, key: Key::generate().expect("random bytes").to_base64().to_string() }
    }

    fn open(&self, port: u16) -> (Child, Receiver<String>, u16) {
        let mut process = shop(port, self).stdout(Stdio::piped()).spawn().expect("cargo runs");
        let output = BufReader::new(process.stdout.take().expect("the output is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let first = lines.recv_timeout(STARTS_WITHIN).expect("the shop prints the place of its data");
        assert!(first.ends_with("tins.db"), "{first}");
        let second = lines.recv_timeout(STARTS_WITHIN).expect("the shop prints its address");
        let address = second.strip_prefix("listening on http://localhost:").expect(&second);
        (process, lines, address.parse().expect("a port"))
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Shop {
    fn open() -> Self {
        let setting = Setting::new();
        let (process, lines, port) = setting.open(0);
        Self { process, lines, log: Vec::new(), port, setting }
    }

    fn address(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Kills the shop (`kill -9`), and restarts it.
    fn cut_the_power(&mut self) {
        self.process.kill().expect("the shop is running");
        self.process.wait().expect("the shop has exited");
        self.log.extend(self.lines.iter());
        (self.process, self.lines, self.port) = self.setting.open(self.port);
    }

    /// Stops the shop and returns its output. It must exit by itself, successfully.
    #[cfg(unix)]
    fn close(mut self) -> Vec<String> {
        let id = self.process.id().to_string();
        // The shell's `kill`: a minimal system has no other.
        let kill = Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &id]).status();
        assert!(kill.expect("sh runs").success());
        loop {
            match self.lines.recv_timeout(STOPS_WITHIN) {
                Ok(line) => self.log.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the shop still runs after {STOPS_WITHIN:?}"),
            }
        }
        assert!(self.process.wait().expect("the shop ends").success(), "a requested stop is not a failure");
        mem::take(&mut self.log)
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The command of the README, with a port, a database and a key. On Unix `cargo run` becomes the shop, so signals reach
/// it.
fn shop(port: u16, setting: &Setting) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--features", "sqlite,postgres,mysql", "--example", "shopping_cart"]);
    let database = format!("sqlite:{}", setting.folder.join("tins.db").display());
    command.env("PORT", port.to_string()).env("DATABASE_URL", database).env("SESSION_KEY", &setting.key);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

/// Walks through the shop with a browser, and returns the exit status and the output.
fn walk(shop: &mut Shop) -> io::Result<(ExitStatus, String)> {
    let root = env!("CARGO_MANIFEST_DIR");
    let (script, pictures) = (format!("{root}/tests/browser/walk.py"), format!("{root}/artifacts/shop"));
    let mut command = Command::new("python3");
    command.args(["-B", &script, &shop.address(), &pictures]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut walk = command.spawn()?;
    let mut answers = walk.stdin.take().expect("the input is piped");
    let mut printed = String::new();
    for line in BufReader::new(walk.stdout.take().expect("the output is piped")).lines() {
        let line = line?;
        if line == POWER_CUT {
            shop.cut_the_power();
            writeln!(answers, "the power is back")?;
        } else {
            println!("{line}");
            printed = printed + &line + "\n";
        }
    }
    Ok((walk.wait()?, printed))
}

fn skip(why: &str) {
    assert!(env::var_os("SESSION_STATE_NO_SKIP").is_none(), "the browser walk may not be skipped: {why}");
    // Bypasses the test harness, which hides the output of passing tests.
    let _ = writeln!(io::stderr(), "\nSKIPPED: no browser walked through the shop: {why}");
}

/// Every line but the first and the last is exactly `method path status milliseconds ms`.
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
    let mut shop = Shop::open();
    let (status, printed) = match walk(&mut shop) {
        Ok(ended) => ended,
        Err(error) => return skip(&format!("python3: {error}")),
    };
    if status.code() == Some(SKIPPED) {
        return skip(printed.trim());
    }
    assert!(status.success(), "the walk failed: the last picture in artifacts/shop shows where");

    let log = shop.close();
    let (stopping, requests) = log.split_last().expect("a log");
    assert!(stopping.starts_with("stopping"), "{stopping}");
    assert!(requests.iter().any(|line| line.starts_with("POST /login 303 ")), "the walk is not in the log: {log:?}");
    let other: Vec<_> = requests.iter().filter(|line| !is_log_line(line)).collect();
    assert!(other.is_empty(), "more than method, path, status and time: {other:?}");
}

#[test]
fn a_port_in_use_is_reported_and_ends_the_shop() {
    let first = Shop::open();
    let second = shop(first.port, &first.setting).output().expect("cargo runs");
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&format!("cannot listen on port {}", first.port)) && said.contains("--port"), "{said}");
}
