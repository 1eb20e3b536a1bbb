//! The harness itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::engines::{ENGINES, MEMCACHED, REDIS};
use super::process::Server;

/// Says something to a server and returns what it answers at once.
fn ask(server: &Server, question: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(server.address())?;
    connection.set_read_timeout(Some(Duration::from_millis(500)))?;
    connection.write_all(question.as_bytes())?;
    let mut answer = [0; 100];
    let length = connection.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[test]
fn every_engine_runs_is_killed_and_comes_back_where_it_was() {
    for engine in ENGINES {
        let Some(server) = engine.start() else { continue };
        let address = server.address();
        server.kill();
        assert!(TcpStream::connect(address).is_err(), "{} is still there", engine.name);
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
fn a_halted_server_says_nothing_until_it_goes_on() {
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
