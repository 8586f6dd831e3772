//! `OpenAI`'s API with vLLM's extensions, field for field as vLLM 0.32 sends it.

mod chat;
mod completions;
mod embeddings;
mod error;
mod logprobs;
mod message;
mod models;
mod responses;
mod shared;
mod tokenize;

pub use chat::{ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, ChatReply, ChatRequest, ToolChoice};
pub use completions::{
    Completion, CompletionChoice, CompletionChunk, CompletionChunkChoice, CompletionRequest, Prompt,
};
pub use embeddings::{Embedding, EmbeddingRequest, EmbeddingResponse, EmbeddingVector, EncodingFormat};
pub use error::{BodyError, ErrorBody, ErrorDetail, RequestBody, parse_body};
pub use logprobs::{ChatLogprobs, CompletionLogprobs, TokenLogprob, TopLogprob};
pub use message::{ChatMessage, ContentPart, FunctionCall, FunctionDelta, MessageContent, ToolCall, ToolCallDelta};
pub use models::{ModelCard, ModelList, ModelPermission};
pub use responses::{
    ContentPiece, InputItem, InputTokensDetails, InvalidResponses, OutputItem, OutputText, OutputTokensDetails,
    ReasoningText, Response, ResponseEvent, ResponseEventKind, ResponseStatus, ResponseUsage, ResponsesInput,
    ResponsesReasoning, ResponsesRequest, TextConfig,
};
pub use shared::{
    CompletionTokensDetails, FinishReason, PromptTokensDetails, ResponseFormat, SamplingFields, Stop, StopReason,
    StreamOptions, StreamUsage, Usage,
};
pub use tokenize::{DetokenizeRequest, DetokenizeResponse, TokenizeRequest, TokenizeResponse, VersionResponse};
