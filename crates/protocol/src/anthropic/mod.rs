//! Anthropic's Messages API, and its translation to and from the engine's chat API.
//!
//! - A request is read by [`MessagesRequest::parse`] and becomes a chat request in [`MessagesRequest::into_chat`].
//! - A whole answer is translated by [`answer`], a stream by [`MessageStream`], a refusal by [`Failure::of_engine`].
//! - [`CountTokensRequest`] becomes a `/tokenize` request that counts what the chat request would hold.
//!
//! Requests are read with an open mind: fields, block types, tools and roles that are not known here are accepted.
//! What could not be carried over is told in [`Note`]s, which name kinds and places, never what a user wrote.
//!
//! Sources: Anthropic's API reference, version `2023-06-01`; what its SDKs' accumulators insist on; vLLM's own
//! translation, whose joining of texts this one follows.

mod answer;
mod content;
mod count;
mod error;
mod message;
mod models;
mod note;
mod request;
mod stream;
mod to_chat;
mod upstream;

pub use answer::{AnswerError, Asked, answer};
pub use content::{Block, Content, Document, DocumentSource, ImageSource, ToolResult, ToolUse};
pub use count::{CountTokensRequest, CountTokensResponse};
pub use error::{ErrorBody, ErrorDetail, ErrorKind, Failure};
pub use message::{LOCAL_SIGNATURE, Message, MessageUsage, OutputBlock, StopReason};
pub use models::{ModelInfo, ModelList};
pub use note::{Note, Translated};
pub use request::{InputMessage, MessagesRequest, OutputConfig, Role, Thinking, Tool, ToolChoice};
pub use stream::MessageStream;
pub use to_chat::{ChatOptions, InlineSystem, PastThinking};
