//! `POST /v1/responses`, as far as text and functions go.

mod answer;
mod events;
mod request;
mod to_chat;

pub use answer::{
    InputTokensDetails, OutputItem, OutputText, OutputTokensDetails, ReasoningText, Response, ResponseStatus,
    ResponseUsage,
};
pub use events::{ContentPiece, ResponseEvent, ResponseEventKind};
pub use request::{InputItem, ResponsesInput, ResponsesReasoning, ResponsesRequest, TextConfig};
pub use to_chat::InvalidResponses;
