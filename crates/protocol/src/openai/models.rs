//! `GET /v1/models`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Every model that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelList {
    /// `list`.
    pub object: String,
    /// The models, adapters included.
    pub data: Vec<ModelCard>,
}

impl ModelList {
    /// A list of these models.
    #[must_use]
    pub fn new(data: Vec<ModelCard>) -> Self {
        Self { object: "list".to_owned(), data }
    }
}

/// One model. Everything but the id may be absent on servers that are not vLLM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelCard {
    /// What `model` must say to get it.
    pub id: String,
    /// `model`.
    #[serde(default)]
    pub object: String,
    /// Seconds since 1970 of this very answer on vLLM.
    #[serde(default)]
    pub created: u64,
    /// Who serves it.
    #[serde(default)]
    pub owned_by: String,
    /// Where it was loaded from.
    #[serde(default)]
    pub root: Option<String>,
    /// The base model of an adapter.
    #[serde(default)]
    pub parent: Option<String>,
    /// Longest prompt and answer together, in tokens; null for adapters.
    #[serde(default)]
    pub max_model_len: Option<u32>,
    /// One entry of constants.
    #[serde(default)]
    pub permission: Vec<ModelPermission>,
}

/// A relic of `OpenAI`'s first API that vLLM still sends; constants but for its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the imitated shape")]
pub struct ModelPermission {
    /// `modelperm-…`.
    pub id: String,
    /// `model_permission`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// False.
    pub allow_create_engine: bool,
    /// True.
    pub allow_sampling: bool,
    /// True.
    pub allow_logprobs: bool,
    /// False.
    pub allow_search_indices: bool,
    /// True.
    pub allow_view: bool,
    /// False.
    pub allow_fine_tuning: bool,
    /// `*`.
    pub organization: String,
    /// Null.
    pub group: Option<String>,
    /// False.
    pub is_blocking: bool,
}

impl Default for ModelPermission {
    fn default() -> Self {
        Self {
            id: String::new(),
            object: "model_permission".to_owned(),
            created: 0,
            allow_create_engine: false,
            allow_sampling: true,
            allow_logprobs: true,
            allow_search_indices: false,
            allow_view: true,
            allow_fine_tuning: false,
            organization: "*".to_owned(),
            group: None,
            is_blocking: false,
        }
    }
}
