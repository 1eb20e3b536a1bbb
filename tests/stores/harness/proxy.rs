//! A proxy between a store and its server that simulates network failures.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::process::free_port;

/// A fault of the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// Data from clients arrives late.
    Delay(Duration),
    /// Connections stay open and new ones are accepted, but no data passes until the fault is over.
    BlackHole,
    /// Connections are reset, new ones at once.
    Reset,
    /// Connections are reset, and the port is closed.
    Refuse,
    /// The client receives this many bytes of every reply, perhaps none, before its connection is closed. The server
    /// has executed the command.
    CutReplies(usize),
}

impl Fault {
    fn is_break(&self) -> bool {
        matches!(self, Self::Reset | Self::Refuse)
    }
}

/// The pings of sqlx's pools to PostgreSQL and MySQL after a request has returned its connection. They are not round
/// trips of the request, and their replies are never cut.
const PINGS: [&[u8]; 2] = [b"S\0\0\0\x04", b"\x01\0\0\0\x0e"];

/// The proxy. Dropping it stops it.
pub(crate) struct Proxy {
    address: SocketAddr,
    network: Arc<Network>,
    listening: JoinHandle<()>,
}

/// A reply that is to be cut.
#[derive(Clone, Copy)]
struct Cut {
    /// How many replies still pass before it.
    passing: usize,
    /// How many bytes of it are left.
    kept: usize,
    /// The fault of the network from then on.
    then: Fault,
}

/// What all connections share.
struct Network {
    server: SocketAddr,
    fault: watch::Sender<Fault>,
    cut: Mutex<Option<Cut>>,
    /// How many connections are open.
    open: AtomicUsize,
    connections: AtomicUsize,
    round_trips: AtomicUsize,
    pings: AtomicUsize,
    bytes_sent: AtomicUsize,
    bytes_received: AtomicUsize,
}

impl Proxy {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).await.unwrap();
        let network = Arc::new(Network {
            server,
            fault: watch::Sender::new(Fault::None),
            cut: Mutex::default(),
            open: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            round_trips: AtomicUsize::new(0),
            pings: AtomicUsize::new(0),
            bytes_sent: AtomicUsize::new(0),
            bytes_received: AtomicUsize::new(0),
        });
        let address = listener.local_addr().unwrap();
        let listening = tokio::spawn(listen(address, listener, Arc::clone(&network)));
        Self { address, network, listening }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the fault from now on, for open connections too.
    pub(crate) fn set(&self, fault: Fault) {
        self.network.fault.send_replace(fault);
    }

    /// Lets `passing` replies through and cuts the next one down to `kept` bytes. Its connection is closed, and the
    /// network works again afterwards.
    pub(crate) fn cut_reply(&self, passing: usize, kept: usize) {
        self.cut_reply_then(passing, kept, Fault::None);
    }

    /// Like [`cut_reply`](Self::cut_reply), and sets a fault from then on.
    pub(crate) fn cut_reply_then(&self, passing: usize, kept: usize, then: Fault) {
        *self.network.cut.lock().unwrap() = Some(Cut { passing, kept, then });
    }

    /// Resets all open connections, and returns once they are closed. New ones can then be opened.
    pub(crate) async fn reset_connections(&self) {
        self.set(Fault::Reset);
        while self.network.open.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.heal();
    }

    /// Returns whether the reply to be cut has arrived.
    pub(crate) fn has_cut(&self) -> bool {
        self.network.cut.lock().unwrap().is_none()
    }

    /// Clears the faults of [`set`](Self::set) and [`cut_reply`](Self::cut_reply).
    pub(crate) fn heal(&self) {
        *self.network.cut.lock().unwrap() = None;
        self.set(Fault::None);
    }

    /// Returns the number of round trips, without the [`PINGS`].
    pub(crate) fn round_trips(&self) -> usize {
        self.network.round_trips.load(Ordering::SeqCst)
    }

    /// Returns the number of [`PINGS`].
    pub(crate) fn pings(&self) -> usize {
        self.network.pings.load(Ordering::SeqCst)
    }

    /// Returns the number of connections opened.
    pub(crate) fn connections(&self) -> usize {
        self.network.connections.load(Ordering::SeqCst)
    }

    /// Returns the number of bytes from clients, and from the server.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (self.network.bytes_sent.load(Ordering::SeqCst), self.network.bytes_received.load(Ordering::SeqCst))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Accepts connections, which are closed when this future is dropped.
async fn listen(address: SocketAddr, listener: TcpListener, network: Arc<Network>) {
    let (mut listener, mut open) = (Some(listener), JoinSet::new());
    let mut fault = network.fault.subscribe();
    loop {
        let is_refusing = *fault.borrow_and_update() == Fault::Refuse;
        match &listener {
            Some(_) if is_refusing => listener = None,
            None if !is_refusing => listener = Some(listen_again(address).await),
            Some(listening) => tokio::select! {
                accepted = listening.accept() => if let Ok((client, _)) = accepted {
                    network.connections.fetch_add(1, Ordering::SeqCst);
                    network.open.fetch_add(1, Ordering::SeqCst);
                    let network = Arc::clone(&network);
                    open.spawn(async move {
                        Arc::clone(&network).carry(client).await;
                        network.open.fetch_sub(1, Ordering::SeqCst);
                    });
                },
                _ = fault.changed() => {}
            },
            None => fault.changed().await.expect("the network outlives its connections"),
        }
        while open.try_join_next().is_some() {}
    }
}

