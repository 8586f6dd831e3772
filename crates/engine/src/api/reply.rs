//! The assistant's message: words, thinking and calls as the API tells them.

use remora_protocol::openai::{
    ChatDelta, ChatReply, FinishReason, FunctionCall, FunctionDelta, ToolCall, ToolCallDelta,
};

use super::answer::random_id;
use crate::output::{Event, Forced, OutputScanner, Reading, ToolFormat};

/// A whole message, and why it ended.
///
/// A call that broke off is shown as the text that the model wrote.
pub(super) fn reply(text: String, reading: Reading, reason: FinishReason) -> (ChatReply, FinishReason) {
    let role = "assistant".to_owned();
    if reading.is_plain() {
        return (ChatReply { role, content: Some(text), ..ChatReply::default() }, reason);
    }
    let mut scanner = OutputScanner::new(reading);
    let mut events = scanner.push(&text);
    events.extend(scanner.finish());
    let (mut content, mut thinking) = (String::new(), None::<String>);
    let (mut calls, mut call) = (Vec::new(), FunctionCall { name: String::new(), arguments: "".into() });
    let mut arguments = String::new();
    for event in events {
        match event {
            Event::Text(text) => content.push_str(&text),
            Event::Thinking(text) => thinking.get_or_insert_default().push_str(&text),
            Event::CallBegin { name, .. } => call.name = name,
            Event::Arguments { text, .. } => arguments.push_str(&text),
            Event::CallEnd { broken: Some(text), .. } => {
                arguments.clear();
                content.push_str(&text);
            }
            Event::CallEnd { broken: None, .. } => {
                call.arguments = std::mem::take(&mut arguments).into();
                calls.push(ToolCall {
                    id: Some(call_id(reading.tools)),
                    kind: "function".to_owned(),
                    function: call.clone(),
                });
            }
        }
    }
    let silent = content.is_empty() && (thinking.is_some() || !calls.is_empty());
    let reply = ChatReply {
        role,
        // Forced calls leave it empty rather than null, as in vLLM.
        content: (!silent || reading.forced.is_some()).then_some(content),
        tool_calls: calls,
        reasoning: thinking.clone(),
        reasoning_content: thinking,
        ..ChatReply::default()
    };
    (reply, finish_reason(reason, reading, &scanner))
}

/// A message that is told while it is generated.
#[derive(Debug)]
pub(super) struct ReplyStream {
    reading: Reading,
    scanner: OutputScanner,
}

impl ReplyStream {
    pub(super) fn new(reading: Reading) -> Self {
        Self { reading, scanner: OutputScanner::new(reading) }
    }

    /// What further text adds, and, after the last, why the message ended.
    pub(super) fn add(&mut self, text: String, reason: Option<FinishReason>) -> (Vec<ChatDelta>, Option<FinishReason>) {
        if self.reading.is_plain() {
            return (vec![ChatDelta { content: Some(text), ..ChatDelta::default() }], reason);
        }
        let mut events = self.scanner.push(&text);
        if reason.is_some() {
            events.extend(self.scanner.finish());
        }
        let deltas = events.into_iter().filter_map(|event| self.delta(event)).collect();
        (deltas, reason.map(|reason| finish_reason(reason, self.reading, &self.scanner)))
    }

    fn delta(&self, event: Event) -> Option<ChatDelta> {
        let call = |call| Some(ChatDelta { tool_calls: vec![call], ..ChatDelta::default() });
        match event {
            Event::Text(text) => Some(ChatDelta { content: Some(text), ..ChatDelta::default() }),
            Event::Thinking(text) => {
                Some(ChatDelta { reasoning: Some(text.clone()), reasoning_content: Some(text), ..ChatDelta::default() })
            }
            Event::CallBegin { index, name } => call(ToolCallDelta {
                id: Some(call_id(self.reading.tools)),
                kind: Some("function".to_owned()),
                index,
                function: FunctionDelta { name: Some(name), arguments: Some(String::new()) },
            }),
            Event::Arguments { index, text } => call(ToolCallDelta {
                index,
                function: FunctionDelta { name: None, arguments: Some(text) },
                ..ToolCallDelta::default()
            }),
            Event::CallEnd { .. } => None,
        }
    }
}

/// An answer that was cut off stays so, whatever it called before: its last call may be missing.
fn finish_reason(reason: FinishReason, reading: Reading, scanner: &OutputScanner) -> FinishReason {
    let tells = reading.forced != Some(Forced::Named) && scanner.calls_tools();
    if reason == FinishReason::Stop && tells { FinishReason::ToolCalls } else { reason }
}

/// A call's id. Mistral's chat templates take nine letters and digits and nothing else.
fn call_id(format: Option<ToolFormat>) -> String {
    if format != Some(ToolFormat::Mistral) {
        return random_id("chatcmpl-tool-");
    }
    let character = || b"0123456789abcdefghijklmnopqrstuv"[usize::from(rand::random::<u8>() % 32)];
    (0..9).map(|_| char::from(character())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hermes() -> Reading {
        Reading { tools: Some(ToolFormat::Hermes), ..Reading::default() }
    }

    const CALL: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";

    #[test]
    fn calls_alone_leave_no_content() {
        let (reply, reason) = reply(CALL.into(), hermes(), FinishReason::Stop);
        assert_eq!((reply.content, reason), (None, FinishReason::ToolCalls));
        let [call] = reply.tool_calls.as_slice() else { panic!("one call") };
        assert_eq!(call.function.arguments, json!(r#"{"a": 1}"#));
        assert!(call.id.as_ref().unwrap().starts_with("chatcmpl-tool-"));
    }

    #[test]
    fn a_call_that_was_cut_off_is_text_again() {
        let text = format!("{CALL}{}", &CALL[..CALL.len() - 15]);
        let (reply, reason) = reply(text, hermes(), FinishReason::Length);
        assert_eq!(reply.content.unwrap(), CALL[..CALL.len() - 15]);
        assert_eq!((reply.tool_calls.len(), reason), (1, FinishReason::Length));
    }

    #[test]
    fn thinking_goes_by_both_names() {
        let reading = Reading { thinking: crate::output::ThinkTags::of_template("</think>"), ..hermes() };
        let (reply, reason) = reply("<think>Hm</think>Yes".into(), reading, FinishReason::Stop);
        assert_eq!((reply.content.as_deref(), reason), (Some("Yes"), FinishReason::Stop));
        assert_eq!((reply.reasoning.as_deref(), reply.reasoning_content.as_deref()), (Some("Hm"), Some("Hm")));
        let mut stream = ReplyStream::new(reading);
        let (deltas, _) = stream.add("<think>Hm</think>Yes".into(), None);
        let deltas: Vec<Value> = deltas.iter().map(|delta| serde_json::to_value(delta).unwrap()).collect();
        assert_eq!(deltas, [json!({"reasoning": "Hm", "reasoning_content": "Hm"}), json!({"content": "Yes"})]);
    }

    #[test]
    fn mistral_s_ids_are_what_its_templates_take() {
        let id = call_id(Some(ToolFormat::Mistral));
        assert!(id.len() == 9 && id.chars().all(|character| character.is_ascii_alphanumeric()), "{id}");
    }
}
