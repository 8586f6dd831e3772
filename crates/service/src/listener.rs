//! Bound sockets, and who is at their other end.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Where to listen: `host:port` or `unix:/path/to.sock`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// A TCP address; port 0 takes any free one.
    Tcp(SocketAddr),
    /// A Unix socket, made with mode 0660: its folder decides who gets that far.
    Unix(PathBuf),
}

/// A text that is not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not an address to listen on: use host:port, for example 127.0.0.1:8000, or unix:/path/to.sock")]
pub struct InvalidListen(String);

impl Listen {
    /// The same address with another host; a Unix socket stays as it is.
    #[must_use]
    pub fn with_host(self, host: IpAddr) -> Self {
        match self {
            Self::Tcp(address) => Self::Tcp(SocketAddr::new(host, address.port())),
            unix @ Self::Unix(_) => unix,
        }
    }

    /// The TCP port; 0 on a Unix socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp(address) => address.port(),
            Self::Unix(_) => 0,
        }
    }
}

impl FromStr for Listen {
    type Err = InvalidListen;

    fn from_str(text: &str) -> Result<Self, InvalidListen> {
        let invalid = || InvalidListen(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(invalid()) };
        }
        // `localhost:8000` is what people write; a resolver is only asked for names.
        let address = text.parse().ok().or_else(|| text.to_socket_addrs().ok()?.min_by_key(SocketAddr::is_ipv6));
        address.map(Self::Tcp).ok_or_else(invalid)
    }
}

impl TryFrom<String> for Listen {
    type Error = InvalidListen;

    fn try_from(text: String) -> Result<Self, InvalidListen> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address that could not be bound.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("{listen} is taken{}; stop it, or choose another port", holder.as_ref().map(|h| format!(" by {h}")).unwrap_or_default())]
    Taken {
        /// The wanted address.
        listen: Listen,
        /// The process that holds it, for example `nginx (pid 812)`, where it can be known.
        holder: Option<String>,
    },
    /// Anything else.
    #[error("cannot listen on {listen}")]
    Other {
        /// The wanted address.
        listen: Listen,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A bound socket, not yet served.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: Socket,
    listen: Listen,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds an address. A stale Unix socket is replaced, a live one is [`BindError::Taken`].
    pub async fn bind(listen: &Listen) -> Result<Self, BindError> {
        let other = |source| BindError::Other { listen: listen.clone(), source };
        match listen {
            Listen::Tcp(address) => match TcpListener::bind(address).await {
                Ok(socket) => {
                    let listen = Listen::Tcp(socket.local_addr().map_err(other)?);
                    Ok(Self { socket: Socket::Tcp(socket), listen })
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    Err(BindError::Taken { listen: listen.clone(), holder: holder_of(address.port()) })
                }
                Err(error) => Err(other(error)),
            },
            Listen::Unix(path) => {
                if UnixStream::connect(path).await.is_ok() {
                    return Err(BindError::Taken { listen: listen.clone(), holder: None });
                }
                let socket = bind_unix(path, 0o660).map_err(other)?;
                Ok(Self { socket: Socket::Unix(socket), listen: listen.clone() })
            }
        }
    }

    /// A control socket's listener, which was bound by its own rules.
    pub(crate) fn from_unix(socket: UnixListener) -> Self {
        let path = socket.local_addr().ok().and_then(|a| a.as_pathname().map(Path::to_owned)).unwrap_or_default();
        Self { socket: Socket::Unix(socket), listen: Listen::Unix(path) }
    }

    /// Where it really listens; the port is never 0.
    #[must_use]
    pub fn listen(&self) -> &Listen {
        &self.listen
    }

    /// The URL for a caller on this machine: the loopback address where it listens on every address.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.listen {
            Listen::Tcp(address) if address.ip().is_unspecified() => format!("http://127.0.0.1:{}", address.port()),
            listen @ Listen::Tcp(_) => format!("http://{listen}"),
            listen @ Listen::Unix(_) => listen.to_string(),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Peer::Tcp(address)))
            }
            Socket::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                let peer = Peer::Unix { uid: stream.peer_cred()?.uid() };
                Ok((Stream::Unix(stream), peer))
            }
        }
    }
}

/// What was accepted.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Binds a Unix socket with exactly these permission bits, replacing what lies at `path`.
///
/// It is bound inside a private folder and renamed into place, so that there is no moment at which the path has wider
/// permissions or does not exist.
pub(crate) fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let private = tempfile::Builder::new().prefix(".remora-").tempdir_in(folder)?;
    let staged = private.path().join("s");
    let socket = UnixListener::bind(&staged)?;
    std::fs::set_permissions(&staged, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&staged, path)?;
    Ok(socket)
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// An address and port.
    Tcp(SocketAddr),
    /// A process of this user on this machine.
    Unix {
        /// The user's id, as the kernel says it.
        uid: u32,
    },
}

impl Peer {
    /// Whether the peer is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix { .. } => true,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { uid } => write!(f, "user {uid}"),
        }
    }
}

/// The process that listens on a TCP port, where `/proc` shows it (own processes; all of them for root).
#[cfg(target_os = "linux")]
fn holder_of(port: u16) -> Option<String> {
    use procfs::net::TcpState;
    use procfs::process::FDTarget;

    let rows = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    let inodes: Vec<u64> = rows
        .filter(|row| row.state == TcpState::Listen && row.local_address.port() == port)
        .map(|row| row.inode)
        .collect();
    let holds = |process: &procfs::process::Process| {
        let Ok(descriptors) = process.fd() else { return false };
        descriptors.flatten().any(|fd| matches!(fd.target, FDTarget::Socket(inode) if inodes.contains(&inode)))
    };
    let process = procfs::process::all_processes().ok()?.flatten().find(holds)?;
    Some(format!("{} (pid {})", process.stat().ok()?.comm, process.pid))
}

#[cfg(not(target_os = "linux"))]
fn holder_of(_: u16) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_names_its_holder() {
        let first = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let error = Listener::bind(first.listen()).await.unwrap_err().to_string();
        let me = format!("(pid {})", std::process::id());
        assert!(error.contains("is taken by") && error.contains(&me), "{error}");
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let listen = Listen::Unix(folder.path().join("x.sock"));
        let first = Listener::bind(&listen).await.unwrap();
        assert!(matches!(Listener::bind(&listen).await, Err(BindError::Taken { .. })));
        drop(first);
        let second = Listener::bind(&listen).await.unwrap();
        assert_eq!(second.url(), listen.to_string());
        let mode = std::fs::metadata(folder.path().join("x.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no staging folder is left");
    }

    #[test]
    fn listen_addresses_parse_and_print() {
        assert_eq!("localhost:80".parse::<Listen>().unwrap().to_string(), "127.0.0.1:80");
        assert_eq!("unix:/run/x.sock".parse::<Listen>().unwrap().to_string(), "unix:/run/x.sock");
        for bad in ["", "8000", "unix:x", "http://h:1"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn loopback_is_local_also_as_a_mapped_address() {
        let local = |text: &str| Peer::Tcp(text.parse().unwrap()).is_local();
        assert!(local("127.0.0.1:1") && local("[::1]:1") && local("[::ffff:127.0.0.1]:1"));
        assert!(!local("100.101.102.103:1") && !local("[::ffff:10.0.0.1]:1"));
    }
}
