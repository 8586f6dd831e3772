//! Tools, and which must be called.

use serde_json::{Map, Value, json};

use crate::anthropic::note::{Note, short};
use crate::anthropic::request;
use crate::openai::ToolChoice;

/// The client's own tools as functions; `None` where there are none.
pub(in crate::anthropic) fn tools(tools: Option<Vec<request::Tool>>, notes: &mut Vec<Note>) -> Option<Vec<Value>> {
    let functions: Vec<Value> = tools?.into_iter().filter_map(|tool| function(tool, notes)).collect();
    (!functions.is_empty()).then_some(functions)
}

fn function(tool: request::Tool, notes: &mut Vec<Note>) -> Option<Value> {
    let request::Tool { kind, name, description, input_schema, strict } = tool;
    let own = kind.as_deref().is_none_or(|kind| kind == "custom") || input_schema.is_some();
    let Some(name) = name.clone().filter(|_| own) else {
        let (kind, name) = (kind.unwrap_or_default(), name.unwrap_or_default());
        notes.push(Note::ToolDropped { kind: short(&kind), name: short(&name) });
        return None;
    };
    let mut parameters = input_schema.unwrap_or_default();
    if !parameters.contains_key("type") {
        parameters.insert("type".to_owned(), "object".into());
    }
    let mut function = Map::new();
    function.insert("name".to_owned(), name.into());
    if let Some(description) = description {
        function.insert("description".to_owned(), description.into());
    }
    function.insert("parameters".to_owned(), parameters.into());
    if let Some(strict) = strict {
        function.insert("strict".to_owned(), strict.into());
    }
    Some(json!({"type": "function", "function": function}))
}

/// The choice, and whether several calls may be made at once.
pub(super) fn choice(choice: request::ToolChoice, notes: &mut Vec<Note>) -> (Option<ToolChoice>, Option<bool>) {
    let parallel = choice.disable_parallel_tool_use.filter(|&disabled| disabled).map(|_| false);
    let mode = |mode: &str| Some(ToolChoice::Mode(mode.to_owned()));
    let chosen = match (choice.kind.as_str(), choice.name) {
        ("auto", _) => mode("auto"),
        ("any", _) => mode("required"),
        ("none", _) => mode("none"),
        ("tool", Some(name)) => {
            let named = [("type".to_owned(), "function".into()), ("function".to_owned(), json!({"name": name}))];
            Some(ToolChoice::Named(Map::from_iter(named)))
        }
        _ => {
            notes.push(Note::ToolChoiceUnknown { kind: short(&choice.kind) });
            None
        }
    };
    (chosen, parallel)
}
