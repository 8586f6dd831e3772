//! The grammar of calls that must come.
//!
//! They are held to the format that the model was trained on, tags and all, and only their arguments to the function's
//! schema. vLLM forces a bare JSON list instead, whatever the model: a form that most models have never seen after their
//! tools were described, and in which small ones choose worse functions. What the client sees is the same, since calls
//! are found in the text in either case. A model whose format is not known, or is not JSON, gets the one of Hermes.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::compact;
use crate::llama::Token;
use crate::output::{ThinkTags, ToolFormat};

/// A function that may be called.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// What its arguments must look like.
    pub(crate) schema: Value,
}

impl Function {
    /// A function with the parameters that a tool declares; none where arguments could be no object.
    pub(crate) fn new(name: &str, parameters: Option<&Value>) -> Option<Self> {
        let mut schema = parameters.and_then(Value::as_object).cloned().unwrap_or_default();
        let takes_object = match schema.get("type") {
            None => true,
            Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
            Some(kind) => kind == "object",
        };
        schema.insert("type".into(), "object".into());
        if is_closed(&schema) {
            schema.insert("additionalProperties".into(), false.into());
        }
        takes_object.then(|| Self { name: name.to_owned(), schema: schema.into() })
    }
}

/// Whether a schema that lists properties means that there are no others. Strictly it does not, but who forces a call
/// wants the arguments that were described; vLLM's grammars close such objects too.
fn is_closed(schema: &Map<String, Value>) -> bool {
    const OPENING: [&str; 10] = [
        "additionalProperties",
        "patternProperties",
        "unevaluatedProperties",
        "propertyNames",
        "minProperties",
        "$ref",
        "allOf",
        "anyOf",
        "oneOf",
        "if",
    ];
    !OPENING.iter().any(|key| schema.contains_key(*key))
}

/// What may stand before the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    Nothing,
    /// Thinking, if the model likes.
    MayThink(ThinkTags),
    /// The rest of a thinking that the prompt began.
    Thinks(ThinkTags),
}

/// The grammar, in Lark's notation: at least one call, and with `one` no more. Tags that are control tokens of the model
/// (`control` knows them) are such.
pub(super) fn grammar(
    format: ToolFormat,
    functions: &[Function],
    one: bool,
    before: Before,
    control: impl Fn(&str) -> Option<Token>,
) -> String {
    let tag = |tag: &str| control(tag).map_or_else(|| literal(tag), |token| format!("<[{token}]>"));
    let mut lark = String::new();
    let mut rule = |name: &str, body: String| writeln!(lark, "{name}: {body}").expect("a String takes everything");
    let several = |separator: &str| if one { "call".to_owned() } else { format!("call ({separator} call)*") };
    let calls = match format {
        ToolFormat::Hermes | ToolFormat::FunctionGemma => several("\"\\n\""),
        ToolFormat::Llama3Json => several("\"; \""),
        ToolFormat::Mistral if control(ARGS).is_some() => several(""),
        ToolFormat::Mistral => format!("{} \" \"? \"[\" {} \"]\"", tag(TOOL_CALLS), several("\", \"")),
    };
    match before {
        Before::Nothing => rule("start", calls),
        Before::MayThink(tags) => rule("start", format!("({} thought)? {calls}", tag(tags.opening()))),
        Before::Thinks(_) => rule("start", format!("thought {calls}")),
    }
    if let Before::MayThink(tags) | Before::Thinks(tags) = before {
        match control(tags.closing()) {
            Some(token) => rule("thought", format!("ANYTHING <[{token}]> gap")),
            None => rule("thought", "thinking gap".to_owned()),
        }
        rule("gap", "(\"\\n\" | \"\\n\\n\")?".to_owned());
        rule("ANYTHING", "/(?s:.*)/".to_owned());
        if control(tags.closing()).is_none() {
            rule(&format!("thinking[suffix={}]", literal(tags.closing())), "/(?s:.*)/".to_owned());
        }
    }
    let names: Vec<String> = (0..functions.len()).map(|index| format!("call_{index}")).collect();
    rule("call", names.join(" | "));
    for (index, Function { name, schema }) in functions.iter().enumerate() {
        let quoted = Value::from(name.as_str());
        let (begin, end) = match format {
            ToolFormat::Hermes | ToolFormat::FunctionGemma => {
                let begin = literal(&format!("\n{{\"name\": {quoted}, \"arguments\": "));
                (format!("{} {begin}", tag("<tool_call>")), format!("\"}}\\n\" {}", tag("</tool_call>")))
            }
            ToolFormat::Llama3Json => (literal(&format!("{{\"name\": {quoted}, \"parameters\": ")), literal("}")),
            ToolFormat::Mistral if control(ARGS).is_some() => {
                (format!("{} {} {}", tag(TOOL_CALLS), literal(name), tag(ARGS)), String::new())
            }
            ToolFormat::Mistral => (literal(&format!("{{\"name\": {quoted}, \"arguments\": ")), literal("}")),
        };
        rule(&format!("call_{index}"), format!("{begin} arguments_{index} {end}"));
        rule(&format!("arguments_{index}"), format!("%json {}", compact(schema)));
    }
    lark
}

