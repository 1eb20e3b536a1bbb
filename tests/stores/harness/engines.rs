//! The servers that the tests can run.

use std::env;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, OnceLock};

use super::process::{Ping, Place, Server, Spec};

/// A kind of server.
pub(crate) struct Engine {
    pub(crate) name: &'static str,
    /// The environment variable that may name an external server to use instead.
    variable: &'static str,
    /// How to run it, or why that is impossible.
    spec: fn() -> Result<Spec, String>,
    /// The URL of a server at an address.
    url: fn(SocketAddr) -> String,
    shared: OnceLock<Option<Server>>,
}

/// A single node that persists each change before it replies.
pub(crate) static REDIS: Engine =
    Engine::new("redis", "SESSION_STATE_TEST_REDIS", redis, |address| format!("redis://{address}/"));

pub(crate) static MEMCACHED: Engine =
    Engine::new("memcached", "SESSION_STATE_TEST_MEMCACHED", memcached, |address| format!("memcached://{address}"));

pub(crate) static POSTGRES: Engine = Engine::new("postgres", "SESSION_STATE_TEST_POSTGRES", postgres, |address| {
    format!("postgres://postgres@{address}/postgres")
});

/// PgBouncer in transaction mode before the shared server of PostgreSQL. It knows no named statements.
pub(crate) static PGBOUNCER: Engine = Engine::new("pgbouncer", "SESSION_STATE_TEST_PGBOUNCER", pgbouncer, |address| {
    format!("postgres://postgres@{address}/postgres?statement-cache-capacity=0")
});

/// MariaDB or MySQL, whichever is installed.
pub(crate) static MYSQL: Engine =
    Engine::new("mysql", "SESSION_STATE_TEST_MYSQL", mysql, |address| format!("mysql://sessions@{address}/sessions"));

/// MongoDB or, where there is none, SecantusDB, which speaks its protocol.
pub(crate) static MONGODB: Engine = Engine::new("mongodb", "SESSION_STATE_TEST_MONGODB", mongodb, |address| {
    // Otherwise the driver connects to the address that the server announces, bypassing the proxy.
    format!("mongodb://{address}/sessions?directConnection=true")
});

/// Every engine.
pub(crate) static ENGINES: [&Engine; 5] = [&REDIS, &MEMCACHED, &POSTGRES, &MYSQL, &MONGODB];

impl Engine {
    const fn new(
        name: &'static str,
        variable: &'static str,
        spec: fn() -> Result<Spec, String>,
        url: fn(SocketAddr) -> String,
    ) -> Self {
        Self { name, variable, spec, url, shared: OnceLock::new() }
    }

    /// Returns the address of the server that all tests of this process share. `None`: the test is to be skipped.
    pub(crate) fn shared(&'static self) -> Option<String> {
        if let Ok(url) = env::var(self.variable) {
            return Some(url);
        }
        self.server().map(|server| self.url(server.address()))
    }

    /// Returns the server that all tests of this process share, if it is one of ours. `None`: the test is to be
    /// skipped.
    pub(crate) fn server(&'static self) -> Option<&'static Server> {
        show_logs_of_shared_servers();
        self.shared.get_or_init(|| self.start()).as_ref()
    }

    /// Starts a server for one test alone. `None`: the test is to be skipped.
    pub(crate) fn start(&self) -> Option<Server> {
        match (self.spec)() {
            Ok(spec) => Some(Server::start(spec)),
            Err(why) => {
                skip(self.name, &why);
                None
            }
        }
    }

    /// Returns the URL of a server, or of a proxy in front of it.
    pub(crate) fn url(&self, address: SocketAddr) -> String {
        (self.url)(address)
    }
}

/// Prints that tests of an engine are skipped.
pub(crate) fn skip(engine: &str, why: &str) {
    assert!(env::var_os("SESSION_STATE_NO_SKIP").is_none(), "the tests on {engine} may not be skipped: {why}");
    // Bypasses the test harness, which hides the output of passing tests.
    let _ = writeln!(io::stderr(), "\nSKIPPED: nothing was tried on {engine}: {why}");
}

/// A shared server is never dropped, so a panicking test prints its log if the test's name contains the engine's.
fn show_logs_of_shared_servers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let show = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            show(panic);
            let thread = std::thread::current();
            let is_concerned = |engine: &&&Engine| thread.name().is_some_and(|name| name.contains(engine.name));
            for engine in ENGINES.iter().filter(is_concerned) {
                if let Some(Some(server)) = engine.shared.get() {
                    eprintln!("{}", server.log());
                }
            }
        }));
    });
}

