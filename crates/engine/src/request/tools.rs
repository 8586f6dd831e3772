//! Tools in a request: whether they are well formed, and which of them may be called.

use remora_protocol::openai::{BodyError, ChatRequest, SamplingFields, ToolChoice};
use serde_json::{Map, Value};

use super::RequestError;
use super::limits::grammars;
use crate::constraint::{Before, Constraint, Function, Guide, constraint_of};
use crate::output::{Forced, Reading, ToolFormat, is_whole_name};
use crate::sampling::InvalidParams;
use crate::scheduler::Loaded;

/// Which tools the model may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Calls {
    /// None: what looks like a call is text.
    None,
    /// Those it likes, in its own format.
    Auto,
    /// At least one.
    Required,
    /// This one, once.
    Named(String),
}

impl Calls {
    /// Whether there must be calls.
    pub(super) fn forced(&self) -> Option<Forced> {
        match self {
            Self::None | Self::Auto => None,
            Self::Required => Some(Forced::Required),
            Self::Named(_) => Some(Forced::Named),
        }
    }
}

/// What `tools` and `tool_choice` allow.
pub(super) fn calls(request: &ChatRequest) -> Result<Calls, RequestError> {
    let invalid = |param, message: &str| Err(InvalidParams::new(param, message).into());
    if request.tools.as_ref().is_some_and(Vec::is_empty) {
        let message =
            "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely.";
        return invalid("tools", message);
    }
    check_tools(request.tools.as_deref())?;
    match (&request.tool_choice, &request.tools) {
        (None, Some(_)) => Ok(Calls::Auto),
        (None, None) => Ok(Calls::None),
        (Some(ToolChoice::Mode(mode)), _) if mode == "none" => Ok(Calls::None),
        (Some(_), None) => invalid("tool_choice", "When using `tool_choice`, `tools` must be set."),
        (Some(ToolChoice::Mode(mode)), _) if mode == "auto" => Ok(Calls::Auto),
        (Some(ToolChoice::Mode(mode)), _) if mode == "required" => Ok(Calls::Required),
        (Some(ToolChoice::Mode(mode)), _) => {
            let message = format!(
                "Invalid value for `tool_choice`: {mode}! Only named tools, \"none\", \"auto\" or \"required\" are \
                 supported."
            );
            invalid("tool_choice", &message)
        }
        (Some(ToolChoice::Named(choice)), Some(tools)) => named(choice, tools, &request.sampling),
    }
}

/// A choice of one function, checked in vLLM's words.
fn named(choice: &Map<String, Value>, tools: &[Value], fields: &SamplingFields) -> Result<Calls, RequestError> {
    let usage = "Correct usage: `{\"type\": \"function\", \"function\": {\"name\": \"my_function\"}}`";
    let invalid = |param, message: String| Err(InvalidParams::new(param, message).into());
    let function = match choice.get("function") {
        Some(Value::Object(function)) => function,
        other => {
            let message = format!("Invalid value for `function`: `{}` in `tool_choice`! {usage}", shown(other));
            return invalid("tool_choice.function", message);
        }
    };
    let name = match function.get("name") {
        Some(Value::String(name)) if !name.is_empty() => name,
        None => {
            let message = format!("Expected field `name` in `function` in `tool_choice`! {usage}");
            return invalid("tool_choice.function.name", message);
        }
        other => {
            let message = format!("Invalid `name` in `function`: `{}` in `tool_choice`! {usage}", shown(other));
            return invalid("tool_choice.function.name", message);
        }
    };
    if tools.iter().all(|tool| name_of(tool) != Some(name)) {
        let message = "The tool specified in `tool_choice` does not match any of the specified `tools`";
        return invalid("tool_choice", message.into());
    }
    if constraint_of(fields).is_ok_and(|constraint| constraint.is_some() && fields.response_format.is_none()) {
        let message = "You can only either use constraints for structured outputs or tools, not both.";
        return Err(InvalidParams::new(None, message).into());
    }
    Ok(Calls::Named(name.clone()))
}

