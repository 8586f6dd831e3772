//! The grammar of calls that must come.
//!
//! They are held to the format that the model was trained on, tags and all, and their arguments to the function's
//! schema. vLLM does so for the formats that it has structural tags for, and only with `strict` to the schema; for others
//! it forces a bare JSON list, a form that hardly any model has seen after its tools were described, and in which small
//! ones choose worse. What the client sees is the same, since calls are found in the text in every case. A model whose
//! format is not known gets the one of Hermes.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::compact;
use super::gemma::Gemma;
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
/// (`control` knows them) are such. None where the format cannot be held to a function's schema; JSON always can.
pub(super) fn grammar(
    format: ToolFormat,
    functions: &[Function],
    one: bool,
    before: Before,
    control: impl Fn(&str) -> Option<Token>,
) -> Option<String> {
    let tag = |tag: &str| control(tag).map_or_else(|| literal(tag), |token| format!("<[{token}]>"));
    let mut rules = Rules::default();
    let several = |separator: &str| if one { "call".to_owned() } else { format!("call ({separator} call)*") };
    let is_named = control(ARGS).is_some();
    let calls = match format {
        ToolFormat::Hermes => several("\"\\n\""),
        ToolFormat::Llama3Json => several("\"; \""),
        ToolFormat::FunctionGemma => several(""),
        ToolFormat::Mistral if is_named => several(""),
        ToolFormat::Mistral => format!("{} \" \"? \"[\" {} \"]\"", tag(TOOL_CALLS), several("\", \"")),
    };
    rules.begin(before, &calls, tag);
    let names: Vec<String> = (0..functions.len()).map(|index| format!("call_{index}")).collect();
    rules.add("call", &names.join(" | "));
    for (index, Function { name, schema }) in functions.iter().enumerate() {
        let named =
            |arguments: &str| literal(&format!("{{\"name\": {}, \"{arguments}\": ", Value::from(name.as_str())));
        let arguments = format!("arguments_{index}");
        let mut json = format!("%json {}", compact(schema));
        let call = match format {
            ToolFormat::Hermes => {
                let (open, close) = (tag("<tool_call>"), tag("</tool_call>"));
                format!("{open} \"\\n\" {} {arguments} \"}}\\n\" {close}", named("arguments"))
            }
            ToolFormat::Llama3Json => format!("{} {arguments} \"}}\"", named("parameters")),
            ToolFormat::Mistral if is_named => {
                format!("{} {} {} {arguments}", tag(TOOL_CALLS), literal(name), tag(ARGS))
            }
            ToolFormat::Mistral => format!("{} {arguments} \"}}\"", named("arguments")),
            ToolFormat::FunctionGemma => {
                let mut gemma = Gemma::new(tag("<escape>"), &arguments);
                json = gemma.value(schema)?;
                rules.0.push_str(&gemma.rules());
                let (open, close) = (tag("<start_function_call>"), tag("<end_function_call>"));
                format!("{open} {} {arguments} {close}", literal(&format!("call:{name}")))
            }
        };
        rules.add(&format!("call_{index}"), &call);
        rules.add(&arguments, &json);
    }
    Some(rules.0)
}

/// A grammar that is being written.
#[derive(Debug, Default)]
struct Rules(String);

impl Rules {
    fn add(&mut self, name: &str, body: &str) {
        writeln!(self.0, "{name}: {body}").expect("a String takes everything");
    }

    /// The first rules: what may stand before the calls, and these.
    fn begin(&mut self, before: Before, calls: &str, tag: impl Fn(&str) -> String) {
        let (tags, start) = match before {
            Before::Nothing => return self.add("start", calls),
            Before::MayThink(tags) => (tags, format!("({} thought)? {calls}", tag(tags.opening()))),
            Before::Thinks(tags) => (tags, format!("thought {calls}")),
        };
        self.add("start", &start);
        let close = tag(tags.closing());
        if close.starts_with("<[") {
            self.add("thought", &format!("ANYTHING? {close} gap"));
            self.add("ANYTHING", "/(?s:.+)/");
        } else {
            self.add("thought", "thinking gap");
            self.add(&format!("thinking[suffix={close}]"), "/(?s:.*)/");
        }
        self.add("gap", "(\"\\n\" | \"\\n\\n\")?");
    }
}

