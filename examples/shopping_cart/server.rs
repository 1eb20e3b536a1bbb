//! Listening, serving and stopping.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long open requests may take to finish once the shop is told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Listens on this machine alone.
pub(crate) async fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => ": another program uses it, choose a different one with --port",
            _ => "",
        };
        io::Error::new(error.kind(), format!("cannot listen on port {port}{remedy} ({error})"))
    })
}

/// Serves until Ctrl-C or SIGTERM, lets open requests finish, and returns.
pub(crate) async fn serve(listener: TcpListener, app: Router) -> io::Result<()> {
    let (stopping, stopped) = oneshot::channel();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        stop_signal().await;
        // The process that requested the stop may have closed the log.
        let _ = writeln!(io::stdout(), "stopping: open requests have {} seconds", GRACE.as_secs());
        let _ = stopping.send(());
    });
    // A browser keeps idle connections open for minutes; those must not hold up the stop.
    let overdue = async move {
        let _ = stopped.await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = async { server.await } => served,
        () = overdue => Ok(()),
    }
}

async fn stop_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupt => {}
        () = terminate() => {}
    }
}

#[cfg(unix)]
async fn terminate() {
    use tokio::signal::unix::{SignalKind, signal};

    match signal(SignalKind::terminate()) {
        Ok(mut terminations) => drop(terminations.recv().await),
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminate() {
    std::future::pending().await
}