/// Listens again at an address used before. A process forked by another test holds a copy of the old listener until it
/// calls `exec`.
async fn listen_again(address: SocketAddr) -> TcpListener {
    for _ in 0..1000 {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tokio::time::sleep(Duration::from_millis(1)).await
            }
            listener => return listener.expect("the same address"),
        }
    }
    panic!("another process has taken the port");
}

/// Why one direction of a connection ended.
enum End {
    /// One side has closed it.
    Closed,
    /// The network has cut it off.
    Reset,
    /// The client must not receive any more of it.
    Cut,
}

impl Network {
    async fn carry(self: Arc<Self>, mut client: TcpStream) {
        let mut fault = self.fault.subscribe();
        if fault.borrow().is_break() {
            return reset(client);
        }
        let Ok(mut server) = TcpStream::connect(self.server).await else { return reset(client) };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let end = {
            let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
            let asked = AtomicBool::new(false);
            let carrying = async {
                tokio::try_join!(self.send(from_client, to_server, &asked), self.reply(from_server, to_client, &asked))
            };
            tokio::select! {
                end = carrying => end.err().unwrap_or(End::Closed),
                _ = fault.wait_for(Fault::is_break) => End::Reset,
            }
        };
        match end {
            End::Closed => {}
            End::Reset => (reset(client), reset(server)).0,
            End::Cut => {
                drop(client);
                // The server may still be executing the command, and must not notice the closed connection before it
                // has finished.
                let _ = server.shutdown().await;
                let _ = tokio::io::copy(&mut server, &mut tokio::io::sink()).await;
            }
        }
    }

    async fn send(
        &self,
        mut client: impl AsyncRead + Unpin,
        mut server: impl AsyncWrite + Unpin,
        asked: &AtomicBool,
    ) -> Result<(), End> {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let length = read(&mut client, &mut bytes).await?;
            self.bytes_sent.fetch_add(length, Ordering::SeqCst);
            let fault = *self.fault.borrow();
            match fault {
                Fault::Delay(delay) => tokio::time::sleep(delay).await,
                // Data sent during the fault is lost, even if the connection has not noticed the fault yet.
                Fault::Reset | Fault::Refuse => return Err(End::Reset),
                _ => {}
            }
            self.pass().await?;
            if PINGS.contains(&&bytes[..length]) {
                self.pings.fetch_add(1, Ordering::SeqCst);
            } else {
                asked.store(true, Ordering::SeqCst);
            }
            write(&mut server, &bytes[..length]).await?;
            if length == 0 {
                return Ok(());
            }
        }
    }

    async fn reply(
        &self,
        mut server: impl AsyncRead + Unpin,
        mut client: impl AsyncWrite + Unpin,
        asked: &AtomicBool,
    ) -> Result<(), End> {
        let mut bytes = vec![0; 1 << 16];
        let mut kept = None;
        loop {
            let length = read(&mut server, &mut bytes).await?;
            self.bytes_received.fetch_add(length, Ordering::SeqCst);
            self.pass().await?;
            if length > 0 && asked.swap(false, Ordering::SeqCst) {
                self.round_trips.fetch_add(1, Ordering::SeqCst);
                kept = self.kept_of_reply();
            }
            let passing = kept.map_or(length, |kept| length.min(kept));
            write(&mut client, &bytes[..passing]).await?;
            if kept.is_some() {
                return Err(End::Cut);
            } else if length == 0 {
                return Ok(());
            }
        }
    }

    /// Returns how many bytes of a reply reach the client, if the reply is to be cut.
    fn kept_of_reply(&self) -> Option<usize> {
        if let Fault::CutReplies(kept) = *self.fault.borrow() {
            return Some(kept);
        }
        let mut cut = self.cut.lock().unwrap();
        let Cut { passing, kept, then } = (*cut)?;
        *cut = passing.checked_sub(1).map(|passing| Cut { passing, kept, then });
        if cut.is_some() {
            return None;
        }
        self.fault.send_replace(then);
        Some(kept)
    }

    /// Waits while the network is a black hole. Connections may be reset by the time it returns.
    async fn pass(&self) -> Result<(), End> {
        let mut fault = self.fault.subscribe();
        let fault =
            *fault.wait_for(|fault| *fault != Fault::BlackHole).await.expect("the network outlives its connections");
        if fault.is_break() { Err(End::Reset) } else { Ok(()) }
    }
}

/// Reads some bytes; none at the end of the stream.
async fn read(from: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> Result<usize, End> {
    from.read(bytes).await.map_err(|_| End::Reset)
}

/// Writes bytes; none close the stream.
async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), End> {
    let written: io::Result<()> = if bytes.is_empty() { to.shutdown().await } else { to.write_all(bytes).await };
    written.map_err(|_| End::Reset)
}

/// Closes a connection with a reset, so that the other side sees an error instead of the end.
fn reset(connection: TcpStream) {
    // A closed connection needs no reset.
    let _ = connection.set_zero_linger();
}
