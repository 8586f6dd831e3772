//! Calls that must come, from the real model, of tools that it was never taught.

use serde_json::{Value, json};

use crate::support::{TestEngine, chat, with};

const CHAT: &str = "/v1/chat/completions";

fn tool(name: &str, parameters: &Value) -> Value {
    json!({"type": "function", "function": {"name": name, "description": "Does it", "parameters": parameters}})
}

/// A question that asks for no tool, with two of them.
fn request(fields: Value) -> Value {
    let weather = json!({"type": "object", "required": ["city", "days"], "properties": {
        "city": {"type": "string", "maxLength": 8},
        "days": {"$ref": "#/$defs/Days"},
        "unit": {"enum": ["C", "F"]},
    }, "$defs": {"Days": {"type": "integer", "minimum": 1, "maximum": 9}}});
    let tools = json!([tool("get_weather", &weather), {"type": "function", "function": {"name": "now"}}]);
    let base = json!({"tools": tools, "temperature": 1.0, "seed": 11, "max_tokens": 400});
    with(with(chat("hello"), base), fields)
}

fn named(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name}})
}

/// Name and arguments of each call of a whole answer.
fn calls(answer: &Value) -> Vec<(String, String)> {
    let calls = answer["choices"][0]["message"]["tool_calls"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let text = |call: &Value, key: &str| call["function"][key].as_str().unwrap().to_owned();
    calls.iter().map(|call| (text(call, "name"), text(call, "arguments"))).collect()
}

/// The same of a stream.
fn streamed(chunks: &[Value]) -> Vec<(String, String)> {
    let mut calls: Vec<(String, String)> = Vec::new();
    for part in chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array()).flatten() {
        if let Some(name) = part["function"]["name"].as_str() {
            assert_eq!(part["index"], calls.len());
            calls.push((name.to_owned(), String::new()));
        }
        let index = usize::try_from(part["index"].as_u64().unwrap()).unwrap();
        calls[index].1.push_str(part["function"]["arguments"].as_str().unwrap());
    }
    calls
}

fn holds(name: &str, arguments: &str) {
    let value: Value = serde_json::from_str(arguments).unwrap_or_else(|error| panic!("{error}: {arguments}"));
    let fields = value.as_object().unwrap();
    match name {
        "now" => assert!(fields.is_empty(), "{arguments}"),
        "get_weather" => {
            assert!(fields["city"].as_str().unwrap().chars().count() <= 8, "{arguments}");
            assert!((1..=9).contains(&fields["days"].as_i64().unwrap()), "{arguments}");
            assert!(fields.get("unit").is_none_or(|unit| unit == "C" || unit == "F"), "{arguments}");
            assert!(fields.keys().all(|key| ["city", "days", "unit"].contains(&key.as_str())), "{arguments}");
        }
        other => panic!("there is no {other}"),
    }
}

#[tokio::test]
async fn a_required_call_comes_and_fits_its_schema() {
    let engine = TestEngine::start().await;
    let free = engine.ask(CHAT, &with(request(json!({})), json!({"temperature": 0}))).await;
    assert_eq!(free["choices"][0]["message"].get("tool_calls"), None, "left alone, it greets");
    for seed in 0..8 {
        let request = request(json!({"tool_choice": "required", "parallel_tool_calls": false, "seed": seed}));
        let answer = engine.ask(CHAT, &request).await;
        let choice = &answer["choices"][0];
        assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &json!("")));
        let called = calls(&answer);
        assert_eq!(called.len(), 1);
        holds(&called[0].0, &called[0].1);
        let chunks = engine.chunks(CHAT, &with(request, json!({"stream": true}))).await;
        assert_eq!(streamed(&chunks), called);
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
        let text = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
        assert_eq!(text.collect::<String>(), "");
    }
}

#[tokio::test]
async fn a_named_function_is_called_once_and_ends_with_stop() {
    let engine = TestEngine::start().await;
    for name in ["get_weather", "now"] {
        let request = request(json!({"tool_choice": named(name)}));
        let answer = engine.ask(CHAT, &request).await;
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
        let called = calls(&answer);
        assert_eq!((called.len(), called[0].0.as_str()), (1, name));
        holds(name, &called[0].1);
        let chunks = engine.chunks(CHAT, &with(request, json!({"stream": true}))).await;
        assert_eq!(streamed(&chunks), called);
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
    }
}

