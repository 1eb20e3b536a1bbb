//! The proxy in front of a real server.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::engines::MEMCACHED;
use super::process::Server;
use super::proxy::{Fault, Proxy};

const SHORT: Duration = Duration::from_millis(100);

async fn begin() -> Option<(Server, Proxy, TcpStream)> {
    let server = MEMCACHED.start()?;
    let proxy = Proxy::start(server.address()).await;
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    Some((server, proxy, client))
}

/// Sends a line and returns the next line, or its beginning if the connection ends.
async fn ask(client: &mut TcpStream, question: &str) -> std::io::Result<String> {
    client.write_all(question.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n") {
        match client.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8(answer).unwrap())
}

#[tokio::test]
async fn round_trips_bytes_and_connections_are_counted() {
    let Some((_server, proxy, mut client)) = begin().await else { return };
    assert_eq!(ask(&mut client, "set k 0 0 1\r\nv\r\n").await.unwrap(), "STORED\r\n");
    assert_eq!((proxy.round_trips(), proxy.bytes()), (1, (16, 8)));
    assert_eq!(ask(&mut client, "get no\r\n").await.unwrap(), "END\r\n");
    assert_eq!((proxy.round_trips(), proxy.bytes()), (2, (24, 13)));
    let mut other = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut other, "get no\r\n").await.unwrap(), "END\r\n");
    assert_eq!((proxy.round_trips(), proxy.connections()), (3, 2));
}

#[tokio::test]
async fn a_delay_takes_its_time() {
    let Some((_server, proxy, mut client)) = begin().await else { return };
    proxy.set(Fault::Delay(SHORT));
    let begun = Instant::now();
    assert_eq!(ask(&mut client, "get no\r\n").await.unwrap(), "END\r\n");
    assert!(begun.elapsed() >= SHORT);
}

#[tokio::test]
async fn a_black_hole_delivers_its_data_when_it_ends() {
    let Some((_server, proxy, mut client)) = begin().await else { return };
    proxy.set(Fault::BlackHole);
    let mut other = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(timeout(SHORT, ask(&mut client, "get no\r\n")).await.is_err());
    assert!(timeout(SHORT, ask(&mut other, "get no\r\n")).await.is_err());
    proxy.heal();
    assert_eq!(ask(&mut client, "").await.unwrap(), "END\r\n");
    assert_eq!(ask(&mut other, "").await.unwrap(), "END\r\n");
}

#[tokio::test]
async fn a_reset_ends_old_connections_and_new_ones_with_an_error() {
    let Some((_server, proxy, mut client)) = begin().await else { return };
    assert_eq!(ask(&mut client, "get no\r\n").await.unwrap(), "END\r\n");
    proxy.set(Fault::Reset);
    assert!(client.read_u8().await.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    let other = async { ask(&mut TcpStream::connect(proxy.address()).await?, "get no\r\n").await };
    assert!(other.await.is_err());
    proxy.heal();
    let mut other = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut other, "get no\r\n").await.unwrap(), "END\r\n");
}

#[tokio::test]
async fn a_closed_proxy_refuses_connections_until_it_listens_again() {
    let Some((_server, proxy, mut client)) = begin().await else { return };
    assert_eq!(ask(&mut client, "get no\r\n").await.unwrap(), "END\r\n");
    proxy.set(Fault::Refuse);
    assert!(client.read_u8().await.is_err());
    let refused = async {
        while TcpStream::connect(proxy.address()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), refused).await.unwrap();
    proxy.heal();
    let accepted = async {
        loop {
            if let Ok(accepted) = TcpStream::connect(proxy.address()).await {
                return accepted;
            }
            tokio::task::yield_now().await;
        }
    };
    let mut other = timeout(Duration::from_secs(10), accepted).await.unwrap();
    assert_eq!(ask(&mut other, "get no\r\n").await.unwrap(), "END\r\n");
}

#[tokio::test]
async fn a_reply_is_lost_after_the_server_executed_the_command() {
    let Some((_server, proxy, mut client)) = begin().await else { return };
    proxy.cut_reply(1, 0);
    assert_eq!(ask(&mut client, "set k 0 0 1\r\na\r\n").await.unwrap(), "STORED\r\n");
    assert!(!proxy.has_cut());
    assert_eq!(ask(&mut client, "set k 0 0 1\r\nb\r\n").await.unwrap(), "");
    assert!(proxy.has_cut());
    let mut other = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(
        ask(&mut other, "incr k 1\r\n").await.unwrap(),
        "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
    );
    assert_eq!(ask(&mut other, "append k 0 0 1\r\nc\r\n").await.unwrap(), "STORED\r\n");
    assert_eq!(ask(&mut other, "get k\r\n").await.unwrap(), "VALUE k 0 2\r\n");
    assert_eq!(ask(&mut other, "").await.unwrap(), "bc\r\n");
}

#[tokio::test]
async fn every_reply_is_cut_until_the_fault_is_over() {
    let Some((_server, proxy, mut client)) = begin().await else { return };
    proxy.set(Fault::CutReplies(3));
    assert_eq!(ask(&mut client, "set k 0 0 1\r\na\r\n").await.unwrap(), "STO");
    let mut other = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut other, "get k\r\n").await.unwrap(), "VAL");
    proxy.heal();
    let mut other = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut other, "get k\r\n").await.unwrap(), "VALUE k 0 1\r\n");
}
