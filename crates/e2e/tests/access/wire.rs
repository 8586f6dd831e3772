//! One connection, byte by byte: for what an HTTP client would not send, and to know a connection's own port.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Longest wait for an answer, on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

/// An open connection to a service.
pub(crate) struct Wire {
    stream: TcpStream,
    host: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The head as it came, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Its body.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl Wire {
    /// Connects from any port of 127.0.0.1.
    pub(crate) async fn open(url: &str) -> Self {
        Self::open_from(url, "127.0.0.1:0").await
    }

    /// Connects from this address, also when a connection from there has just been broken.
    pub(crate) async fn open_from(url: &str, local: &str) -> Self {
        let host = url.strip_prefix("http://").unwrap().to_owned();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        let local: SocketAddr = local.parse().unwrap_or_else(|_| SocketAddr::new(local.parse::<IpAddr>().unwrap(), 0));
        socket.bind(local).unwrap();
        let stream = socket.connect(host.parse().unwrap()).await.unwrap();
        // Closing it breaks it: the port is free at once.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        Self { stream, host }
    }

    /// Its own end, as whois in userspace mode knows it.
    pub(crate) fn local(&self) -> String {
        self.stream.local_addr().unwrap().to_string()
    }

    /// GETs a path with these further header lines; the connection stays open.
    pub(crate) async fn get(&mut self, path: &str, headers: &[&str]) -> Answer {
        let host = self.host.clone();
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n"), headers).await
    }

    /// Sends a head and reads the answer.
    pub(crate) async fn send(&mut self, head: &str, headers: &[&str]) -> Answer {
        let lines = headers.iter().fold(head.to_owned(), |lines, header| lines + header + "\r\n");
        // A server that refuses early may have closed already; its answer is still to be read.
        let _ = self.stream.write_all((lines + "\r\n").as_bytes()).await;
        let answer = self.answer(!head.starts_with("HEAD "));
        tokio::time::timeout(LIMIT, answer).await.unwrap_or_else(|_| panic!("no answer in time to: {head}"))
    }

    async fn answer(&mut self, with_body: bool) -> Answer {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.read(&mut bytes).await, "the connection ended before an answer: {bytes:?}");
        };
        let head = String::from_utf8(bytes.drain(..end).collect()).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let length = length.filter(|_| with_body);
        while bytes.len() < length.unwrap_or(0) && self.read(&mut bytes).await {}
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Answer { status, head, body: String::from_utf8(bytes).unwrap() }
    }

    async fn read(&mut self, bytes: &mut Vec<u8>) -> bool {
        self.stream.read_buf(bytes).await.is_ok_and(|count| count > 0)
    }
}
