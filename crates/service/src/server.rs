//! The accept loop: one hyper connection per client, counted, bounded in time, and cut when the grace period ends.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::lifecycle::Stop;
use crate::listener::{Connection, Listener, Peer};

/// Longest time a client may take to send a request's headers; also how long an idle connection is kept.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);

/// Rest after a failed accept (out of file descriptors, say), so that the loop does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Serves `router` on `listener` until draining begins, then waits until every connection has ended.
pub(crate) async fn serve(listener: Listener, router: Router, stop: Stop) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.draining() => break,
        };
        match accepted {
            Ok((Connection::Tcp(stream), peer)) => spawn(&connections, stream, peer, router.clone(), stop.clone()),
            Ok((Connection::Unix(stream), peer)) => spawn(&connections, stream, peer, router.clone(), stop.clone()),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn spawn<S>(connections: &TaskTracker, stream: S, peer: Peer, router: Router, stop: Stop)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    connections.spawn(async move {
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            let mut router = router.clone();
            // A router is always ready, so `call` may go without `poll_ready`.
            async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.draining() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = stop.cut() => return,
                }
            }
        };
        // A client that goes away is everyday business.
        if let Err(error) = ended {
            tracing::trace!(%peer, %error, "connection ended");
        }
    });
}
