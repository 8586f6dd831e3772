//! Who may call a route.
//!
//! Each route states its [`Access`] where it is declared ([`crate::Routes::route`]); an [`Identity`] establishes the
//! [`Caller`] once per request, before any handler. This version knows one identity, [`LoopbackOnly`]; tailnet
//! identity and keys take the same seat.

use std::fmt;
use std::sync::{Arc, LazyLock};

use futures::future::BoxFuture;
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::listener::Peer;

/// What a caller may do. Roles do not include each other; an administrator holds all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Chat and read.
    Use,
    /// Adapters, models, others' sessions.
    Operate,
    /// Updates, shutdown, keys.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Use, Self::Operate, Self::Admin];

    /// The role's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Use => "use",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of roles.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Whether the role is among them.
    #[must_use]
    pub fn contains(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |set, role| set | 1 << role as u8))
    }
}

impl<const N: usize> From<[Role; N]> for Roles {
    fn from(roles: [Role; N]) -> Self {
        roles.into_iter().collect()
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Role::ALL.into_iter().filter(|role| self.contains(*role))).finish()
    }
}

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: liveness probes, which tell a stranger no more than that a process turns.
    Public,
    /// A caller that holds this role.
    Role(Role),
}

impl Access {
    /// A caller that holds this role.
    #[must_use]
    pub fn role(role: Role) -> Self {
        Self::Role(role)
    }

    /// As it stands in the API document under `x-remora-access`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Role(role) => role.as_str(),
        }
    }
}

/// Who is calling; in the request's extensions of every handler whose route is not public. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For logs and records.
    pub name: Arc<str>,
    /// What it may do.
    pub roles: Roles,
}

impl Caller {
    /// The person at this machine: every role.
    #[must_use]
    pub fn local() -> Self {
        static NAME: LazyLock<Arc<str>> = LazyLock::new(|| "local".into());
        Self { name: NAME.clone(), roles: Role::ALL.into() }
    }
}

/// Why no caller could be established. The text is for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

/// Establishes who is calling.
pub trait Identity: Send + Sync + 'static {
    /// The verdict where it is known without waiting for anybody; `None` leads to [`Identity::identify`].
    fn known(&self, _: &Peer, _: &HeaderMap) -> Option<Result<Caller, Refusal>> {
        None
    }

    /// Who is at the other end of this connection, sending these headers.
    fn identify<'a>(&'a self, peer: &'a Peer, headers: &'a HeaderMap) -> BoxFuture<'a, Result<Caller, Refusal>>;
}

/// Loopback and Unix-socket peers are the local user; everybody else is refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoopbackOnly;

impl LoopbackOnly {
    fn verdict(peer: &Peer) -> Result<Caller, Refusal> {
        if peer.is_local() {
            Ok(Caller::local())
        } else {
            Err(Refusal(format!("{peer} is not this machine; this version answers local callers only")))
        }
    }
}

impl Identity for LoopbackOnly {
    fn known(&self, peer: &Peer, _: &HeaderMap) -> Option<Result<Caller, Refusal>> {
        Some(Self::verdict(peer))
    }

    fn identify<'a>(&'a self, peer: &'a Peer, _: &'a HeaderMap) -> BoxFuture<'a, Result<Caller, Refusal>> {
        Box::pin(std::future::ready(Self::verdict(peer)))
    }
}

/// The identity that a service's routes ask.
pub(crate) type SharedIdentity = Arc<dyn Identity>;
