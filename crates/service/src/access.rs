//! Who may call a route.
//!
//! Each route states its [`Access`] where it is declared ([`crate::Routes::route`]): the role that a caller needs, and
//! the services that may call it. [`crate::Identity`] establishes the [`Caller`] once per request, before any handler.

use std::fmt;
use std::sync::{Arc, LazyLock};

use http::StatusCode;
use remora_types::ModelId;
use remora_types::identity::{CallerInfo, Role, ServiceName, Who};

use crate::error::ApiError;
use crate::identity::Allowance;

/// A set of roles.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// No role.
    pub const NONE: Self = Self(0);

    /// A role and those below it: whoever may operate may use.
    #[must_use]
    pub fn up_to(role: Role) -> Self {
        Role::ALL.into_iter().filter(|lower| *lower <= role).collect()
    }

    /// Whether the role is among them.
    #[must_use]
    pub fn contains(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Each of them, the least first.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
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
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A set of services.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Services(u16);

impl Services {
    /// No service.
    pub const NONE: Self = Self(0);

    /// Every service: for what each tells about itself.
    pub const ALL: Self = Self::of(&ServiceName::ALL);

    /// These services.
    #[must_use]
    pub const fn of(services: &[ServiceName]) -> Self {
        let (mut set, mut index) = (0, 0);
        while index < services.len() {
            set |= 1 << services[index] as u16;
            index += 1;
        }
        Self(set)
    }

    /// Whether the service is among them.
    #[must_use]
    pub fn contains(self, service: ServiceName) -> bool {
        self.0 & 1 << service as u16 != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = ServiceName> {
        ServiceName::ALL.into_iter().filter(move |service| self.contains(*service))
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What a route asks of its caller. There is no default: a route that does not say both things does not compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    asks: Asks,
    services: Services,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nothing,
    Identity,
    Role(Role),
}

impl Access {
    /// Open to strangers: liveness probes, which tell no more than that a process turns.
    pub const PUBLIC: Self = Self { asks: Asks::Nothing, services: Services::ALL };

    /// A caller that holds this role. These services may call it too, on their own account or for a caller who holds
    /// the role; no other service may, whoever it speaks for.
    #[must_use]
    pub const fn role(role: Role, services: Services) -> Self {
        Self { asks: Asks::Role(role), services }
    }

    /// A caller that is known, with whatever roles: for what tells callers about themselves.
    #[must_use]
    pub const fn anybody_known(services: Services) -> Self {
        Self { asks: Asks::Identity, services }
    }

    /// Whether nobody needs to be established.
    pub(crate) fn is_public(self) -> bool {
        self.asks == Asks::Nothing
    }

    /// Lets a caller in, or says what is missing.
    pub(crate) fn admit(self, caller: &Caller) -> Result<(), ApiError> {
        if let Some(service) = caller.service().filter(|service| !self.services.contains(*service)) {
            let message = format!("the service {service} may not call this");
            return Err(ApiError::new(StatusCode::FORBIDDEN, "service_not_allowed", message));
        }
        match self.asks {
            Asks::Role(role) if !caller.roles().contains(role) && !caller.is_service() => {
                let message = format!(
                    "{} does not hold the role '{role}' that this needs; GET /whoami says what it holds and why",
                    caller.who()
                );
                Err(ApiError::new(StatusCode::FORBIDDEN, "role_required", message))
            }
            Asks::Nothing | Asks::Identity | Asks::Role(_) => Ok(()),
        }
    }

    /// As it stands in the API document under `x-remora-access`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self.asks {
            Asks::Nothing => "public",
            Asks::Identity => "known",
            Asks::Role(role) => role.as_str(),
        }
    }

    /// The services that may call it.
    #[must_use]
    pub fn services(self) -> Services {
        self.services
    }
}

/// Who is calling; in the request's extensions of every handler whose route is not public. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Established>);

#[derive(Debug)]
struct Established {
    info: CallerInfo,
    roles: Roles,
    via: Option<ServiceName>,
    allowance: Option<Arc<Allowance>>,
}

impl Caller {
    /// A caller with these roles, and how each came about.
    pub(crate) fn new(who: Who, roles: Roles, because: Vec<String>) -> Self {
        Self::from_info(CallerInfo { who, roles: roles.iter().collect(), models: None, because }, None, None)
    }

    /// A caller with all that is known of it.
    pub(crate) fn from_info(info: CallerInfo, via: Option<ServiceName>, allowance: Option<Arc<Allowance>>) -> Self {
        let roles = info.roles.iter().copied().collect();
        Self(Arc::new(Established { info, roles, via, allowance }))
    }

    /// The person at this machine: every role.
    #[must_use]
    pub fn local() -> Self {
        static LOCAL: LazyLock<Caller> = LazyLock::new(|| {
            let because = "a local connection, and no tailscaled socket is set: the person at this machine".to_owned();
            Caller::new(Who::Local, Role::ALL.into(), vec![because])
        });
        LOCAL.clone()
    }

    /// The person or program behind a Unix socket.
    pub(crate) fn behind_socket(uid: u32) -> Self {
        let because = format!("a Unix socket of this machine, from user {uid}");
        Self::new(Who::Local, Role::ALL.into(), vec![because])
    }

    /// Who it is.
    #[must_use]
    pub fn who(&self) -> &Who {
        &self.0.info.who
    }

    /// What it may do.
    #[must_use]
    pub fn roles(&self) -> Roles {
        self.0.roles
    }

    /// All that is known of it, as it goes over the wire.
    #[must_use]
    pub fn info(&self) -> &CallerInfo {
        &self.0.info
    }

    /// The service that passed it on, if one did.
    #[must_use]
    pub fn via(&self) -> Option<ServiceName> {
        self.0.via
    }

    /// The service at the other end of the connection, on its own account or another's.
    #[must_use]
    pub fn service(&self) -> Option<ServiceName> {
        match self.who() {
            Who::Service { name } => Some(*name),
            _ => self.0.via,
        }
    }

    /// Whether it is a service on its own account.
    #[must_use]
    pub fn is_service(&self) -> bool {
        matches!(self.who(), Who::Service { .. })
    }

    /// Whether it may ask this model.
    #[must_use]
    pub fn may_ask(&self, model: &ModelId) -> bool {
        self.0.info.models.as_ref().is_none_or(|models| models.contains(model))
    }

    /// What its key still allows, where the key has limits.
    #[must_use]
    pub fn allowance(&self) -> Option<&Arc<Allowance>> {
        self.0.allowance.as_ref()
    }
}
