//! `POST /v1/embeddings`.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Prompt, RequestBody, Usage};

/// Texts to be turned into vectors. Unknown fields are accepted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EmbeddingRequest {
    /// The model; a server that serves one may be asked without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A text, its tokens, or a list of either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Prompt>,
    /// How vectors are written. Default `float`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding_format: Option<EncodingFormat>,
    /// Shortens the vectors, of models that were trained for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<i64>,
    /// Adds the tokenizer's own special tokens to texts. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_special_tokens: Option<bool>,
    /// Cuts long inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncate_prompt_tokens: Option<i64>,
}

impl RequestBody for EmbeddingRequest {
    type Inlined = IgnoredAny;
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EncodingFormat {
    /// As a list of numbers.
    #[default]
    Float,
    /// As the base64 of their bytes, four each, little-endian.
    Base64,
}

/// The vectors, in the order of the inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EmbeddingResponse {
    /// `embd-…`.
    pub id: String,
    /// `list`.
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    /// The model's first served name.
    pub model: String,
    /// One for each input.
    pub data: Vec<Embedding>,
    /// Tokens of all inputs.
    pub usage: Usage,
}

/// The vector of one input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Embedding {
    /// Which input it is of.
    pub index: usize,
    /// `embedding`.
    pub object: String,
    /// Its numbers.
    pub embedding: EmbeddingVector,
}

/// A vector, as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum EmbeddingVector {
    /// As numbers.
    Float(Vec<f32>),
    /// As base64.
    Base64(String),
}
