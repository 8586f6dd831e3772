//! What the model did, as items: thinking, messages and calls, one after the other.

use remora_protocol::openai::{
    ChatDelta, ChatReply, ContentPiece, OutputItem, OutputText, ReasoningText, ResponseEventKind, ResponseStatus,
};
use serde_json::Value;

use crate::api::answer::random_id;

/// The items of a whole answer; the last of them has the answer's status.
pub(super) fn of_reply(reply: ChatReply, status: ResponseStatus) -> Vec<OutputItem> {
    let mut items = Vec::new();
    if let Some(text) = reply.reasoning.filter(|text| !text.is_empty()) {
        items.push(Item::new(Kind::Reasoning).with(text).finished(None));
    }
    if let Some(text) = reply.content.filter(|text| !text.is_empty()) {
        items.push(Item::new(Kind::Message).with(text).finished(Some(ResponseStatus::Completed)));
    }
    items.extend(reply.tool_calls.into_iter().map(|call| {
        let arguments = match call.function.arguments {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let kind = Kind::Call { call_id: call.id.unwrap_or_default(), name: call.function.name };
        Item::new(kind).with(arguments).finished(Some(ResponseStatus::Completed))
    }));
    if let Some(OutputItem::Message { status: last, .. } | OutputItem::FunctionCall { status: last, .. }) =
        items.last_mut()
    {
        *last = status;
    }
    items
}

/// The items of an answer that is told while it is generated.
#[derive(Debug, Default)]
pub(super) struct Items {
    output: Vec<OutputItem>,
    /// The one that is being told.
    open: Option<Item>,
}

impl Items {
    /// Those that are complete.
    pub(super) fn output(&self) -> &[OutputItem] {
        &self.output
    }

    /// All thinking in them.
    pub(super) fn thinking(&self) -> String {
        let text = |item: &OutputItem| match item {
            OutputItem::Reasoning { content, .. } => {
                content.iter().flatten().map(|part| part.text.as_str()).collect::<String>()
            }
            OutputItem::Message { .. } | OutputItem::FunctionCall { .. } => String::new(),
        };
        self.output.iter().map(text).collect()
    }

    /// Tells what an addition to the message adds to the items.
    pub(super) fn take(&mut self, delta: ChatDelta, told: &mut Vec<ResponseEventKind>) {
        if let Some(text) = delta.reasoning {
            self.add(&Kind::Reasoning, &text, told);
        }
        if let Some(text) = delta.content {
            self.add(&Kind::Message, &text, told);
        }
        for call in delta.tool_calls {
            if let Some(name) = call.function.name {
                // Another call, even of the same function.
                self.close(ResponseStatus::Completed, told);
                self.open(Kind::Call { call_id: call.id.unwrap_or_default(), name }, told);
            }
            if let Some(item) = &mut self.open {
                told.extend(item.add(call.function.arguments.as_deref().unwrap_or_default(), self.output.len()));
            }
        }
    }

    /// Ends the open item.
    pub(super) fn close(&mut self, status: ResponseStatus, told: &mut Vec<ResponseEventKind>) {
        let Some(item) = self.open.take() else { return };
        let index = number(self.output.len());
        told.extend(item.ends(index));
        let item = item.finished(Some(status));
        self.output.push(item.clone());
        told.push(ResponseEventKind::OutputItemDone { output_index: index, item });
    }

    fn add(&mut self, kind: &Kind, text: &str, told: &mut Vec<ResponseEventKind>) {
        if text.is_empty() {
            return;
        }
        if self.open.as_ref().is_none_or(|item| item.kind != *kind) {
            self.close(ResponseStatus::Completed, told);
            self.open(kind.clone(), told);
        }
        if let Some(item) = &mut self.open {
            told.extend(item.add(text, self.output.len()));
        }
    }

    fn open(&mut self, kind: Kind, told: &mut Vec<ResponseEventKind>) {
        let item = Item::new(kind);
        let index = number(self.output.len());
        told.push(ResponseEventKind::OutputItemAdded { output_index: index, item: item.begun() });
        if let Some(part) = item.part() {
            told.push(ResponseEventKind::ContentPartAdded {
                item_id: item.id.clone(),
                output_index: index,
                content_index: 0,
                part,
            });
        }
        self.open = Some(item);
    }
}

/// An item, and what kind of text it has.
#[derive(Debug)]
struct Item {
    id: String,
    kind: Kind,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Reasoning,
    Message,
    Call { call_id: String, name: String },
}

impl Item {
    fn new(kind: Kind) -> Self {
        let prefix = match kind {
            Kind::Reasoning => "rs_",
            Kind::Message => "msg_",
            Kind::Call { .. } => "fc_",
        };
        Self { id: random_id(prefix), kind, text: String::new() }
    }

    fn with(self, text: String) -> Self {
        Self { text, ..self }
    }

    /// Tells further text.
    fn add(&mut self, text: &str, index: usize) -> Option<ResponseEventKind> {
        if text.is_empty() {
            return None;
        }
        self.text.push_str(text);
        let (item_id, output_index, delta) = (self.id.clone(), number(index), text.to_owned());
        Some(match self.kind {
            Kind::Reasoning => ResponseEventKind::ReasoningTextDelta { item_id, output_index, content_index: 0, delta },
            Kind::Message => ResponseEventKind::OutputTextDelta {
                item_id,
                output_index,
                content_index: 0,
                delta,
                logprobs: Vec::new(),
            },
            Kind::Call { .. } => ResponseEventKind::FunctionCallArgumentsDelta { item_id, output_index, delta },
        })
    }

    /// Tells that there is no further text.
    fn ends(&self, output_index: u32) -> Vec<ResponseEventKind> {
        let (item_id, text) = (self.id.clone(), self.text.clone());
        let done = match &self.kind {
            Kind::Reasoning => ResponseEventKind::ReasoningTextDone { item_id, output_index, content_index: 0, text },
            Kind::Message => ResponseEventKind::OutputTextDone {
                item_id,
                output_index,
                content_index: 0,
                text,
                logprobs: Vec::new(),
            },
            Kind::Call { name, .. } => ResponseEventKind::FunctionCallArgumentsDone {
                item_id,
                output_index,
                name: name.clone(),
                arguments: text,
            },
        };
        let part = self.part().map(|part| ResponseEventKind::ContentPartDone {
            item_id: self.id.clone(),
            output_index,
            content_index: 0,
            part,
        });
        std::iter::once(done).chain(part).collect()
    }

    /// Its only part, as it is now; calls have none.
    fn part(&self) -> Option<ContentPiece> {
        match self.kind {
            Kind::Reasoning => Some(ContentPiece::Reasoning(ReasoningText::new(&self.text))),
            Kind::Message => Some(ContentPiece::Text(OutputText::new(&self.text))),
            Kind::Call { .. } => None,
        }
    }

    /// The item before it has any text.
    fn begun(&self) -> OutputItem {
        let (id, status) = (self.id.clone(), ResponseStatus::InProgress);
        match &self.kind {
            Kind::Reasoning => OutputItem::Reasoning {
                id,
                summary: Vec::new(),
                content: None,
                encrypted_content: None,
                status: Some(status),
            },
            Kind::Message => OutputItem::Message { id, content: Vec::new(), role: "assistant".to_owned(), status },
            Kind::Call { call_id, name } => OutputItem::FunctionCall {
                id,
                call_id: call_id.clone(),
                name: name.clone(),
                arguments: String::new(),
                namespace: None,
                status,
            },
        }
    }

    fn finished(self, status: Option<ResponseStatus>) -> OutputItem {
        let Self { id, kind, text } = self;
        let known = status.unwrap_or(ResponseStatus::Completed);
        match kind {
            Kind::Reasoning => OutputItem::Reasoning {
                id,
                summary: Vec::new(),
                content: Some(vec![ReasoningText::new(text)]),
                encrypted_content: None,
                status,
            },
            Kind::Message => OutputItem::Message {
                id,
                content: vec![OutputText::new(text)],
                role: "assistant".to_owned(),
                status: known,
            },
            Kind::Call { call_id, name } => {
                OutputItem::FunctionCall { id, call_id, name, arguments: text, namespace: None, status: known }
            }
        }
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use remora_protocol::openai::{FunctionDelta, ToolCallDelta};
    use serde_json::json;

    use super::*;

    fn call(name: Option<&str>, arguments: &str) -> ChatDelta {
        let function = FunctionDelta { name: name.map(str::to_owned), arguments: Some(arguments.to_owned()) };
        let id = name.map(|_| "c".to_owned());
        ChatDelta {
            tool_calls: vec![ToolCallDelta { id, function, ..ToolCallDelta::default() }],
            ..ChatDelta::default()
        }
    }

    #[test]
    fn every_item_is_added_told_and_done_before_the_next() {
        let (mut items, mut told) = (Items::default(), Vec::new());
        items.take(ChatDelta { reasoning: Some("Hm".into()), ..ChatDelta::default() }, &mut told);
        items.take(ChatDelta { content: Some("Yes".into()), ..ChatDelta::default() }, &mut told);
        for delta in [call(Some("f"), ""), call(None, "{}"), call(Some("f"), "{\"a\": 1}")] {
            items.take(delta, &mut told);
        }
        items.close(ResponseStatus::Incomplete, &mut told);
        let names: Vec<_> = told.iter().map(|event| event.name().trim_start_matches("response.")).collect();
        insta::assert_snapshot!(names.join("\n"), @"
        output_item.added
        content_part.added
        reasoning_text.delta
        reasoning_text.done
        content_part.done
        output_item.done
        output_item.added
        content_part.added
        output_text.delta
        output_text.done
        content_part.done
        output_item.done
        output_item.added
        function_call_arguments.delta
        function_call_arguments.done
        output_item.done
        output_item.added
        function_call_arguments.delta
        function_call_arguments.done
        output_item.done
        ");
        let indexes: Vec<Value> =
            told.iter().map(|event| serde_json::to_value(event).unwrap()["output_index"].clone()).collect();
        assert!(indexes.is_sorted_by_key(Value::as_u64), "{indexes:?}");
        let output = serde_json::to_value(items.output()).unwrap();
        assert_eq!((&output[2]["arguments"], &output[2]["status"]), (&json!("{}"), &json!("completed")));
        assert_eq!(output[3]["status"], "incomplete", "only the last one was cut off");
        assert_eq!(items.thinking(), "Hm");
    }
}