/// Finds a program by one of its names, in the `sbin` directories and in Debian's directories of PostgreSQL too.
pub(crate) fn find(names: &[&str]) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    directories.extend(["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"].map(PathBuf::from));
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
    versions.sort_by_key(|version| version.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    directories.extend(versions.iter().rev().map(|version| version.path().join("bin")));
    let mut programs = names.iter().flat_map(|name| directories.iter().map(move |directory| directory.join(name)));
    programs.find(|program| program.is_file()).ok_or_else(|| format!("program {} not found", names.join(" or ")))
}

pub(crate) const REDIS_PING: Ping =
    Ping { question: b"PING\r\n", is_answer: |answer| answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH") };

fn redis() -> Result<Spec, String> {
    let program = find(&["redis-server", "valkey-server"])?;
    let run = move |place: &Place| {
        let mut command = Command::new(&program);
        command.args(["--port", &place.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--databases", "1"]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"]).arg(&place.directory);
        command
    };
    Ok(Spec { name: "redis", prepare: None, run: Box::new(run), ping: REDIS_PING })
}

fn memcached() -> Result<Spec, String> {
    let program = find(&["memcached"])?;
    let run = move |place: &Place| {
        let mut command = Command::new(&program);
        command.args(["-l", "127.0.0.1", "-U", "0", "-p", &place.port.to_string(), "-m", "64", "-I", "8m"]);
        command
    };
    let ping = Ping { question: b"version\r\n", is_answer: |answer| answer.starts_with(b"VERSION ") };
    Ok(Spec { name: "memcached", prepare: None, run: Box::new(run), ping })
}

fn postgres() -> Result<Spec, String> {
    let (initdb, program) = (find(&["initdb"])?, find(&["postgres"])?);
    let prepare = move |place: &Place| {
        let mut command = Command::new(&initdb);
        command.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "--pgdata",
        ]);
        command.arg(place.directory.join("data"));
        command
    };
    let run = move |place: &Place| {
        let mut command = Command::new(&program);
        command.args(["-p", &place.port.to_string(), "-h", "127.0.0.1", "-c", "unix_socket_directories="]);
        command.args(["-c", "max_connections=200"]);
        // Then a killed server leaves nothing behind outside its directory.
        command.args(["-c", "dynamic_shared_memory_type=mmap", "-D"]).arg(place.directory.join("data"));
        command
    };
    Ok(Spec { name: "postgres", prepare: Some(Box::new(prepare)), run: Box::new(run), ping: POSTGRES_PING })
}

/// The start of a session: the reply may ask for a password, but is not an error.
const POSTGRES_PING: Ping = Ping {
    question: b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0",
    is_answer: |answer| answer.starts_with(b"R"),
};

fn pgbouncer() -> Result<Spec, String> {
    pgbouncer_with(0)
}

