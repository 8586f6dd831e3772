//! The `[identity]` section: one policy for all services.

use std::collections::BTreeMap;
use std::path::PathBuf;

use remora_types::identity::Role;
use serde::{Deserialize, Deserializer, Serialize};

use super::policy::{InvalidPolicy, Policy};

/// Settings of identity; every service reads the same section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityConfig {
    /// tailscaled's socket. With one, callers are who Tailscale says they are, and a local connection is nobody; without
    /// one, a local connection is the person at this machine, and everybody else needs a key.
    pub tailscaled: Option<PathBuf>,
    /// A folder where each service also listens on `SERVICE.sock`, for Tailscale Serve alone.
    pub serve_folder: Option<PathBuf>,
    /// The application capability in grants of the tailnet's policy.
    pub capability: String,
    /// What every machine and person of the tailnet may do; absent: nothing more than rules and grants say. Nodes that
    /// others share into the tailnet are not meant.
    pub everyone: Everyone,
    /// Who holds every role, beside the owner of this node: logins, `group:NAME`, `tag:NAME`. `REMORA_ADMINS` sets it
    /// too.
    #[serde(deserialize_with = "list")]
    pub admins: Vec<String>,
    /// Groups of logins, for `admins` and `rules`.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Who holds what beyond that.
    pub rules: Vec<Rule>,
    /// Names under which this machine is asked for, beside its addresses, single words, `*.ts.net` and `*.internal`.
    #[serde(deserialize_with = "list")]
    pub hosts: Vec<String>,
    /// Origins of web pages that may call the services from a browser, for example `https://chat.example.com`.
    #[serde(deserialize_with = "list")]
    pub allowed_origins: Vec<String>,
    /// The file with the keys; by default `keys/keys.sqlite` in the state folder. The gateway writes it, the others read.
    pub keys: Option<PathBuf>,
    /// The folder with the services' credentials; by default `credentials` in the state folder.
    pub credentials: Option<PathBuf>,
    /// The folder with the records of who changed what; by default `audit` in the state folder.
    pub audit: Option<PathBuf>,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            tailscaled: None,
            serve_folder: None,
            capability: "remora.dev/cap/remora".into(),
            everyone: Everyone::Use,
            admins: Vec::new(),
            groups: BTreeMap::new(),
            rules: Vec::new(),
            hosts: Vec::new(),
            allowed_origins: Vec::new(),
            keys: None,
            credentials: None,
            audit: None,
        }
    }
}

impl IdentityConfig {
    /// Whether the policy can be used.
    pub fn validate(&self) -> Result<(), InvalidPolicy> {
        Policy::new(self).map(drop)
    }
}

/// What merely being on the tailnet gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Everyone {
    /// Nothing.
    Nothing,
    /// The role `use`.
    Use,
}

/// Who holds a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Logins (`ann@example.com`, `*@example.com`), `group:NAME`, or `tag:NAME`.
    pub who: Vec<String>,
    /// The role, with those below it.
    pub role: Role,
}

/// A list, or a text with commas between: an environment variable knows no lists.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        List(Vec<String>),
    }
    Ok(match Form::deserialize(deserializer)? {
        Form::List(list) => list,
        Form::Text(text) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
    })
}