/// A value as Python prints it in a message.
fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "None".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// What holds the answer to a prompt that ends with this to the calls that must come, and how to read it. As in vLLM,
/// it takes the place of any other form.
pub(super) fn forced_guide(
    request: &ChatRequest,
    calls: &Calls,
    reading: Reading,
    end: &str,
    loaded: &Loaded,
) -> Result<(Reading, Guide), RequestError> {
    let named = |tool: &&Value| match calls {
        Calls::Named(name) => name_of(tool) == Some(name),
        _ => true,
    };
    let mut functions: Vec<Function> = Vec::new();
    for tool in request.tools.iter().flatten().filter(named) {
        let function = function(tool)?;
        if functions.iter().all(|known| known.name != function.name) {
            functions.push(function);
        }
    }
    let before = match reading.thinking {
        Some(tags) if reading.thinking_opened => Before::Thinks(tags),
        Some(tags) if !tags.closed_by(end) => Before::MayThink(tags),
        _ => Before::Nothing,
    };
    let (template, grammars) = (loaded.template.as_ref()?, grammars(loaded)?);
    let one = reading.one_call || reading.forced == Some(Forced::Named);
    let format = reading.tools.unwrap_or(ToolFormat::Hermes);
    let (format, constraint) = Constraint::calls(format, &functions, one, before, |tag| template.mark(tag));
    let guide = grammars.guide(&constraint).map_err(|error| {
        // All of them together cannot be held; which one is at fault shows alone.
        let alone = functions.iter().find_map(|function| {
            let error = grammars.guide(&Constraint::Schema(function.schema.clone())).err()?;
            Some(unusable(&function.name, &error.message))
        });
        alone.unwrap_or_else(|| InvalidParams::new(error.param, error.message))
    })?;
    Ok((Reading { tools: Some(format), ..reading }, guide))
}

/// A tool as a function whose calls can be held, and found again.
fn function(tool: &Value) -> Result<Function, RequestError> {
    let name = name_of(tool).unwrap_or_default();
    if !is_whole_name(name) {
        return Err(unusable(name, "its name is empty, too long or has white space").into());
    }
    let parameters = tool["function"].get("parameters");
    Function::new(name, parameters).ok_or_else(|| unusable(name, "its parameters are not an object").into())
}

fn unusable(name: &str, why: &str) -> InvalidParams {
    InvalidParams::new("tools", format!("Calls of the tool '{name}' cannot be forced: {why}"))
}

fn name_of(tool: &Value) -> Option<&str> {
    tool.get("function")?.get("name")?.as_str()
}

/// Checks the shape of tools as vLLM checks it. They stay the JSON they are: chat templates print them, with the keys
/// in their author's order.
pub(super) fn check_tools(tools: Option<&[Value]>) -> Result<(), BodyError> {
    tools.unwrap_or_default().iter().enumerate().try_for_each(|(index, tool)| check_tool(index, tool))
}

fn check_tool(index: usize, tool: &Value) -> Result<(), BodyError> {
    let place = |rest: &str| format!("body.tools.{index}{rest}");
    let object = |value: &Value, rest| match value {
        Value::Object(_) => Ok(()),
        _ => Err(BodyError::new("model_attributes_type", place(rest), "Input should be a valid dictionary")),
    };
    object(tool, "")?;
    if tool.get("type").is_some_and(|kind| kind != "function") {
        return Err(BodyError::new("literal_error", place(".type"), "Input should be 'function'"));
    }
    let function = tool.get("function").ok_or_else(|| BodyError::missing(place(".function")))?;
    object(function, ".function")?;
    let name = function.get("name").ok_or_else(|| BodyError::missing(place(".function.name")))?;
    let texts = [(".function.name", Some(name)), (".function.description", present(function, "description"))];
    for (rest, value) in texts {
        if value.is_some_and(|value| !value.is_string()) {
            return Err(BodyError::new("string_type", place(rest), "Input should be a valid string"));
        }
    }
    if present(function, "parameters").is_some_and(|schema| !schema.is_object()) {
        let place = place(".function.parameters");
        return Err(BodyError::new("dict_type", place, "Input should be a valid dictionary"));
    }
    Ok(())
}

fn present<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tools_of_the_wrong_shape_are_refused_where_they_are_wrong() {
        let refusal = |tool: Value| {
            let error = check_tools(Some(&[json!({"function": {"name": "f"}}), tool])).unwrap_err();
            format!("{} {}", error.fault, error.place)
        };
        assert_eq!(refusal(json!("f")), "model_attributes_type body.tools.1");
        assert_eq!(refusal(json!({"type": "custom", "function": {"name": "f"}})), "literal_error body.tools.1.type");
        assert_eq!(refusal(json!({"type": "function"})), "missing body.tools.1.function");
        assert_eq!(refusal(json!({"function": {}})), "missing body.tools.1.function.name");
        assert_eq!(refusal(json!({"function": {"name": 1}})), "string_type body.tools.1.function.name");
        let described = json!({"function": {"name": "f", "description": []}});
        assert_eq!(refusal(described), "string_type body.tools.1.function.description");
        let typed = json!({"function": {"name": "f", "parameters": "x"}});
        assert_eq!(refusal(typed), "dict_type body.tools.1.function.parameters");
        let whole = json!({"type": "function", "strict": true, "function": {"name": "f", "parameters": null, "x": 1}});
        assert_eq!(check_tools(Some(&[whole])), Ok(()));
    }
}
