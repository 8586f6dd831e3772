//! An accept loop that dies with its task, connections included; `axum::serve` leaves them running.

use std::future::Future;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use remora_types::engines::EngineAddress;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

/// Binds `address`; gives where it really is, and the work of serving it.
pub(crate) async fn serve(
    address: &EngineAddress,
    router: Router,
) -> (EngineAddress, impl Future<Output = ()> + Send + use<>) {
    enum Socket {
        Tcp(TcpListener),
        Unix(UnixListener),
    }
    let (address, socket) = match address {
        EngineAddress::Tcp { authority, .. } => {
            let socket = TcpListener::bind(authority).await.expect("the port of a fake is free");
            let port = socket.local_addr().expect("a bound socket has an address").port();
            (EngineAddress::loopback(port), Socket::Tcp(socket))
        }
        EngineAddress::Unix(path) => {
            let _ = std::fs::remove_file(path);
            let socket = UnixListener::bind(path).expect("the socket of a fake can be made");
            (address.clone(), Socket::Unix(socket))
        }
    };
    let serving = async move {
        let mut connections = JoinSet::new();
        loop {
            match &socket {
                Socket::Tcp(socket) => {
                    if let Ok((stream, _)) = socket.accept().await {
                        let _ = stream.set_nodelay(true);
                        connections.spawn(connection(stream, router.clone()));
                    }
                }
                Socket::Unix(socket) => {
                    if let Ok((stream, _)) = socket.accept().await {
                        connections.spawn(connection(stream, router.clone()));
                    }
                }
            }
            while connections.try_join_next().is_some() {}
        }
    };
    (address, serving)
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, router: Router) {
    let service = TowerToHyperService::new(router);
    // A client that goes away, or an answer that breaks on purpose, is no failure of the fake.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
