//! The Responses API.

use serde_json::{Value, json};

use crate::support::{TestEngine, chat, with};

const RESPONSES: &str = "/v1/responses";

fn ask(input: &Value) -> Value {
    json!({"input": input, "temperature": 0, "max_output_tokens": 60})
}

fn read_tool() -> Value {
    json!({"type": "function", "name": "read", "description": "Reads a file", "strict": true,
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}})
}

/// The events of a stream: their names stand in front of them and inside.
async fn events(engine: &TestEngine, body: &Value) -> Vec<Value> {
    let response = engine.post(RESPONSES, &with(body.clone(), json!({"stream": true}))).await;
    assert_eq!(response.status().as_u16(), 200);
    let text = response.text().await.unwrap();
    let events = text.split_terminator("\n\n").enumerate().map(|(number, event)| {
        let (name, data) = event.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let event: Value = serde_json::from_str(data).unwrap();
        assert_eq!((&event["type"], &event["sequence_number"]), (&json!(name), &json!(number)));
        event
    });
    events.collect()
}

fn names(events: &[Value]) -> String {
    let mut names: Vec<&str> =
        events.iter().map(|event| event["type"].as_str().unwrap().trim_start_matches("response.")).collect();
    names.dedup();
    names.join("\n")
}

/// A response without what differs from call to call.
fn steady(mut response: Value) -> Value {
    fn redact(value: &mut Value) {
        match value {
            Value::Object(fields) => fields.iter_mut().for_each(|(key, field)| match (key.as_str(), &*field) {
                ("id" | "call_id" | "item_id", Value::String(id)) => {
                    *field = id.trim_end_matches(|c: char| c.is_ascii_hexdigit()).into();
                }
                ("created_at", _) => *field = "NOW".into(),
                ("input_tokens" | "total_tokens" | "output_tokens", Value::Number(_)) => *field = "COUNT".into(),
                ("text", Value::String(text)) if !text.is_empty() => *field = "TEXT".into(),
                _ => redact(field),
            }),
            Value::Array(items) => items.iter_mut().for_each(redact),
            _ => {}
        }
    }
    redact(&mut response);
    response
}

