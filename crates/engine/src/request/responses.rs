//! Requests of the Responses API: chats by another name.

use remora_protocol::openai::{InvalidResponses, ResponsesRequest};

use super::RequestError;
use super::chat::{PreparedChat, prepare_chat};
use crate::output::ToolParser;
use crate::sampling::InvalidParams;
use crate::scheduler::Loaded;

/// Checks a request and makes its prompt. Takes time with a long one: not for an async thread.
pub(crate) fn prepare_response(
    request: &ResponsesRequest,
    parser: Option<ToolParser>,
    loaded: &Loaded,
) -> Result<PreparedChat, RequestError> {
    let chat = request.to_chat().map_err(|error| match error {
        InvalidResponses { is_missing: false, param, message } => InvalidParams::new(param, message).into(),
        missing => RequestError::Missing(missing),
    })?;
    prepare_chat(&chat, parser, loaded).map_err(by_its_own_names)
}

/// A fault with the names that its fields have here.
fn by_its_own_names(error: RequestError) -> RequestError {
    const CHAT: &str = "max_completion_tokens";
    const OWN: &str = "max_output_tokens";
    match error {
        RequestError::Invalid(mut invalid) if invalid.param == Some(CHAT) => {
            invalid.message = invalid.message.replace(CHAT, OWN);
            invalid.param = Some(OWN);
            RequestError::Invalid(invalid)
        }
        // Functions are flat.
        RequestError::Body(mut body) => {
            body.place = body.place.replace(".function", "");
            RequestError::Body(body)
        }
        other => other,
    }
}
