//! The harness itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::engines::{ENGINES, MEMCACHED, REDIS};
use super::process::Server;

/// Sends bytes to a server and returns its immediate reply.
fn ask(server: &Server, question: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(server.address())?;
    connection.set_read_timeout(Some(Duration::from_millis(500)))?;
    connection.write_all(question.as_bytes())?;
    let mut answer = [0; 100];
    let length = connection.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[test]
fn every_engine_restarts_at_its_address_after_a_kill() {
    for engine in ENGINES {
        let Some(server) = engine.start() else { continue };
        let address = server.address();
        server.kill();
        assert!(TcpStream::connect(address).is_err(), "{} still runs", engine.name);
        server.restart();
        assert_eq!(server.address(), address);
        drop(server);
        assert!(TcpStream::connect(address).is_err(), "{} outlives the test", engine.name);
    }
}

#[test]
fn a_server_keeps_its_data_when_it_is_killed() {
    let Some(server) = REDIS.start() else { return };
    assert_eq!(ask(&server, "SET k v\r\n").unwrap(), "+OK\r\n");
    server.restart();
    assert_eq!(ask(&server, "GET k\r\n").unwrap(), "$1\r\nv\r\n");
}

#[test]
fn a_halted_server_does_not_answer_until_it_resumes() {
    let Some(server) = MEMCACHED.start() else { return };
    server.stop();
    assert!(ask(&server, "version\r\n").is_err());
    server.cont();
    assert!(ask(&server, "version\r\n").unwrap().starts_with("VERSION"));
}

#[test]
fn the_shared_server_is_one() {
    let Some(address) = REDIS.shared() else { return };
    assert_eq!(REDIS.shared(), Some(address));
}

#[test]
fn no_server_outlives_tests_that_are_killed() {
    const NAME: &str = "harness::tests::no_server_outlives_tests_that_are_killed";
    const IS_KILLED: &str = "SESSION_STATE_TEST_IS_KILLED";
    if std::env::var_os(IS_KILLED).is_some() {
        let server = MEMCACHED.start().unwrap();
        println!("\naddress={}", server.address());
        loop {
            thread::park();
        }
    }
    if MEMCACHED.start().is_none() {
        return;
    }
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(["--exact", NAME, "--nocapture"]).env(IS_KILLED, "1").stdout(Stdio::piped());
    let mut tests = tests.spawn().unwrap();
    let mut lines = BufReader::new(tests.stdout.take().unwrap()).lines();
    let address = lines.find_map(|line| line.unwrap().strip_prefix("address=")?.parse::<SocketAddr>().ok()).unwrap();
    assert!(TcpStream::connect(address).is_ok());
    tests.kill().unwrap();
    tests.wait().unwrap();
    let is_gone = (0..1000).any(|_| {
        thread::sleep(Duration::from_millis(10));
        TcpStream::connect(address).is_err()
    });
    assert!(is_gone);
}
