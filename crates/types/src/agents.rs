//! What `agents-server` says about bundles.
//!
//! A bundle is a folder `agents/NAME` with a `bundle.yaml`. Five shapes of that file exist; all of them are read into
//! one [`Manifest`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;
use utoipa::ToSchema;

use crate::AgentName;

/// `GET /agents`: every bundle of the folder, by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BundleList {
    /// Every directory with a `bundle.yaml`.
    pub bundles: Vec<Bundle>,
    /// What is odd about the folder itself: files that cannot be served, directories whose names are no agent names.
    pub warnings: Vec<Finding>,
}

/// One bundle, as far as a listing goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Bundle {
    /// The name of its folder; the agent is offered as `agent/NAME`.
    pub name: AgentName,
    /// As `bundle.yaml` says.
    pub version: Option<String>,
    /// As `bundle.yaml` says.
    pub description: Option<String>,
    /// The model it wants.
    pub model: Option<String>,
    /// The LoRA adapter it wants.
    pub adapter: Option<String>,
    /// What it may call.
    pub tools: Vec<Tool>,
    /// Its files, by path in byte order. Dotfiles are not among them.
    pub files: Vec<BundleFile>,
    /// Bytes of all its files.
    pub size_bytes: u64,
    /// SHA-256 over `path\0sha256\n` of every file in that order; the archive's `ETag`.
    pub digest: Digest,
    /// The latest change of any of its files, RFC 3339, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: Timestamp,
    /// What works but was hardly meant: unknown keys, say.
    pub warnings: Vec<Finding>,
    /// Why it cannot be used as it stands; empty when it can.
    pub faults: Vec<Finding>,
}

/// `GET /bundles/{name}`: a bundle and all that its `bundle.yaml` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BundleDetail {
    /// As in the listing.
    #[serde(flatten)]
    pub bundle: Bundle,
    /// Null where `bundle.yaml` cannot be read at all.
    pub manifest: Option<Manifest>,
}

/// A `bundle.yaml` of any shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Manifest {
    /// Which shape it was written in.
    pub shape: Shape,
    /// The name in the file; empty where there is none, which is a fault.
    pub name: String,
    /// Its version, as written: `1.10` stays `1.10`.
    pub version: Option<String>,
    /// One or two sentences for a person who chooses.
    pub description: Option<String>,
    /// The model it wants.
    pub model: Option<String>,
    /// The LoRA adapter it wants.
    pub adapter: Option<String>,
    /// What the model is told first.
    pub system_prompt: Option<String>,
    /// Text to add to a base prompt that the runner knows, in place of a whole prompt.
    pub system_prompt_extension: Option<String>,
    /// The template of the first user message (`node_context`, `user_template`), for runners that fill one.
    pub user_template: Option<String>,
    /// Prompts by occasion (`chat`, `reactive`).
    pub prompts: BTreeMap<String, String>,
    /// What it may call.
    pub tools: Vec<Tool>,
    /// The folder that unqualified tool names are looked up in, relative to the bundle's.
    pub tools_dir: String,
    /// How tool calls are constrained.
    pub grammar: Option<Grammar>,
    /// Most turns of one run; 20 where nothing is said.
    pub max_turns: u32,
    /// The tool whose call ends a run.
    pub termination: Option<String>,
    /// Known keys that only client-side runners act on (`limits`, `node_types`, `priority`, `registries`, …), as
    /// written.
    pub runner: Map<String, Value>,
}

/// The five shapes of `bundle.yaml`, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// `tools[].tool_name` and `.pym`, `initial_context.node_context`.
    Subagent,
    /// `model.adapter`, `registries`, `termination_tool`, `initial_context.user_template`.
    BundleManifest,
    /// Flat keys: `system_prompt`, `grammar: ebnf`, `tools` as a list of paths.
    Flat,
    /// The current one: `initial_context.system_prompt`, `agents_dir`, `grammar.strategy`.
    AgentManifest,
    /// `externals_version`, `prompts`, `tools_dir`, `self_reflect`.
    Externals,
}

/// How tool calls are constrained.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Grammar {
    /// `ebnf`, `json_schema`, `structural_tag`, or what the file says.
    pub strategy: Option<String>,
    /// Whether several calls may stand in one answer.
    pub allow_parallel_calls: Option<bool>,
    /// Whether the tools' schemas go to the model's API as well.
    pub send_tools_to_api: Option<bool>,
    /// How arguments are written.
    pub args_format: Option<String>,
}

/// Something an agent may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tool {
    /// What the model calls it.
    pub name: String,
    /// What the model is told about it; from the tool's schema where the bundle says nothing.
    pub description: Option<String>,
    /// Where it comes from.
    #[serde(flatten)]
    pub source: ToolSource,
    /// Inputs the runner fills in itself, as written.
    pub inputs_override: Option<Value>,
    /// What the runner collects for the model before the call, as written.
    pub context_providers: Option<Value>,
}

