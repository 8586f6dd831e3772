//! Who may call a route.
//!
//! Each route states its [`Access`] where it is declared ([`crate::Routes::route`]); an [`Identity`] establishes the
//! [`Caller`] once per request, before any handler. This version knows one identity, [`LoopbackOnly`]; tailnet
//! identity and keys take the same seat.

use std::collections::BTreeSet;
use std::fmt;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
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

/// Who is calling; in the request's extensions of every handler whose route is not public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For logs and records.
    pub name: String,
    /// What it may do.
    pub roles: BTreeSet<Role>,
}

impl Caller {
    /// The person at this machine: every role.
    #[must_use]
    pub fn local() -> Self {
        Self { name: "local".into(), roles: Role::ALL.into() }
    }
}

/// Why no caller could be established. The text is for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

/// Establishes who is calling.
pub trait Identity: Send + Sync + 'static {
    /// Who is at the other end of this connection, sending these headers.
    fn identify<'a>(&'a self, peer: &'a Peer, headers: &'a HeaderMap) -> BoxFuture<'a, Result<Caller, Refusal>>;
}

/// Loopback and Unix-socket peers are the local user; everybody else is refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoopbackOnly;

impl Identity for LoopbackOnly {
    fn identify<'a>(&'a self, peer: &'a Peer, _: &'a HeaderMap) -> BoxFuture<'a, Result<Caller, Refusal>> {
        let verdict = if peer.is_local() {
            Ok(Caller::local())
        } else {
            Err(Refusal(format!("{peer} is not this machine; this version answers local callers only")))
        };
        Box::pin(std::future::ready(verdict))
    }
}

/// The identity that a service's routes ask.
pub(crate) type SharedIdentity = std::sync::Arc<dyn Identity>;

/// What a route's guard needs to know.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) identity: SharedIdentity,
}

/// Carries a route's [`Access`] from its declaration to the check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Required(pub(crate) Access);

/// Middleware beside each route: establishes the caller and checks its role.
pub(crate) async fn require(State(Required(access)): State<Required>, mut request: Request, next: Next) -> Response {
    let Access::Role(role) = access else { return next.run(request).await };
    let extensions = request.extensions();
    let (Some(guard), Some(peer)) = (extensions.get::<Guard>().cloned(), extensions.get::<Peer>().copied()) else {
        return ApiError::internal("a route was served without the service's frame").into_response();
    };
    let caller = match guard.identity.identify(&peer, request.headers()).await {
        Ok(caller) => caller,
        Err(Refusal(why)) => return ApiError::new(StatusCode::UNAUTHORIZED, "no_identity", why).into_response(),
    };
    if !caller.roles.contains(&role) {
        let message = format!("{} does not hold the role '{role}' that this needs", caller.name);
        return ApiError::new(StatusCode::FORBIDDEN, "role_required", message).into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}
