//! Tools in a request: whether they are well formed, and which of them may be called.

use remora_protocol::openai::{BodyError, ChatRequest, ToolChoice};
use serde_json::Value;

use super::{RequestError, not_supported};
use crate::sampling::InvalidParams;

/// Which tools the model may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calls {
    /// None: what looks like a call is text.
    None,
    /// Those it likes, in its own format.
    Auto,
    // A call that must come needs its form held while it is generated (see `crate::constraint`): `required` and named
    // functions belong here.
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
    match &request.tool_choice {
        None if request.tools.is_some() => Ok(Calls::Auto),
        None => Ok(Calls::None),
        Some(ToolChoice::Mode(mode)) if mode == "none" => Ok(Calls::None),
        Some(_) if request.tools.is_none() => invalid("tool_choice", "When using `tool_choice`, `tools` must be set."),
        Some(ToolChoice::Mode(mode)) if mode == "auto" => Ok(Calls::Auto),
        Some(ToolChoice::Mode(mode)) if mode == "required" => {
            Err(not_supported("tool_choice", "tool_choice 'required'"))
        }
        Some(ToolChoice::Mode(mode)) => {
            let message = format!(
                "Invalid value for `tool_choice`: {mode}! Only named tools, \"none\", \"auto\" or \"required\" are \
                 supported."
            );
            invalid("tool_choice", &message)
        }
        Some(ToolChoice::Named(_)) => Err(not_supported("tool_choice", "A named tool_choice")),
    }
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