const TOOL_CALLS: &str = "[TOOL_CALLS]";
/// Follows the name in Mistral's newer format; models of the older one do not have it.
const ARGS: &str = "[ARGS]";

/// A text in a grammar; Lark's strings are JSON's.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::Constraint;
    use serde_json::json;

    use super::super::tests::takes;
    use super::*;

    fn functions() -> Vec<Function> {
        let path = json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]});
        vec![Function::new("read", Some(&path)).unwrap(), Function::new("list \"all\"", None).unwrap()]
    }

    fn held(format: ToolFormat, one: bool, before: Before, text: &str) -> (bool, bool) {
        takes(&Constraint::Calls(grammar(format, &functions(), one, before, |_| None)), text)
    }

    const READ: &str = r#"{"name": "read", "arguments": {"path": "a/b"}}"#;
    const LIST: &str = r#"{"name": "list \"all\"", "arguments": {}}"#;

    #[test]
    fn calls_come_in_the_model_s_own_format() {
        let hermes = |call: &str| format!("<tool_call>\n{call}\n</tool_call>");
        let many = format!("{}\n{}", hermes(READ), hermes(LIST));
        assert_eq!(held(ToolFormat::Hermes, false, Before::Nothing, &many), (true, true));
        assert_eq!(held(ToolFormat::Hermes, true, Before::Nothing, &hermes(LIST)), (true, true));
        assert!(!held(ToolFormat::Hermes, true, Before::Nothing, &many).0, "one is one");
        let llama = READ.replace("arguments", "parameters");
        assert_eq!(held(ToolFormat::Llama3Json, false, Before::Nothing, &llama), (true, true));
        let mistral = format!("[TOOL_CALLS] [{READ}, {LIST}]");
        assert_eq!(held(ToolFormat::Mistral, false, Before::Nothing, &mistral), (true, true));
    }

    #[test]
    fn nothing_else_comes() {
        let held = |text| held(ToolFormat::Hermes, false, Before::Nothing, text);
        assert_eq!(held(""), (true, false), "at least one call");
        assert!(!held("Sure").0);
        assert!(!held("<tool_call>\n{\"name\": \"write\"").0, "a function that is not there");
        assert!(!held("<tool_call>\n{\"name\": \"read\", \"arguments\": {}").0, "an argument that is missing");
        assert!(!held("<tool_call>\n{\"name\": \"list \\\"all\\\"\", \"arguments\": {\"x\"").0, "one too many");
    }

    #[test]
    fn thinking_may_come_before_them() {
        let call = format!("<tool_call>\n{LIST}\n</tool_call>");
        let thought = format!("<think>\nHm < 3\n</think>\n\n{call}");
        let held = |before, text: &str| held(ToolFormat::Hermes, true, before, text);
        assert_eq!(held(Before::MayThink(ThinkTags::THINK), &thought), (true, true));
        assert_eq!(held(Before::MayThink(ThinkTags::THINK), &call), (true, true));
        assert_eq!(held(Before::Thinks(ThinkTags::THINK), &thought["<think>".len()..]), (true, true));
        assert!(!held(Before::Nothing, &thought).0);
        assert_eq!(held(Before::Thinks(ThinkTags::THINK), "still at it"), (true, false));
    }

    #[test]
    fn arguments_are_an_object() {
        assert_eq!(Function::new("f", Some(&json!({"type": "string"}))), None);
        let schema = |parameters| Function::new("f", Some(&parameters)).unwrap().schema;
        let nothing = json!({"type": "object", "additionalProperties": false});
        assert_eq!(schema(json!({})), nothing);
        let open = json!({"type": "object", "additionalProperties": true});
        assert_eq!(schema(open.clone()), open);
        assert_eq!(schema(json!({"type": ["object", "null"]})), nothing);
        let reference = json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object"}}, "type": "object"});
        assert_eq!(schema(reference.clone()), reference);
    }
}