const TOOL_CALLS: &str = "[TOOL_CALLS]";
/// Follows the name in Mistral's newer format; models of the older one do not have it.
const ARGS: &str = "[ARGS]";

/// A text in a grammar; Lark's strings are JSON's.
pub(super) fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Constraint;
    use super::super::tests::{control, takes, takes_controls};
    use super::*;

    fn functions() -> Vec<Function> {
        let path = json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]});
        vec![Function::new("read", Some(&path)).unwrap(), Function::new("list \"all\"", None).unwrap()]
    }

    fn held(format: ToolFormat, one: bool, before: Before, text: &str) -> (bool, bool) {
        takes(&Constraint::Calls(grammar(format, &functions(), one, before, |_| None).unwrap()), text)
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
    fn tags_that_are_tokens_are_held_as_such() {
        let held = |format, text: &str| {
            let grammar = grammar(format, &functions(), false, Before::MayThink(ThinkTags::THINK), control).unwrap();
            takes_controls(&Constraint::Calls(grammar), text)
        };
        let mistral = "[TOOL_CALLS]read[ARGS]{\"path\": \"a\"}[TOOL_CALLS]list \"all\"[ARGS]{}";
        assert_eq!(held(ToolFormat::Mistral, mistral), (true, true));
        assert_eq!(held(ToolFormat::Mistral, &format!("<think>Hm</think>\n{mistral}")), (true, true));
        assert_eq!(held(ToolFormat::Mistral, &format!("<think></think>{mistral}")), (true, true));
        let hermes = format!("<tool_call>\n{LIST}\n</tool_call>");
        assert_eq!(held(ToolFormat::Hermes, &hermes), (true, true));
    }

    #[test]
    fn function_gemma_s_notation_is_held_where_a_schema_is_simple() {
        let schema = json!({"type": "object", "required": ["days", "city"], "properties": {
            "city": {"type": "string", "maxLength": 5, "description": "where"},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "units": {"type": "array", "items": {"enum": ["C", "F"]}},
            "exact": {"type": ["boolean", "null"]},
            "at": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}}},
        }});
        let grammar = |schema: &Value, control: fn(&str) -> Option<Token>| {
            let functions = [Function::new("weather", Some(schema)).unwrap()];
            grammar(ToolFormat::FunctionGemma, &functions, true, Before::Nothing, control)
        };
        let call = |arguments: &str| format!("<start_function_call>call:weather{arguments}<end_function_call>");
        for (arguments, fits) in [
            ("{city:<escape>Paris<escape>,days:3}", true),
            ("{city:<escape><escape>,days:3}", true),
            (
                "{at:{lat:1.5},city:<escape>Paris<escape>,days:3,exact:null,units:[<escape>C<escape>,<escape>F<escape>]}",
                true,
            ),
            ("{at:{},city:<escape>a,b}<escape>,days:3,units:[]}", true),
            ("{city:<escape>London<escape>,days:3}", false),
            ("{city:<escape>Paris<escape>,days:0}", false),
            ("{city:<escape>Paris<escape>}", false),
            ("{days:3}", false),
            ("{city:<escape>Paris<escape>,days:3,units:[<escape>K<escape>]}", false),
        ] {
            let text = call(arguments);
            let by_token = Constraint::Calls(grammar(&schema, control).unwrap());
            assert_eq!(takes_controls(&by_token, &text), (fits, fits), "{arguments}");
            let by_text = Constraint::Calls(grammar(&schema, |_| None).unwrap());
            assert_eq!(takes(&by_text, &text), (fits, fits), "{arguments}");
        }
        let nothing = Constraint::Calls(grammar(&json!({}), control).unwrap());
        assert_eq!(takes_controls(&nothing, &call("{}")), (true, true));
        let pattern = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^x"}}});
        assert_eq!(grammar(&pattern, control), None, "what it cannot hold is not weakened");
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
