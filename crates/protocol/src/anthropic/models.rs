//! `GET /v1/models` in Anthropic's shape.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Every model that can be asked for, on one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AnthropicModelList)]
pub struct ModelList {
    /// The models.
    pub data: Vec<ModelInfo>,
    /// Whether there are further pages.
    pub has_more: bool,
    /// The first model's id.
    pub first_id: Option<String>,
    /// The last model's id.
    pub last_id: Option<String>,
}

impl ModelList {
    /// A list of these models, complete.
    #[must_use]
    pub fn new(data: Vec<ModelInfo>) -> Self {
        let id = |model: Option<&ModelInfo>| model.map(|model| model.id.clone());
        Self { has_more: false, first_id: id(data.first()), last_id: id(data.last()), data }
    }
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelInfo {
    /// `model`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What `model` must say to get it.
    pub id: String,
    /// Its name for people.
    pub display_name: String,
    /// When it was made, in RFC 3339.
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    /// Longest prompt and answer together, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_input_tokens: Option<u32>,
}

impl ModelInfo {
    /// A model of which little is known. `created` counts seconds since 1970; a time that no calendar holds is 1970.
    pub fn new(id: impl Into<String>, created: u64) -> Self {
        let id = id.into();
        let created_at = i64::try_from(created).ok().and_then(|second| Timestamp::from_second(second).ok());
        Self {
            kind: "model".to_owned(),
            display_name: id.clone(),
            id,
            created_at: created_at.unwrap_or(Timestamp::UNIX_EPOCH),
            max_input_tokens: None,
        }
    }
}

impl From<&crate::openai::ModelCard> for ModelInfo {
    fn from(card: &crate::openai::ModelCard) -> Self {
        Self { max_input_tokens: card.max_model_len, ..Self::new(card.id.as_str(), card.created) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_list_has_anthropics_shape() {
        let mut second = ModelInfo::new("b", u64::MAX);
        second.max_input_tokens = Some(4096);
        let list = ModelList::new(vec![ModelInfo::new("a", 1_754_000_000), second]);
        assert_eq!(
            serde_json::to_value(&list).unwrap(),
            json!({
                "data": [
                    {"type": "model", "id": "a", "display_name": "a", "created_at": "2025-07-31T22:13:20Z"},
                    {"type": "model", "id": "b", "display_name": "b", "created_at": "1970-01-01T00:00:00Z",
                     "max_input_tokens": 4096},
                ],
                "has_more": false, "first_id": "a", "last_id": "b",
            })
        );
        assert_eq!(ModelList::new(Vec::new()).first_id, None);
    }
}
