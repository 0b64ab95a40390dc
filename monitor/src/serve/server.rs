//! The socket: listening, and ending in time.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use axum::Router;
use tokio::{sync::watch, time::timeout};

/// How long answers under way may take when the daemon ends; then they are cut off.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why the daemon cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else listens there.
    #[error("{address} is in use")]
    InUse {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// The kernel refuses.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Somebody else takes posts there.
    #[error("{} is in use", path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// There can be no socket.
    #[error("cannot listen at {}: {source}", path.display())]
    Socket {
        /// Where it was to be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The listening socket broke.
    #[error("serving ended: {0}")]
    Broken(#[from] io::Error),
}

/// Listens on `address`; port 0 takes a free one.
///
/// # Errors
/// [`ServeError::InUse`], [`ServeError::Listen`].
pub fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::InUse { address },
        _ => ServeError::Listen { address, source },
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves until `stop` resolves; then tells everyone through `ending` and is gone within a second.
///
/// # Errors
/// [`ServeError::Broken`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    ending: watch::Sender<bool>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut ends = ending.subscribe();
    let until_end = async move {
        // An error means that the sender is gone: the end as well.
        let _ = ends.wait_for(|ends| *ends).await;
    };
    let server = axum::serve(listener, router).with_graceful_shutdown(until_end);
    let mut server = std::pin::pin!(server.into_future());
    tokio::select! {
        ended = &mut server => ended?,
        () = stop => {
            // No receiver is no error: nobody waits.
            let _ = ending.send(true);
            if let Ok(ended) = timeout(LAST_WORDS, server).await {
                ended?;
            }
        }
    }
    Ok(())
}
