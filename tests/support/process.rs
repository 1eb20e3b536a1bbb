//! The probe as a child process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;

use super::http::{Connection, Request, Response};
use super::visitor::Visitor;

/// The states that every build of the probe has.
pub(crate) const STATES: [&str; 3] = ["cookie-encrypted", "cookie-signed", "memory"];

/// The states that live in the client's cookie.
pub(crate) const COOKIE_STATES: [&str; 2] = ["cookie-encrypted", "cookie-signed"];

/// A running probe. It is killed when it is dropped.
pub(crate) struct Probe {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Probe {
    pub(crate) fn start(state: &str, options: &[&str]) -> Self {
        let mut child = command()
            .args(["--state", state, "--listen", "127.0.0.1:0"])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the probe can be started");
        let mut stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the probe prints its address");
        let address = line.strip_prefix("listening on http://").and_then(|rest| rest.strip_suffix('\n'));
        let address = address.unwrap_or_else(|| panic!("the line with its address: {line:?}"));
        Self { child, stdout, address: address.parse().expect("an address") }
    }

    pub(crate) fn exchange(&self, request: Request) -> Response {
        self.connect().exchange(&request.header("Connection", "close"))
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// Returns a new visitor.
    pub(crate) fn visitor(&self) -> Visitor<'_> {
        Visitor::new(self)
    }

    /// Returns a visitor with a cookie.
    pub(crate) fn visitor_with(&self, cookie: impl Into<String>) -> Visitor<'_> {
        let mut visitor = Visitor::new(self);
        visitor.cookie = Some(cookie.into());
        visitor
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        // The shell's `kill`: a minimal system has no other.
        let kill = ["-c", "kill \"$1\" \"$2\"", "sh", signal, &id];
        let status = Command::new("sh").args(kill).status().expect("sh can be run");
        assert!(status.success(), "the probe is running");
    }

    /// Waits for the process to exit, and returns the rest of its output.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("the probe prints text");
        (self.child.wait().expect("the probe ends"), rest)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // It may have exited by itself; the test checks that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a test on a probe of each state concurrently. Each thread is named after its state.
pub(crate) fn in_every_state(options: &[&str], test: impl Fn(&Probe) + Sync) {
    in_states(&STATES, options, test);
}

pub(crate) fn in_states(states: &[&str], options: &[&str], test: impl Fn(&Probe) + Sync) {
    thread::scope(|scope| {
        for state in states {
            let run = || test(&Probe::start(state, options));
            thread::Builder::new().name((*state).to_owned()).spawn_scoped(scope, run).expect("a thread can be started");
        }
    });
}

/// Starts the probe, which is expected to exit by itself, and returns its exit status and output.
pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command().args(arguments).output().expect("the probe can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the probe prints text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn command() -> Command {
    let mut command = Command::new(binary());
    command.stdin(Stdio::null());
    command
}

/// `cargo test` builds the examples next to the tests; `cargo test --test …` alone does not.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("the test has a path");
        let profile = test.ancestors().nth(2).expect("tests are in target/<profile>/deps");
        let binary = profile.join("examples").join(format!("probe{}", std::env::consts::EXE_SUFFIX));
        assert!(is_up_to_date(&binary), "{} is not up to date: `cargo build --example probe`", binary.display());
        binary
    })
}

/// Returns whether the program is newer than its sources, which cargo lists in a file beside it.
fn is_up_to_date(binary: &Path) -> bool {
    let changed_at = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let (Ok(built_at), Ok(list)) = (changed_at(binary), fs::read_to_string(binary.with_extension("d"))) else {
        return false;
    };
    let sources = list.split_once(": ").map_or("", |(_, sources)| sources.trim_end());
    sources.split(' ').all(|source| changed_at(Path::new(source)).is_ok_and(|changed_at| changed_at <= built_at))
}