#[tokio::test]
async fn an_answer_has_every_key_that_vllm_sends() {
    let engine = TestEngine::start().await;
    let answer = engine.ask(RESPONSES, &ask(&json!("hello"))).await;
    let chat = engine.ask("/v1/chat/completions", &chat("hello")).await;
    assert_eq!(answer["output"][0]["content"][0]["text"], chat["choices"][0]["message"]["content"]);
    assert_eq!(answer["usage"]["input_tokens"], chat["usage"]["prompt_tokens"]);
    assert_eq!(answer["usage"]["output_tokens"], chat["usage"]["completion_tokens"]);
    insta::assert_snapshot!(steady(answer), @r#"{"id":"resp_","created_at":"NOW","incomplete_details":null,"instructions":null,"metadata":null,"model":"remora-demo","object":"response","output":[{"type":"message","id":"msg_","content":[{"type":"output_text","text":"TEXT","annotations":[],"logprobs":null}],"role":"assistant","status":"completed"}],"parallel_tool_calls":true,"temperature":0.0,"tool_choice":"none","tools":[],"top_p":1.0,"background":false,"max_output_tokens":60,"max_tool_calls":null,"previous_response_id":null,"prompt":null,"reasoning":null,"service_tier":"auto","status":"completed","text":null,"top_logprobs":null,"truncation":"disabled","usage":{"input_tokens":"COUNT","input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0,"input_tokens_per_turn":[],"cached_tokens_per_turn":[]},"output_tokens":"COUNT","output_tokens_details":{"reasoning_tokens":0,"tool_output_tokens":0,"output_tokens_per_turn":[],"tool_output_tokens_per_turn":[]},"total_tokens":"COUNT"},"user":null,"presence_penalty":0.0,"frequency_penalty":0.0,"kv_transfer_params":null,"ec_transfer_params":null,"input_messages":null,"output_messages":null}"#);
}

#[tokio::test]
async fn every_form_of_an_input_is_the_same_conversation() {
    let engine = TestEngine::start().await;
    let parts = json!([{"type": "input_text", "text": "hello"}]);
    let mut told = Vec::new();
    for input in [
        json!("hello"),
        json!([{"role": "user", "content": "hello"}]),
        json!([{"type": "message", "role": "user", "content": parts}]),
    ] {
        let answer = engine.ask(RESPONSES, &ask(&input)).await;
        told.push((answer["output"][0]["content"].clone(), answer["usage"]["input_tokens"].clone()));
    }
    assert!(told.iter().all(|answer| *answer == told[0]), "{told:?}");
    let instructed = with(ask(&json!("hello")), json!({"instructions": "Answer in one word."}));
    let answer = engine.ask(RESPONSES, &instructed).await;
    assert!(answer["usage"]["input_tokens"].as_u64() > told[0].1.as_u64());
    assert_eq!(answer["instructions"], "Answer in one word.");
}

#[tokio::test]
async fn a_stream_is_told_in_typed_events() {
    let engine = TestEngine::start().await;
    let whole = engine.ask(RESPONSES, &ask(&json!("hello"))).await;
    let events = events(&engine, &ask(&json!("hello"))).await;
    insta::assert_snapshot!(names(&events), @"
    created
    in_progress
    output_item.added
    content_part.added
    output_text.delta
    output_text.done
    content_part.done
    output_item.done
    completed
    ");
    let deltas = events.iter().filter_map(|event| event["delta"].as_str());
    assert_eq!(deltas.collect::<String>(), whole["output"][0]["content"][0]["text"].as_str().unwrap());
    assert_eq!(
        (&events[0]["response"]["status"], &events[0]["response"]["usage"]),
        (&json!("in_progress"), &Value::Null)
    );
    let completed = &events.last().unwrap()["response"];
    assert_eq!(steady(completed.clone())["output"], steady(whole.clone())["output"]);
    assert_eq!(completed["usage"]["output_tokens"], whole["usage"]["output_tokens"]);
}

#[tokio::test]
async fn functions_are_called_and_their_outputs_read() {
    let engine = TestEngine::start().await;
    let mut input = json!([{"role": "user", "content": "read src/main.rs"}]);
    let request = |input: &Value| with(ask(input), json!({"tools": [read_tool(), {"type": "web_search"}]}));
    let answer = engine.ask(RESPONSES, &request(&input)).await;
    let call = answer["output"][0].clone();
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("read")));
    assert_eq!(call["arguments"], r#"{"path": "src/main.rs"}"#);
    let events = events(&engine, &request(&input)).await;
    insta::assert_snapshot!(names(&events), @"
    created
    in_progress
    output_item.added
    function_call_arguments.delta
    function_call_arguments.done
    output_item.done
    completed
    ");
    let deltas = events.iter().filter_map(|event| event["delta"].as_str());
    assert_eq!(deltas.collect::<String>(), call["arguments"].as_str().unwrap());
    let output = json!({"type": "function_call_output", "call_id": call["call_id"], "output": "fn main() {}"});
    input.as_array_mut().unwrap().extend([call, output]);
    let answer = engine.ask(RESPONSES, &request(&input)).await;
    let text = answer["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("main"), "it quotes the output: {text}");
}

#[tokio::test]
async fn a_forced_function_and_a_form_are_held() {
    let engine = TestEngine::start().await;
    for choice in [json!("required"), json!({"type": "function", "name": "read"})] {
        // The path is short, since the model has nothing to read and would never end.
        let mut read = read_tool();
        read["parameters"]["properties"]["path"]["maxLength"] = json!(9);
        let fields = json!({"tools": [read], "tool_choice": choice, "parallel_tool_calls": false});
        let answer = engine.ask(RESPONSES, &with(ask(&json!("hello")), fields)).await;
        assert_eq!(
            (&answer["status"], &answer["output"][0]["name"]),
            (&json!("completed"), &json!("read")),
            "{answer}"
        );
        let arguments: Value = serde_json::from_str(answer["output"][0]["arguments"].as_str().unwrap()).unwrap();
        assert!(arguments["path"].is_string());
    }
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
        "additionalProperties": false});
    let format = json!({"type": "json_schema", "name": "answer", "schema": schema, "strict": true});
    let answer = engine.ask(RESPONSES, &with(ask(&json!("hello")), json!({"text": {"format": format}}))).await;
    let text = answer["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["ok"].is_boolean(), "{text}");
    assert_eq!(answer["text"]["format"], format);
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_incomplete_and_can_be_gone_on_with() {
    let engine = TestEngine::start().await;
    let whole = engine.ask(RESPONSES, &ask(&json!("What is Remora?"))).await;
    let text = |answer: &Value| answer["output"][0]["content"][0]["text"].as_str().unwrap().to_owned();
    let short = with(ask(&json!("What is Remora?")), json!({"max_output_tokens": 5}));
    let cut = engine.ask(RESPONSES, &short).await;
    assert_eq!(
        (&cut["status"], &cut["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    let streamed = events(&engine, &short).await.pop().unwrap();
    assert_eq!(
        (&streamed["type"], &streamed["response"]["status"]),
        (&json!("response.completed"), &json!("incomplete"))
    );
    let input = json!([{"role": "user", "content": "What is Remora?"}, cut["output"][0]]);
    let rest = engine.ask(RESPONSES, &ask(&input)).await;
    assert_eq!(text(&cut) + &text(&rest), text(&whole));
}

#[tokio::test]
async fn what_needs_a_store_is_refused() {
    let engine = TestEngine::start().await;
    let mut lines = Vec::new();
    for (status, fields) in [
        (404, json!({"previous_response_id": "resp_1"})),
        (400, json!({"background": true})),
        (400, json!({"prompt": {"id": "pmpt_1"}})),
        (400, json!({"max_output_tokens": 9999})),
        (400, json!({"include": ["message.output_text.logprobs"]})),
        (400, json!({"tool_choice": "required"})),
        (400, json!({"tools": [{"type": "function"}]})),
        (400, json!({"input": [{"type": "item_reference", "id": "x"}]})),
        (400, json!({"input": null})),
    ] {
        let error = engine.refused(RESPONSES, &with(ask(&json!("hello")), fields), status).await["error"].clone();
        lines.push(format!("{} {} {}", error["type"], error["param"], error["message"]));
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    "invalid_request_error" "response_id" "Response with id 'resp_1' not found. This engine stores no responses: send the whole conversation as `input`."
    "BadRequestError" "background" "This engine stores no responses and therefore has no background mode. (parameter=background)"
    "BadRequestError" "prompt" "prompt template is not supported (parameter=prompt)"
    "BadRequestError" "max_output_tokens" "max_output_tokens=9999 cannot be greater than max_model_len=2048. Please request fewer output tokens. (parameter=max_output_tokens, value=9999)"
    "BadRequestError" "include" "message.output_text.logprobs is not supported yet by this engine. (parameter=include)"
    "BadRequestError" "tool_choice" "Tool choice 'required' must be specified with 'tools' parameter. (parameter=tool_choice)"
    "Bad Request" "body.tools.0.name" "1 validation error:\n  {'type': 'missing', 'loc': 'body.tools.0.name', 'msg': 'Field required'}"
    "BadRequestError" "input" "Unsupported input item type: item_reference (parameter=input)"
    "Bad Request" "body.input" "1 validation error:\n  {'type': 'type_error', 'loc': 'body.input', 'msg': 'data did not match any variant of untagged enum ResponsesInput at line 1 column 13'}"
    "#);
}
