//! A proxy between a store and its server, with a network that fails when it is told to.

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

/// What is wrong with the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// What clients send arrives late.
    Delay(Duration),
    /// Connections are accepted and stay, and nothing comes through. What was sent arrives when the fault is over.
    BlackHole,
    /// Connections are reset, new ones at once.
    Reset,
    /// Connections are reset, and nobody listens.
    Refuse,
    /// Of every reply the client gets this many bytes, perhaps none, before its connection is closed. The server has done
    /// what it was asked.
    CutReplies(usize),
}

impl Fault {
    fn is_break(&self) -> bool {
        matches!(self, Self::Reset | Self::Refuse)
    }
}

/// What the pools of sqlx send to PostgreSQL and MySQL when a request has given its connection back and waits no more. It
/// is no round trip of a request, and no reply to it is cut.
const PINGS: [&[u8]; 2] = [b"S\0\0\0\x04", b"\x01\0\0\0\x0e"];

/// The proxy. It ends when it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    network: Arc<Network>,
    listening: JoinHandle<()>,
}

/// A reply that is to be cut.
#[derive(Clone, Copy)]
struct Cut {
    /// How many replies still pass before.
    passing: usize,
    /// How many bytes of it are left.
    kept: usize,
    /// What is wrong with the network from then on.
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

    /// Sets what is wrong from now on, also on connections that are open.
    pub(crate) fn set(&self, fault: Fault) {
        self.network.fault.send_replace(fault);
    }

    /// Lets `passing` replies through and cuts the next one down to `kept` bytes. Its connection is closed, and then all is
    /// well again.
    pub(crate) fn cut_reply(&self, passing: usize, kept: usize) {
        self.cut_reply_then(passing, kept, Fault::None);
    }

    /// Does the same, and from then on the network has a fault.
    pub(crate) fn cut_reply_then(&self, passing: usize, kept: usize, then: Fault) {
        *self.network.cut.lock().unwrap() = Some(Cut { passing, kept, then });
    }

    /// Resets all connections that are open, and returns when they are gone. New ones can be made then.
    pub(crate) async fn reset_connections(&self) {
        self.set(Fault::Reset);
        while self.network.open.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.heal();
    }

    /// Whether the reply that was to be cut has come.
    pub(crate) fn has_cut(&self) -> bool {
        self.network.cut.lock().unwrap().is_none()
    }

    /// Ends what [`set`](Self::set) and [`cut_reply`](Self::cut_reply) have begun.
    pub(crate) fn heal(&self) {
        *self.network.cut.lock().unwrap() = None;
        self.set(Fault::None);
    }

    /// How often a client has sent something and got something back, without the [`PINGS`].
    pub(crate) fn round_trips(&self) -> usize {
        self.network.round_trips.load(Ordering::SeqCst)
    }

    /// How many of the [`PINGS`] were sent.
    pub(crate) fn pings(&self) -> usize {
        self.network.pings.load(Ordering::SeqCst)
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.network.connections.load(Ordering::SeqCst)
    }

    /// How much has come from clients, and how much from the server.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (self.network.bytes_sent.load(Ordering::SeqCst), self.network.bytes_received.load(Ordering::SeqCst))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Accepts connections, which end with this future.
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

/// Listens at an address where we did before. A process that another test starts has a copy of the old listener until it
/// runs its program.
async fn listen_again(address: SocketAddr) -> TcpListener {
    for _ in 0..1000 {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tokio::time::sleep(Duration::from_millis(1)).await
            }
            listener => return listener.expect("we can listen where we did before"),
        }
    }
    panic!("the port is not ours any more");
}

/// How a direction of a connection came to its end.
enum End {
    /// One side has said all it had to say.
    Closed,
    /// The network has cut it off.
    Reset,
    /// The client is to hear no more of it.
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
                // The server may still be busy with what it was asked, and must not find out before it has done it.
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
                // What is sent when the network is broken does not arrive, even if the connection has not seen it yet.
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

    /// How many bytes of a reply reach the client, if it is one that is cut.
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

    /// Waits while the network is a black hole. What comes out of it may find that connections are reset.
    async fn pass(&self) -> Result<(), End> {
        let mut fault = self.fault.subscribe();
        let fault =
            *fault.wait_for(|fault| *fault != Fault::BlackHole).await.expect("the network outlives its connections");
        if fault.is_break() { Err(End::Reset) } else { Ok(()) }
    }
}

/// Reads some bytes, none at the end.
async fn read(from: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> Result<usize, End> {
    from.read(bytes).await.map_err(|_| End::Reset)
}

/// Writes bytes; none are the end.
async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), End> {
    let written: io::Result<()> = if bytes.is_empty() { to.shutdown().await } else { to.write_all(bytes).await };
    written.map_err(|_| End::Reset)
}

/// Closes a connection so that the other side sees an error and no end.
fn reset(connection: TcpStream) {
    // A connection that is gone needs no reset.
    let _ = connection.set_zero_linger();
}