/// Where a tool comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ToolSource {
    /// One of [`BUILT_IN_TOOLS`].
    BuiltIn,
    /// A program of the bundle: JSON arguments on stdin, JSON result on stdout.
    Executable {
        /// Relative to the bundle's folder.
        path: String,
        /// The file with its JSON schema, relative to the bundle's folder.
        schema: String,
        /// The JSON schema of its arguments.
        parameters: Option<Value>,
        /// Longest run, in seconds, where the bundle says one.
        timeout_s: Option<u32>,
    },
    /// A `.pym` script: for client-side runners, served and never run here.
    Pym {
        /// Relative to the bundle's folder.
        path: String,
    },
    /// A tool out of a registry that the client-side runner knows.
    Registry {
        /// The registry.
        registry: String,
    },
    /// All the tools of an MCP server.
    Mcp {
        /// As written: `url`, or `command` and what belongs to it.
        server: Map<String, Value>,
    },
}

/// The tools that Remora brings along.
pub const BUILT_IN_TOOLS: [&str; 8] = ["read", "list", "glob", "grep", "write", "edit", "bash", "fetch"];

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BundleFile {
    /// Relative to the bundle's folder, with `/` between segments.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
    /// Its content's SHA-256, the `ETag` of `GET /agents/{name}/{path}`.
    pub sha256: Sha256,
    /// Whether it can be run: by its permissions or, since checkouts on Windows lose them, by its first bytes.
    pub executable: bool,
}

/// Something to say about a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// For programs: a stable `snake_case` word.
    pub code: Cow<'static, str>,
    /// For people: what is wrong, with what, and what to do.
    pub message: String,
    /// The file it is about, relative to the bundle's folder (to the agents folder in [`BundleList::warnings`]).
    pub path: Option<String>,
    /// The line in that file, where it is known.
    pub line: Option<u64>,
}

/// `GET /events`: the folder changed. Each event holds the whole state, so that a reader that missed one is right again
/// with the next; the first comes at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentsEvent {
    /// Grows with every change seen by this server process.
    pub revision: u64,
    /// The `ETag` that `GET /agents` has now.
    pub etag: String,
    /// Every bundle's digest.
    pub bundles: BTreeMap<AgentName, Digest>,
    /// Bundles that came or changed since this stream's previous event; empty in the first.
    pub changed: Vec<AgentName>,
    /// Bundles that went since this stream's previous event.
    pub removed: Vec<AgentName>,
}

/// `GET /.well-known/agent-skills/index.json`, after the Agent Skills discovery RFC, version 0.2.0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SkillIndex {
    /// Always [`SkillIndex::SCHEMA`].
    #[serde(rename = "$schema")]
    pub schema: Cow<'static, str>,
    /// Every directory with a `SKILL.md`.
    pub skills: Vec<Skill>,
}

impl SkillIndex {
    /// The schema that the index follows.
    pub const SCHEMA: &'static str = "https://schemas.agentskills.io/discovery/0.2.0/schema.json";
}

/// One skill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Skill {
    /// 1 to 64 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// What `url` gives.
    #[serde(rename = "type")]
    pub kind: SkillKind,
    /// When to use it.
    pub description: String,
    /// Path on this server.
    pub url: String,
    /// SHA-256 of exactly the bytes at `url`.
    pub digest: Digest,
}

/// What a skill's address gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SkillKind {
    /// Its only file, `SKILL.md`.
    SkillMd,
    /// A `tar.gz` with its files at the root.
    Archive,
}

/// A SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
pub struct Sha256(pub [u8; 32]);

/// A digest that names its algorithm: `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
pub struct Digest(pub Sha256);

/// A text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a {0}")]
pub struct InvalidDigest(&'static str);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Sha256 {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let invalid = InvalidDigest("SHA-256: 64 lower-case hexadecimal digits");
        let lower = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 64 || !text.as_bytes().iter().all(lower) {
            return Err(invalid);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).expect("hexadecimal digits are ASCII");
            *byte = u8::from_str_radix(pair, 16).expect("both are hexadecimal digits");
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let hex = text.strip_prefix("sha256:").ok_or(InvalidDigest("digest: sha256:<64 hexadecimal digits>"))?;
        hex.parse().map(Self)
    }
}

macro_rules! through_text {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidDigest;

            fn try_from(text: String) -> Result<Self, InvalidDigest> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(digest: $name) -> Self {
                digest.to_string()
            }
        }
    };
}

through_text!(Sha256);
through_text!(Digest);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_as_they_are_written() {
        let hex = "0123456789abcdef".repeat(4);
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        assert_eq!(digest.0.to_string(), hex);
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"sha256:{hex}\""));
        for bad in ["", "sha256:", &hex, &format!("sha256:{}", hex.to_uppercase()), &format!("md5:{hex}")] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        assert!(format!("é{}", &hex[2..]).parse::<Sha256>().is_err());
    }

    #[test]
    fn a_tool_is_one_flat_object() {
        let tool = Tool {
            name: "read".into(),
            description: None,
            source: ToolSource::BuiltIn,
            inputs_override: None,
            context_providers: None,
        };
        let json = serde_json::to_value(&tool).unwrap();
        assert_eq!(json["kind"], "built_in");
        assert_eq!(serde_json::from_value::<Tool>(json).unwrap(), tool);
    }
}
