//! The same request as one for a chat. Faults are in vLLM's words.

use serde_json::{Map, Value, json};

use super::{InputItem, ResponsesInput, ResponsesRequest};
use crate::openai::{
    ChatMessage, ChatRequest, ContentPart, FunctionCall, MessageContent, ResponseFormat, SamplingFields, ToolCall,
    ToolChoice,
};

/// What is asked and cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidResponses {
    /// The field.
    pub param: &'static str,
    /// What is wrong with it.
    pub message: String,
    /// Something that is referred to does not exist.
    pub is_missing: bool,
}

impl InvalidResponses {
    fn new(param: &'static str, message: impl Into<String>) -> Self {
        Self { param, message: message.into(), is_missing: false }
    }
}

impl ResponsesRequest {
    /// The chat that this asks for.
    pub fn to_chat(&self) -> Result<ChatRequest, InvalidResponses> {
        self.check_history()?;
        let tools = self.functions()?;
        let go_on = self.goes_on();
        Ok(ChatRequest {
            model: self.model.clone(),
            messages: self.messages()?,
            stream: self.stream,
            max_completion_tokens: self.max_output_tokens,
            tool_choice: self.choice(tools.as_deref())?,
            tools,
            parallel_tool_calls: self.parallel_tool_calls,
            include_reasoning: self.include_reasoning,
            reasoning_effort: self.reasoning.as_ref().and_then(|reasoning| reasoning.effort.clone()),
            add_generation_prompt: Some(!go_on),
            continue_final_message: Some(go_on),
            chat_template_kwargs: self.chat_template_kwargs.clone(),
            sampling: SamplingFields { n: None, response_format: self.format()?, ..self.sampling.clone() },
            ..ChatRequest::default()
        })
    }

    /// Refuses what needs answers to be stored.
    fn check_history(&self) -> Result<(), InvalidResponses> {
        let refuse = |param, message: &str| Err(InvalidResponses::new(param, message));
        if self.background == Some(true) {
            return refuse("background", "This engine stores no responses and therefore has no background mode.");
        }
        if let Some(id) = &self.previous_response_id {
            let message = format!(
                "Response with id '{id}' not found. This engine stores no responses: send the whole conversation as \
                 `input`."
            );
            return Err(InvalidResponses { is_missing: true, ..InvalidResponses::new("response_id", message) });
        }
        if self.conversation.as_ref().is_some_and(|conversation| !conversation.is_null()) {
            let message = "This engine stores no conversations: send the whole conversation as `input`.";
            return refuse("conversation", message);
        }
        if self.prompt.as_ref().is_some_and(|prompt| !prompt.is_null()) {
            return refuse("prompt", "prompt template is not supported");
        }
        let logprobs = |include: &String| include == "message.output_text.logprobs";
        if self.include.iter().flatten().any(logprobs) {
            return refuse("include", "message.output_text.logprobs is not supported yet by this engine.");
        }
        Ok(())
    }

    fn messages(&self) -> Result<Vec<ChatMessage>, InvalidResponses> {
        let instructions = self.instructions.as_ref().filter(|text| !text.is_empty());
        let mut messages: Vec<_> = instructions.map(|text| ChatMessage::text("system", text)).into_iter().collect();
        match &self.input {
            ResponsesInput::Text(text) => messages.push(ChatMessage::text("user", text)),
            ResponsesInput::Items(items) => {
                let system = messages.len();
                items.iter().try_for_each(|item| item.add_to(&mut messages, system))?;
            }
        }
        Ok(messages)
    }

    /// Whether the last message is the assistant's, and not complete.
    fn goes_on(&self) -> bool {
        let ResponsesInput::Items(items) = &self.input else { return false };
        items.last().is_some_and(|item| {
            let open = matches!(item.status.as_deref(), Some("in_progress" | "incomplete"));
            open && item.is_message() && item.role.as_deref() == Some("assistant")
        })
    }

