//! A server as a child process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// How often a server is polled for readiness, 10 ms apart: longer than any takes to start.
const ATTEMPTS: u32 = 3_000;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(10);

/// How many lines of a server's log a failed test prints.
const LINES_SHOWN: usize = 100;

type MakeCommand = Box<dyn Fn(&Place) -> Command + Send + Sync>;

/// How to run a server.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    /// The program that makes its data directory, run once.
    pub(crate) prepare: Option<MakeCommand>,
    pub(crate) run: MakeCommand,
    pub(crate) ping: Ping,
}

/// The directory and port of a server.
pub(crate) struct Place {
    /// Used by this server alone.
    pub(crate) directory: PathBuf,
    /// A free port on 127.0.0.1.
    pub(crate) port: u16,
}

/// A readiness probe in the server's own protocol, and how to recognize the reply of a ready server.
#[derive(Clone, Copy)]
pub(crate) struct Ping {
    pub(crate) question: &'static [u8],
    pub(crate) is_answer: fn(&[u8]) -> bool,
}

/// A server process. It is killed with all its children when it is dropped, and when the test process dies.
pub(crate) struct Server {
    spec: Spec,
    place: Place,
    running: Mutex<Option<Running>>,
}

/// A process, and the guard that kills it when the test process is gone.
struct Running {
    child: Child,
    guard: Child,
}

impl Server {
    /// Starts a server, and waits until it answers.
    pub(crate) fn start(spec: Spec) -> Self {
        let directory = new_directory(spec.name);
        let mut server = Self { spec, place: Place { directory, port: free_port() }, running: Mutex::default() };
        if let Some(prepare) = &server.spec.prepare {
            let status = server.command(prepare).status().expect("the program that prepares a server runs");
            assert!(status.success(), "preparing {} failed: {}", server.spec.name, server.log());
        }
        for _ in 0..3 {
            if server.launch().is_ok() {
                return server;
            }
            // Another process may have taken the port in the meantime.
            server.place.port = free_port();
        }
        server.restart();
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.place.port).into()
    }

    /// Kills it with its children, like a power failure.
    pub(crate) fn kill(&self) {
        let Some(running) = self.running.lock().unwrap().take() else { return };
        running.kill();
    }

    /// Starts it again, at the same address and with the data it had.
    pub(crate) fn restart(&self) {
        self.kill();
        if let Err(status) = self.launch() {
            panic!("{} ended with {status}: {}", self.spec.name, self.log());
        }
    }

    /// Pauses it: connections stay open without an answer.
    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    /// Resumes it.
    pub(crate) fn cont(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let running = self.running.lock().unwrap();
        send(signal, &tree(running.as_ref().expect("the server is running").child.id()));
    }

    /// Returns the end of its log.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.log_path()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
        format!("the log of {}:\n{}", self.spec.name, shown.join("\n"))
    }

    fn log_path(&self) -> PathBuf {
        self.place.directory.join("log")
    }

    fn command(&self, make: &MakeCommand) -> Command {
        let log = OpenOptions::new().append(true).open(self.log_path()).unwrap();
        let mut command = make(&self.place);
        command.current_dir(&self.place.directory).env("LC_ALL", "C").env("HOME", &self.place.directory);
        // Servers prepared at the same time would conflict in the shared directory.
        command.env("TMPDIR", &self.place.directory);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        if let Some((user, group)) = lesser_user(&self.place.directory) {
            command.uid(user).gid(group);
        }
        command
    }

    /// Runs it and waits until it is ready or has exited.
    fn launch(&self) -> Result<(), ExitStatus> {
        let child = self.command(&self.spec.run).process_group(0).spawn();
        let child = child.unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.spec.name));
        let guard = guard(child.id(), &self.place.directory);
        let mut running = Running { child, guard };
        for _ in 0..ATTEMPTS {
            if let Some(status) = running.child.try_wait().unwrap() {
                running.kill();
                return Err(status);
            }
            if self.spec.ping.is_answered(self.address()) {
                *self.running.lock().unwrap() = Some(running);
                return Ok(());
            }
            thread::sleep(BETWEEN_ATTEMPTS);
        }
        running.kill();
        panic!("{} does not become ready: {}", self.spec.name, self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
        self.kill();
        // A leftover directory harms no test.
        let _ = fs::remove_dir_all(&self.place.directory);
    }
}

