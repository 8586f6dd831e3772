//! What identity knows about one connection.
//!
//! Verdicts are kept with the connection, not by address: in Tailscale's userspace mode every peer has a loopback
//! address, and a port that one machine has left may be another's a moment later.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::net::IpAddr;

use crate::access::Caller;
use crate::error::ApiError;
use crate::listener::Peer;

/// The peer's address, as Tailscale Serve writes it after deleting whatever the client sent.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Marks what comes from the public internet.
const FUNNEL: HeaderName = HeaderName::from_static("tailscale-funnel-request");

/// How a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// From the peer itself.
    Direct,
    /// From Tailscale Serve, on the socket that is for it alone.
    Serve,
}

/// A connection and the last verdict about it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: Peer,
    pub(crate) through: Through,
    verdict: Mutex<Option<Verdict>>,
}

#[derive(Debug)]
struct Verdict {
    at: Instant,
    /// Serve sends requests of several peers over one connection.
    forwarded_for: Option<HeaderValue>,
    caller: Caller,
}

impl Connection {
    pub(crate) fn new(peer: Peer, through: Through) -> Self {
        Self { peer, through, verdict: Mutex::new(None) }
    }

    /// The last verdict, where it is no older than `fresh` and about the same peer.
    pub(crate) fn verdict(&self, headers: &HeaderMap, fresh: Duration) -> Option<Result<Caller, ApiError>> {
        let known = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref().filter(|known| known.at.elapsed() < fresh);
        let same = |known: &&Verdict| self.through == Through::Direct || known.forwarded_for == forwarded_for(headers);
        // Funnel is judged anew each time, by `tailnet_address`.
        known.filter(same).filter(|_| !headers.contains_key(FUNNEL)).map(|known| Ok(known.caller.clone()))
    }

    /// Keeps a verdict. A refusal is not kept: its reason may be gone with the next request.
    pub(crate) fn remember(&self, headers: &HeaderMap, verdict: &Result<Caller, ApiError>) {
        let known = verdict.as_ref().ok().map(|caller| {
            let forwarded_for = (self.through == Through::Serve).then(|| forwarded_for(headers)).flatten();
            Verdict { at: Instant::now(), forwarded_for, caller: caller.clone() }
        });
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }

    /// What tailscaled is to be asked about. Headers are read only where Serve wrote them: its connection is one from the
    /// user that owns tailscaled's own socket.
    pub(crate) fn tailnet_address(&self, headers: &HeaderMap, tailscaled: &Path) -> Result<String, ApiError> {
        let refused = |message: &str| Err(ApiError::new(StatusCode::UNAUTHORIZED, "no_identity", message));
        match (self.through, self.peer) {
            (Through::Direct, Peer::Tcp(address)) => Ok(address_of(address)),
            (Through::Direct, Peer::Unix { .. }) => refused("a Unix socket has no address on the tailnet"),
            (Through::Serve, Peer::Tcp(_)) => refused("Tailscale Serve comes over its Unix socket"),
            (Through::Serve, Peer::Unix { uid }) => {
                if tailscaled.metadata().map(|meta| meta.uid()).ok() != Some(uid) {
                    return refused("this socket is for Tailscale Serve alone");
                }
                if headers.contains_key(FUNNEL) {
                    return refused("requests from the public internet (Tailscale Funnel) are not answered");
                }
                let address =
                    forwarded_for(headers).and_then(|value| value.to_str().ok()?.trim().parse::<IpAddr>().ok());
                match address {
                    Some(address) => Ok(address.to_canonical().to_string()),
                    None => refused("Tailscale Serve did not say who is calling"),
                }
            }
        }
    }
}

fn forwarded_for(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(FORWARDED_FOR).cloned()
}

/// As whois wants it: IPv4 in its own form, also where the socket is an IPv6 one.
fn address_of(address: std::net::SocketAddr) -> String {
    std::net::SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}