    /// The functions among the tools, in the shape that chats have.
    fn functions(&self) -> Result<Option<Vec<Value>>, InvalidResponses> {
        let mut functions = Vec::new();
        for (index, tool) in self.tools.iter().flatten().enumerate() {
            match tool.get("type").and_then(Value::as_str) {
                Some("function") => {
                    let named: Map<String, Value> = ["name", "description", "parameters"]
                        .into_iter()
                        .filter_map(|key| Some((key.to_owned(), tool.get(key)?.clone())))
                        .collect();
                    functions.push(json!({"type": "function", "function": named}));
                }
                Some(kind @ ("custom" | "namespace")) => {
                    let message = format!("Tools of type '{kind}' are not supported by this engine; functions are.");
                    return Err(InvalidResponses::new("tools", message));
                }
                // One that the server would have to run: it has none, so the model hears of none.
                Some(_) => {}
                None => {
                    return Err(InvalidResponses::new("tools", format!("tools.{index} has no type")));
                }
            }
        }
        Ok((!functions.is_empty()).then_some(functions))
    }

    fn choice(&self, tools: Option<&[Value]>) -> Result<Option<ToolChoice>, InvalidResponses> {
        let refuse = |message: &str| Err(InvalidResponses::new("tool_choice", message));
        let mode = |mode: &str| Ok(Some(ToolChoice::Mode(mode.to_owned())));
        match &self.tool_choice {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(choice)) => match (choice.as_str(), tools) {
                ("auto" | "none", None) => Ok(None),
                ("required", None) => refuse("Tool choice 'required' must be specified with 'tools' parameter."),
                (choice @ ("auto" | "none" | "required"), Some(_)) => mode(choice),
                (choice, _) => refuse(&format!("Invalid value for `tool_choice`: {choice}!")),
            },
            Some(choice) if choice["type"] == "function" => {
                let name = &choice["name"];
                if !tools.unwrap_or_default().iter().any(|tool| tool["function"]["name"] == *name) {
                    return refuse("Tool choice 'function' not found in 'tools' parameter.");
                }
                let named = [("type", json!("function")), ("function", json!({"name": name}))];
                let named = named.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
                Ok(Some(ToolChoice::Named(named)))
            }
            Some(choice) => refuse(&format!("Tool choice of type {} is not supported by this engine.", choice["type"])),
        }
    }

    fn format(&self) -> Result<Option<ResponseFormat>, InvalidResponses> {
        let Some(format) = self.text.as_ref().and_then(|text| text.format.as_ref()) else { return Ok(None) };
        if self.sampling.structured_outputs.as_ref().is_some_and(|outputs| !outputs.is_null()) {
            let message = "Cannot specify both structured_outputs and text.format";
            return Err(InvalidResponses::new("structured_outputs", message));
        }
        let kind = format.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let json_schema = (kind == "json_schema").then(|| Value::Object(format.clone()));
        Ok((kind != "text").then_some(ResponseFormat { kind, json_schema }))
    }
}

