use remora_engine::ToolParser;
use serde_json::{Value, json};

use crate::support::{TestEngine, chat, steady, with};

const CHAT: &str = "/v1/chat/completions";

/// A question that the demo model answers with a call of `read`.
fn question() -> Value {
    let tool = json!({"type": "function", "function": {"name": "read", "description": "Reads a file",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}});
    with(chat("read src/main.rs"), json!({"tools": [tool]}))
}

fn message(answer: &Value) -> &Value {
    &answer["choices"][0]["message"]
}

fn finish_reason(answer: &Value) -> &str {
    answer["choices"][0]["finish_reason"].as_str().unwrap()
}

/// The calls of a stream, put together as clients do it: `[name, arguments]` each.
fn calls(chunks: &[Value]) -> Vec<[String; 2]> {
    let mut calls: Vec<[String; 2]> = Vec::new();
    for part in chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["tool_calls"].as_array()).flatten() {
        let (index, function) = (usize::try_from(part["index"].as_u64().unwrap()).unwrap(), &part["function"]);
        if let Some(name) = function["name"].as_str() {
            assert_eq!((index, part["type"].as_str()), (calls.len(), Some("function")));
            assert!(part["id"].as_str().unwrap().starts_with("chatcmpl-tool-"));
            calls.push([name.to_owned(), String::new()]);
        }
        calls[index][1].push_str(function["arguments"].as_str().unwrap());
    }
    calls
}

#[tokio::test]
async fn a_call_has_openai_s_shape() {
    let engine = TestEngine::start().await;
    let answer = engine.ask(CHAT, &question()).await;
    assert_eq!(finish_reason(&answer), "tool_calls");
    insta::assert_json_snapshot!(steady(message(&answer).clone()), @r#"
    {
      "role": "assistant",
      "content": null,
      "refusal": null,
      "annotations": null,
      "audio": null,
      "function_call": null,
      "tool_calls": [
        {
          "id": "chatcmpl-ID",
          "type": "function",
          "function": {
            "name": "read",
            "arguments": "{\"path\": \"src/main.rs\"}"
          }
        }
      ],
      "reasoning": null
    }
    "#);
}

#[tokio::test]
async fn a_streamed_call_comes_in_pieces() {
    let engine = TestEngine::start().await;
    let chunks = engine.chunks(CHAT, &with(question(), json!({"stream": true}))).await;
    assert_eq!(calls(&chunks), [["read".to_owned(), r#"{"path": "src/main.rs"}"#.to_owned()]]);
    assert!(chunks.len() > 4, "arguments are told while they are generated");
    let last = &chunks.last().unwrap()["choices"][0];
    assert_eq!((&last["finish_reason"], &last["delta"]), (&json!("tool_calls"), &json!({})));
    let text = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
    assert_eq!(text.collect::<String>(), "");
    let begin = chunks.iter().find(|chunk| chunk["choices"][0]["delta"].get("tool_calls").is_some()).unwrap();
    insta::assert_snapshot!(steady(begin.clone())["choices"][0], @r#"{"index":0,"delta":{"tool_calls":[{"id":"chatcmpl-ID","type":"function","index":0,"function":{"name":"read","arguments":""}}]},"logprobs":null,"finish_reason":null,"token_ids":null}"#);
}

#[tokio::test]
async fn the_tool_s_answer_goes_on_the_conversation() {
    let engine = TestEngine::start().await;
    let mut request = question();
    let answer = engine.ask(CHAT, &request).await;
    let call = &message(&answer)["tool_calls"][0];
    let result = json!({"role": "tool", "tool_call_id": call["id"], "content": "fn main() {}"});
    let messages = request["messages"].as_array_mut().unwrap();
    // As the SDKs send it back: the whole message, nulls and all.
    messages.extend([message(&answer).clone(), result]);
    for tools_stay in [true, false] {
        if !tools_stay {
            request.as_object_mut().unwrap().remove("tools");
        }
        let answer = engine.ask(CHAT, &request).await;
        assert_eq!(finish_reason(&answer), "stop");
        let text = message(&answer)["content"].as_str().unwrap();
        assert!(text.contains("main"), "it quotes the result: {text}");
    }
}

#[tokio::test]
async fn calls_that_were_not_asked_for_are_text() {
    let engine = TestEngine::start().await;
    let answer = engine.ask(CHAT, &with(question(), json!({"tool_choice": "none"}))).await;
    let text = message(&answer)["content"].as_str().unwrap();
    assert!(text.starts_with("<tool_call>"), "{text}");
    assert_eq!((finish_reason(&answer), message(&answer).get("tool_calls")), ("stop", None));
    let engine = TestEngine::with(|config| config.tool_parser = Some(ToolParser::None)).await;
    let answer = engine.ask(CHAT, &question()).await;
    assert_eq!(message(&answer)["content"], text);
}

#[tokio::test]
async fn a_call_that_is_cut_off_is_never_broken_json() {
    let engine = TestEngine::start().await;
    let whole = engine.ask(CHAT, &question()).await;
    let tokens = whole["usage"]["completion_tokens"].as_u64().unwrap();
    for max_tokens in 1..tokens {
        let request = with(question(), json!({"max_tokens": max_tokens}));
        let answer = engine.ask(CHAT, &request).await;
        assert_eq!(finish_reason(&answer), "length");
        let called = message(&answer).get("tool_calls").is_some();
        assert!(called || message(&answer)["content"].as_str().unwrap().starts_with('<'), "{answer}");
        let chunks = engine.chunks(CHAT, &with(request, json!({"stream": true}))).await;
        assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "length");
        for [_, arguments] in calls(&chunks) {
            assert!(serde_json::from_str::<Value>(&arguments).unwrap().is_object(), "{arguments}");
        }
    }
}

#[tokio::test]
async fn tokens_are_told_once_beside_calls() {
    let engine = TestEngine::start().await;
    let request = with(question(), json!({"stream": true, "return_token_ids": true, "logprobs": true}));
    let whole = engine.ask(CHAT, &with(request.clone(), json!({"stream": false}))).await;
    let chunks = engine.chunks(CHAT, &request).await;
    let choices = chunks.iter().map(|chunk| &chunk["choices"][0]);
    let ids: Vec<Value> =
        choices.clone().filter_map(|choice| choice["token_ids"].as_array()).flatten().cloned().collect();
    assert_eq!(whole["choices"][0]["token_ids"], Value::from(ids));
    let logprobs = choices.filter_map(|choice| choice["logprobs"]["content"].as_array()).flatten().count();
    assert_eq!(
        Some(logprobs),
        whole["usage"]["completion_tokens"].as_u64().map(|count| usize::try_from(count).unwrap())
    );
    assert_eq!(calls(&chunks).len(), 1);
}
