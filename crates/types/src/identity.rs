//! Who calls, what they may do, and the records about it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use utoipa::ToSchema;

use crate::name::{KeyName, ModelId};

/// What a caller may do. A role that is given to somebody brings those below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
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
    /// Every role, the least first.
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

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a role; there are use, operate and admin")]
pub struct InvalidRole(String);

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| InvalidRole(text.to_owned()))
    }
}

/// A service of Remora, as a caller of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceName {
    /// Port 8000.
    Gateway,
    /// Port 8001.
    AgentsServer,
    /// Port 8002.
    AdapterManager,
    /// Port 8003.
    UpdateAgent,
    /// Port 8004.
    ModelManager,
    /// Port 8005.
    AgentRunner,
    /// Port 3000.
    Dashboard,
}

impl ServiceName {
    /// Every service there is or will be.
    pub const ALL: [Self; 7] = [
        Self::Gateway,
        Self::AgentsServer,
        Self::AdapterManager,
        Self::UpdateAgent,
        Self::ModelManager,
        Self::AgentRunner,
        Self::Dashboard,
    ];

    /// The service's name on the wire, in file names and in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::AgentsServer => "agents-server",
            Self::AdapterManager => "adapter-manager",
            Self::UpdateAgent => "update-agent",
            Self::ModelManager => "model-manager",
            Self::AgentRunner => "agent-runner",
            Self::Dashboard => "dashboard",
        }
    }

    /// The port that it listens on where nothing else is set.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Gateway => 8000,
            Self::AgentsServer => 8001,
            Self::AdapterManager => 8002,
            Self::UpdateAgent => 8003,
            Self::ModelManager => 8004,
            Self::AgentRunner => 8005,
            Self::Dashboard => 3000,
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A caller, as one of the five kinds there are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Who {
    /// The person at this machine.
    Local,
    /// A person on the tailnet.
    User {
        /// As Tailscale knows them, for example `ann@example.com`.
        login: String,
        /// The machine they call from.
        node: String,
    },
    /// A machine on the tailnet that belongs to no person.
    Node {
        /// The machine.
        node: String,
        /// Its tags, for example `tag:ci`.
        tags: Vec<String>,
    },
    /// Whoever holds this key.
    Key {
        /// The key's id; no secret.
        id: String,
        /// What its maker called it.
        name: String,
    },
    /// A service of Remora, on its own account.
    Service {
        /// Which.
        name: ServiceName,
    },
}

impl fmt::Display for Who {
    /// In one or two words, for logs and messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::User { login, .. } => f.write_str(login),
            Self::Node { node, .. } => f.write_str(node),
            Self::Key { name, .. } => write!(f, "key {name}"),
            Self::Service { name } => write!(f, "service {name}"),
        }
    }
}

/// What a server knows of a caller, and why it grants what it grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallerInfo {
    /// Who it is.
    pub who: Who,
    /// What it may do; empty for a service on its own account, which each route names or does not.
    pub roles: Vec<Role>,
    /// The only models that it may ask; absent where it may ask all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ModelId>>,
    /// How each role came about, in words.
    pub because: Vec<String>,
}

/// `GET /whoami`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// The service that answers.
    pub service: String,
    /// Where the request came from, as the service sees it: `ip:port`, or `user ID` on a Unix socket.
    pub peer: String,
    /// The caller.
    #[serde(flatten)]
    pub caller: CallerInfo,
    /// The service that passed the caller on, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<ServiceName>,
}

/// `POST /keys`: a key to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What it is for.
    pub name: KeyName,
    /// What its holder may do.
    pub role: Role,
    /// When it ends, RFC 3339; never where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// The only models that it may ask; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ModelId>>,
    /// Most requests a minute; no limit where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Most tokens a minute, prompts and answers together; no limit where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyInfo {
    /// Its id, the middle part of the key itself.
    pub id: String,
    /// What it is for.
    pub name: KeyName,
    /// What its holder may do.
    pub role: Role,
    /// The only models that it may ask; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ModelId>>,
    /// Most requests a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Most tokens a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
    /// When it was made, RFC 3339, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// When it ends, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, in any service, to half a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
}

/// `GET /keys`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// Every key, the newest first, revoked and expired ones included.
    pub keys: Vec<KeyInfo>,
}

/// The answer to `POST /keys`: the only time that the key itself is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    /// The key, to be sent as `Authorization: Bearer KEY` or `x-api-key: KEY`.
    pub key: String,
    /// What is known about it from now on.
    #[serde(flatten)]
    pub info: KeyInfo,
}

impl fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedKey").field("info", &self.info).finish_non_exhaustive()
    }
}

/// `POST /credential/rotate`: the service signs with a new key from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotatedCredential {
    /// The service.
    pub service: ServiceName,
    /// The new key's id.
    pub key_id: String,
}

/// One thing that somebody did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditRow {
    /// Counts up within one service.
    pub id: i64,
    /// When, RFC 3339, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The service that did it.
    pub service: String,
    /// Who asked for it.
    pub who: Who,
    /// The service that passed the request on, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<ServiceName>,
    /// What was done, for example `key.create`.
    pub action: String,
    /// To what, for example the key's name.
    pub subject: String,
    /// More about it; never a secret.
    pub details: Value,
}

/// `GET /audit`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// The newest first.
    pub rows: Vec<AuditRow>,
}