impl InputItem {
    fn is_message(&self) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == "message")
    }

    /// Adds the item to the history, of which the first messages are not part of the input. What an assistant said,
    /// thought and called is one message, as chat templates know it.
    fn add_to(&self, messages: &mut Vec<ChatMessage>, input: usize) -> Result<(), InvalidResponses> {
        let missing = |field: &str| {
            let kind = self.kind.as_deref().unwrap_or("message");
            InvalidResponses::new("input", format!("An input item of type {kind} has no {field}."))
        };
        match self.kind.as_deref() {
            None | Some("message") => {
                let role = self.role.as_ref().ok_or_else(|| missing("role"))?;
                let content = Some(to_content(self.content.as_ref().ok_or_else(|| missing("content"))?));
                match own(messages, input).filter(|last| role == "assistant" && last.content.is_none()) {
                    Some(last) => last.content = content,
                    None => messages.push(ChatMessage { role: role.clone(), content, ..ChatMessage::default() }),
                }
            }
            Some("function_call") => {
                let name = self.name.clone().ok_or_else(|| missing("name"))?;
                let arguments = self.arguments.clone().ok_or_else(|| missing("arguments"))?.into();
                let function = FunctionCall { name, arguments };
                let call = ToolCall { id: self.call_id.clone(), kind: "function".to_owned(), function };
                spoken(messages, input).tool_calls.get_or_insert_default().push(call);
            }
            Some("function_call_output") => messages.push(ChatMessage {
                role: "tool".to_owned(),
                content: Some(to_content(self.output.as_ref().ok_or_else(|| missing("output"))?)),
                tool_call_id: Some(self.call_id.clone().ok_or_else(|| missing("call_id"))?),
                ..ChatMessage::default()
            }),
            Some("reasoning") => {
                if self.encrypted_content.as_ref().is_some_and(|content| !content.is_empty()) {
                    return Err(InvalidResponses::new("input", "Encrypted content is not supported."));
                }
                let thoughts = [&self.content, &self.summary].into_iter().flatten().map(text_of);
                if let Some(thought) = thoughts.into_iter().find(|thought| !thought.is_empty()) {
                    spoken(messages, input).reasoning.get_or_insert_default().push_str(&thought);
                }
            }
            Some(kind) => {
                return Err(InvalidResponses::new("input", format!("Unsupported input item type: {kind}")));
            }
        }
        Ok(())
    }
}

/// The last message of the input, if it is the assistant's.
fn own(messages: &mut [ChatMessage], input: usize) -> Option<&mut ChatMessage> {
    messages.get_mut(input..)?.last_mut().filter(|last| last.role == "assistant")
}

/// The same, or a new one.
fn spoken(messages: &mut Vec<ChatMessage>, input: usize) -> &mut ChatMessage {
    if own(messages, input).is_none() {
        messages.push(ChatMessage { role: "assistant".to_owned(), ..ChatMessage::default() });
    }
    messages.last_mut().expect("one was added where there was none")
}

/// Content with the names that chats have for its parts.
fn to_content(content: &MessageContent) -> MessageContent {
    let MessageContent::Parts(parts) = content else { return content.clone() };
    let part = |part: &ContentPart| match part.kind.as_str() {
        "input_text" | "output_text" => {
            ContentPart { kind: "text".to_owned(), text: part.text.clone(), extra: Map::new() }
        }
        "refusal" => {
            let text = part.extra.get("refusal").and_then(Value::as_str).map(str::to_owned);
            ContentPart { kind: "text".to_owned(), text, extra: Map::new() }
        }
        _ => part.clone(),
    };
    match parts.as_slice() {
        // Plain text, as most templates want it.
        [only] if part(only).kind == "text" => MessageContent::Text(part(only).text.unwrap_or_default()),
        parts => MessageContent::Parts(parts.iter().map(part).collect()),
    }
}

