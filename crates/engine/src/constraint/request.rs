//! The constraint in a request's fields.

use remora_protocol::openai::SamplingFields;
use serde_json::Value;

use super::Constraint;

/// A constraint that cannot be held, or is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidConstraint {
    /// The field.
    pub(crate) param: &'static str,
    /// What is wrong with it.
    pub(crate) message: String,
}

impl InvalidConstraint {
    /// A fault that llguidance found, with its first line of reasons.
    pub(super) fn new(constraint: &Constraint, reason: &str) -> Self {
        let reason = reason.lines().next().unwrap_or_default();
        let (param, what) = match constraint {
            Constraint::Schema(_) => ("json_schema", "JSON schema"),
            Constraint::Regex(_) => ("regex", "regex"),
            Constraint::Choice(_) => ("choice", "choice"),
            Constraint::Lark(_) => ("grammar", "grammar (in Lark's notation)"),
            Constraint::Calls(_) => ("tools", "parameters of the tools"),
        };
        Self { param, message: format!("Failed to use the {what}: {reason}") }
    }

    fn of(param: &'static str, message: impl Into<String>) -> Self {
        Self { param, message: message.into() }
    }
}

/// What `response_format` or `structured_outputs` ask for, if anything.
pub(crate) fn constraint_of(fields: &SamplingFields) -> Result<Option<Constraint>, InvalidConstraint> {
    let by_format = response_format(fields)?;
    let by_outputs = match &fields.structured_outputs {
        Some(Value::Object(outputs)) => structured_outputs(outputs)?,
        Some(Value::Null) | None => None,
        Some(_) => return Err(InvalidConstraint::of("structured_outputs", "structured_outputs must be an object")),
    };
    // As in vLLM, where the format is written into the other field.
    Ok(by_format.or(by_outputs))
}

fn response_format(fields: &SamplingFields) -> Result<Option<Constraint>, InvalidConstraint> {
    let Some(format) = &fields.response_format else { return Ok(None) };
    match format.kind.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Constraint::any_object())),
        "json_schema" => {
            let schema = format.json_schema.as_ref().and_then(|named| named.get("schema").or(named.get("json_schema")));
            let missing = || {
                let message = "When response_format type is 'json_schema', the 'json_schema' field must be provided, \
                               with a 'schema'.";
                InvalidConstraint::of("response_format", message)
            };
            schema_of(schema.ok_or_else(missing)?, "response_format").map(Some)
        }
        other => {
            let message = format!("response_format of type {other:?} is not supported by this engine");
            Err(InvalidConstraint::of("response_format", message))
        }
    }
}

fn structured_outputs(outputs: &serde_json::Map<String, Value>) -> Result<Option<Constraint>, InvalidConstraint> {
    let invalid = |message: String| InvalidConstraint::of("structured_outputs", message);
    let mut found = None;
    for (name, value) in outputs.iter().filter(|(_, value)| !value.is_null()) {
        let text = || value.as_str().map(str::to_owned).ok_or_else(|| invalid(format!("{name} must be a text")));
        let constraint = match name.as_str() {
            "json" => schema_of(value, "structured_outputs")?,
            "json_object" if *value == Value::Bool(true) => Constraint::any_object(),
            "regex" => Constraint::Regex(text()?),
            "grammar" => Constraint::Lark(text()?),
            "choice" => {
                let texts =
                    value.as_array().and_then(|list| list.iter().map(|t| t.as_str().map(str::to_owned)).collect());
                let texts: Option<Vec<String>> = texts;
                let texts = texts.filter(|texts| !texts.is_empty());
                Constraint::Choice(texts.ok_or_else(|| invalid("choice must be a list of texts, not empty".into()))?)
            }
            // Nothing asked for; and vLLM's switches for its own backends.
            "json_object"
            | "disable_any_whitespace"
            | "disable_additional_properties"
            | "whitespace_pattern"
            | "disable_fallback"
            | "_backend"
            | "_backend_was_auto" => continue,
            other => return Err(invalid(format!("{other} is not supported by this engine"))),
        };
        if found.replace(constraint).is_some() {
            let message = "You can only use one kind of structured outputs constraint but multiple are specified";
            return Err(invalid(message.to_owned()));
        }
    }
    Ok(found)
}

/// A schema as an object, or as the text of one.
fn schema_of(value: &Value, param: &'static str) -> Result<Constraint, InvalidConstraint> {
    let parsed = match value {
        Value::String(text) => serde_json::from_str(text)
            .map_err(|error| InvalidConstraint::of(param, format!("the JSON schema is not valid JSON: {error}")))?,
        other => other.clone(),
    };
    match parsed {
        Value::Object(_) | Value::Bool(true) => Ok(Constraint::Schema(parsed)),
        _ => Err(InvalidConstraint::of(param, "a JSON schema is an object")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(fields: Value) -> Result<Option<Constraint>, String> {
        constraint_of(&serde_json::from_value(fields).unwrap()).map_err(|error| error.message)
    }

    #[test]
    fn both_spellings_are_read() {
        let schema = json!({"type": "integer"});
        let wanted = Ok(Some(Constraint::Schema(schema.clone())));
        let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
        assert_eq!(read(json!({"response_format": format})), wanted);
        assert_eq!(read(json!({"structured_outputs": {"json": schema, "regex": null}})), wanted);
        assert_eq!(read(json!({"structured_outputs": {"json": schema.to_string()}})), wanted);
        assert_eq!(read(json!({"response_format": {"type": "text"}})), Ok(None));
        assert_eq!(
            read(json!({"structured_outputs": {"choice": ["a"]}})),
            Ok(Some(Constraint::Choice(vec!["a".into()])))
        );
    }

    #[test]
    fn faults_are_named() {
        let fault = |fields| read(fields).unwrap_err();
        assert!(fault(json!({"structured_outputs": {"regex": "a", "json": {}}})).contains("only use one kind"));
        assert!(fault(json!({"structured_outputs": {"choice": []}})).contains("choice"));
        assert!(fault(json!({"structured_outputs": {"json": 7}})).contains("object"));
        assert!(fault(json!({"structured_outputs": {"json": "{"}})).contains("not valid JSON"));
        assert!(fault(json!({"structured_outputs": {"wish": "x"}})).contains("wish"));
        assert!(fault(json!({"response_format": {"type": "json_schema"}})).contains("'json_schema' field"));
        assert!(fault(json!({"response_format": {"type": "structural_tag"}})).contains("structural_tag"));
    }
}
