//! An engine whose answers are written by the test, byte by byte: held back, cut off, or not HTTP at all.

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use remora_types::engines::EngineAddress;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The model that it serves.
pub(crate) const RAW_MODEL: &str = "raw/model";

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Request line and headers, without the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// A header's value; names in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

type Script = Arc<dyn Fn(Received, TcpStream) -> BoxFuture<'static, ()> + Send + Sync>;

pub(crate) struct RawEngine {
    pub(crate) address: EngineAddress,
    received: Arc<Mutex<Vec<Received>>>,
    _server: JoinSet<()>,
}

impl RawEngine {
    /// Answers probes itself; every other request is the script's, with its connection.
    pub(crate) async fn start<F, W>(script: F) -> Self
    where
        F: Fn(Received, TcpStream) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = EngineAddress::loopback(socket.local_addr().unwrap().port());
        let received = Arc::new(Mutex::new(Vec::new()));
        let script: Script = Arc::new(move |request, stream| Box::pin(script(request, stream)));
        let mut server = JoinSet::new();
        let log = received.clone();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = socket.accept().await {
                connections.spawn(connection(stream, script.clone(), log.clone()));
            }
        });
        Self { address, received, _server: server }
    }

    /// Always gives this answer, and keeps the connection until the client closes it.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_, mut stream| {
            let answer = answer.clone();
            async move {
                stream.write_all(&answer).await.unwrap();
                let _ = stream.read(&mut [0]).await;
            }
        })
        .await
    }

    /// What came but probes.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn connection(mut stream: TcpStream, script: Script, log: Arc<Mutex<Vec<Received>>>) {
    while let Some(request) = read(&mut stream).await {
        let answer = match request.head.split(' ').take(2).collect::<Vec<_>>()[..] {
            ["GET", "/health"] => plain("200 OK", ""),
            ["GET", "/v1/models"] => {
                plain("200 OK", &format!(r#"{{"object":"list","data":[{{"id":"{RAW_MODEL}","object":"model"}}]}}"#))
            }
            ["POST", "/tokenize"] => plain("200 OK", r#"{"count":1,"tokens":[64],"max_model_len":9}"#),
            ["POST", _] if request.body == b"{}" => plain("400 Bad Request", r#"{"error":{"message":"no"}}"#),
            ["GET", _] => plain("404 Not Found", ""),
            _ => {
                log.lock().unwrap().push(request.clone());
                return script(request, stream).await;
            }
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A whole answer with its length.
pub(crate) fn plain(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut request = Received { head, body: bytes.split_off(end + 4) };
    let length: usize = request.header("content-length").map_or(0, |v| v.parse().unwrap());
    while request.body.len() < length {
        if stream.read_buf(&mut request.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(request)
}