fn text_of(content: &MessageContent) -> String {
    match content {
        MessageContent::Text(text) => text.clone(),
        MessageContent::Parts(parts) => parts.iter().filter_map(|part| part.text.as_deref()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: Value) -> ResponsesRequest {
        serde_json::from_value(fields).unwrap()
    }

    fn refusal(fields: Value) -> String {
        let error = request(fields).to_chat().unwrap_err();
        format!("{} {}", error.param, error.message)
    }

    #[test]
    fn what_an_assistant_did_in_one_turn_is_one_message() {
        let chat = request(json!({"instructions": "Be brief.", "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "read a"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": "Sure.", "annotations": []}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "read", "arguments": "{\"path\": \"a\"}"},
            {"type": "function_call", "call_id": "c2", "name": "now", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "text"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "noon"}]},
        ]}));
        insta::assert_json_snapshot!(chat.to_chat().unwrap().messages, @r#"
        [
          {
            "role": "system",
            "content": "Be brief."
          },
          {
            "role": "user",
            "content": "read a"
          },
          {
            "role": "assistant",
            "content": "Sure.",
            "tool_calls": [
              {
                "id": "c1",
                "type": "function",
                "function": {
                  "name": "read",
                  "arguments": "{\"path\": \"a\"}"
                }
              },
              {
                "id": "c2",
                "type": "function",
                "function": {
                  "name": "now",
                  "arguments": "{}"
                }
              }
            ],
            "reasoning": "Hm"
          },
          {
            "role": "tool",
            "content": "text",
            "tool_call_id": "c1"
          },
          {
            "role": "tool",
            "content": "noon",
            "tool_call_id": "c2"
          }
        ]
        "#);
    }

    #[test]
    fn functions_and_choices_take_the_shape_of_chats() {
        let tools =
            json!([{"type": "web_search"}, {"type": "function", "name": "f", "parameters": {}, "strict": true}]);
        let choice = json!({"type": "function", "name": "f"});
        let chat = request(json!({"input": "x", "tools": tools, "tool_choice": choice})).to_chat().unwrap();
        assert_eq!(chat.tools.unwrap(), [json!({"type": "function", "function": {"name": "f", "parameters": {}}})]);
        let named = json!({"type": "function", "function": {"name": "f"}});
        assert_eq!(serde_json::to_value(chat.tool_choice).unwrap(), named);
        let chat = request(json!({"input": "x", "tools": [], "tool_choice": "auto"})).to_chat().unwrap();
        assert_eq!((chat.tools, chat.tool_choice), (None, None));
    }

    #[test]
    fn a_message_that_is_not_complete_is_gone_on_with() {
        let items = |status| json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "We", "status": status}]);
        let goes_on = |status| request(json!({"input": items(status)})).to_chat().unwrap().continue_final_message;
        assert_eq!((goes_on("incomplete"), goes_on("completed")), (Some(true), Some(false)));
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        assert!(
            refusal(json!({"input": "x", "previous_response_id": "resp_1"}))
                .starts_with("response_id Response with id 'resp_1' not found.")
        );
        assert!(refusal(json!({"input": "x", "background": true})).starts_with("background "));
        assert!(refusal(json!({"input": "x", "conversation": "conv_1"})).starts_with("conversation "));
        assert_eq!(
            refusal(json!({"input": [{"type": "item_reference"}]})),
            "input Unsupported input item type: item_reference"
        );
        assert_eq!(
            refusal(json!({"input": [{"type": "reasoning", "encrypted_content": "x"}]})),
            "input Encrypted content is not supported."
        );
        assert_eq!(
            refusal(json!({"input": [{"type": "function_call", "name": "f"}]})),
            "input An input item of type function_call has no arguments."
        );
        assert_eq!(
            refusal(json!({"input": "x", "tools": [{"type": "custom", "name": "p"}]})),
            "tools Tools of type 'custom' are not supported by this engine; functions are."
        );
        assert_eq!(
            refusal(json!({"input": "x", "tool_choice": "required"})),
            "tool_choice Tool choice 'required' must be specified with 'tools' parameter."
        );
        let choice = json!({"type": "function", "name": "g"});
        assert_eq!(
            refusal(json!({"input": "x", "tool_choice": choice})),
            "tool_choice Tool choice 'function' not found in 'tools' parameter."
        );
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(kinds in proptest::collection::vec(0usize..6, 0..8)) {
            let items: Vec<Value> = kinds.into_iter().map(|kind| [
                json!({"role": "user", "content": "a"}), json!({"role": "assistant", "content": []}),
                json!({"type": "function_call", "name": "f", "arguments": "{", "call_id": "1"}),
                json!({"type": "function_call_output", "call_id": "1", "output": []}),
                json!({"type": "reasoning", "content": [], "summary": []}), json!({}),
            ][kind].clone()).collect();
            let _ = request(json!({"input": items})).to_chat();
        }
    }
}