impl Running {
    fn kill(mut self) {
        // The guard first: it must not kill a later process with the same ID.
        self.guard.kill().unwrap();
        self.guard.wait().unwrap();
        // A paused process starts no more children.
        send("-STOP", &[self.child.id()]);
        let processes = tree(self.child.id());
        send("-KILL", &processes);
        self.child.wait().unwrap();
        for process in processes {
            while is_alive(process) {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

impl Ping {
    fn is_answered(&self, address: SocketAddr) -> bool {
        let patience = Duration::from_secs(2);
        let exchange = || {
            let mut connection = TcpStream::connect_timeout(&address, patience)?;
            connection.set_read_timeout(Some(patience))?;
            connection.write_all(self.question)?;
            let mut answer = [0; 1024];
            let length = connection.read(&mut answer)?;
            std::io::Result::Ok((self.is_answer)(&answer[..length]))
        };
        exchange().unwrap_or(false)
    }
}

/// A process that kills the server when the pipe to it closes, which happens however this process ends.
fn guard(server: u32, directory: &Path) -> Child {
    // Children outside the group, such as those of postgres, exit with their parent, which may take a moment.
    let script = r#"read _; kill -s KILL -- "-$1"; rm -rf -- "$2" || { sleep 1; rm -rf -- "$2"; }"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", &server.to_string()]).arg(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().expect("sh can be run")
}

/// Sends a signal to processes, some of which may have exited. Uses the shell's `kill`: a minimal system has no other.
fn send(signal: &str, processes: &[u32]) {
    let mut command = Command::new("sh");
    command.args(["-c", "kill \"$@\"", "sh", signal]).args(processes.iter().map(u32::to_string));
    command.stderr(Stdio::null()).status().expect("sh can be run");
}

/// Returns a process and its descendants in any process group; the process alone where there is no `/proc`.
fn tree(root: u32) -> Vec<u32> {
    let numbers =
        fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parents: Vec<(u32, u32)> = numbers.filter_map(|process| Some((process, status(process)?.1))).collect();
    let mut tree = vec![root];
    let mut at = 0;
    while at < tree.len() {
        let parent = tree[at];
        tree.extend(parents.iter().filter(|(_, other)| *other == parent).map(|(process, _)| process));
        at += 1;
    }
    tree
}

/// Returns the state and the parent of a process.
fn status(process: u32) -> Option<(char, u32)> {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it may contain anything, even parentheses.
    let mut fields = line.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Returns whether a process exists and is not a zombie.
fn is_alive(process: u32) -> bool {
    status(process).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

/// Several servers refuse to run as root, so they run as `nobody`, which owns their directory.
fn lesser_user(directory: &Path) -> Option<(u32, u32)> {
    is_root(directory).then(nobody)
}

/// Returns whether the tests run as root, which then owns the log that they have created.
fn is_root(directory: &Path) -> bool {
    fs::metadata(directory.join("log")).unwrap().uid() == 0
}

fn nobody() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("a list of users");
    let line = users.lines().find_map(|line| line.strip_prefix("nobody:")).expect("there is a user `nobody`");
    let mut numbers = line.split(':').skip(1).map(|number| number.parse().expect("users have numbers"));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn new_directory(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("session-state-{name}-{}-{count}", std::process::id()));
    DirBuilder::new().mode(0o700).create(&directory).expect("a directory for the server");
    File::create(directory.join("log")).expect("a file for its log");
    if let Some((user, group)) = lesser_user(&directory) {
        chown(&directory, Some(user), Some(group)).expect("root can give a directory away");
    }
    directory
}

/// Returns a port below the ephemeral range: an outgoing connection might take a higher one before the server does.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: u32 = 16_000;
    loop {
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        // Concurrent test processes start far apart.
        let port = 15_000 + (std::process::id().wrapping_mul(97) + count) % PORTS;
        let port = u16::try_from(port).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
        assert!(count < PORTS, "no port is free");
    }
}
