//! The accept loop: one hyper connection per client, counted, bounded in time, and cut when the grace period ends.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::{Request, Response};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::identity::{Connection, Through};
use crate::lifecycle::{BoxError, Stop};
use crate::listener::{Listener, Stream};
use crate::workers::Workers;

/// Longest time a client may take to send a request's headers; also how long an idle connection is kept.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(75);

/// Most that is read ahead of a request, its headers above all, in bytes: what a stranger can make the service hold.
pub(crate) const HEADERS_LIMIT: usize = 64 << 10;

/// Rest after a failed accept (out of file descriptors, say), so that the loop does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What answers the requests that a listener brings.
pub(crate) trait Application: Clone + Send + 'static {
    /// The body of its answers.
    type Body: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    /// Answers one request of this connection.
    fn answer(
        &self,
        request: Request<Body>,
        connection: &Arc<Connection>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

impl Application for Router {
    type Body = Body;

    async fn answer(&self, request: Request<Body>, _: &Arc<Connection>) -> Response<Body> {
        // A router is always ready, so `call` may go without `poll_ready`.
        self.clone().call(request).await.unwrap_or_else(|never| match never {})
    }
}

/// Serves `application` on `listener` until draining begins, then waits until every connection has ended. With `workers`,
/// TCP connections are theirs; those of a Unix socket are few.
pub(crate) async fn serve(
    listener: Listener,
    through: Through,
    application: impl Application,
    stop: Stop,
    workers: Option<Workers>,
) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.draining() => break,
        };
        let (application, stop) = (application.clone(), stop.clone());
        let taken = accepted.and_then(|(stream, peer)| {
            let connection = Arc::new(Connection::new(peer, through));
            match (stream, &workers) {
                (Stream::Tcp(stream), Some(workers)) => {
                    let stream = stream.into_std()?;
                    workers.spawn(&connections, adopt(stream, connection, application, stop));
                }
                (Stream::Tcp(stream), None) => drop(connections.spawn(talk(stream, connection, application, stop))),
                (Stream::Unix(stream), _) => drop(connections.spawn(talk(stream, connection, application, stop))),
            }
            Ok(())
        });
        if let Err(error) = taken {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(ACCEPT_REST).await;
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Takes a connection over to the runtime that this is polled on.
async fn adopt(stream: std::net::TcpStream, connection: Arc<Connection>, application: impl Application, stop: Stop) {
    match TcpStream::from_std(stream) {
        Ok(stream) => talk(stream, connection, application, stop).await,
        Err(error) => tracing::warn!(%error, "cannot take over a connection"),
    }
}

/// Answers the requests of one connection until it ends.
async fn talk<S>(stream: S, connection: Arc<Connection>, application: impl Application, stop: Stop)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let peer = connection.peer;
    let service = service_fn(move |request: Request<Incoming>| {
        let (application, connection) = (application.clone(), connection.clone());
        async move { Ok::<_, Infallible>(application.answer(request.map(Body::new), &connection).await) }
    });
    let exchange = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(HEADERS_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    let mut exchange = std::pin::pin!(exchange);
    // In a set of its own, so that it is polled when it has something to say and not with every packet: the token
    // behind it is one lock for all connections.
    let mut draining: FuturesUnordered<_> = std::iter::once(stop.draining()).collect();
    let ended = tokio::select! {
        biased;
        ended = exchange.as_mut() => ended,
        Some(()) = draining.next() => {
            exchange.as_mut().graceful_shutdown();
            tokio::select! {
                ended = exchange => ended,
                () = stop.cut() => return,
            }
        }
    };
    // A client that goes away is everyday business.
    if let Err(error) = ended {
        tracing::trace!(%peer, %error, "connection ended");
    }
}
