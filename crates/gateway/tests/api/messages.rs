//! Anthropic's API, over an engine that knows only `OpenAI`'s.

use remora_testing::FakeEngine;
use remora_testing::fake_engine::MODEL;
use serde_json::{Value, json};

use crate::support::Gateway;

async fn one() -> (FakeEngine, Gateway) {
    let engine = FakeEngine::start().await;
    let gateway = Gateway::before(&engine.address()).await;
    (engine, gateway)
}

fn hello(fields: &Value) -> String {
    let mut body = json!({"model": MODEL, "max_tokens": 20, "system": "Be brief.",
                          "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body.to_string()
}

#[tokio::test]
async fn a_message_is_answered_whole() {
    let (engine, gateway) = one().await;
    let answer = gateway.post("/v1/messages?beta=true", hello(&json!({"unknown_field": 1}))).await;
    let message = answer.json();
    assert_eq!(answer.status, 200, "{message}");
    assert_eq!(
        (&message["type"], &message["role"], &message["model"]),
        (&"message".into(), &"assistant".into(), &MODEL.into())
    );
    assert!(message["id"].as_str().unwrap().starts_with("msg_"));
    assert!(message["content"][0]["text"].as_str().unwrap().starts_with("token0"), "{message}");
    assert!(message["usage"]["input_tokens"].is_number() && message["usage"]["output_tokens"].is_number());
    let asked: Value = serde_json::from_slice(&engine.received().last().unwrap().body).unwrap();
    assert_eq!(asked["messages"][0], json!({"role": "system", "content": "Be brief."}));
}

#[tokio::test]
async fn a_stream_has_anthropics_events_in_their_order() {
    let (_engine, gateway) = one().await;
    for (path, fields) in [("/v1/messages", json!({"stream": true})), ("/v1/messages/stream", json!({}))] {
        let answer = gateway.post(path, hello(&fields)).await;
        assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let mut names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        names.dedup();
        let wanted =
            ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"];
        assert_eq!(names[..5], wanted, "{text}");
        assert_eq!(names[5..], ["message_stop"]);
    }
}

#[tokio::test]
async fn refusals_are_in_anthropics_words() {
    let (engine, gateway) = one().await;
    let kind = |answer: &crate::support::Answer| {
        let body = answer.json();
        assert_eq!(body["type"], "error", "{body}");
        (answer.status.as_u16(), body["error"]["type"].as_str().unwrap().to_owned())
    };
    let unknown = gateway.post("/v1/messages", hello(&json!({"model": "no-such"}))).await;
    assert_eq!(kind(&unknown), (404, "not_found_error".into()));
    let malformed = gateway.post("/v1/messages", "{").await;
    assert_eq!(kind(&malformed), (400, "invalid_request_error".into()));
    let too_long = "This model's maximum context length is 64 tokens. However, your prompt contains 99 input tokens, \
                    which exceeds this limit even without any output tokens.";
    let error = json!({"error": {"message": too_long, "type": "BadRequestError", "code": 400}}).to_string();
    engine.set(|b| b.failure = Some((400, error)));
    for fields in [json!({}), json!({"stream": true})] {
        let refused = gateway.post("/v1/messages", hello(&fields)).await;
        assert_eq!(kind(&refused), (400, "invalid_request_error".into()));
        assert_eq!(refused.json()["error"]["message"], "prompt is too long: 99 tokens > 64 maximum");
    }
}

#[tokio::test]
async fn a_stream_whose_engine_dies_ends_with_an_error_event() {
    let (engine, gateway) = one().await;
    engine.set(|b| b.break_after = Some(2));
    let answer = gateway.post("/v1/messages", hello(&json!({"stream": true}))).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.contains("event: content_block_delta") && text.contains("event: error"), "{text}");
    assert!(!text.contains("message_stop"), "{text}");
}

#[tokio::test]
async fn tokens_are_counted_by_the_engine() {
    let (engine, gateway) = one().await;
    let counted = gateway.post("/v1/messages/count_tokens", hello(&json!({}))).await;
    let received = engine.received();
    let asked = received.last().unwrap();
    assert_eq!(asked.line, "POST /tokenize");
    let asked: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(asked["messages"][0]["content"], "Be brief.");
    assert!(counted.status == 200 && counted.json()["input_tokens"].is_u64(), "{}", counted.json());
}

#[tokio::test]
async fn claude_code_finds_somebody_there() {
    let (_engine, gateway) = one().await;
    let head = gateway.send(gateway.client.head(format!("{}/api/hello", gateway.url))).await;
    assert_eq!(head.status, 200);
}