#[tokio::test]
async fn several_calls_may_come_and_each_answer_has_its_own() {
    let engine = TestEngine::start().await;
    let read =
        tool("read", &json!({"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}));
    let message = json!([{"role": "user", "content": "read src/main.rs"}]);
    let fields = json!({"messages": message, "tools": [read], "tool_choice": "required", "n": 3});
    let answer = engine.ask(CHAT, &request(fields)).await;
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 3);
    for choice in choices {
        let call = &choice["message"]["tool_calls"][0]["function"];
        assert_eq!(call["name"], "read", "{answer}");
        assert!(serde_json::from_str::<Value>(call["arguments"].as_str().unwrap()).unwrap()["path"].is_string());
    }
}

#[tokio::test]
async fn a_forced_call_that_is_cut_off_is_never_broken_json() {
    let engine = TestEngine::start().await;
    for choice in [json!("required"), named("get_weather")] {
        let request = request(json!({"tool_choice": choice, "parallel_tool_calls": false}));
        let whole = engine.ask(CHAT, &request).await;
        let tokens = whole["usage"]["completion_tokens"].as_u64().unwrap();
        for max_tokens in (1..tokens).step_by(5) {
            let request = with(request.clone(), json!({"max_tokens": max_tokens}));
            let answer = engine.ask(CHAT, &request).await;
            assert_eq!(answer["choices"][0]["finish_reason"], "length");
            let chunks = engine.chunks(CHAT, &with(request, json!({"stream": true}))).await;
            assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
            for (_, arguments) in streamed(&chunks) {
                assert!(serde_json::from_str::<Value>(&arguments).unwrap().is_object(), "{arguments}");
            }
        }
    }
}

#[tokio::test]
async fn forced_calls_go_before_any_other_form() {
    let engine = TestEngine::start().await;
    let fields = json!({"tool_choice": named("now"), "response_format": {"type": "json_object"}});
    assert_eq!(calls(&engine.ask(CHAT, &request(fields)).await), [("now".to_owned(), "{}".to_owned())]);
}

#[tokio::test]
async fn choices_that_make_no_sense_are_refused_in_vllm_s_words() {
    let engine = TestEngine::start().await;
    let mut lines = Vec::new();
    let bad = |parameters: Value| json!([tool("good", &json!({})), tool("bad", &parameters)]);
    for fields in [
        json!({"tool_choice": named("missing")}),
        json!({"tool_choice": {"type": "function"}}),
        json!({"tool_choice": {"type": "function", "function": {}}}),
        json!({"tool_choice": named("")}),
        json!({"tool_choice": "always"}),
        json!({"tool_choice": named("now"), "structured_outputs": {"choice": ["a"]}}),
        json!({"tool_choice": "required", "tools": bad(json!({"type": "string"}))}),
        json!({"tool_choice": "required", "tools": bad(json!({"properties": {"a": {"type": "objekt"}}}))}),
        json!({"tool_choice": "required", "tools": bad(json!({"properties": {"a": {"$ref": "#/$defs/B"}}}))}),
        json!({"tool_choice": "required", "tools": [tool("two words", &json!({}))]}),
    ] {
        let error = engine.refused(CHAT, &request(fields), 400).await["error"].clone();
        lines.push(format!("{} {} {}", error["type"], error["param"], error["message"]));
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    "BadRequestError" "tool_choice" "The tool specified in `tool_choice` does not match any of the specified `tools` (parameter=tool_choice)"
    "BadRequestError" "tool_choice.function" "Invalid value for `function`: `None` in `tool_choice`! Correct usage: `{\"type\": \"function\", \"function\": {\"name\": \"my_function\"}}` (parameter=tool_choice.function)"
    "BadRequestError" "tool_choice.function.name" "Expected field `name` in `function` in `tool_choice`! Correct usage: `{\"type\": \"function\", \"function\": {\"name\": \"my_function\"}}` (parameter=tool_choice.function.name)"
    "BadRequestError" "tool_choice.function.name" "Invalid `name` in `function`: `` in `tool_choice`! Correct usage: `{\"type\": \"function\", \"function\": {\"name\": \"my_function\"}}` (parameter=tool_choice.function.name)"
    "BadRequestError" "tool_choice" "Invalid value for `tool_choice`: always! Only named tools, \"none\", \"auto\" or \"required\" are supported. (parameter=tool_choice)"
    "BadRequestError" null "You can only either use constraints for structured outputs or tools, not both."
    "BadRequestError" "tools" "Calls of the tool 'bad' cannot be forced: its parameters are not an object (parameter=tools)"
    "BadRequestError" "tools" "Calls of the tool 'bad' cannot be forced: Failed to use the JSON schema: Invalid type: objekt (parameter=tools)"
    "BadRequestError" "tools" "Calls of the tool 'bad' cannot be forced: Failed to use the JSON schema: Pointer '/$defs/B' does not exist (parameter=tools)"
    "BadRequestError" "tools" "Calls of the tool 'two words' cannot be forced: its name is empty, too long or has white space (parameter=tools)"
    "#);
}