/// PgBouncer with few connections to the server, so that clients share them. It supports this number of named
/// statements per client.
pub(crate) fn pgbouncer_with(named_statements: u32) -> Result<Spec, String> {
    let program = find(&["pgbouncer"])?;
    let server = POSTGRES.server().ok_or("there is no PostgreSQL")?.address();
    let version = Command::new(&program).arg("--version").output().map_err(|error| error.to_string())?;
    let names = match follows_named_statements(&String::from_utf8_lossy(&version.stdout)) {
        true => format!("max_prepared_statements = {named_statements}\n"),
        false if named_statements == 0 => String::new(),
        false => return Err("PgBouncer supports named statements since 1.21".to_owned()),
    };
    let run = move |place: &Place| {
        let file = place.directory.join("pgbouncer.ini");
        let text = format!(
            "[databases]\npostgres = host={} port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
             default_pool_size = 6\nmax_client_conn = 2000\n{names}",
            server.ip(),
            server.port(),
            place.port
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(&program);
        command.arg(file);
        command
    };
    Ok(Spec { name: "pgbouncer", prepare: None, run: Box::new(run), ping: POSTGRES_PING })
}

/// Whether this version of PgBouncer supports named statements.
fn follows_named_statements(version: &str) -> bool {
    let numbers = version.trim_start_matches("PgBouncer ").split(['.', '\n']).map(str::parse);
    let numbers: Vec<u32> = numbers.map_while(Result::ok).collect();
    numbers >= vec![1, 21]
}

fn mysql() -> Result<Spec, String> {
    let program = find(&["mariadbd", "mysqld"])?;
    let version = Command::new(&program).arg("--version").output().map_err(|error| error.to_string())?;
    let is_mariadb = String::from_utf8_lossy(&version.stdout).contains("MariaDB");
    let install = if is_mariadb { find(&["mariadb-install-db", "mysql_install_db"])? } else { program.clone() };
    let prepare = move |place: &Place| {
        write_database(&place.directory);
        let mut command = Command::new(&install);
        let how = if is_mariadb { "--auth-root-authentication-method=normal" } else { "--initialize-insecure" };
        let data = format!("--datadir={}", place.directory.join("data").display());
        command.args(["--no-defaults", how, &data]);
        command
    };
    let run = move |place: &Place| {
        let mut command = Command::new(&program);
        let file = |option: &str, name: &str| format!("--{option}={}", place.directory.join(name).display());
        command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=200"]);
        // Each readiness probe is an aborted connection.
        command.args([
            "--max-connect-errors=1000000",
            "--innodb-buffer-pool-size=64M",
            &format!("--port={}", place.port),
        ]);
        command.args([file("datadir", "data"), file("socket", "socket"), file("pid-file", "pid")]);
        command.arg(file("init-file", "database.sql"));
        command
    };
    // The server speaks first: the packet length, then its protocol version.
    let ping = Ping { question: b"", is_answer: |answer| answer.get(4) == Some(&10) };
    Ok(Spec { name: "mysql", prepare: Some(Box::new(prepare)), run: Box::new(run), ping })
}

/// A `ping`: a header, no flags, and one section with a document.
pub(crate) const MONGODB_PING: Ping = Ping {
    question: b"\x33\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\
                \x1e\0\0\0\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0",
    is_answer: |answer| answer.windows(12).any(|part| part == b"\x01ok\0\0\0\0\0\0\0\xf0\x3f"),
};

/// Runs the server so that acknowledged writes survive a kill, as with the majority of a replica set, and expired
/// documents are removed once a second.
const SECANTUS: &str = "
import sys, threading
from secantus import SecantusDBServer
options = {\"sync_on_commit\": True, \"ttl_sweep_seconds\": 1.0, \"require_auth\": sys.argv[3] == \"true\"}
with SecantusDBServer(port=int(sys.argv[1]), storage_path=sys.argv[2], **options):
    threading.Event().wait()
";

fn mongodb() -> Result<Spec, String> {
    mongodb_with_users(Arc::default())
}

/// A server that requires authentication, from the next start after the flag is set.
pub(crate) fn mongodb_with_users(is_required: Arc<AtomicBool>) -> Result<Spec, String> {
    let (mongod, secantus) = (find(&["mongod"]), find(&["secantusd-py"]));
    let program = mongod.clone().or(secantus).map_err(|_| "there is no mongod and no SecantusDB".to_owned())?;
    let run = move |place: &Place| {
        let (port, is_required) = (place.port.to_string(), is_required.load(Ordering::Relaxed));
        if mongod.is_ok() {
            let mut command = Command::new(&program);
            command.args(["--bind_ip", "127.0.0.1", "--setParameter", "ttlMonitorSleepSecs=1", "--port", &port]);
            command.arg("--dbpath").arg(&place.directory).args(is_required.then_some("--auth"));
            return command;
        }
        let mut command = Command::new(program.with_file_name("python3"));
        command.args(["-c", SECANTUS, &port]).arg(place.directory.join("data")).arg(is_required.to_string());
        command
    };
    Ok(Spec { name: "mongodb", prepare: None, run: Box::new(run), ping: MONGODB_PING })
}

/// The statements that the server runs at each start.
fn write_database(directory: &Path) {
    let statements = "CREATE DATABASE IF NOT EXISTS sessions;\nCREATE USER IF NOT EXISTS 'sessions'@'%';\n\
                      GRANT ALL ON sessions.* TO 'sessions'@'%';\n";
    std::fs::write(directory.join("database.sql"), statements).unwrap();
}
