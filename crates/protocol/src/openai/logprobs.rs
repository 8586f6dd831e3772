//! Log probabilities, in the two shapes that the API has for them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Log probabilities of a chat answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatLogprobs {
    /// One entry per generated token.
    pub content: Option<Vec<TokenLogprob>>,
}

/// One generated token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenLogprob {
    /// The token's text; U+FFFD stands where its bytes are not a whole character.
    pub token: String,
    /// Natural logarithm of its probability before temperature and penalties, at least -9999.
    pub logprob: f64,
    /// The token's own bytes, so that split characters can be put together.
    pub bytes: Option<Vec<u8>>,
    /// The likeliest tokens at this place, likeliest first.
    pub top_logprobs: Vec<TopLogprob>,
}

/// One candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TopLogprob {
    /// The token's text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f64,
    /// The token's own bytes.
    pub bytes: Option<Vec<u8>>,
}

/// Log probabilities of a text completion: four lists of equal length.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionLogprobs {
    /// Where each token begins in the answer, in characters.
    pub text_offset: Vec<usize>,
    /// Natural logarithms of the tokens' probabilities.
    pub token_logprobs: Vec<Option<f64>>,
    /// The tokens' texts; `bytes:\xNN` where a token is not whole characters.
    pub tokens: Vec<String>,
    /// The likeliest tokens at each place, and the chosen one.
    #[schema(value_type = Vec<Option<Object>>)]
    pub top_logprobs: Vec<Option<Map<String, Value>>>,
}
